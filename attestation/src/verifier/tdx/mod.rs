//! The TDX ladder.

use crate::binding::ReportData;
use crate::claims::TdxClaims;
use crate::endorsement::EndorsementBundle;
use crate::evidence::TdxEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::{Ladder, TrustAnchors, VerifyError, VerifyOptions};

pub(super) fn verify(
    _evidence: &TdxEvidence,
    _endorsements: &EndorsementBundle,
    _anchors: &TrustAnchors,
    _expected: &ReportData,
    _now: UnixTime,
    _options: &VerifyOptions,
) -> Result<TdxClaims, VerifyError> {
    Err(VerifyError::Library { detail: "being written".into() })
}

pub(super) fn replay(
    _evidence: &TdxEvidence,
    _endorsements: &EndorsementBundle,
    _anchors: &TrustAnchors,
    _now: UnixTime,
) -> Ladder {
    Ladder { rungs: Vec::new(), claims: None }
}
