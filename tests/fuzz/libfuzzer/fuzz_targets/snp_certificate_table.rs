//! Fuzzes `adyton_fuzz::snp_certificate_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::snp_certificate_table::run(data));
