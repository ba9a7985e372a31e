//! The target folder: what it is, and how it is cleared.
//!
//! [`look_at`] tells whether the model has room there, before anything is read or anybody is asked for a
//! key. [`remove_leftovers`] is the orderly way to clear it, for when nobody stages or opens.
//! [`sweep`] works while threads still do, because SIGTERM does not wait for them.

use std::path::Path;

use adyton_sealed_weights::{OpenError, TargetCheck, TargetError, sweep_target, wipe_target};

use super::WeightsError;
use crate::phase::TargetFacts;

/// Says what the target is, and what the model needs of it. Blocking.
///
/// # Errors
/// [`WeightsError::Open`] when the target cannot be looked at. That it is too small is refused where it
/// is taken.
pub(super) fn look_at(target: &Path, required_bytes: u64) -> Result<TargetFacts, WeightsError> {
    let check = TargetCheck::probe(target).map_err(|error| WeightsError::Open(error.into()))?;
    let facts = TargetFacts {
        required_bytes,
        available_bytes: check.available_bytes,
        pages: check.huge_pages.describe(),
        huge_pages: check.huge_pages.are_given(),
    };
    tracing::info!(
        target = %target.display(),
        required_bytes,
        available_bytes = facts.available_bytes,
        pages = facts.pages,
        "memory for the weights"
    );
    if let Some(remedy) = check.huge_pages.remedy() {
        tracing::warn!(pages = facts.pages, remedy, "weights will open slower than they could");
    }
    Ok(facts)
}

/// Removes what an earlier start left in `target`. Blocking.
///
/// # Errors
/// [`WeightsError::Wipe`]; [`TargetError::Busy`] inside when another sidecar uses the target.
pub fn remove_leftovers(target: &Path) -> Result<(), WeightsError> {
    wipe_target(target).map_err(WeightsError::Wipe)
}

/// Overwrites and removes every opened and half-opened model in `target`. Blocking.
///
/// # Errors
/// [`WeightsError::Wipe`] when something is still there after the last pass.
pub fn sweep(target: &Path) -> Result<(), WeightsError> {
    sweep_target(target).map_err(WeightsError::Wipe)
}

/// Is the target held by an opening that still runs?
pub(crate) fn is_busy(error: &WeightsError) -> bool {
    matches!(
        error,
        WeightsError::Wipe(TargetError::Busy { .. })
            | WeightsError::Open(OpenError::Target(TargetError::Busy { .. }))
    )
}
