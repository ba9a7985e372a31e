//! Fuzzes `adyton_fuzz::hcl_report`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::hcl_report::run(data));
