//! Fuzzes `adyton_fuzz::event_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::event_log::run(data));
