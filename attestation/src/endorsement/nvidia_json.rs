//! NVIDIA's part of a bundle file: how [`NvidiaEndorsements`] are written and listed.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::endorsement::item::EndorsementItem;
use crate::endorsement::{EndorsementError, NvidiaEndorsements};
use crate::unix_time::UnixTime;

/// The wire form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NvidiaJson {}

impl NvidiaJson {
    pub(super) fn parse(self) -> Result<NvidiaEndorsements, EndorsementError> {
        Ok(NvidiaEndorsements {})
    }
}

pub(super) fn to_json(_nvidia: &NvidiaEndorsements) -> Value {
    json!({})
}

pub(super) fn items(_nvidia: &NvidiaEndorsements) -> Vec<EndorsementItem> {
    Vec::new()
}

pub(super) fn merge(
    nvidia: NvidiaEndorsements,
    _other: NvidiaEndorsements,
) -> Result<NvidiaEndorsements, EndorsementError> {
    Ok(nvidia)
}

pub(super) fn pruned(nvidia: NvidiaEndorsements, _now: UnixTime) -> NvidiaEndorsements {
    nvidia
}
