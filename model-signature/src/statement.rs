//! The statement in the envelope: which files the model has, and the digest of each.
//!
//! In: the payload of an envelope whose signature was verified; nothing else is worth parsing. Out: names
//! with digests, by file or by shards of a file, whose root digest is the one in the statement.
//! In-toto Statement v1 with the predicate `https://model_signing/signature/v1.0`; members that the predicate
//! may get later are ignored, as it asks.
//!
//! Against: a statement of another kind signed with the same key; lists that name a file twice, cover it
//! in part, or leave open what a digest is.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::bundle::excerpt;
use crate::limits::{MAX_RESOURCE_NAME_BYTES, MAX_RESOURCES, MIN_SHARD_BYTES};

pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
pub(crate) const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
const PREDICATE_BEFORE: &str = "https://model_signing/Digests/v0.1";

/// Why a statement was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not JSON, or members missing, twice or of the wrong type.
    #[error("the statement is not the JSON that was expected")]
    Json(#[source] serde_json::Error),
    /// Another kind of statement.
    #[error("the statement is of type `{got}`; expected `{STATEMENT_TYPE}`")]
    Type {
        /// What it says.
        got: String,
    },
    /// About something else than a model, or in a form of before version 1.0.
    #[error("the statement's predicate is `{got}`; expected `{PREDICATE_TYPE}`")]
    Predicate {
        /// What it says.
        got: String,
    },
    /// Not exactly one subject with a SHA-256.
    #[error("the statement has {got} subjects; expected one with a sha256")]
    Subject {
        /// How many.
        got: usize,
    },
    /// Files are cut or named in a way that is not known.
    #[error("files are serialised by `{got}`; expected `files` or `shards`")]
    Method {
        /// What it says.
        got: String,
    },
    /// Digests of a kind that is not computed while opening.
    #[error("digests are `{got}`; expected `{expected}`")]
    Algorithm {
        /// What goes with the method.
        expected: String,
        /// What it says.
        got: String,
    },
    /// A shard size that is no whole number of bytes, or too small.
    #[error("a shard size of {got}; expected a whole number from {MIN_SHARD_BYTES}")]
    ShardSize {
        /// What it says.
        got: String,
    },
    /// No files, or more than the bound.
    #[error("the statement lists {got} resources; expected 1 to {MAX_RESOURCES}")]
    Resources {
        /// How many.
        got: usize,
    },
    /// A name that is too long, occurs twice, or is no name of a shard.
    #[error("the resource `{name}` {problem}")]
    Name {
        /// Which.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A digest that is not 64 hexadecimal digits.
    #[error("the digest of `{name}` is not 64 hexadecimal digits")]
    Digest {
        /// Of which file.
        name: String,
    },
    /// The root digest is not that of the list.
    #[error("the statement's root digest is {expected}, its resources have {got}")]
    Root {
        /// What the subject says.
        expected: String,
        /// What the list makes.
        got: String,
    },
}

/// How the files of a model are to be hashed while they are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// One SHA-256 for each file.
    Files,
    /// One for each run of this many bytes, the last one shorter.
    Shards(NonZeroU64),
}

/// What was measured of one file: its size, and a digest, or one for each shard in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigests {
    /// Relative, with `/`.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// One for [`Hashing::Files`]; for [`Hashing::Shards`] as many as the file has shards.
    pub sha256: Vec<[u8; 32]>,
}

/// What does not agree between a statement and the files of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Coverage {
    /// A file that nobody signed.
    #[error("`{path}` is in the model and not in the signed list")]
    Unsigned {
        /// The file.
        path: String,
    },
    /// A signed file that the model does not have.
    #[error("`{path}` is in the signed list and not in the model")]
    Missing {
        /// The file.
        path: String,
    },
    /// A file with other bytes than the ones that were signed.
    #[error("`{path}` has {got}; signed was {expected}")]
    Different {
        /// The file.
        path: String,
        /// The signed digest, with the shard where there are several.
        expected: String,
        /// What was measured.
        got: String,
    },
    /// A file with other shards than the ones that were signed.
    #[error("`{path}` has {got} bytes; the signed shards cover {expected}")]
    Size {
        /// The file.
        path: String,
        /// Up to where the signed shards go.
        expected: u64,
        /// Bytes of the file.
        got: u64,
    },
}

/// A list of files with digests, of a payload whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) hashing: Hashing,
    files: BTreeMap<String, Signed>,
}

/// What is signed of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signed {
    /// Where the last shard ends; `None` when the whole file has one digest.
    end: Option<u64>,
    sha256: Vec<[u8; 32]>,
}

impl Statement {
    /// Parses the payload of a verified envelope.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        /// Looked at first, so that another kind is called by its name.
        #[derive(Deserialize)]
        struct Marker {
            #[serde(rename = "_type")]
            kind: String,
            #[serde(rename = "predicateType")]
            predicate_type: String,
        }
        let marker: Marker = serde_json::from_slice(payload).map_err(StatementError::Json)?;
        if marker.kind != STATEMENT_TYPE {
            return Err(StatementError::Type { got: excerpt(&marker.kind) });
        }
        if marker.predicate_type != PREDICATE_TYPE {
            return Err(StatementError::Predicate { got: excerpt(&marker.predicate_type) });
        }
        let wire: Wire = serde_json::from_slice(payload).map_err(StatementError::Json)?;
        let [subject] = wire.subject.as_slice() else {
            return Err(StatementError::Subject { got: wire.subject.len() });
        };
        let hashing = hashing(&wire.predicate.serialization)?;
        let resources = &wire.predicate.resources;
        if resources.is_empty() || resources.len() > MAX_RESOURCES {
            return Err(StatementError::Resources { got: resources.len() });
        }
        let mut root = Context::new(&SHA256);
        let mut files = BTreeMap::new();
        for resource in resources {
            let digest = parse_digest(resource)?;
            root.update(&digest);
            let expected = match hashing {
                Hashing::Files => "sha256".to_owned(),
                Hashing::Shards(size) => format!("sha256-sharded-{size}"),
            };
            if resource.algorithm != expected {
                let got = excerpt(&resource.algorithm);
                return Err(StatementError::Algorithm { expected, got });
            }
            add(&mut files, hashing, &resource.name, digest)?;
        }
        let got = hex::encode(root.finish().as_ref());
        if subject.digest.sha256 != got {
            let expected = excerpt(&subject.digest.sha256);
            return Err(StatementError::Root { expected, got });
        }
        Ok(Self { hashing, files })
    }

    pub(crate) fn files(&self) -> usize {
        self.files.len()
    }

    /// Compares the list with what was measured: the same files, no more and no fewer.
    pub(crate) fn compare(&self, measured: &[FileDigests]) -> Result<(), Coverage> {
        let mut found = 0_usize;
        for file in measured {
            let path = || file.path.clone();
            let signed =
                self.files.get(&file.path).ok_or_else(|| Coverage::Unsigned { path: path() })?;
            if let Some(end) = signed.end
                && end != file.size
            {
                return Err(Coverage::Size { path: path(), expected: end, got: file.size });
            }
            let (expected, got) = (describe(&signed.sha256), describe(&file.sha256));
            if signed.sha256 != file.sha256 {
                return Err(Coverage::Different { path: path(), expected, got });
            }
            found += 1;
        }
        if found == self.files.len() {
            return Ok(());
        }
        let missing =
            self.files.keys().find(|path| measured.iter().all(|file| file.path != **path));
        // Fewer than there are, and none that is missing: one was measured twice.
        let path = missing.cloned().unwrap_or_else(|| "a file".to_owned());
        Err(Coverage::Missing { path })
    }
}

/// A digest for people: the first one, and how many more there are.
fn describe(digests: &[[u8; 32]]) -> String {
    match digests {
        [] => "no digest".to_owned(),
        [only] => format!("sha256 {}", hex::encode(only)),
        [first, rest @ ..] => format!("sha256 {} and {} more", hex::encode(first), rest.len()),
    }
}

fn hashing(wire: &WireSerialization) -> Result<Hashing, StatementError> {
    if wire.hash_type != "sha256" {
        let (expected, got) = ("sha256".to_owned(), excerpt(&wire.hash_type));
        return Err(StatementError::Algorithm { expected, got });
    }
    match (wire.method.as_str(), &wire.shard_size) {
        ("files", _) => Ok(Hashing::Files),
        ("shards", Some(number)) => {
            // Written as a floating-point number, since it goes through a structure that has no other.
            let whole = number.as_u64().or_else(|| {
                let float = number.as_f64()?;
                (float.fract() == 0.0 && (1.0..9e15).contains(&float)).then_some(float as u64)
            });
            let size = whole.filter(|size| *size >= MIN_SHARD_BYTES).and_then(NonZeroU64::new);
            let refused = || StatementError::ShardSize { got: excerpt(&number.to_string()) };
            size.map(Hashing::Shards).ok_or_else(refused)
        }
        ("shards", None) => Err(StatementError::ShardSize { got: "none".to_owned() }),
        (other, _) => Err(StatementError::Method { got: excerpt(other) }),
    }
}

fn parse_digest(resource: &WireResource) -> Result<[u8; 32], StatementError> {
    let mut digest = [0; 32];
    hex::decode_to_slice(&resource.digest, &mut digest)
        .map_err(|_| StatementError::Digest { name: excerpt(&resource.name) })?;
    Ok(digest)
}

/// Adds a file, or the next shard of one. Shards come in order and join without a gap.
fn add(
    files: &mut BTreeMap<String, Signed>,
    hashing: Hashing,
    name: &str,
    digest: [u8; 32],
) -> Result<(), StatementError> {
    let refused = |problem| Err(StatementError::Name { name: excerpt(name), problem });
    if name.is_empty() || name.len() > MAX_RESOURCE_NAME_BYTES {
        return refused("is empty or too long");
    }
    let size = match hashing {
        Hashing::Files => {
            let signed = Signed { end: None, sha256: vec![digest] };
            return match files.insert(name.to_owned(), signed) {
                None => Ok(()),
                Some(_) => refused("occurs twice"),
            };
        }
        Hashing::Shards(size) => size.get(),
    };
    let mut parts = name.rsplitn(3, ':');
    let (end, start, path) = (parts.next(), parts.next(), parts.next());
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let (Some(end), Some(start), Some(path)) = (number(end), number(start), path) else {
        return refused("is not `path:start:end`");
    };
    let signed =
        files.entry(path.to_owned()).or_insert_with(|| Signed { end: Some(0), sha256: Vec::new() });
    if signed.end != Some(start) || start % size != 0 {
        return refused("does not begin where the shard before it ends");
    }
    if end <= start || end - start > size {
        return refused("is longer than a shard, or empty");
    }
    signed.end = Some(end);
    signed.sha256.push(digest);
    Ok(())
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Wire {
    #[serde(rename = "_type")]
    pub(crate) kind: String,
    pub(crate) subject: Vec<WireSubject>,
    #[serde(rename = "predicateType")]
    pub(crate) predicate_type: String,
    pub(crate) predicate: WirePredicate,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WireSubject {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) digest: WireDigest,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WireDigest {
    pub(crate) sha256: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WirePredicate {
    pub(crate) serialization: WireSerialization,
    pub(crate) resources: Vec<WireResource>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WireSerialization {
    pub(crate) method: String,
    pub(crate) hash_type: String,
    #[serde(default)]
    pub(crate) allow_symlinks: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ignore_paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shard_size: Option<serde_json::Number>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WireResource {
    pub(crate) name: String,
    pub(crate) algorithm: String,
    pub(crate) digest: String,
}

impl StatementError {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Predicate { got } if got == PREDICATE_BEFORE => {
                "sign the model again with a release of the signer from 1.0 on"
            }
            Self::Algorithm { .. } | Self::Method { .. } | Self::ShardSize { .. } => {
                "sign the model again with SHA-256, by files or by shards of 64 KiB or more"
            }
            _ => "sign the model again; the statement was not made by this release of the format",
        }
    }
}

impl Coverage {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => {
                "sign the folder as it was sealed, without paths to ignore, or seal only what was signed"
            }
            Self::Missing { .. } => "seal the whole of the folder that was signed",
            Self::Different { .. } | Self::Size { .. } => {
                "find out which is the right file: either it changed between signing and sealing, \
                 or the signature is another version's"
            }
        }
    }
}
