//! `[expose]`: how the inference server gets the weights.
//!
//! In: the section's shape. Out: an [`ExposeConfig`]. Against: an endpoint that others reach; credentials on a
//! disk that the host reads.

use std::path::{Path, PathBuf};

use adyton_s3_exposure::limits::MAX_READS;
use adyton_s3_exposure::signature::UnixSeconds;
use adyton_s3_exposure::source::BLOCK_BYTES;
use adyton_s3_exposure::{Access, Catalogue, Endpoint};
use adyton_sealed_weights::TargetCheck;
use serde::{Deserialize, Serialize};

use super::check::Mistakes;

/// A pool over this is a second copy of a model.
const MAX_POOL_MIB: u64 = 64;

/// `[expose]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExposeSection {
    /// `tmpfs`: the files in `model.target`. `s3`: a read-only S3 endpoint.
    pub kind: String,
    /// `sendfile`: from the files in `model.target`. `fly`: each range opened when it is asked for.
    pub mode: String,
    /// `127.0.0.1:port` or `unix:/path`
    pub listen: String,
    /// Name of the only bucket.
    pub bucket: String,
    /// What stands before the paths of the model; may be empty.
    pub prefix: String,
    /// Memory-backed folder, shared with the server only, for credentials and their users' settings.
    pub client_folder: Option<String>,
    /// Who may read the credentials and connect to the Unix socket: `owner` or `group`.
    pub readable_by: String,
    /// Locked memory for opened blocks, in MiB; only for `fly`.
    pub pool_mib: u64,
}

impl Default for ExposeSection {
    fn default() -> Self {
        Self {
            kind: "tmpfs".into(),
            mode: "sendfile".into(),
            listen: "127.0.0.1:9000".into(),
            bucket: "adyton".into(),
            prefix: "model".into(),
            client_folder: None,
            readable_by: "owner".into(),
            pool_mib: 6,
        }
    }
}

/// How the inference server gets the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExposeConfig {
    /// As files in `model.target`.
    Files,
    /// Over S3.
    S3(S3Config),
}

/// The S3 endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// Where it listens.
    pub listen: Endpoint,
    /// Its bucket.
    pub bucket: String,
    /// What stands before the paths of the model.
    pub prefix: String,
    /// Where bytes come from.
    pub reading: Reading,
    /// Where the server finds its credentials.
    pub client_folder: PathBuf,
    /// Who may read them.
    pub readers: Access,
}

/// Where the bytes of an answer come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// From sealed objects, opened when they are asked for. The model is not opened into the target.
    OnTheFly {
        /// Locked memory for opened blocks.
        pool_bytes: usize,
    },
    /// From the opened files in the target.
    OpenedFiles,
}

impl ExposeConfig {
    /// Whether the model stays sealed and the target empty.
    pub fn leaves_the_model_sealed(&self) -> bool {
        matches!(self, Self::S3(S3Config { reading: Reading::OnTheFly { .. }, .. }))
    }
}

pub(super) fn check(section: &ExposeSection, mistakes: &mut Mistakes) -> Option<ExposeConfig> {
    match section.kind.as_str() {
        "tmpfs" => return Some(ExposeConfig::Files),
        "s3" => {}
        other => {
            return mistakes.note(
                "expose.kind",
                other,
                "tmpfs or s3",
                "tmpfs is for every server, s3 for those that load with an S3 client",
            );
        }
    }
    let readers = match section.readable_by.as_str() {
        "owner" => Some(Access::Owner),
        "group" => Some(Access::Group),
        other => mistakes.note(
            "expose.readable_by",
            other,
            "owner or group",
            "choose group when the inference server runs under another user of our group",
        ),
    };
    let listen = listen(&section.listen, readers.unwrap_or(Access::Owner), mistakes);
    let (bucket, prefix) = (&section.bucket, &section.prefix);
    let named =
        Catalogue::new(bucket, prefix, [], &[0; 32], UnixSeconds(0)).map(drop).or_else(|error| {
            mistakes
                .note(
                    "expose.bucket",
                    error,
                    "names that S3 clients take",
                    "the defaults are bucket = \"adyton\" and prefix = \"model\"",
                )
                .ok_or(())
        });
    let least = (MAX_READS * BLOCK_BYTES) as u64 >> 20;
    let pool = mistakes.between("expose.pool_mib", section.pool_mib, least, MAX_POOL_MIB);
    let reading = match (section.mode.as_str(), pool) {
        ("sendfile", _) => Some(Reading::OpenedFiles),
        ("fly", pool) => pool
            .and_then(|pool| usize::try_from(pool << 20).ok())
            .map(|pool_bytes| Reading::OnTheFly { pool_bytes }),
        (other, _) => mistakes.note(
            "expose.mode",
            other,
            "sendfile or fly",
            "sendfile is faster and needs the model's size in memory, fly needs neither",
        ),
    };
    let client_folder = mistakes
        .required(
            "expose.client_folder",
            section.client_folder.as_deref(),
            "a memory-backed folder",
        )
        .and_then(|folder| client_folder(folder, mistakes));
    pool?;
    named.ok()?;
    Some(ExposeConfig::S3(S3Config {
        listen: listen?,
        bucket: bucket.clone(),
        prefix: prefix.clone(),
        reading: reading?,
        client_folder: client_folder?,
        readers: readers?,
    }))
}

fn listen(text: &str, access: Access, mistakes: &mut Mistakes) -> Option<Endpoint> {
    let endpoint = match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => {
            Some(Endpoint::UnixSocket { path: PathBuf::from(path), access })
        }
        Some(_) => None,
        None => text
            .parse::<std::net::SocketAddr>()
            .ok()
            .filter(|address| address.ip().is_loopback())
            .map(Endpoint::Loopback),
    };
    endpoint.or_else(|| {
        mistakes.note(
            "expose.listen",
            text,
            "127.0.0.1:<port>, [::1]:<port> or unix:/path",
            "plaintext weights are served on loopback and Unix sockets only: they stay in the TEE",
        )
    })
}

fn client_folder(folder: &str, mistakes: &mut Mistakes) -> Option<PathBuf> {
    let seen = match TargetCheck::probe(Path::new(folder)) {
        Err(error) => crate::error::chain(&error),
        Ok(probe) if !probe.memory_backed => {
            format!("{folder}: file system of type {:#x}", probe.filesystem)
        }
        Ok(_) if !Path::new(folder).is_dir() => format!("{folder}: not a folder"),
        Ok(_) => return Some(PathBuf::from(folder)),
    };
    mistakes.note(
        "expose.client_folder",
        seen,
        "an existing folder on tmpfs or ramfs",
        "mount a memory-backed volume there, into the sidecar and the inference server only",
    )
}
