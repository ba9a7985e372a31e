//! Seals a folder: plaintext in, a sealed model out, as a whole or not at all.
//!
//! In: a source folder, the owner's choices, recipients. Out: a new folder with `model.json` and one
//! object for each file. Nothing of the source is changed; it is read once, in pieces, in parallel. The
//! objects grow in a hidden folder beside the output, which gets the output's name at the very end.
//!
//! Against: half-sealed models that look whole, two models under one content key, sources that
//! change while they are read.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::FlockOperation;
use zeroize::Zeroizing;

use crate::chunked::{CHUNK_LEN, Commitment, MessageCipher, Salt, TAG_LEN};
use crate::error::SealError;
use crate::formats::RiskyFormat;
use crate::header::{CIPHERTEXT_AT, Header, Layout};
use crate::key::{ContentKey, ModelId, random};
use crate::limits::{MAX_FILE_BYTES, MAX_JSON_INTEGER};
use crate::manifest::{Draft, FileEntry, Manifest, ManifestError, file_context, verify_name};
use crate::object::tag_table_digest;
use crate::open::sha256;
use crate::path::MANIFEST_NAME;
use crate::pieces::{self, Piece, PieceBuffer, Work};
use crate::progress::Progress;
use crate::recipient::Recipient;
use crate::source::{SourceFile, failure, scan};

/// What the owner decides about a sealed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealOptions {
    /// 1 to 128 letters, digits, `.`, `_`, `-`, `/`.
    pub name: String,
    /// From 1 to 2^53 - 1; a reader that requires a higher one refuses it.
    pub version: u64,
    /// Formats that run code when loaded and may be in the model all the same.
    pub allow_formats: Vec<RiskyFormat>,
    /// Worker threads; 0 means one for each CPU.
    pub threads: usize,
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealReport {
    /// The id of this sealed version.
    pub model_id: ModelId,
    /// Number of files.
    pub files: usize,
    /// Bytes of plaintext.
    pub plaintext_bytes: u64,
    /// Bytes of all objects, without the manifest.
    pub sealed_bytes: u64,
    /// SHA-256 of `model.json`.
    pub manifest_digest: [u8; 32],
}

/// A source folder that was looked through and may be sealed, with a fresh content key.
#[derive(Debug)]
pub struct SealJob {
    out: PathBuf,
    options: SealOptions,
    files: Vec<SourceFile>,
    model_id: ModelId,
    content_key: ContentKey,
}

impl SealJob {
    /// Looks through `source`: names, kinds, formats, headers of weights. Writes nothing.
    ///
    /// # Errors
    /// In this order: [`SealError::Manifest`] (name, version), [`SealError::OutputExists`],
    /// [`SealError::Overlap`], then for the files of the source [`SealError::NotAFile`],
    /// [`SealError::Path`], [`SealError::Empty`], [`SealError::Format`]; [`SealError::Key`].
    pub fn new(source: &Path, out: &Path, options: SealOptions) -> Result<Self, SealError> {
        verify_name(&options.name)?;
        if options.version == 0 || options.version > MAX_JSON_INTEGER {
            let (field, expected) = ("version", format!("1 to {MAX_JSON_INTEGER}"));
            return Err(ManifestError::Bound { field, expected, got: options.version }.into());
        }
        let out = output(source, out)?;
        let files = scan(source, &options.allow_formats)?;
        let (model_id, content_key) = (ModelId::generate()?, ContentKey::generate()?);
        Ok(Self { out, options, files, model_id, content_key })
    }

    /// The id that the sealed model will have; recipients are bound to it.
    pub fn model_id(&self) -> ModelId {
        self.model_id
    }

    /// The content key, to make recipients of it with [`Recipient::wrap`].
    pub fn content_key(&self) -> &ContentKey {
        &self.content_key
    }

    /// A copy of the content key, to be wrapped to a broker that makes the recipient.
    pub fn content_key_for_wrapping(&self) -> Zeroizing<[u8; 32]> {
        self.content_key.content_key_for_wrapping()
    }

    /// Plaintext bytes of the source.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Seals every file and writes the manifest; the output appears as a whole or not at all. What an
    /// earlier sealing for this output left when it was killed is removed first.
    ///
    /// # Errors
    /// In this order: [`SealError::NoRecipients`], then [`SealError::Io`],
    /// [`SealError::SourceChanged`], [`SealError::Manifest`]. Nothing is left of the output.
    pub fn run(
        self,
        recipients: Vec<Recipient>,
        progress: &dyn Progress,
    ) -> Result<SealReport, SealError> {
        if recipients.is_empty() {
            return Err(SealError::NoRecipients);
        }
        let growing = Growing::create(&self.out)?;
        progress.total(self.total_bytes());
        let entries = self.files.iter().map(|_| None).collect();
        let sealing =
            Sealing { job: &self, folder: &growing.path, progress, entries: Mutex::new(entries) };
        pieces::run(&sealing, self.options.threads)?;
        let entries = sealing.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        let draft = Draft {
            name: self.options.name.clone(),
            version: self.options.version,
            model_id: self.model_id,
            allowed_formats: self.options.allow_formats.clone(),
            // All of them are there: `pieces::run` returned without an error.
            files: entries.into_iter().flatten().collect(),
            recipients,
        };
        let manifest = Manifest::seal(draft, &self.content_key)?;
        let json = manifest.to_json()?;
        growing.write_manifest(&json)?;
        growing.publish(&self.out)?;
        Ok(SealReport {
            model_id: self.model_id,
            files: self.files.len(),
            plaintext_bytes: self.total_bytes(),
            sealed_bytes: self
                .files
                .iter()
                .filter_map(|f| Layout::of(f.size))
                .map(|l| l.object_len)
                .sum(),
            manifest_digest: sha256(&json),
        })
    }
}

/// The output as an absolute path, which must be new or empty and lie beside the source.
fn output(source: &Path, out: &Path) -> Result<PathBuf, SealError> {
    let source_folder = source.canonicalize().map_err(failure("find", source))?;
    if !source_folder.is_dir() {
        return Err(SealError::NotAFile { path: source_folder, kind: "not a folder" });
    }
    let exists = || SealError::OutputExists { path: out.to_owned() };
    match std::fs::read_dir(out).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(exists()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Err(exists()),
        Err(error) => return Err(failure("look at", out)(error)),
    }
    let name = out.file_name().ok_or_else(exists)?;
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let parent_folder = parent.canonicalize().map_err(failure("find", parent))?;
    let out = parent_folder.join(name);
    if out.starts_with(&source_folder) || source_folder.starts_with(&out) {
        return Err(SealError::Overlap { source_folder, out });
    }
    Ok(out)
}

/// The hidden folder in which the output grows; removed unless it was published.
struct Growing {
    path: PathBuf,
    parent: PathBuf,
    published: std::cell::Cell<bool>,
    /// Locked as long as this sealing lives, so that another one can tell what nobody needs any more.
    _lock: File,
}

/// Folders that other sealings of the same moment may take away before they are locked.
const ATTEMPTS: usize = 8;

impl Growing {
    fn create(out: &Path) -> Result<Self, SealError> {
        let parent = out.parent().unwrap_or(Path::new("/")).to_owned();
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        // Cut so that the name stays within NAME_MAX.
        let name: String = name.chars().take(48).collect();
        let prefix = format!(".{name}.sealing-");
        remove_leftovers(&parent, &prefix);
        for _ in 0..ATTEMPTS {
            let path = parent.join(format!("{prefix}{}", hex::encode(random::<8>()?)));
            std::fs::create_dir(&path).map_err(failure("create the folder", &path))?;
            let lock = File::open(&path).map_err(failure("open the folder", &path))?;
            // A file system without locks: nobody can take it for a left-over either.
            let _ = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
            if path.exists() {
                let published = std::cell::Cell::new(false);
                return Ok(Self { path, parent, published, _lock: lock });
            }
        }
        let source = std::io::Error::other("folders keep disappearing");
        Err(failure("create a folder in", &parent)(source))
    }

    fn write_manifest(&self, json: &[u8]) -> Result<(), SealError> {
        let path = self.path.join(MANIFEST_NAME);
        File::create_new(&path)
            .and_then(|mut file| file.write_all(json).and_then(|()| file.sync_all()))
            .map_err(failure("write", &path))
    }

    /// Renames over the output, which is missing or an empty folder.
    fn publish(&self, out: &Path) -> Result<(), SealError> {
        let sync = |path: &Path| File::open(path).and_then(|folder| folder.sync_all());
        sync(&self.path).map_err(failure("write", &self.path))?;
        std::fs::rename(&self.path, out).map_err(failure("publish", out))?;
        self.published.set(true);
        sync(&self.parent).map_err(failure("write", &self.parent))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        if !self.published.get() {
            // Ciphertext only; if it cannot be removed it is harmless and has a telling name.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what a sealing that was killed left: ciphertext under a content key that died with it. It cannot be
/// continued (docs/decisions/0026) and is of no use to anybody; what cannot be removed is harmless.
fn remove_leftovers(parent: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let suffix = name.to_str().and_then(|name| name.strip_prefix(prefix));
        let is_ours = suffix.is_some_and(|suffix| {
            suffix.len() == 16 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The sealing of one model, as pieces for worker threads.
struct Sealing<'a> {
    job: &'a SealJob,
    folder: &'a Path,
    progress: &'a dyn Progress,
    entries: Mutex<Vec<Option<FileEntry>>>,
}

struct SealingFile<'a> {
    index: usize,
    source: &'a SourceFile,
    plaintext: File,
    object: File,
    object_path: PathBuf,
    layout: Layout,
    cipher: MessageCipher,
    salt: Salt,
    commitment: Commitment,
}

impl<'a> Work for Sealing<'a> {
    type File = SealingFile<'a>;
    type Error = SealError;

    fn files(&self) -> usize {
        self.job.files.len()
    }

    fn begin(&self, index: usize) -> Result<(SealingFile<'a>, u64), SealError> {
        let source = &self.job.files[index]; // `index` is below `files()`.
        let plaintext = source.open()?;
        let layout = Layout::of(source.size).ok_or_else(|| ManifestError::Bound {
            field: "size",
            expected: format!("at most {MAX_FILE_BYTES}"),
            got: source.size,
        })?;
        let salt: Salt = random()?;
        let context = file_context(&self.job.model_id, &source.path);
        let (cipher, commitment) =
            MessageCipher::derive(self.job.content_key.expose(), &salt, &context);
        let object_path = self.folder.join(source.path.object_name());
        let folder = object_path.parent().unwrap_or(self.folder);
        std::fs::create_dir_all(folder).map_err(failure("create the folder", folder))?;
        let header = Header { plaintext_len: source.size, salt, commitment };
        let object = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&object_path)
            .and_then(|object| {
                // What is not written afterwards is padding, and zero.
                object.set_len(layout.object_len)?;
                object.write_all_at(&header.to_bytes(), 0)?;
                Ok(object)
            })
            .map_err(failure("write", &object_path))?;
        let file = SealingFile {
            index,
            source,
            plaintext,
            object,
            object_path,
            layout,
            cipher,
            salt,
            commitment,
        };
        Ok((file, Piece::count(source.size)))
    }

    fn piece(
        &self,
        file: &SealingFile<'a>,
        piece: u64,
        buffer: &mut PieceBuffer,
    ) -> Result<(), SealError> {
        let piece = Piece::of(file.source.size, piece);
        let (bytes, tags) = buffer.of(&piece);
        file.plaintext.read_exact_at(bytes, piece.offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                SealError::SourceChanged { path: file.source.path.clone() }
            }
            _ => failure("read", Path::new(file.source.path.as_str()))(error),
        })?;
        let mut chunks = bytes.chunks_mut(CHUNK_LEN);
        for (index, tag) in (piece.first_chunk..).zip(tags.as_chunks_mut::<TAG_LEN>().0) {
            *tag = file
                .cipher
                .seal(index, chunks.next().unwrap_or_default())
                .map_err(|source| SealError::Chunk { path: file.source.path.clone(), source })?;
        }
        let tags_at = file.layout.tag_table_at + piece.first_chunk * TAG_LEN as u64;
        file.object
            .write_all_at(bytes, CIPHERTEXT_AT + piece.offset)
            .and_then(|()| file.object.write_all_at(tags, tags_at))
            .map_err(failure("write", &file.object_path))?;
        self.progress.advance(piece.len as u64);
        Ok(())
    }

    fn finish(&self, file: &SealingFile<'a>) -> Result<(), SealError> {
        file.source.verify_unchanged(&file.plaintext)?;
        file.object.sync_all().map_err(failure("write", &file.object_path))?;
        let tag_table_sha256 =
            tag_table_digest(&file.layout, |at, part| file.object.read_exact_at(part, at))
                .map_err(failure("read", &file.object_path))?;
        let entry = FileEntry {
            path: file.source.path.clone(),
            size: file.source.size,
            format: file.source.format,
            salt: file.salt,
            commitment: file.commitment,
            tag_table_sha256,
        };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = entries.get_mut(file.index) {
            *slot = Some(entry);
        }
        Ok(())
    }
}
