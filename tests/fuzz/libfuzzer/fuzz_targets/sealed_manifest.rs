//! Fuzzes `adyton_fuzz::sealed_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::sealed_manifest::run(data));
