//! Manifests of OCI artifacts that claim to be sealed models.

use adyton_model_store::oci::{ARTIFACT_TYPE, Digest, MANIFEST_TYPE, Manifest, OBJECT_TYPE};

/// No name leaves the model's folder, no size is one that no object has, and each name is there once.
pub fn run(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else {
        return;
    };
    let mut names = Vec::new();
    for (name, layer) in manifest.layers() {
        assert!(!name.split('/').any(|part| matches!(part, "" | "." | "..")), "{name:?}");
        assert!(layer.size > 0 && layer.size < 1 << 53);
        assert_eq!(Digest::parse(&layer.digest.to_string()), Some(layer.digest));
        assert_eq!(manifest.layer(name), Some(layer));
        names.push(name.to_owned());
    }
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// A sealed model of two objects, and one of none.
pub fn seeds() -> Vec<Vec<u8>> {
    let layer = |name: &str, size: u64| {
        format!(
            r#"{{"mediaType":"{OBJECT_TYPE}","digest":"{}","size":{size},"annotations":{{"org.opencontainers.image.title":"{name}"}}}}"#,
            Digest::of(name.as_bytes())
        )
    };
    let manifest = |layers: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","artifactType":"{ARTIFACT_TYPE}","config":{{}},"layers":[{layers}]}}"#
        )
    };
    let two = format!("{},{}", layer("model.json", 500), layer("a/b.safetensors.sealed", 8192));
    vec![manifest(&two).into_bytes(), manifest("").into_bytes()]
}
