//! Fuzzes `adyton_fuzz::request_framing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::request_framing::run(data));
