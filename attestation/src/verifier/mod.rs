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
mod azure;
pub mod chain;
pub mod error;
pub mod event_log;
mod explain;
pub mod ladder;
pub mod nvidia_gpu;
mod profile;
mod refusal;
pub mod signature_cache;
mod snp;
mod tdx;
pub mod verified;

pub use anchors::{AnchorError, TrustAnchors};
pub use azure::AzureError;
pub use error::{Document, VerifyError};
pub use event_log::EventLogRefusal;
pub use explain::{explain, explain_with};
pub use ladder::{Ladder, Outcome, RungOutcome};
pub use nvidia_gpu::{GpuError, verify_gpu};
pub use signature_cache::SignatureCache;
pub use snp::{Firmware, SnpError};
pub(crate) use tdx::platform as tdx_platform;
pub use verified::Verified;

/// What may be loosened. The default loosens nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// What to do with a guest that the host can read.
    pub debug_guests: DebugGuests,
    /// What to do with TDs whose attributes a paravisor leaves at zero.
    pub paravisor_tds: ParavisorTds,
    /// What to do where AMD's revocation list is not at hand.
    pub amd_revocation: AmdRevocation,
}

/// What to do with a TD that runs without SEPT_VE_DISABLE, as Azure's do under their paravisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParavisorTds {
    /// Refuse it at rung T9.
    #[default]
    Refuse,
    /// Let a TD with TD_ATTRIBUTES of zero through. The paravisor then decides what a #VE on a page
    /// that the host took away does, and its measurement (MRTD) must be one that the owner knows.
    InsecureAccept,
}

/// What to do about AMD's revocation list (rung S5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmdRevocation {
    /// No list, or one that is not current, is a refusal.
    #[default]
    Require,
    /// Go on without a list. A revoked intermediate key would not be noticed. A list that is at hand
    /// is looked at all the same.
    InsecureWaive,
}

/// What to do with a debuggable guest.
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
        Evidence::Snp(snp) => snp::verify(snp, endorsements, anchors, expected, now, options)
            .map(|claims| Verified::assertion(Claims::Snp(Box::new(claims)))),
        Evidence::Azure(azure) => {
            azure::verify(azure, endorsements, anchors, expected, now, options)
                .map(Verified::assertion)
        }
    }
}

/// As [`verify_with`], with a memory of good signatures: the vendor's certificates, lists and documents
/// are the same for every TD of a platform type, and each of their signatures is computed once. Dates,
/// revocation, roles and the quote's own signature are looked at on every call; see
/// [`SignatureCache`] for why no entry can make this accept what [`verify_with`] refuses.
///
/// # Errors
/// Those of [`verify_with`], whatever is in the cache.
pub fn verify_cached(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    expected: &ReportData,
    now: UnixTime,
    options: &VerifyOptions,
    cache: &SignatureCache,
) -> Result<Verified<Claims>, VerifyError> {
    match evidence {
        Evidence::Tdx(tdx) => {
            tdx::verify_cached(tdx, endorsements, anchors, expected, now, options, cache)
                .map(|claims| Verified::assertion(Claims::Tdx(Box::new(claims))))
        }
        Evidence::Azure(azure) => {
            azure::verify_cached(azure, endorsements, anchors, expected, now, options, cache)
                .map(Verified::assertion)
        }
        Evidence::Snp(snp) => {
            snp::verify_cached(snp, endorsements, anchors, expected, now, options, cache)
                .map(|claims| Verified::assertion(Claims::Snp(Box::new(claims))))
        }
    }
}

/// Climbs every rung, strictly, and records each outcome. See [`replay_with`].
#[must_use]
pub fn replay(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Ladder {
    replay_with(evidence, endorsements, anchors, now, &VerifyOptions::default())
}

/// Climbs every rung and records each outcome, for stored Evidence and for people. The rung of the
/// report data is not applicable: a file has no challenge. What the options let through is recorded
/// as [`Waived`](Outcome::Waived), with the reason that was overruled.
#[must_use]
pub fn replay_with(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    now: UnixTime,
    options: &VerifyOptions,
) -> Ladder {
    match evidence {
        Evidence::Tdx(tdx) => tdx::replay(tdx, endorsements, anchors, now, options),
        Evidence::Snp(snp) => snp::replay(snp, endorsements, anchors, now, options),
        Evidence::Azure(azure) => azure::replay(azure, endorsements, anchors, now, options),
    }
}
