//! Fuzzes `adyton_fuzz::endorsement_bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::endorsement_bundle::run(data));
