//! `model.json`, before anybody authenticated it.

use adyton_sealed_weights::Manifest;

use crate::sealed_model::sealed;

/// Parses; what is written again is the same manifest.
pub fn run(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else {
        return;
    };
    let text = manifest.to_json().expect("an accepted manifest is writable");
    let again = Manifest::parse(&text).expect("our own manifest parses");
    assert_eq!(again.to_json().expect("an accepted manifest is writable"), text);
    assert_eq!(again.name(), manifest.name());
    assert_eq!(again.total_bytes(), manifest.total_bytes());
    for (one, other) in again.files().iter().zip(manifest.files()) {
        assert_eq!((one.path(), one.size()), (other.path(), other.size()));
    }
}

/// A manifest, and manifests with one thing wrong.
pub fn seeds() -> Vec<Vec<u8>> {
    let (sound, _) = sealed();
    let text = String::from_utf8(sound).expect("JSON");
    [
        text.replace("notes.txt", "../notes.txt"),
        text.replace("\"version\": 7", "\"version\": -7"),
        text.replace("\"version\": 7", "\"version\": 18446744073709551615"),
        text.replacen('{', "{\"unknown\": 1,", 1),
        text.replacen("\"name\"", "\"name\": \"twice\", \"name\"", 1),
        text,
    ]
    .map(String::into_bytes)
    .into()
}
