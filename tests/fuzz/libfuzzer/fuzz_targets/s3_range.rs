//! Fuzzes `adyton_fuzz::s3_range`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::s3_range::run(data));
