//! Fuzzes `adyton_fuzz::evidence_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::evidence_file::run(data));
