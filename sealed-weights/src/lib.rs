//! The sealed-model format of Adyton: a model that may lie in public, and that only the holder of
//! a model key can open. `SPEC.md` beside this crate is the normative text.
//!
//! ```text
//!  folder ──SealJob::new──▶ SealJob ──run(recipients)──▶ sealed folder
//!
//!  sealed folder ──SealedModel::load──▶ SealedModel        parsed, an allegation
//!                 ──unlock(ModelKey)──▶ UnlockedModel      manifest authentic and as required
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
//! | [`seal`], [`open`], [`range`], [`target`] | the work |
//! | [`formats`] | what may be inside |
//! | [`limits`], [`error`], [`progress`] | bounds, refusals, progress |
//!
//! The crate has no network, no clock, no async and no log.

pub mod c2sp;
mod canonical;
pub mod chunked;
pub mod error;
pub mod formats;
pub mod header;
pub mod key;
pub mod limits;
pub mod locked_memory;
pub mod manifest;
mod object;
pub mod open;
pub mod path;
mod pieces;
pub mod progress;
pub mod range;
pub mod recipient;
pub mod seal;
mod source;
pub mod target;
mod wipe;

pub use error::{Layer, ObjectError, OpenError, RequirementError, SealError};
pub use formats::{FileFormat, RiskyFormat};
pub use key::{ContentKey, KeyError, KeyId, ModelId, ModelKey};
pub use locked_memory::{LockedMemory, Protection, protection};
pub use manifest::{FileEntry, Manifest, ManifestError};
pub use open::{OpenOptions, OpenedModel, Requirements, SealedModel, UnlockedModel};
pub use path::ModelPath;
pub use progress::{NoProgress, Progress};
pub use range::RangeReader;
pub use recipient::{Recipient, RecipientError};
pub use seal::{SealJob, SealOptions, SealReport};
pub use target::{SwapPolicy, TargetCheck, TargetError, TargetPolicy, wipe_target};
