//! Fuzzes `adyton_fuzz::tee_public_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::tee_public_key::run(data));
