//! Reads the vectors: Evidence and Endorsements of real machines, which are not part of the project.
//!
//! They are looked for in the folder that `ADYTON_VECTORS` names, then in `../shared/vectors` beside the
//! workspace. Without them each test prints that it is skipped; where `ADYTON_VECTORS_REQUIRED` is set, as
//! in CI, their absence is an error.

#![allow(dead_code, reason = "every test uses its own part")]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder with vectors, or `None` after saying why the test is skipped.
pub fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("ADYTON_VECTORS").map_or(beside, PathBuf::from);
    if folder.join("EXPECTED.json").is_file() {
        return Some(folder);
    }
    let must = std::env::var_os("ADYTON_VECTORS_REQUIRED").is_some();
    assert!(!must, "ADYTON_VECTORS_REQUIRED is set, but no vectors are at {}", folder.display());
    println!("skipped: no real vectors at {} (set ADYTON_VECTORS)", folder.display());
    None
}

/// One file.
pub fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// One file, JSON.
pub fn read_json(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&read(folder, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What `EXPECTED.json` says of one kind of Evidence: file names, with the verdict of each.
pub fn expected(folder: &Path, kind: &str) -> serde_json::Map<String, Value> {
    read_json(folder, "EXPECTED.json")[kind].as_object().expect("an object of files").clone()
}
