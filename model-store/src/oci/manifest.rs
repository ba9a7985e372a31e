//! The manifest of an artifact that is a sealed model.
//!
//! In: bytes whose digest may already speak for them. Out: names, digests and sizes of the objects, within
//! the bounds of the format. What a manifest says besides is ignored.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::collections::BTreeMap;

use adyton_sealed_weights::limits::{MAX_FILES, MAX_JSON_INTEGER, MAX_PATH_BYTES};
use serde::Deserialize;

use super::reference::Digest;

/// Largest manifest that is read, in bytes; what registries take at most.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// What the artifact is.
pub const ARTIFACT_TYPE: &str = "application/vnd.adyton.sealed-model.v1+json";
/// What each layer is.
pub const OBJECT_TYPE: &str = "application/vnd.adyton.sealed-object.v1";
/// The manifest's own type.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The annotation that names a layer.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
/// One layer a file, and `model.json`, `model.sig`, `aibom.cdx.json`.
const MAX_LAYERS: usize = MAX_FILES + 3;

/// A layer: one object of the sealed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Digest of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
}

/// The objects of a sealed model in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    layers: BTreeMap<String, Layer>,
}

/// Why bytes are not the manifest of a sealed model.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`MAX_MANIFEST_BYTES`].
    #[error("a manifest of {got} bytes; expected at most {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// Bytes that came.
        got: u64,
    },
    /// No JSON of that shape.
    #[error("it is not an OCI image manifest")]
    Shape(#[source] serde_json::Error),
    /// Another schema version than 2, or an index.
    #[error("{what} is {got}; expected {expected}")]
    Kind {
        /// Which field.
        what: &'static str,
        /// What it says.
        got: String,
        /// What it says for a sealed model.
        expected: &'static str,
    },
    /// More layers than a sealed model has objects.
    #[error("{got} layers; expected at most {MAX_LAYERS}")]
    Layers {
        /// How many.
        got: usize,
    },
    /// A layer that is no object of a sealed model.
    #[error("layer {index}: {why}")]
    Layer {
        /// Counted from 0.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    layers: Vec<WrittenLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenLayer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { got: bytes.len() as u64 });
        }
        let written: Written = serde_json::from_slice(bytes).map_err(ManifestError::Shape)?;
        let is = |what, got: String, expected: &'static str| {
            if got == expected { Ok(()) } else { Err(ManifestError::Kind { what, got, expected }) }
        };
        is("schemaVersion", written.schema_version.to_string(), "2")?;
        is("mediaType", short(written.media_type), MANIFEST_TYPE)?;
        is("artifactType", short(written.artifact_type), ARTIFACT_TYPE)?;
        if written.layers.len() > MAX_LAYERS {
            return Err(ManifestError::Layers { got: written.layers.len() });
        }
        let mut layers = BTreeMap::new();
        for (index, mut layer) in written.layers.into_iter().enumerate() {
            let wrong = |why| ManifestError::Layer { index, why };
            if layer.media_type != OBJECT_TYPE {
                return Err(wrong("another media type than a sealed object's"));
            }
            let name = layer.annotations.remove(TITLE).ok_or(wrong("it has no title"))?;
            if !is_object_name(&name) {
                return Err(wrong("its title is not the name of an object"));
            }
            let digest = Digest::parse(&layer.digest).ok_or(wrong("its digest is not SHA-256"))?;
            if layer.size == 0 || layer.size > MAX_JSON_INTEGER {
                return Err(wrong("its size is that of no object"));
            }
            let size = layer.size;
            if layers.insert(name, Layer { digest, size }).is_some() {
                return Err(wrong("its title stands there twice"));
            }
        }
        Ok(Self { layers })
    }

    /// The object of this name.
    pub fn layer(&self, name: &str) -> Option<Layer> {
        self.layers.get(name).copied()
    }

    /// All objects, by name.
    pub fn layers(&self) -> impl Iterator<Item = (&str, Layer)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), *layer))
    }
}

fn short(text: Option<String>) -> String {
    text.map_or_else(|| "not set".to_owned(), |text| text.chars().take(128).collect())
}

fn is_object_name(name: &str) -> bool {
    name.len() <= MAX_PATH_BYTES + ".sealed".len()
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sound() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
                       "digest": Digest::of(b"{}").to_string()},
            "layers": [layer("model.json", 10), layer("a/b.safetensors.sealed", 8192)],
            "annotations": {"org.example.other": "x"},
        })
    }

    fn layer(name: &str, size: u64) -> Value {
        json!({"mediaType": OBJECT_TYPE, "digest": Digest::of(name.as_bytes()).to_string(),
               "size": size, "annotations": {TITLE: name}})
    }

    fn parse(value: &Value) -> Result<Manifest, ManifestError> {
        Manifest::parse(value.to_string().as_bytes())
    }

    #[test]
    fn objects_are_found_by_their_titles() {
        let manifest = parse(&sound()).unwrap();
        let layer = manifest.layer("a/b.safetensors.sealed").unwrap();
        assert_eq!(layer.size, 8192);
        assert_eq!(layer.digest, Digest::of(b"a/b.safetensors.sealed"));
        assert_eq!(manifest.layer("a"), None);
        assert_eq!(manifest.layers().count(), 2);
    }

    #[test]
    fn an_artifact_of_another_kind_is_refused_by_the_field() {
        for (field, value) in [
            ("schemaVersion", json!(1)),
            ("mediaType", json!("application/vnd.oci.image.index.v1+json")),
            ("mediaType", Value::Null),
            ("artifactType", json!("application/vnd.example")),
            ("artifactType", Value::Null),
        ] {
            let mut manifest = sound();
            manifest[field] = value;
            match parse(&manifest) {
                Err(ManifestError::Kind { what, .. }) => assert_eq!(what, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_layer_that_is_no_object_is_refused_with_its_reason() {
        let mut cases = Vec::new();
        for (pointer, value, reason) in [
            ("/mediaType", json!("application/vnd.oci.image.layer.v1.tar"), "media type"),
            ("/annotations", json!({}), "no title"),
            ("/digest", json!("sha256:00"), "digest"),
            ("/digest", json!("md5:d41d8cd98f00b204e9800998ecf8427e"), "digest"),
            ("/size", json!(0), "size"),
            ("/size", json!(1_u64 << 53), "size"),
        ] {
            let mut layer = layer("x.sealed", 4096);
            *layer.pointer_mut(pointer).unwrap() = value;
            cases.push((layer, reason));
        }
        for name in ["", "..", "a/../b", "/etc/passwd", "a//b", "a\u{0}b"] {
            cases.push((layer(name, 4096), "title is not"));
        }
        cases.push((layer("model.json", 10), "twice"));
        for (layer, reason) in cases {
            let mut manifest = sound();
            manifest["layers"].as_array_mut().unwrap().push(layer);
            match parse(&manifest) {
                Err(ManifestError::Layer { index: 2, why }) => {
                    assert!(why.contains(reason), "{why}")
                }
                other => panic!("{reason}: {other:?}"),
            }
        }
    }

    #[test]
    fn more_bytes_or_layers_than_a_sealed_model_has_are_refused() {
        let bytes = vec![b' '; 4 * 1024 * 1024 + 1];
        assert!(matches!(Manifest::parse(&bytes), Err(ManifestError::TooLarge { .. })));
        let one = r#"{"mediaType":"","digest":"","size":1}"#;
        let many = vec![one; MAX_LAYERS + 1].join(",");
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","artifactType":"{ARTIFACT_TYPE}","layers":[{many}]}}"#
        );
        assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::Layers { .. })));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        assert!(matches!(Manifest::parse(b"<html>"), Err(ManifestError::Shape(_))));
    }
}
