//! Fuzzes `adyton_fuzz::snp_report`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::snp_report::run(data));
