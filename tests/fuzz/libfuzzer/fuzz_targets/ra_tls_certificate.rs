//! Fuzzes `adyton_fuzz::ra_tls_certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::ra_tls_certificate::run(data));
