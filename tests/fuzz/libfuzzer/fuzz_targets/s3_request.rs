//! Fuzzes `adyton_fuzz::s3_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::s3_request::run(data));
