//! Writes a bundle with a key: what `model_signing verify key` accepts.
//!
//! In: a model's name, a SHA-256 of each file, a key. Out: the bytes of `model.sig`. Names are listed as they
//! are in the sealed model; nothing is left out.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::bundle::{MEDIA_TYPE, PAYLOAD_TYPE, pre_authentication_encoding};
use crate::key::{KeyFormatError, SigningKey, sha256};
use crate::statement::{
    PREDICATE_TYPE, STATEMENT_TYPE, Wire, WireDigest, WirePredicate, WireResource,
    WireSerialization, WireSubject,
};

/// Signs a list of files. `ignored` are names beside the files that are no part of the model.
///
/// # Errors
/// [`KeyFormatError::Signing`].
pub fn sign(
    key: &SigningKey,
    model: &str,
    files: &[(String, [u8; 32])],
    ignored: &[&str],
) -> Result<Vec<u8>, KeyFormatError> {
    let mut files: Vec<_> = files.iter().collect();
    // By components, as the format's other writer has it.
    files.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
    let mut root = Context::new(&SHA256);
    let mut resources = Vec::with_capacity(files.len());
    for (name, digest) in files {
        root.update(digest);
        let (name, algorithm) = (name.clone(), "sha256".to_owned());
        resources.push(WireResource { name, algorithm, digest: hex::encode(digest) });
    }
    let statement = Wire {
        kind: STATEMENT_TYPE.to_owned(),
        subject: vec![WireSubject {
            name: model.to_owned(),
            digest: WireDigest { sha256: hex::encode(root.finish().as_ref()) },
        }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: WirePredicate {
            serialization: WireSerialization {
                method: "files".to_owned(),
                hash_type: "sha256".to_owned(),
                allow_symlinks: false,
                ignore_paths: ignored.iter().map(|path| (*path).to_owned()).collect(),
                shard_size: None,
            },
            resources,
        },
    };
    let payload = serde_json::to_vec(&statement).map_err(|_| KeyFormatError::Signing)?;
    let signature = key.sign(&pre_authentication_encoding(&payload))?;
    let hint = hex::encode(sha256(key.public_pem()?.as_bytes()));
    let bundle = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": { "publicKey": { "hint": hint }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{ "sig": STANDARD.encode(&signature), "keyid": "" }],
        },
    });
    serde_json::to_vec(&bundle).map_err(|_| KeyFormatError::Signing)
}
