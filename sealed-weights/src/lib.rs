//! The sealed-model format of Adyton: a model that may lie in public, and that only the holder of
//! a model key can open. `SPEC.md` beside this crate is the normative text.
//!
//! ```text
//!  folder ──SealJob::new──▶ SealJob ──run(recipients)──▶ sealed folder
//!
//!  sealed folder ──SealedModel::load──▶ SealedModel        parsed, an allegation
//!                 ──stage(target)─────▶ StagedModel        ciphertext on its way, an allegation
//!                 ──unlock(ModelKey)──▶ UnlockedModel      manifest authentic and as required
//!                 ──open_staged(…)────▶ OpenedModel        opened where it was staged
//!                 ──open_into(target)──▶ OpenedModel       every chunk authentic, in memory
//!                 ──reader(path)──────▶ RangeReader        authentic ranges, nothing kept
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`chunked`] | the one cryptographic primitive, c2sp.org/chunked-encryption |
//! | [`key`], [`locked_memory`], [`recipient`] | keys, where they live, to whom they are sealed |
//! | [`manifest`], [`path`] | `model.json`, names of files |
//! | [`header`], [`c2sp`] | the layout of an object, and the standard's byte order |
//! | [`storage`], [`target`] | where sealed models lie, and where plaintext may go |
//! | [`seal`], [`open`], [`range`], [`measure`], [`rewrap`] | the work |
//! | [`formats`] | what may be inside |
//! | [`limits`], [`error`], [`progress`] | bounds, refusals, progress |
//!
//! ```
//! use adyton_sealed_weights::{
//!     KeyId, ModelKey, NoProgress, OpenOptions, Recipient, Requirements, SealJob, SealOptions,
//!     SealedModel, SwapPolicy, TargetPolicy,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (source, out, target) =
//! #     (folder.path().join("model"), folder.path().join("sealed"), folder.path().join("target"));
//! # std::fs::create_dir(&source)?;
//! # std::fs::create_dir(&target)?;
//! # std::fs::write(source.join("config.json"), "{}")?;
//! // The owner: seals `source` for a model key.
//! let key = ModelKey::generate(KeyId::new("kbs:///acme/model-key/kjv", 1)?)?;
//! let options =
//!     SealOptions { name: "acme/kjv".into(), version: 1, allow_formats: vec![], threads: 0 };
//! let job = SealJob::new(&source, &out, options)?;
//! let recipient = Recipient::wrap(&key, &job.model_id(), job.content_key())?;
//! job.run(vec![recipient], &NoProgress)?;
//!
//! // In the TEE: opens it with the same key into a memory-backed folder.
//! let required = Requirements { minimum_version: 1, ..Requirements::default() };
//! let unlocked = SealedModel::load(&out)?.unlock(&key, &required)?;
//! # // This example runs anywhere; `open_into` would refuse a target on a disk.
//! # let anywhere = OpenOptions {
//! #     filesystems: TargetPolicy::InsecureAnyFilesystem,
//! #     swap: SwapPolicy::InsecureAllow,
//! #     ..OpenOptions::default()
//! # };
//! # let opened = unlocked.open_with(&target, &anywhere, &NoProgress)?;
//! # if false {
//! let opened = unlocked.open_into(&target, 0, &NoProgress)?;
//! # drop(opened); }
//! assert_eq!(std::fs::read(opened.path().join("config.json"))?, b"{}");
//! opened.wipe()?;
//! # Ok(())
//! # }
//! ```
//!
//! The crate has no network, no clock, no async and no log.

pub mod c2sp;
mod canonical;
pub mod chunked;
mod destination;
pub mod error;
pub mod formats;
pub mod header;
mod huge_pages;
pub mod key;
pub mod limits;
pub mod locked_memory;
pub mod manifest;
mod mapped;
pub mod measure;
mod object;
pub mod open;
mod opened;
mod opening;
pub mod path;
mod pieces;
pub mod progress;
pub mod range;
pub mod recipient;
pub mod rewrap;
pub mod seal;
mod source;
mod stage;
mod staging_folder;
pub mod storage;
pub mod target;
mod wipe;

pub use destination::Placement;
pub use error::{Layer, ObjectError, OpenError, RequirementError, SealError};
pub use formats::{FileFormat, RiskyFormat};
pub use huge_pages::HugePages;
pub use key::{ContentKey, KeyError, KeyId, ModelId, ModelKey};
pub use locked_memory::{LockedMemory, Protection, protection};
pub use manifest::{FileEntry, Manifest, ManifestError};
pub use measure::{Hashing, MeasuredFile, Measurement, NotAccepted};
pub use open::{OpenOptions, Requirements, SealedModel, UnlockedModel};
pub use opened::{OpenedMemory, OpenedModel, StagedMemory, StagedModel};
pub use path::ModelPath;
pub use progress::{NoProgress, Progress};
pub use range::RangeReader;
pub use recipient::{Recipient, RecipientError};
pub use rewrap::{RewrapError, UnlockedManifest};
pub use seal::{SealJob, SealOptions, SealReport};
pub use storage::{FolderStorage, Storage, StorageError, StoredObject};
pub use target::{SwapPolicy, TargetCheck, TargetError, TargetPolicy, sweep_target, wipe_target};
