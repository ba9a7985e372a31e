//! Fuzzes `adyton_fuzz::firmware_image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::firmware_image::run(data));
