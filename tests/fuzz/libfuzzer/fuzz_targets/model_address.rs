//! Fuzzes `adyton_fuzz::model_address`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::model_address::run(data));
