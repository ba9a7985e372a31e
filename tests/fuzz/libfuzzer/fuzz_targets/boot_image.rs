//! Fuzzes `adyton_fuzz::boot_image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::boot_image::run(data));
