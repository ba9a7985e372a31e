//! Opens a sealed model: from an allegation in storage to authentic plaintext in memory.
//!
//! In: a sealed model's storage, a model key, requirements, a target. Out: [`SealedModel`] (parsed), then
//! [`UnlockedModel`] (manifest authentic and as required), then [`OpenedModel`] (every chunk
//! authentic, every format verified). Each is the only way to the next; [`StagedModel`], which may be made
//! meanwhile, is a way to nothing by itself. Opening writes into a
//! private folder of the target; a file gets its name when its last chunk is authentic, and the
//! model appears as a whole. After any failure nothing of it is left.
//!
//! Against: everything that whoever stores the model can do to it, and plaintext on a disk.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::path::Path;
use std::sync::Arc;

use ring::digest;

use crate::destination::{Destination, Placement};
use crate::error::{OpenError, RequirementError};
use crate::header::{CIPHERTEXT_AT, Layout, PAGE};
use crate::key::{ContentKey, ModelId, ModelKey};
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{FileEntry, Manifest, ManifestError};
use crate::measure::{Measurement, Measures};
use crate::object::SealedObject;
use crate::opened::{OpenedMemory, OpenedModel, StagedMemory, StagedModel};
use crate::opening::{Direct, FromStaged, Opener, Stopped};
use crate::path::MANIFEST_NAME;
use crate::pieces;
use crate::progress::{NoProgress, Progress};
use crate::range::RangeReader;
use crate::recipient::Recipient;
use crate::stage::Staged;
use crate::staging_folder::StagingFolder;
use crate::storage::{FolderStorage, Storage, StorageError};
use crate::target::{SwapPolicy, Target, TargetPolicy, check_memory};

/// Memory for inodes and folders, and for what else is written meanwhile.
const ROOM_MARGIN: u64 = 2 * 1024 * 1024;

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
    /// How bytes get into files; for measurements.
    pub placement: Placement,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            filesystems: TargetPolicy::MemoryBackedOnly,
            swap: SwapPolicy::Refuse,
            file_mode: 0o600,
            folder_mode: 0o700,
            placement: Placement::Fastest,
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

    /// Bytes of room that opening needs in the target, if the manifest is true.
    pub fn required_bytes(&self) -> u64 {
        required_bytes(&self.manifest)
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
        let content_key = self.manifest.release(model_key)?;
        requirements.verify(&self.manifest)?;
        Ok(UnlockedModel::assertion(self, content_key))
    }
}

impl SealedModel {
    /// Begins to read ciphertext to where `<target>/model` will lie, on threads of its own, and returns at
    /// once. For while attestation and key release run: nothing of it is plaintext, trusted or named.
    ///
    /// `progress` is told of bytes that were read. Sizes are those that the manifest claims; what bounds them
    /// is the target's room.
    ///
    /// # Errors
    /// [`OpenError::Target`]: in use, left-overs that cannot be wiped, a model there already, not in
    /// memory, swap, room. What goes wrong later is told by [`UnlockedModel::open_staged`].
    //= sealed-weights/SPEC.md#7.4
    //# A reader that stages MUST bound what it reads by the room of its target, and MUST NOT decide anything by what it read, before the manifest is authentic.
    pub fn stage(
        &self,
        target: &Path,
        options: &OpenOptions,
        progress: Arc<dyn Progress + Send + Sync>,
    ) -> Result<StagedModel, OpenError> {
        let destination = folder_destination(target, options, required_bytes(&self.manifest))?;
        self.begin_staging(destination, options, progress).map(StagedModel)
    }

    /// As [`stage`](Self::stage), into memory of this process that has no name at all.
    ///
    /// # Errors
    /// As [`stage`](Self::stage); of the target only swap and room.
    pub fn stage_in_memory(
        &self,
        options: &OpenOptions,
        progress: Arc<dyn Progress + Send + Sync>,
    ) -> Result<StagedMemory, OpenError> {
        check_memory(options.swap, required_bytes(&self.manifest))?;
        let destination = Destination::in_memory(self.manifest.files().len());
        self.begin_staging(destination, options, progress).map(StagedMemory)
    }

    fn begin_staging(
        &self,
        destination: Destination,
        options: &OpenOptions,
        progress: Arc<dyn Progress + Send + Sync>,
    ) -> Result<Staged, OpenError> {
        let (storage, manifest) = (Arc::clone(&self.storage), self.manifest.clone());
        let (digest, threads) = (self.manifest_digest, options.threads);
        Staged::begin(storage, manifest, digest, destination, threads, progress)
    }
}

/// Takes the target, and a folder in it, after everything that stands against it was looked at.
fn folder_destination(
    target: &Path,
    options: &OpenOptions,
    required: u64,
) -> Result<Destination, OpenError> {
    let target = Target::acquire(target)?;
    target.wipe_leftovers()?;
    target.refuse_present_model()?;
    let check = target.check()?;
    check.enforce(options.filesystems, options.swap, required)?;
    let folder = StagingFolder::create(Arc::new(target), options.folder_mode)?;
    let huge = &check.huge_pages;
    Ok(Destination::in_folder(folder, options.placement, huge, options.file_mode))
}

/// Every file with its tag table, in whole pages.
fn required_bytes(manifest: &Manifest) -> u64 {
    let bodies = manifest.files().iter().filter_map(|file| Layout::of(file.size));
    let bodies = bodies.map(|layout| (layout.object_len - CIPHERTEXT_AT).next_multiple_of(PAGE));
    bodies.fold(ROOM_MARGIN, u64::saturating_add)
}

fn staging_ended() -> OpenError {
    OpenError::StagingEnded { source: std::io::Error::other("nothing was staged any more") }
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
        required_bytes(&self.manifest)
    }

    /// The content key, to make a recipient for another model key of it.
    pub fn content_key(&self) -> &ContentKey {
        &self.content_key
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
        self.open_and_measure(target, options, None, progress)
    }

    /// As [`open_with`](Self::open_with), with a digest of every file, taken while it is opened: `measurement`
    /// judges them before the model appears.
    ///
    /// # Errors
    /// As [`open_into`](Self::open_into), and [`OpenError::NotAccepted`].
    pub fn open_measured(
        &self,
        target: &Path,
        options: &OpenOptions,
        measurement: &Measurement<'_>,
        progress: &dyn Progress,
    ) -> Result<OpenedModel, OpenError> {
        self.open_and_measure(target, options, Some(measurement), progress)
    }

    fn open_and_measure(
        &self,
        target: &Path,
        options: &OpenOptions,
        measurement: Option<&Measurement<'_>>,
        progress: &dyn Progress,
    ) -> Result<OpenedModel, OpenError> {
        let destination = folder_destination(target, options, self.required_bytes())?;
        self.open_directly(destination, options, measurement, progress)
            .and_then(|opened| self.publish(opened))
    }

    /// As [`open_into`](Self::open_into), into memory of this process that has no name at all.
    ///
    /// # Errors
    /// As [`open_into`](Self::open_into); of the target only swap and room.
    pub fn open_in_memory(
        &self,
        options: &OpenOptions,
        progress: &dyn Progress,
    ) -> Result<OpenedMemory, OpenError> {
        check_memory(options.swap, self.required_bytes())?;
        let destination = Destination::in_memory(self.manifest.files().len());
        self.open_directly(destination, options, None, progress)
            .and_then(|opened| self.gather(opened))
    }

    /// Opens what [`SealedModel::stage`] has read, in place; waits for what it has still to read. All
    /// checks are made on what was staged: storage is not asked again.
    ///
    /// # Errors
    /// [`OpenError::StagedAnother`]; then for each file [`OpenError::Object`] and [`OpenError::Format`];
    /// [`OpenError::Target`]; [`OpenError::NotWiped`] when plaintext could not be removed again.
    pub fn open_staged(
        &self,
        staged: StagedModel,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<OpenedModel, OpenError> {
        self.open_what_is_staged(staged.0, threads, None, progress)
            .and_then(|opened| self.publish(opened))
    }

    /// As [`open_staged`](Self::open_staged), with a digest of every file, as
    /// [`open_measured`](Self::open_measured) takes them.
    ///
    /// # Errors
    /// As [`open_staged`](Self::open_staged), and [`OpenError::NotAccepted`].
    pub fn open_staged_measured(
        &self,
        staged: StagedModel,
        threads: usize,
        measurement: &Measurement<'_>,
        progress: &dyn Progress,
    ) -> Result<OpenedModel, OpenError> {
        self.open_what_is_staged(staged.0, threads, Some(measurement), progress)
            .and_then(|opened| self.publish(opened))
    }

    /// As [`open_staged`](Self::open_staged), of what [`SealedModel::stage_in_memory`] has read.
    ///
    /// # Errors
    /// As [`open_staged`](Self::open_staged).
    pub fn open_staged_in_memory(
        &self,
        staged: StagedMemory,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<OpenedMemory, OpenError> {
        self.open_what_is_staged(staged.0, threads, None, progress)
            .and_then(|opened| self.gather(opened))
    }

    fn opener<'a>(
        &'a self,
        destination: &'a Destination,
        progress: &'a dyn Progress,
        measures: Option<&'a Measures>,
    ) -> Opener<'a> {
        let Self { manifest, content_key, .. } = self;
        Opener { manifest, content_key, destination, progress, measures }
    }

    fn measures(&self, measurement: Option<&Measurement<'_>>) -> Option<Measures> {
        measurement.map(|asked| Measures::new(asked.hashing, self.manifest.files().len()))
    }

    /// Every chunk is authentic: hears whoever wanted the digests.
    fn accept(
        &self,
        opened: Destination,
        measures: Option<Measures>,
        measurement: Option<&Measurement<'_>>,
    ) -> Result<Destination, OpenError> {
        let (Some(measures), Some(asked)) = (measures, measurement) else { return Ok(opened) };
        let measured = measures.into_measured(self.manifest.files());
        let judged = match measured {
            Some(measured) => (asked.accept)(&measured),
            None => Err("a file was opened and not measured".into()),
        };
        match judged {
            Ok(()) => Ok(opened),
            Err(source) => Err(opened.wipe_after(OpenError::NotAccepted { source })),
        }
    }

    fn open_directly(
        &self,
        destination: Destination,
        options: &OpenOptions,
        measurement: Option<&Measurement<'_>>,
        progress: &dyn Progress,
    ) -> Result<Destination, OpenError> {
        if self.storage.concurrency() > 0 {
            // Reading takes more threads than opening: they go side by side.
            let (storage, manifest) = (Arc::clone(&self.storage), self.manifest.clone());
            let (digest, nobody) = (self.manifest_digest, Arc::new(NoProgress));
            let staged =
                Staged::begin(storage, manifest, digest, destination, options.threads, nobody)?;
            return self.open_what_is_staged(staged, options.threads, measurement, progress);
        }
        progress.total(self.manifest.total_bytes());
        let measures = self.measures(measurement);
        let opener = self.opener(&destination, progress, measures.as_ref());
        let direct = Direct { opener, storage: self.storage.as_ref() };
        match pieces::run(&direct, options.threads) {
            Ok(()) => self.accept(destination, measures, measurement),
            Err(Stopped::Refused(error)) => Err(destination.wipe_after(error)),
            Err(Stopped::StagingEnded) => Err(destination.wipe_after(staging_ended())),
        }
    }

    fn open_what_is_staged(
        &self,
        staged: Staged,
        threads: usize,
        measurement: Option<&Measurement<'_>>,
        progress: &dyn Progress,
    ) -> Result<Destination, OpenError> {
        let measures = self.measures(measurement);
        let opened = match staged.shared() {
            Some(_) if staged.manifest_digest != self.manifest_digest => {
                Err(Stopped::Refused(OpenError::StagedAnother {
                    expected: hex::encode(self.manifest_digest),
                    got: hex::encode(staged.manifest_digest),
                }))
            }
            Some(shared) => {
                progress.total(self.manifest.total_bytes());
                let opener = self.opener(&shared.destination, progress, measures.as_ref());
                pieces::run(&FromStaged { opener, staged: shared }, threads)
            }
            None => Err(Stopped::StagingEnded),
        };
        let (destination, failed) = staged.end();
        let destination = destination.ok_or_else(staging_ended)?;
        match opened {
            Ok(()) => self.accept(destination, measures, measurement),
            Err(Stopped::Refused(error)) => Err(destination.wipe_after(error)),
            Err(Stopped::StagingEnded) => {
                Err(destination.wipe_after(failed.unwrap_or_else(staging_ended)))
            }
        }
    }

    /// Gives a model whose every file is open its name.
    fn publish(&self, destination: Destination) -> Result<OpenedModel, OpenError> {
        let Destination::Folder { folder, .. } = &destination else { return Err(staging_ended()) };
        if let Err(error) = folder.publish() {
            return Err(destination.wipe_after(error.into()));
        }
        let (files, bytes) = (self.manifest.files().len(), self.manifest.total_bytes());
        Ok(OpenedModel::assertion(folder.target(), files, bytes))
    }

    fn gather(&self, destination: Destination) -> Result<OpenedMemory, OpenError> {
        let regions = destination.into_regions().ok_or_else(staging_ended)?;
        let entries = self.manifest.files().iter().map(|file| (file.path.clone(), file.size));
        Ok(OpenedMemory::assertion(entries.zip(regions).collect()))
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

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
