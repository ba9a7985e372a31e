//! Fuzzes `adyton_fuzz::azure_evidence`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::azure_evidence::run(data));
