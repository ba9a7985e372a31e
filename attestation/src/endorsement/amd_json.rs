//! AMD's part of a bundle file: how [`AmdEndorsements`] are written and listed.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::endorsement::item::EndorsementItem;
use crate::endorsement::{AmdEndorsements, EndorsementError};
use crate::unix_time::UnixTime;

/// The wire form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AmdJson {}

impl AmdJson {
    pub(super) fn parse(self) -> Result<AmdEndorsements, EndorsementError> {
        Ok(AmdEndorsements {})
    }
}

pub(super) fn to_json(_amd: &AmdEndorsements) -> Value {
    json!({})
}

pub(super) fn items(_amd: &AmdEndorsements) -> Vec<EndorsementItem> {
    Vec::new()
}

pub(super) fn merge(
    amd: AmdEndorsements,
    _other: AmdEndorsements,
) -> Result<AmdEndorsements, EndorsementError> {
    Ok(amd)
}

pub(super) fn pruned(amd: AmdEndorsements, _now: UnixTime) -> AmdEndorsements {
    amd
}

pub(super) fn from_der(
    _certificates: &[&Vec<u8>],
    _lists: &[&Vec<u8>],
) -> Result<AmdEndorsements, EndorsementError> {
    Ok(AmdEndorsements {})
}
