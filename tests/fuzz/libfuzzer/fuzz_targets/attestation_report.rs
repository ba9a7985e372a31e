//! Fuzzes `adyton_fuzz::attestation_report`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::attestation_report::run(data));
