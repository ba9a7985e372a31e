//! Attestation for Adyton: what a TEE says, who vouches for it, and what follows from it.
//!
//! Roles are those of RFC 9334 (RATS); each lives in one place:
//!
//! | role or artefact (RFC 9334) | module | it does |
//! |---|---|---|
//! | Attester (§4.1) | [`attester`] | asks the platform for Evidence; the only IO of this crate |
//! | Evidence (§4.2) | [`evidence`] | parses what the TEE signed; believes none of it |
//! | Endorser, Endorsements (§4.1, §4.2) | [`endorsement`] | vendor statements as values with validity |
//! | Reference Values (§4.2) | [`reference_value`] | the measurements that an owner expects |
//! | Verifier (§4.1) | [`verifier`] | numbered ladder of checks; only it makes a [`Verified`] |
//! | Appraisal Policy, Attestation Result (§4.2) | [`appraisal`] | claims + references + policy → result, or every reason against |
//! | Attestation Result on its way (§4.2) | [`ear`] | tokens: issued for verified claims, verified for a Relying Party |
//! | freshness by nonce (§10.2) | [`challenge`] | the 32 random bytes that a Verifier sends |
//! | key binding | [`binding`], [`report`] | what REPORT_DATA commits to; the report that clients verify |
//! | Evidence in certificates | [`ra_tls`] | issue and verify RA-TLS leaves |
//! | Relying Party as client (§4.1) | [`peer`] | who is at the other end of a TLS connection |
//! | background-check model (§5.2) | [`rcar`] | the KBS protocol as messages and states without IO |
//!
//! # The chain of proofs
//!
//! Each station is a type, each arrow the only function that leads there.
//!
//! ```text
//!  bytes ──parse──► Evidence                      an allegation; anybody can write one
//!                      │   + EndorsementBundle    vendor collateral, chosen by the Verifier
//!                      │   + TrustAnchors         vendor roots (and, named so, insecure extra ones)
//!                      │   + ReportData           what this Verifier asked the TEE to sign
//!                      │   + UnixTime             the Verifier's clock, an argument
//!                      ▼
//!                   verify ──────► VerifyError    rung, value, expected, remedy
//!                      │
//!                      ▼
//!                   Verified<Claims>              genuine hardware signed these claims, now, for us
//!                      │   + ReferenceValues      none given means no
//!                      │   + AppraisalPolicy      strict unless it says otherwise
//!                      ▼
//!                   appraise ────► AppraisalRefusal { reasons, verified }
//!                      │
//!                      ▼
//!                   AttestationResult             the claims are the ones the owner accepts
//! ```
//!
//! [`Verified`] and [`AttestationResult`] have private fields and one constructor each, named
//! `assertion`: a search for that word lists every place where trust begins. Outside
//! [`attester`] there is no IO, no clock and no async in this crate; time, randomness, collateral
//! and roots are arguments, so that every decision can be replayed from a log.
//!
//! `SPEC.md` beside this crate numbers the rungs and fixes the encodings.

pub mod appraisal;
pub mod attester;
pub mod binding;
pub mod challenge;
pub mod claims;
pub mod ear;
pub mod endorsement;
pub mod evidence;
pub mod limits;
pub mod peer;
pub mod ra_tls;
pub mod rcar;
pub mod reason;
pub mod reference_value;
pub mod report;
pub mod unix_time;
pub mod verifier;

pub use appraisal::{
    AppraisalPolicy, AppraisalRefusal, AttestationResult, PolicyError, ReleasePolicy, appraise,
    appraise_with_devices,
};
pub use binding::{BindingLevel, ChannelBinding, EXPORTER_LABEL, ReportBinding, ReportData};
pub use challenge::Nonce;
pub use claims::{
    AnchorUsed, AzureClaims, AzureHardwareClaims, Claims, GpuClaims, SnpClaims, TcbStatus,
    TdxClaims,
};
pub use endorsement::{EndorsementBundle, EndorsementError};
pub use evidence::{Evidence, EvidenceError, Tee};
pub use reason::Reason;
pub use reference_value::{ReferenceValueError, ReferenceValues};
pub use report::{AttestationReport, ReportError, VerifiedReport, verify_report};
pub use unix_time::UnixTime;
pub use verifier::{
    AmdRevocation, AnchorError, DebugGuests, Ladder, Loosened, ParavisorTds, RungOutcome,
    SignatureCache, TrustAnchors, Verified, VerifyError, VerifyOptions, explain, explain_gpu,
    explain_with, replay, replay_with, verify, verify_cached, verify_gpu, verify_with,
};

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    pub(crate) mod wycheproof;
}
