//! Fuzzes `adyton_fuzz::model_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::model_path::run(data));
