//! Answers on disk, so that a restart asks for nothing again.
//!
//! In: a statement and its answer. Out: the same, read and parsed as if it had just come. One file per
//! statement, named by the digest of the statement's name; it appears whole or not at all. Nothing on
//! disk is believed: it is bounded, parsed, and held against what was asked for, and the Verifier
//! checks its signatures. All of it blocks.
//! Against: torn or altered files; a folder that grows for ever.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use adyton_attestation::UnixTime;
use adyton_attestation::endorsement::fetch::{Answer, AnswerError, Part, Statement};
use adyton_attestation::limits::MAX_ENDORSEMENT_ANSWER_LEN;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::state_dir;

/// Version of the files.
const VERSION: u64 = 1;
/// Largest file: an answer in base64, the chain beside it, and room for the rest.
const MAX_FILE: u64 = MAX_ENDORSEMENT_ANSWER_LEN as u64 / 3 * 4 + 256 * 1024;

/// A statement that was answered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was read from the answer.
    pub part: Arc<Part>,
    /// When it was answered.
    pub fetched: UnixTime,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CorruptEntry {
    /// The system refuses.
    #[error("it can't be read")]
    Io(#[from] io::Error),
    /// More bytes than an entry has.
    #[error("it has more than {MAX_FILE} bytes")]
    TooLarge,
    /// Not an entry of this version.
    #[error("it is not a cache entry of version {VERSION}")]
    Json(#[from] serde_json::Error),
    /// An entry for something else, or with a body that is not base64.
    #[error("it is not the entry that its name says")]
    Other,
    /// Fetched after now: the clock was wrong, then or now.
    #[error("it was fetched at {fetched}, which is not past")]
    Future {
        /// When it says it was fetched.
        fetched: UnixTime,
    },
    /// The answer in it can't be used.
    #[error("the answer in it can't be used")]
    Answer(#[from] AnswerError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryJson {
    version: u64,
    statement: String,
    fetched: UnixTime,
    issuer_chain: Option<String>,
    body: String,
}

/// A folder of answers.
#[derive(Clone, Debug)]
pub struct DiskCache {
    folder: PathBuf,
    max_entries: usize,
}

impl DiskCache {
    /// Makes the folder if it is not there and removes unfinished files of an earlier process.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: PathBuf, max_entries: usize) -> io::Result<Self> {
        state_dir::create_private(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self { folder, max_entries })
    }

    /// The entry of a statement, if there is a good one. A corrupt one is removed, and said.
    pub fn load(&self, statement: &Statement, now: UnixTime) -> Option<Entry> {
        let path = self.path(statement);
        match read(&path, statement, now) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::warn!(
                    %statement,
                    path = %path.display(),
                    error = %crate::respond::Chain(&error),
                    "a cached endorsement was discarded; it will be fetched again"
                );
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "it could not be removed");
                }
                None
            }
        }
    }

    /// Keeps an answer. The oldest files go when there are too many.
    ///
    /// # Errors
    /// What the system says.
    pub fn store(
        &self,
        statement: &Statement,
        answer: &Answer,
        fetched: UnixTime,
    ) -> io::Result<()> {
        let entry = EntryJson {
            version: VERSION,
            statement: statement.to_string(),
            fetched,
            issuer_chain: answer.issuer_chain.clone(),
            body: STANDARD.encode(&answer.body),
        };
        let json = serde_json::to_vec(&entry).map_err(io::Error::other)?;
        state_dir::write_whole(&self.path(statement), &json)?;
        self.bound()
    }

    /// The file of a statement.
    pub fn path(&self, statement: &Statement) -> PathBuf {
        let name = hex::encode(digest(&SHA256, statement.to_string().as_bytes()));
        self.folder.join(format!("{name}.json"))
    }

    fn bound(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push((entry.metadata()?.modified()?, path));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(self.max_entries);
        for (_, path) in files.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn read(path: &Path, statement: &Statement, now: UnixTime) -> Result<Option<Entry>, CorruptEntry> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CorruptEntry::TooLarge);
    }
    let entry: EntryJson = serde_json::from_slice(&bytes)?;
    if entry.version != VERSION || entry.statement != statement.to_string() {
        return Err(CorruptEntry::Other);
    }
    if entry.fetched > now {
        return Err(CorruptEntry::Future { fetched: entry.fetched });
    }
    let body = STANDARD.decode(&entry.body).map_err(|_| CorruptEntry::Other)?;
    let answer = Answer { status: 200, issuer_chain: entry.issuer_chain, body };
    let part = statement.read(&answer)?;
    Ok(Some(Entry { part: Arc::new(part), fetched: entry.fetched }))
}
