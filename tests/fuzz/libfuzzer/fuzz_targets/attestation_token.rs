//! Fuzzes `adyton_fuzz::attestation_token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::attestation_token::run(data));
