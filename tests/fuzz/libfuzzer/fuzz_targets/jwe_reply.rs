//! Fuzzes `adyton_fuzz::jwe_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::jwe_reply::run(data));
