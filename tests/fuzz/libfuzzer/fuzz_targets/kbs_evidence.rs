//! Fuzzes `adyton_fuzz::kbs_evidence`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::kbs_evidence::run(data));
