//! Names of files inside a sealed model.

use std::path::{Component, Path};

use adyton_sealed_weights::ModelPath;

/// Parses; a path that is accepted stays inside its folder, on any system's reading of it.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(path) = ModelPath::parse(text) else {
        return;
    };
    assert_eq!(path.as_str(), text);
    let inside = |component| matches!(component, Component::Normal(_));
    assert!(Path::new(text).components().all(inside), "{text:?} leaves its folder");
    assert!(!text.contains(['\\', '\0', '\n']), "{text:?} is more than one name");
}

/// Good paths and the usual attacks on them.
pub fn seeds() -> Vec<Vec<u8>> {
    let long = "a/".repeat(600);
    [
        "model.safetensors",
        "onnx/decoder/model-00001-of-00002.safetensors",
        "../../etc/passwd",
        "a/../../b",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "C:\\windows",
        "model.json",
        "x.sealed",
        "a\u{202e}fdp.nib",
        "caf\u{e9}/cafe\u{301}",
        &long,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
