//! Fuzzes `adyton_fuzz::coco_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adyton_fuzz::coco_answer::run(data));
