//! Calls the target `event_protobuf` of `strangers` with the bytes that libFuzzer makes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| strangers::run("event_protobuf", input));
