//! Fuzzes `adyton_fuzz::resource_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::resource_path::run(data));
