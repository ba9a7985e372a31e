//! The hash chain: how a line commits to all lines before it, and how that is verified.
//!
//! ```text
//! line  = {"hash":"<hex>","previous":"<hex>","record":{…}} ‖ newline
//! hash  = SHA-256(previous ‖ record as compact JSON with sorted members);  first previous = 32 zeros
//! ```
//! A line must be exactly what we would write for its record: no second spelling verifies.

use std::io::{self, BufRead, BufReader, Read};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::record::{AuditEntry, AuditRecord};

/// Longest line that is read, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// A commitment to a chain: how many records, and the hash of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of records.
    pub seq: u64,
    /// Hash of the last record; zeros when there is none.
    pub hash: [u8; 32],
}

impl Head {
    /// Before the first record.
    pub const EMPTY: Self = Self { seq: 0, hash: [0; 32] };
}

/// Where a chain breaks.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The file can't be read.
    #[error("the log can't be read")]
    Io(#[source] io::Error),
    /// A line is longer than any we write.
    #[error("the line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong {
        /// Line number, from 1.
        line: u64,
    },
    /// A line is not a record.
    #[error("the line is not an audit record")]
    Malformed {
        /// Line number, from 1.
        line: u64,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A line is a record, but not written as we write it.
    #[error("the line is not in canonical form")]
    NotCanonical {
        /// Line number, from 1.
        line: u64,
    },
    /// The running number is not the next one.
    #[error("the record has number {got}")]
    Sequence {
        /// Line number, from 1.
        line: u64,
        /// Its number.
        got: u64,
    },
    /// The line doesn't follow the one before it.
    #[error("the record does not follow the one before it")]
    Previous {
        /// Line number, from 1.
        line: u64,
    },
    /// The record is not the one that was hashed.
    #[error("the record was changed after it was written")]
    Hash {
        /// Line number, from 1.
        line: u64,
    },
}

impl ChainError {
    /// Line number, from 1; 0 when the file can't be read.
    pub fn line(&self) -> u64 {
        match self {
            Self::Io(_) => 0,
            Self::TooLong { line }
            | Self::Malformed { line, .. }
            | Self::NotCanonical { line }
            | Self::Sequence { line, .. }
            | Self::Previous { line }
            | Self::Hash { line } => *line,
        }
    }
}

/// What a verified chain is.
#[derive(Debug, PartialEq, Eq)]
pub struct ChainSummary {
    /// The last record.
    pub head: Head,
    /// Hash of the record with the number that was asked for, if the chain reaches it.
    pub hash_at_mark: Option<[u8; 32]>,
    /// Bytes of all whole lines.
    pub whole_bytes: u64,
    /// Bytes after the last newline: a write that a crash cut off.
    pub torn_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    hash: String,
    previous: String,
    record: AuditRecord,
}

/// Makes the line that follows `head`, with its newline, and the new head.
pub(super) fn link(head: Head, at: String, entry: AuditEntry) -> (String, Head) {
    let seq = head.seq.saturating_add(1);
    let AuditEntry { event, subject, actor, decision, details } = entry;
    let record = AuditRecord { actor, at, decision, details, event, seq, subject };
    let hash = hash(&head.hash, &record);
    let mut line =
        to_json(&Line { hash: hex::encode(hash), previous: hex::encode(head.hash), record });
    line.push('\n');
    (line, Head { seq, hash })
}

/// Reads a whole log and verifies every line. `mark` is a running number whose hash is wanted.
///
/// # Errors
/// The first line that does not verify.
pub fn verify_chain(log: impl Read, mark: u64) -> Result<ChainSummary, ChainError> {
    let mut reader = BufReader::new(log);
    let mut summary = ChainSummary {
        head: Head::EMPTY,
        hash_at_mark: (mark == 0).then_some(Head::EMPTY.hash),
        whole_bytes: 0,
        torn_bytes: 0,
    };
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let line = summary.head.seq.saturating_add(1);
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let read = (&mut reader).take(limit).read_until(b'\n', &mut buffer);
        let bytes = u64::try_from(read.map_err(ChainError::Io)?).unwrap_or(u64::MAX);
        if bytes == 0 {
            return Ok(summary);
        }
        let Some(text) = buffer.strip_suffix(b"\n") else {
            if bytes >= limit {
                return Err(ChainError::TooLong { line });
            }
            summary.torn_bytes = bytes;
            return Ok(summary);
        };
        summary.head = follow(summary.head, text, line)?;
        summary.whole_bytes = summary.whole_bytes.saturating_add(bytes);
        if summary.head.seq == mark {
            summary.hash_at_mark = Some(summary.head.hash);
        }
    }
}

fn follow(head: Head, text: &[u8], line: u64) -> Result<Head, ChainError> {
    let parsed: Line =
        serde_json::from_slice(text).map_err(|source| ChainError::Malformed { line, source })?;
    if to_json(&parsed).as_bytes() != text {
        return Err(ChainError::NotCanonical { line });
    }
    if parsed.record.seq != line {
        return Err(ChainError::Sequence { line, got: parsed.record.seq });
    }
    if parsed.previous != hex::encode(head.hash) {
        return Err(ChainError::Previous { line });
    }
    let hash = hash(&head.hash, &parsed.record);
    if parsed.hash != hex::encode(hash) {
        return Err(ChainError::Hash { line });
    }
    Ok(Head { seq: line, hash })
}

fn hash(previous: &[u8; 32], record: &AuditRecord) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(previous);
    context.update(to_json(record).as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Structs with members in alphabetical order and sorted maps: serde_json writes the canonical form.
fn to_json(value: &impl Serialize) -> String {
    // Strings, numbers and string-keyed maps always serialise; an empty text would never verify.
    serde_json::to_string(value).unwrap_or_default()
}
