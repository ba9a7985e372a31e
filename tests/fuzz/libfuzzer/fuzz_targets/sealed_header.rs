//! Fuzzes `adyton_fuzz::sealed_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::sealed_header::run(data));
