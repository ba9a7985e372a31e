//! Fuzzes `adyton_fuzz::sealed_model`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::sealed_model::run(data));
