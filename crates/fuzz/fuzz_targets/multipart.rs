//! Calls the target `multipart` of `strangers` with the bytes that libFuzzer makes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| strangers::run("multipart", input));
