//! Fuzzes `adyton_fuzz::reference_values`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::reference_values::run(data));
