//! Fuzzes `adyton_fuzz::model_signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::model_signature::run(data));
