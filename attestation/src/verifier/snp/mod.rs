//! The SNP ladder of `SPEC.md`.

use crate::binding::ReportData;
use crate::claims::SnpClaims;
use crate::endorsement::EndorsementBundle;
use crate::evidence::SnpEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::ladder::Ladder;
use crate::verifier::{TrustAnchors, VerifyError, VerifyOptions};

mod error;

pub use error::SnpError;

pub(super) fn verify(
    _evidence: &SnpEvidence,
    _endorsements: &EndorsementBundle,
    _anchors: &TrustAnchors,
    _expected: &ReportData,
    _now: UnixTime,
    _options: &VerifyOptions,
) -> Result<SnpClaims, VerifyError> {
    Err(SnpError::NotBuilt.into())
}

/// Climbs every rung that can be climbed and records each outcome.
pub(super) fn replay(
    _evidence: &SnpEvidence,
    _endorsements: &EndorsementBundle,
    _anchors: &TrustAnchors,
    _now: UnixTime,
) -> Ladder {
    Ladder { rungs: Vec::new(), claims: None }
}
