//! Fuzzes `adyton_fuzz::signature_trust_root`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::signature_trust_root::run(data));
