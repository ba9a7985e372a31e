//! Names of keys: KBS resource paths and URIs.

use adyton_attestation::rcar::ResourcePath;

/// Parses as path and as URI; a path that is accepted cannot climb, hide or break out of a line.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(path) = ResourcePath::from_uri(text) {
        assert_eq!(path.to_uri(), text);
    }
    let Ok(path) = ResourcePath::parse(text) else {
        return;
    };
    assert_eq!(path.to_string(), text);
    assert_eq!(ResourcePath::from_uri(&path.to_uri()), Ok(path.clone()));
    for segment in [path.repository(), path.kind(), path.tag()] {
        assert!(!segment.is_empty() && !segment.starts_with('.'), "{segment:?}");
        assert!(segment.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{segment:?}");
    }
}

/// Good paths and the usual attacks on them.
pub fn seeds() -> Vec<Vec<u8>> {
    let long = format!("{0}/{0}/{0}", "a".repeat(129));
    [
        "acme/model-key/kjv",
        "kbs:///acme/model-key/kjv_1.0",
        "kbs://host/acme/model-key/kjv",
        "kbs:///../../etc",
        "a/../b",
        "a/b/c/d",
        "a//b",
        "a/b/c\n",
        "a/b/%2e%2e",
        "é/b/c",
        &long,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
