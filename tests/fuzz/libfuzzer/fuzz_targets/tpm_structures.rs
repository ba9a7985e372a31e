//! Fuzzes `adyton_fuzz::tpm_structures`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::tpm_structures::run(data));
