//! Fuzzes `adyton_fuzz::release_policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::release_policy::run(data));
