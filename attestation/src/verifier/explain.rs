//! Everything that speaks against refused Evidence, not only the lowest rung.
//!
//! In: a refusal of [`verify_with`](super::verify_with) and what it was called with. Out: [`Reason`]s
//! for the model owner, the refusal's own first. It runs the rungs again that can be run after a
//! failure, and gives no proof: nothing here leads to a [`Verified`](super::Verified).
//! Against: an owner who repairs one fault a day, because each refusal names only one.

use subtle::ConstantTimeEq as _;

use crate::binding::ReportData;
use crate::endorsement::EndorsementBundle;
use crate::evidence::Evidence;
use crate::reason::Reason;
use crate::unix_time::UnixTime;
use crate::verifier::{SnpError, TrustAnchors, VerifyError, VerifyOptions, azure, replay_with};

/// Every reason against Evidence that was refused: the refusal's own, then each other rung that
/// fails, in the order of the ladder, then the report data when they differ.
///
/// The rungs after the refusal look at claims that nobody vouches for any more. What they say helps
/// a person to repair several faults at once; it decides nothing, and a guest must not see it.
#[must_use]
pub fn explain(
    refusal: &VerifyError,
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    expected: &ReportData,
    now: UnixTime,
) -> Vec<Reason> {
    let options = VerifyOptions::default();
    explain_with(refusal, evidence, endorsements, anchors, expected, now, &options)
}

/// As [`explain`], for a refusal under options: what they let through is no reason.
#[must_use]
pub fn explain_with(
    refusal: &VerifyError,
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    expected: &ReportData,
    now: UnixTime,
    options: &VerifyOptions,
) -> Vec<Reason> {
    let mut reasons = refusal.reasons();
    let others = replay_with(evidence, endorsements, anchors, now, options).reasons();
    for reason in others.into_iter().chain(other_report_data(evidence, expected)) {
        // One fault is told once, in the words of the refusal.
        if reasons.iter().all(|told| told.code != reason.code) {
            reasons.push(reason);
        }
    }
    reasons
}

/// The report data as a reason, when they are not the expected ones.
fn other_report_data(evidence: &Evidence, expected: &ReportData) -> Option<Reason> {
    let differ = |got: &ReportData| !bool::from(got.0.ct_eq(&expected.0));
    let boxed = |got| (Box::new(*expected), Box::new(got));
    match (evidence, evidence.report_data()) {
        (Evidence::Azure(azure), _) => azure::other_report_data(azure, expected),
        (Evidence::Tdx(_), got) if differ(&got) => {
            let (expected, got) = boxed(got);
            Some(VerifyError::ReportData { expected, got }.reason())
        }
        (Evidence::Snp(_), got) if differ(&got) => {
            let (expected, got) = boxed(got);
            Some(SnpError::ReportData { expected, got }.reason())
        }
        (Evidence::Tdx(_) | Evidence::Snp(_), _) => None,
    }
}
