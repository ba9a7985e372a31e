//! Opens a sealed model: from an allegation in storage to authentic plaintext in memory.
//!
//! In: a sealed model's storage, a model key, requirements, a target. Out: [`SealedModel`] (parsed), then
//! [`UnlockedModel`] (manifest authentic and as required), then [`OpenedModel`] (every chunk
//! authentic, every format verified). Each is the only way to the next. Opening writes into a
//! private folder of the target; a file gets its name when its last chunk is authentic, and the
//! model appears as a whole. After any failure nothing of it is left.
//!
//! Against: everything that whoever stores the model can do to it, and plaintext on a disk.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{OpenError, RequirementError};
use crate::formats::{self, FormatError};
use crate::key::{ContentKey, ModelId, ModelKey};
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{FileEntry, Manifest, ManifestError};
use crate::object::SealedObject;
use crate::path::MANIFEST_NAME;
use crate::pieces::{self, Piece, PieceBuffer, Work};
use crate::progress::Progress;
use crate::range::RangeReader;
use crate::recipient::Recipient;
use crate::storage::{FolderStorage, Storage, StorageError};
use crate::target::{Staging, SwapPolicy, Target, TargetError, TargetPolicy};
use ring::digest;

/// Memory for inodes and folders, and for what else is written meanwhile.
const ROOM_MARGIN: u64 = 2 * 1024 * 1024;
const PAGE: u64 = 4096;

/// What the caller requires of the model, beyond that it is authentic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// The name, if it is fixed.
    pub name: Option<String>,
    /// The lowest version: the highest of the configured and the broker's. 0 accepts every one.
    pub minimum_version: u64,
    /// The id, if it is fixed.
    pub model_id: Option<ModelId>,
}

/// How to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// Worker threads; 0 means one for each CPU.
    pub threads: usize,
    /// Which file systems may receive plaintext.
    pub filesystems: TargetPolicy,
    /// What active swap means.
    pub swap: SwapPolicy,
    /// Permission bits of the opened files; 0o600 by default. A server under another user id needs more.
    pub file_mode: u32,
    /// Permission bits of the opened folders; 0o700 by default.
    pub folder_mode: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            filesystems: TargetPolicy::MemoryBackedOnly,
            swap: SwapPolicy::Refuse,
            file_mode: 0o600,
            folder_mode: 0o700,
        }
    }
}

/// A sealed model as it lies in storage: parsed within bounds, not authenticated.
#[derive(Debug)]
pub struct SealedModel {
    storage: Arc<dyn Storage>,
    manifest: Manifest,
    manifest_digest: [u8; 32],
}

impl SealedModel {
    /// Reads and parses `model.json` of a folder. Objects are looked for when they are opened.
    ///
    /// # Errors
    /// [`OpenError::Storage`], [`OpenError::Manifest`].
    pub fn load(folder: &Path) -> Result<Self, OpenError> {
        let storage = FolderStorage::new(folder).map_err(|source| OpenError::Storage {
            action: "open the folder",
            location: folder.display().to_string(),
            source,
        })?;
        Self::load_from(Arc::new(storage))
    }

    /// As [`load`](Self::load), from wherever the sealed model lies. Blocking.
    ///
    /// # Errors
    /// [`OpenError::Storage`], [`OpenError::Manifest`].
    pub fn load_from(storage: Arc<dyn Storage>) -> Result<Self, OpenError> {
        let location = format!("{}/{MANIFEST_NAME}", storage.location());
        let parsed = match storage.read_small(MANIFEST_NAME, MAX_MANIFEST_BYTES) {
            Ok(bytes) => Manifest::parse(&bytes).map(|manifest| (manifest, sha256(&bytes))),
            Err(StorageError::TooLarge { got, .. }) => Err(ManifestError::TooLarge { got }),
            Err(source) => {
                return Err(OpenError::Storage { action: "read the manifest", location, source });
            }
        };
        let (manifest, manifest_digest) =
            parsed.map_err(|source| OpenError::Manifest { location, source })?;
        Ok(Self { storage, manifest, manifest_digest })
    }

    /// The name that the manifest claims.
    pub fn name(&self) -> &str {
        self.manifest.name()
    }

    /// The version that the manifest claims.
    pub fn version(&self) -> u64 {
        self.manifest.version()
    }

    /// The id that the manifest claims.
    pub fn model_id(&self) -> ModelId {
        self.manifest.model_id()
    }

    /// Those who can open it, as the manifest claims.
    pub fn recipients(&self) -> &[Recipient] {
        self.manifest.recipients()
    }

    /// Everything the manifest claims; for people to look at, not to decide by.
    pub fn unverified_manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the bytes of `model.json`.
    pub fn manifest_digest(&self) -> [u8; 32] {
        self.manifest_digest
    }

    /// Authenticates the manifest with the content key that `model_key` unwraps, then compares it
    /// with what is required.
    ///
    /// # Errors
    /// In this order: [`OpenError::NoRecipient`], [`OpenError::Recipient`], [`OpenError::Mac`],
    /// [`OpenError::Requirement`] (name, version, id).
    //= sealed-weights/SPEC.md#5.5
    //# A reader MUST refuse a version below the minimum it was given.
    pub fn unlock(
        &self,
        model_key: &ModelKey,
        requirements: &Requirements,
    ) -> Result<UnlockedModel, OpenError> {
        let recipients = self.manifest.recipients();
        let recipient = recipients
            .iter()
            .find(|recipient| recipient.kid() == model_key.id())
            .ok_or_else(|| OpenError::NoRecipient {
                wanted: model_key.id().clone(),
                listed: recipients.iter().map(|recipient| recipient.kid().clone()).collect(),
            })?;
        let content_key = recipient.unwrap(model_key, &self.manifest.model_id())?;
        self.manifest.authenticate(&content_key)?;
        requirements.verify(&self.manifest)?;
        Ok(UnlockedModel::assertion(self, content_key))
    }
}

impl Requirements {
    fn verify(&self, manifest: &Manifest) -> Result<(), RequirementError> {
        if let Some(expected) = &self.name
            && expected != manifest.name()
        {
            let (expected, got) = (expected.clone(), manifest.name().to_owned());
            return Err(RequirementError::Name { expected, got });
        }
        if manifest.version() < self.minimum_version {
            let (minimum, got) = (self.minimum_version, manifest.version());
            return Err(RequirementError::Version { minimum, got });
        }
        match self.model_id {
            Some(expected) if expected != manifest.model_id() => {
                Err(RequirementError::ModelId { expected, got: manifest.model_id() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A sealed model whose manifest is authentic and as required. Holding it proves that the key was
/// the right one and that the list of files is the owner's; it proves nothing about their bytes.
#[derive(Debug)]
pub struct UnlockedModel {
    storage: Arc<dyn Storage>,
    manifest: Manifest,
    manifest_digest: [u8; 32],
    content_key: ContentKey,
}

impl UnlockedModel {
    fn assertion(sealed: &SealedModel, content_key: ContentKey) -> Self {
        Self {
            storage: Arc::clone(&sealed.storage),
            manifest: sealed.manifest.clone(),
            manifest_digest: sealed.manifest_digest,
            content_key,
        }
    }

    /// The authentic manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the bytes of `model.json`; goes into the attestation report.
    pub fn manifest_digest(&self) -> [u8; 32] {
        self.manifest_digest
    }

    /// Bytes of room that opening needs in the target, with page rounding and a margin.
    pub fn required_bytes(&self) -> u64 {
        let files = self.manifest.files().iter();
        files.map(|file| file.size.next_multiple_of(PAGE)).sum::<u64>() + ROOM_MARGIN
    }

    /// The content key, to make a recipient for another model key of it.
    pub fn content_key(&self) -> &ContentKey {
        &self.content_key
    }

    /// The bytes of a `model.json` with these recipients instead: how a key is rotated, or a broker
    /// added or removed. The weights stay as they are.
    ///
    /// # Errors
    /// [`ManifestError`] when the recipients are none, too many, or two for one key.
    pub fn manifest_with_recipients(
        &self,
        recipients: Vec<Recipient>,
    ) -> Result<Vec<u8>, ManifestError> {
        self.manifest.with_recipients(recipients, &self.content_key)?.to_json()
    }

    /// Opens every file into `<target>/model`, which appears when the last chunk is authentic.
    /// `threads` of 0 means one for each CPU.
    ///
    /// # Errors
    /// In this order: [`OpenError::Target`] (in use, left-overs that cannot be wiped, a model there
    /// already, not in memory, swap, room), then for each file [`OpenError::Object`] and
    /// [`OpenError::Format`]; [`OpenError::NotWiped`] when plaintext could not be removed again.
    pub fn open_into(
        &self,
        target: &Path,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<OpenedModel, OpenError> {
        self.open_with(target, &OpenOptions { threads, ..OpenOptions::default() }, progress)
    }

    /// As [`open_into`](Self::open_into), with modes of files, or policies for tests.
    ///
    /// # Errors
    /// As [`open_into`](Self::open_into).
    pub fn open_with(
        &self,
        target: &Path,
        options: &OpenOptions,
        progress: &dyn Progress,
    ) -> Result<OpenedModel, OpenError> {
        let target = Target::acquire(target)?;
        target.wipe_leftovers()?;
        target.refuse_present_model()?;
        target.check()?.enforce(options.filesystems, options.swap, self.required_bytes())?;
        let staging = target.stage(options.folder_mode)?;
        let guard = WipeUnlessPublished(Some(&staging));
        let opening =
            Opening { model: self, staging: &staging, progress, file_mode: options.file_mode };
        progress.total(self.manifest.total_bytes());
        let opened = pieces::run(&opening, options.threads).and_then(|()| Ok(staging.publish()?));
        if let Err(first) = opened {
            return Err(match guard.wipe() {
                Ok(()) => first,
                Err(source) => OpenError::NotWiped { first: Box::new(first), source },
            });
        }
        guard.published();
        drop(staging);
        let (files, bytes) = (self.manifest.files().len(), self.manifest.total_bytes());
        Ok(OpenedModel::assertion(target, files, bytes))
    }

    /// Reads ranges of one file without opening the rest: the S3 exposure, or a look at a header.
    ///
    /// # Errors
    /// [`OpenError::NoSuchFile`], [`OpenError::Object`], [`OpenError::Format`].
    pub fn reader(&self, path: &str) -> Result<RangeReader, OpenError> {
        let entry = self
            .manifest
            .files()
            .iter()
            .find(|file| file.path.as_str() == path)
            .ok_or_else(|| OpenError::NoSuchFile { path: crate::key::excerpt(path) })?;
        RangeReader::open(self.object(entry)?, entry, self.manifest.allowed_formats())
    }

    fn object(&self, entry: &FileEntry) -> Result<SealedObject, OpenError> {
        SealedObject::open(
            self.storage.as_ref(),
            entry,
            &self.manifest.model_id(),
            &self.content_key,
        )
        .map_err(|source| OpenError::Object { path: entry.path.clone(), source })
    }
}

/// Wipes a staging folder on every way out but success, a panic of a worker included.
struct WipeUnlessPublished<'a, 'b>(Option<&'a Staging<'b>>);

impl WipeUnlessPublished<'_, '_> {
    fn wipe(mut self) -> Result<(), TargetError> {
        self.0.take().map_or(Ok(()), Staging::wipe)
    }

    fn published(mut self) {
        self.0 = None;
    }
}

impl Drop for WipeUnlessPublished<'_, '_> {
    fn drop(&mut self) {
        if let Some(staging) = self.0.take() {
            // Only while a panic unwinds: there is nobody left to tell.
            let _ = staging.wipe();
        }
    }
}

/// The opening of one model, as pieces for worker threads.
struct Opening<'a> {
    model: &'a UnlockedModel,
    staging: &'a Staging<'a>,
    progress: &'a dyn Progress,
    file_mode: u32,
}

struct OpeningFile<'a> {
    index: usize,
    entry: &'a FileEntry,
    object: SealedObject,
    part: File,
}

impl<'a> Work for Opening<'a> {
    type File = OpeningFile<'a>;
    type Error = OpenError;

    fn files(&self) -> usize {
        self.model.manifest.files().len()
    }

    fn begin(&self, index: usize) -> Result<(OpeningFile<'a>, u64), OpenError> {
        let missing = || OpenError::NoSuchFile { path: format!("number {index}") };
        let entry = self.model.manifest.files().get(index).ok_or_else(missing)?;
        let object = self.model.object(entry)?;
        let part = self.staging.part(index)?;
        Ok((OpeningFile { index, entry, object, part }, Piece::count(entry.size)))
    }

    fn piece(
        &self,
        file: &OpeningFile<'a>,
        piece: u64,
        buffer: &mut PieceBuffer,
    ) -> Result<(), OpenError> {
        let piece = Piece::of(file.entry.size, piece);
        let (bytes, tags) = buffer.of(&piece);
        file.object
            .open_piece(&piece, bytes, tags)
            .map_err(|source| OpenError::Object { path: file.entry.path.clone(), source })?;
        file.part.write_all_at(bytes, piece.offset).map_err(|source| TargetError::Io {
            action: "write the plaintext of",
            path: file.entry.path.as_str().into(),
            source,
        })?;
        self.progress.advance(piece.len as u64);
        Ok(())
    }

    fn finish(&self, file: &OpeningFile<'a>) -> Result<(), OpenError> {
        let contents = formats::OpenFile { file: &file.part, len: file.entry.size };
        verify_format(file.entry, &contents, self.model.manifest.allowed_formats())?;
        Ok(self.staging.name_part(file.index, &file.part, &file.entry.path, self.file_mode)?)
    }
}

/// Refuses contents that are not what the manifest lists, or that it does not allow.
//= sealed-weights/SPEC.md#7.3
//# A reader MUST determine the format of a file from its path and plaintext before it exposes a byte of it, and refuse it if that is not the listed one.
pub(crate) fn verify_format<R: formats::ReadAt + ?Sized>(
    entry: &FileEntry,
    contents: &R,
    allowed: &[formats::RiskyFormat],
) -> Result<(), OpenError> {
    let refused = |source| OpenError::Format { path: entry.path.clone(), source };
    let got = formats::inspect(&entry.path, contents, allowed).map_err(refused)?;
    if got != entry.format {
        return Err(refused(FormatError::Mismatch { expected: entry.format, got }));
    }
    Ok(())
}

/// Plaintext in the target: every chunk authenticated, every format verified.
///
/// It holds the target's lock. Dropping it wipes the plaintext as well as [`wipe`](Self::wipe) does,
/// which also says when that fails: keep it for as long as the model is served.
#[derive(Debug)]
#[must_use = "dropping an opened model wipes it"]
pub struct OpenedModel {
    target: Option<Target>,
    path: PathBuf,
    files: usize,
    bytes: u64,
}

impl OpenedModel {
    fn assertion(target: Target, files: usize, bytes: u64) -> Self {
        Self { path: target.model_path(), target: Some(target), files, bytes }
    }

    /// `<target>/model`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files
    }

    /// Bytes of plaintext.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Overwrites and removes the plaintext.
    ///
    /// # Errors
    /// [`TargetError::Io`] with the first file that could not be overwritten or removed; the others are.
    pub fn wipe(mut self) -> Result<(), TargetError> {
        self.target.take().map_or(Ok(()), |target| target.wipe_model())
    }
}

impl Drop for OpenedModel {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            let _ = target.wipe_model();
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
