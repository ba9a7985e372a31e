//! Fuzzes `adyton_fuzz::snp_kbs_form`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::snp_kbs_form::run(data));
