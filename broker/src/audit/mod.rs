//! The audit log: a hash chain of JSON lines that is on disk before what it reports has effect.
//!
//! In: [`AuditEntry`] values. Out: one line each, flushed to disk, and a [`Head`] that commits to all
//! lines so far. On start the chain is verified and continued; a broken one stops the broker.
//! It does not decide and it holds no secrets: digests, names, codes.
//! Against: edited, deleted or reordered records; a release that nobody can find out about. Cutting
//! off the end is noticed by [`journal`](crate::journal), which keeps the head in the store.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::Finding;

mod chain;
mod record;

pub use chain::{ChainError, ChainSummary, Head, MAX_LINE_BYTES, verify_chain};
pub use record::{AuditEntry, AuditEvent, AuditRecord};

/// File name of the audit log in the state folder.
pub const AUDIT_FILE: &str = "audit.jsonl";

/// Why the audit log refused.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file can't be read, written or flushed to disk.
    #[error("the audit log {} could not be {action}", path.display())]
    Io {
        /// The log's file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A record was edited, deleted, added or moved.
    #[error("the audit log {} is broken", path.display())]
    Chain {
        /// The log's file.
        path: PathBuf,
        /// Where and how.
        #[source]
        source: ChainError,
    },
    /// The end of the log is missing: the store knows a later record.
    #[error("the audit log {} has {found} records, the store knows of {known}", path.display())]
    Truncated {
        /// The log's file.
        path: PathBuf,
        /// Records in the file.
        found: u64,
        /// Records that the store knows of.
        known: u64,
    },
    /// The log and the store tell different histories.
    #[error("record {seq} of the audit log {} is not the one that the store knows", path.display())]
    OtherHistory {
        /// The log's file.
        path: PathBuf,
        /// Running number of the record.
        seq: u64,
    },
    /// The log has records that the store doesn't know of: the store is an old copy.
    #[error("the store knows of {known} records of the audit log {}, which has {found}", path.display())]
    StoreIsOlder {
        /// The log's file.
        path: PathBuf,
        /// Records in the file.
        found: u64,
        /// Records that the store knows of.
        known: u64,
    },
    /// An earlier write failed, so the state on disk is unknown; only a restart goes on.
    #[error("an earlier write to the audit log failed")]
    Failed,
}

impl AuditError {
    /// Whether somebody changed what we wrote.
    pub fn is_integrity_failure(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Failed)
    }

    /// What is wrong and what to do, for the operator.
    pub fn finding(&self) -> Finding {
        let step = "audit log";
        let find_out = "find out who changed the file; restore log and store from the same backup, \
                        or keep both as evidence and start with an empty state_dir";
        match self {
            Self::Io { path, action, source } => Finding::new(
                step,
                path.display().to_string(),
                format!("a file that can be {action} ({source})"),
                "check space, health and permissions of the disk, then restart",
            ),
            Self::Chain { path, source } => Finding::new(
                step,
                format!("{}, line {}: {source}", path.display(), source.line()),
                "an unbroken chain",
                find_out,
            ),
            Self::Truncated { path, found, known } => Finding::new(
                step,
                format!("{}: {found} records", path.display()),
                format!("at least the {known} records that the store knows of"),
                find_out,
            ),
            Self::OtherHistory { path, seq } => Finding::new(
                step,
                format!("{}, line {seq}", path.display()),
                "the record that the store knows",
                find_out,
            ),
            Self::StoreIsOlder { path, found, known } => Finding::new(
                step,
                format!("{}: {found} records, of which the store knows {known}", path.display()),
                "a store as recent as the log",
                "the store was replaced by an older copy, with older policies and keys: restore \
                 both files from the same backup, or keep them and start with an empty state_dir",
            ),
            Self::Failed => Finding::new(
                step,
                "(earlier write)",
                "a log that could be flushed to disk",
                "check the disk, then restart the broker",
            ),
        }
    }
}

/// The open log. One process writes it: whoever has the store open.
#[derive(Debug)]
pub struct AuditLog {
    file: File,
    path: PathBuf,
    head: Head,
    failed: bool,
}

/// A last line without its end, which a power cut leaves. It was never acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub struct TornLine {
    /// Its length in bytes.
    pub bytes: u64,
}

impl AuditLog {
    /// Verifies the chain in `path`, compares it with what the store `known`s, and goes on from it.
    ///
    /// A last line without a newline was not acknowledged to anybody; it is cut off and returned.
    ///
    /// # Errors
    /// [`AuditError::Io`], [`Chain`](AuditError::Chain), [`Truncated`](AuditError::Truncated),
    /// [`OtherHistory`](AuditError::OtherHistory), [`StoreIsOlder`](AuditError::StoreIsOlder).
    pub fn open(path: &Path, known: Head) -> Result<(Self, Option<TornLine>), AuditError> {
        let io_error = |action| {
            let path = path.to_owned();
            move |source| AuditError::Io { path, action, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io_error("opened"))?;
        let summary = verify_chain(&mut file, known.seq).map_err(|source| match source {
            ChainError::Io(source) => {
                AuditError::Io { path: path.to_owned(), action: "read", source }
            }
            source => AuditError::Chain { path: path.to_owned(), source },
        })?;
        compare(path, &summary, known)?;
        let torn = (summary.torn_bytes > 0).then_some(TornLine { bytes: summary.torn_bytes });
        if torn.is_some() {
            file.set_len(summary.whole_bytes).map_err(io_error("shortened"))?;
        }
        file.seek(SeekFrom::Start(summary.whole_bytes)).map_err(io_error("read"))?;
        file.sync_all().map_err(io_error("flushed to disk"))?;
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|f| f.sync_all()).map_err(io_error("flushed to disk"))?;
        }
        let log = Self { file, path: path.to_owned(), head: summary.head, failed: false };
        Ok((log, torn))
    }

    /// Appends one record and returns when it is on disk.
    ///
    /// # Errors
    /// [`AuditError::Io`]; after it every call gives [`AuditError::Failed`], because nobody knows
    /// what is on disk.
    pub fn append(&mut self, at: String, entry: AuditEntry) -> Result<Head, AuditError> {
        if self.failed {
            return Err(AuditError::Failed);
        }
        let (line, head) = chain::link(self.head, at, entry);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.head = head;
                Ok(head)
            }
            Err(source) => {
                self.failed = true;
                let path = self.path.clone();
                Err(AuditError::Io { path, action: "flushed to disk", source })
            }
        }
    }

    /// Refuses everything from now on, because the record and its effect may differ.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Whether records can still be written, as far as is known.
    pub fn is_usable(&self) -> bool {
        !self.failed
    }

    /// Commitment to all records so far.
    pub fn head(&self) -> Head {
        self.head
    }
}

fn compare(path: &Path, summary: &ChainSummary, known: Head) -> Result<(), AuditError> {
    let path = path.to_owned();
    let found = summary.head.seq;
    if found < known.seq {
        return Err(AuditError::Truncated { path, found, known: known.seq });
    }
    if summary.hash_at_mark != Some(known.hash) {
        return Err(AuditError::OtherHistory { path, seq: known.seq });
    }
    // The log is written first, so a crash leaves it one record ahead. Never two.
    if found > known.seq.saturating_add(1) {
        return Err(AuditError::StoreIsOlder { path, found, known: known.seq });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
