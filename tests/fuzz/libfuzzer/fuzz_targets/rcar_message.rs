//! Fuzzes `adyton_fuzz::rcar_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::rcar_message::run(data));
