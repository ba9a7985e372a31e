//! Fuzzes `adyton_fuzz::gpu_evidence`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::gpu_evidence::run(data));
