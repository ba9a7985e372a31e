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
mod options;
mod profile;
mod refusal;
pub mod signature_cache;
mod snp;
mod tdx;
pub mod verified;
pub(crate) mod vouch;

pub use anchors::{AnchorError, TrustAnchors};
pub use azure::AzureError;
pub use error::{Document, VerifyError};
pub use event_log::EventLogRefusal;
pub use explain::{explain, explain_with};
pub use ladder::{Ladder, LeftTo, NotApplicable, Outcome, RungOutcome};
pub use nvidia_gpu::{GpuError, explain_gpu, verify_gpu};
pub use options::{AmdRevocation, DebugGuests, Loosened, ParavisorTds, VerifyOptions};
pub use signature_cache::SignatureCache;
pub use snp::{Firmware, SnpError};
pub(crate) use tdx::platform as tdx_platform;
pub use verified::Verified;

use signature_cache::Signatures;

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
    let signatures = Signatures::default();
    climb(evidence, expected, Grounds { endorsements, anchors, now, options: *options, signatures })
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
    let signatures = Signatures::with(cache);
    climb(evidence, expected, Grounds { endorsements, anchors, now, options: *options, signatures })
}

/// What a verification looks at besides the Evidence and the expected report data. All of it is the
/// Verifier's own.
struct Grounds<'a> {
    endorsements: &'a EndorsementBundle,
    anchors: &'a TrustAnchors,
    now: UnixTime,
    options: VerifyOptions,
    signatures: Signatures<'a>,
}

fn climb(
    evidence: &Evidence,
    expected: &ReportData,
    grounds: Grounds<'_>,
) -> Result<Verified<Claims>, VerifyError> {
    let claims = match evidence {
        Evidence::Tdx(tdx) => Claims::Tdx(Box::new(tdx::verify(tdx, expected, grounds)?)),
        Evidence::Snp(snp) => Claims::Snp(Box::new(snp::verify(snp, expected, grounds)?)),
        Evidence::Azure(azure) => azure::verify(azure, expected, grounds)?,
    };
    Ok(Verified::assertion(claims))
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
/// report data is [left to the Challenge](LeftTo::Challenge), those of the policy to the
/// [appraisal](LeftTo::Appraisal). What the options let through is recorded as
/// [`Waived`](Outcome::Waived), with the reason that was overruled.
#[must_use]
pub fn replay_with(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    now: UnixTime,
    options: &VerifyOptions,
) -> Ladder {
    let signatures = Signatures::default();
    let grounds = Grounds { endorsements, anchors, now, options: *options, signatures };
    match evidence {
        Evidence::Tdx(tdx) => tdx::replay(tdx, grounds),
        Evidence::Snp(snp) => snp::replay(snp, grounds),
        Evidence::Azure(azure) => azure::replay(azure, grounds),
    }
}
