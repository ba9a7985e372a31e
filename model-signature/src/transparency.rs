//! The log of signatures: that this signature was recorded, and when.
//!
//! In: a log entry of a bundle, the logs of a trust root. Out: the time at which the log promises to have
//! recorded the entry. Checked offline: the promise (a signature over entry, time and place), the way
//! from the entry to the root of the tree (RFC 6962 §2.1.1), the log's signature under that root
//! (a checkpoint), and that the entry is about this signature by this certificate.
//!
//! What is not checked, because it needs the network: that the log shows everybody the same tree. Times of
//! RFC 3161 authorities are not read; an entry without a promise has no time that counts, and is refused.
//!
//! Against: keys of expired certificates used later, and entries of other signatures.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::bundle::{Bundle, InclusionProof, LogEntry};
use crate::key::sha256;
use crate::time::Seconds;
use crate::trusted_root::Log;

const KIND: &str = "dsse";
const VERSION: &str = "0.0.1";

/// Why no log of signatures vouches for the bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The bundle has no entry.
    #[error("the bundle carries no entry of a transparency log")]
    Missing,
    /// An entry of a kind that is not read.
    #[error("the log entry is `{got}`; expected `{KIND} {VERSION}`")]
    Kind {
        /// Kind and version.
        got: String,
    },
    /// No promise, and so no time that counts.
    #[error("the log entry has no signed entry timestamp{}",
        if *.timestamps > 0 { "; the times of RFC 3161 authorities that it has are not verified here" } else { "" })]
    NoTime {
        /// How many times of RFC 3161 authorities the bundle has.
        timestamps: usize,
    },
    /// A log that the trust root does not have, or not at that time.
    #[error("log {log} is not in the trust root, or did not count when the entry was made")]
    UnknownLog {
        /// Its id, hex.
        log: String,
    },
    /// The log did not sign the promise.
    #[error("the signed entry timestamp is invalid")]
    Promise,
    /// No proof that the entry is in the tree.
    #[error("the log entry has no inclusion proof")]
    NoProof,
    /// The proof does not lead from the entry to the root.
    #[error("the inclusion proof does not lead from the entry to its root")]
    Proof,
    /// The log did not sign that root.
    #[error("the checkpoint is not the log's signature under the root of the inclusion proof")]
    Checkpoint,
    /// The entry is about another signature.
    #[error("the log entry is about another {0}")]
    Body(&'static str),
}

/// Verifies the bundle's log entry. The time is the log's.
pub(crate) fn verify(bundle: &Bundle, leaf: &[u8], logs: &[Log]) -> Result<Seconds, LogError> {
    let entry = bundle.log_entries.first().ok_or(LogError::Missing)?;
    if (entry.kind.as_str(), entry.version.as_str()) != (KIND, VERSION) {
        return Err(LogError::Kind { got: format!("{} {}", entry.kind, entry.version) });
    }
    let promise =
        entry.promise.as_ref().ok_or(LogError::NoTime { timestamps: bundle.timestamps })?;
    let at = Seconds(entry.integrated_at);
    let log = logs
        .iter()
        .find(|log| log.id == entry.log_id && log.valid.contains(at))
        .ok_or_else(|| LogError::UnknownLog { log: hex::encode(&entry.log_id) })?;
    if !log.key.verifies(promised(entry).as_bytes(), promise) {
        return Err(LogError::Promise);
    }
    let proof = entry.proof.as_ref().ok_or(LogError::NoProof)?;
    if root_of(proof, leaf_hash(&entry.body)) != Some(proof.root) {
        return Err(LogError::Proof);
    }
    if !is_signed(proof, log) {
        return Err(LogError::Checkpoint);
    }
    verify_body(&entry.body, bundle, leaf)?;
    Ok(at)
}

/// What the log signs as a promise: JSON with sorted members and no white space.
fn promised(entry: &LogEntry) -> String {
    format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        STANDARD.encode(&entry.body),
        entry.integrated_at,
        hex::encode(&entry.log_id),
        entry.index
    )
}

/// RFC 6962 §2.1.
fn leaf_hash(body: &[u8]) -> [u8; 32] {
    sha256(&[&[0], body].concat())
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// RFC 9162 §2.1.3.2: the root that a proof makes of a leaf.
fn root_of(proof: &InclusionProof, leaf: [u8; 32]) -> Option<[u8; 32]> {
    let (mut node, mut last) = (proof.index, proof.tree_size.checked_sub(1)?);
    if node > last {
        return None;
    }
    let mut hash = leaf;
    for sibling in &proof.hashes {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// A checkpoint is a signed note: text, an empty line, signatures. Its second and third line are size and root.
fn is_signed(proof: &InclusionProof, log: &Log) -> bool {
    let Some((text, signatures)) = proof.checkpoint.split_once("\n\n") else {
        return false;
    };
    let mut lines = text.split('\n');
    let (origin, size, root) = (lines.next(), lines.next(), lines.next());
    let root = root.and_then(|root| STANDARD.decode(root).ok());
    if origin.is_none_or(str::is_empty)
        || size != Some(proof.tree_size.to_string().as_str())
        || root.as_deref() != Some(&proof.root)
    {
        return false;
    }
    // The line feed before the empty line belongs to the text.
    let text = format!("{text}\n");
    signatures.lines().take(16).any(|line| {
        let signature = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
        let signature = signature.and_then(|(_name, text)| STANDARD.decode(text).ok());
        // Four bytes name the key.
        let signature = signature.as_deref().and_then(<[u8]>::split_first_chunk::<4>);
        signature.is_some_and(|(key, signature)| {
            log.id.starts_with(key) && log.key.verifies(text.as_bytes(), signature)
        })
    })
}

/// The entry names payload, signature and certificate; its digest of the envelope is over a form of JSON
/// that nobody has any more.
fn verify_body(body: &[u8], bundle: &Bundle, leaf: &[u8]) -> Result<(), LogError> {
    let entry: Body = serde_json::from_slice(body).map_err(|_| LogError::Body("kind of thing"))?;
    if (entry.kind.as_str(), entry.api_version.as_str()) != (KIND, VERSION) {
        return Err(LogError::Body("kind of thing"));
    }
    let payload = &entry.spec.payload_hash;
    if payload.algorithm != "sha256" || payload.value != hex::encode(sha256(&bundle.payload)) {
        return Err(LogError::Body("payload"));
    }
    let [signature] = entry.spec.signatures.as_slice() else {
        return Err(LogError::Body("number of signatures"));
    };
    if STANDARD.decode(&signature.signature).ok().as_ref() != Some(&bundle.signature) {
        return Err(LogError::Body("signature"));
    }
    let verifier = STANDARD.decode(&signature.verifier).ok();
    let certificate = verifier.and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
    if certificate.is_none_or(|certificate| certificate.as_ref() != leaf) {
        return Err(LogError::Body("certificate"));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    api_version: String,
    kind: String,
    spec: BodySpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodySpec {
    payload_hash: BodyHash,
    signatures: Vec<BodySignature>,
}

#[derive(Deserialize)]
struct BodyHash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
struct BodySignature {
    signature: String,
    verifier: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree of RFC 6962 §2.1 by its definition, slowly.
    fn tree(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [only] => *only,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&tree(&leaves[..split]), &tree(&leaves[split..]))
            }
        }
    }

    fn path(leaves: &[[u8; 32]], at: usize) -> Vec<[u8; 32]> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        let (mut hashes, other) = if at < split {
            (path(left, at), tree(right))
        } else {
            (path(right, at - split), tree(left))
        };
        hashes.push(other);
        hashes
    }

    #[test]
    fn every_place_of_every_small_tree_has_its_proof_and_no_other() {
        for size in 1..=33_usize {
            let leaves: Vec<_> = (0..size).map(|n| leaf_hash(&[n as u8])).collect();
            for (at, leaf) in leaves.iter().enumerate() {
                let mut proof = InclusionProof {
                    index: at as u64,
                    tree_size: size as u64,
                    root: tree(&leaves),
                    hashes: path(&leaves, at),
                    checkpoint: String::new(),
                };
                assert_eq!(root_of(&proof, *leaf), Some(proof.root), "{at} of {size}");
                assert_ne!(root_of(&proof, leaf_hash(b"other")), Some(proof.root));
                proof.hashes.push([0; 32]);
                assert_eq!(root_of(&proof, *leaf), None, "one hash too many: {at} of {size}");
                proof.hashes.truncate(proof.hashes.len().saturating_sub(2));
                if size > 1 {
                    assert_eq!(root_of(&proof, *leaf), None, "one too few: {at} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_place_beyond_the_tree_has_no_root() {
        for (index, tree_size) in [(0, 0), (1, 1), (u64::MAX, 5)] {
            let checkpoint = String::new();
            let proof =
                InclusionProof { index, tree_size, root: [0; 32], hashes: vec![], checkpoint };
            assert_eq!(root_of(&proof, [0; 32]), None);
        }
    }
}
