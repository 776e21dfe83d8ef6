//! Calls the target `console_forms` of `strangers` with the bytes that libFuzzer makes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| strangers::run("console_forms", input));
