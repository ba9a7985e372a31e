//! Fuzzes `adyton_fuzz::oci_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::oci_manifest::run(data));
