//! The Azure vTPM ladder of `SPEC.md`.

use crate::binding::ReportData;
use crate::claims::Claims;
use crate::endorsement::EndorsementBundle;
use crate::evidence::AzureEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::ladder::Ladder;
use crate::verifier::{TrustAnchors, VerifyError, VerifyOptions};

mod error;

pub use error::AzureError;

pub(super) fn verify(
    _evidence: &AzureEvidence,
    _endorsements: &EndorsementBundle,
    _anchors: &TrustAnchors,
    _expected: &ReportData,
    _now: UnixTime,
    _options: &VerifyOptions,
) -> Result<Claims, VerifyError> {
    Err(AzureError::NotBuilt.into())
}

/// Climbs every rung that can be climbed and records each outcome.
pub(super) fn replay(
    _evidence: &AzureEvidence,
    _endorsements: &EndorsementBundle,
    _anchors: &TrustAnchors,
    _now: UnixTime,
) -> Ladder {
    Ladder { rungs: Vec::new(), claims: None }
}
