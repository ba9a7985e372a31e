//! Checks that Evidence was signed by genuine hardware, now, for us.
//!
//! Role: Verifier (RFC 9334 §4.1). In: [`Evidence`], an [`EndorsementBundle`] of the Verifier's own,
//! [`TrustAnchors`], the [`ReportData`] that it expects, the time. Out: [`Verified<Claims>`], which
//! nothing else can make, or the one rung that refused. It does not decide whether the claims are
//! *good*; that is [`appraisal`](crate::appraisal).
//! Against: forged, replayed, relayed or altered Evidence; expired or revoked platforms; collateral
//! that the attester chose; debuggable TDs.

use crate::binding::ReportData;
use crate::claims::Claims;
use crate::endorsement::EndorsementBundle;
use crate::evidence::Evidence;
use crate::unix_time::UnixTime;

pub mod anchors;
pub mod chain;
pub mod error;
pub mod ladder;
mod refusal;
mod tdx;
pub mod verified;

pub use anchors::{AnchorError, TrustAnchors};
pub use error::{Document, VerifyError};
pub use ladder::{Ladder, Outcome, RungOutcome};
pub use verified::Verified;

/// What may be loosened. The default loosens nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// What to do with a TD that the host can read.
    pub debug_guests: DebugGuests,
}

/// What to do with a debuggable TD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DebugGuests {
    /// Refuse it at rung T9.
    #[default]
    Refuse,
    /// Let it through to the appraisal, where only `insecure_allow_debug` accepts it. Anybody who
    /// runs the host then reads whatever is released to it.
    InsecureLeaveToAppraisal,
}

/// Verifies Evidence, strictly. See [`verify_with`].
///
/// # Errors
/// See [`verify_with`].
pub fn verify(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    expected: &ReportData,
    now: UnixTime,
) -> Result<Verified<Claims>, VerifyError> {
    verify_with(evidence, endorsements, anchors, expected, now, &VerifyOptions::default())
}

/// Verifies Evidence against Endorsements and roots at a time.
///
/// The result proves that genuine hardware signed these claims over `expected`, that no certificate,
/// list or document in the chain was expired or revoked at `now`, and that the TD is closed. It does
/// not prove that the claims are acceptable.
///
/// # Errors
/// The first rung that fails, in the order of `SPEC.md`.
//
//= attestation/SPEC.md#1
//# A Verifier MUST NOT take Endorsements or trust anchors from whoever sends the Evidence.
pub fn verify_with(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    expected: &ReportData,
    now: UnixTime,
    options: &VerifyOptions,
) -> Result<Verified<Claims>, VerifyError> {
    match evidence {
        Evidence::Tdx(tdx) => tdx::verify(tdx, endorsements, anchors, expected, now, options)
            .map(|claims| Verified::assertion(Claims::Tdx(Box::new(claims)))),
    }
}

/// Climbs every rung and records each outcome, for stored Evidence and for people. The rung of the
/// report data is not applicable: a file has no challenge.
#[must_use]
pub fn replay(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Ladder {
    match evidence {
        Evidence::Tdx(tdx) => tdx::replay(tdx, endorsements, anchors, now),
    }
}
