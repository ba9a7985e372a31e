//! Decides whether verified claims are the ones that the owner accepts.
//!
//! Role: appraisal of claims under an Appraisal Policy for Evidence (RFC 9334 §4.2, §8.5). In:
//! [`Verified<Claims>`] by value, [`ReferenceValues`], an [`AppraisalPolicy`], the time. Out: an
//! [`AttestationResult`], or an [`AppraisalRefusal`] with *every* reason against, not the first one.
//! It does not verify signatures and does not release anything.
//! Against: genuine hardware that runs the wrong software, old firmware, a debug switch; a policy
//! that says nothing, which here means no.

use std::fmt;

use crate::claims::{Claims, GpuClaims};
use crate::reason::Reason;
use crate::reference_value::ReferenceValues;
use crate::unix_time::UnixTime;
use crate::verifier::Verified;

mod azure;
mod event_log;
mod gpu;
pub mod policy;
mod reference;
pub mod rego_rules;
pub mod release_policy;
pub mod result;
mod snp;
mod tdx;

pub use azure::AzurePolicy;
pub use event_log::{EventLogPolicy, RequiredApplicationEvent, RequiredEvent};
pub use gpu::GpuPolicy;
pub use policy::{AppraisalPolicy, PolicyError, Register};
pub use rego_rules::RegoRules;
pub use release_policy::ReleasePolicy;
pub use result::AttestationResult;
pub use snp::{GuestRestriction, MinimumTcb, PlatformProperty, SnpPolicy};
pub use tdx::{SetupRule, TcbMode, TcbPolicy, TdxPolicy};

/// The claims are genuine and not acceptable. Carries them back, so that they can be appraised for
/// another key.
#[derive(Debug)]
pub struct AppraisalRefusal {
    /// Every reason against, never empty, in the order of the rungs.
    pub reasons: Vec<Reason>,
    /// The claims, still verified.
    pub verified: Verified<Claims>,
}

impl fmt::Display for AppraisalRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claims are not acceptable for {} Reason::new(s):", self.reasons.len())?;
        for reason in &self.reasons {
            write!(f, "\n  {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for AppraisalRefusal {}

/// Appraises verified claims against Reference Values under a policy.
///
/// Of `references` those count that the policy names; one of them has to match as a whole. The
/// result proves that every rule of the policy held at `now`.
///
/// # Errors
/// [`AppraisalRefusal`] with every reason against.
pub fn appraise(
    verified: Verified<Claims>,
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    now: UnixTime,
) -> Result<AttestationResult, AppraisalRefusal> {
    appraise_with_devices(verified, &[], references, policy, now)
}

/// As [`appraise`], with the GPUs that the same guest proved over the same nonce.
///
/// # Errors
/// [`AppraisalRefusal`] with every reason against.
pub fn appraise_with_devices(
    verified: Verified<Claims>,
    devices: &[Verified<GpuClaims>],
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    now: UnixTime,
) -> Result<AttestationResult, AppraisalRefusal> {
    let claims = verified.get();
    let appraised = match claims {
        Claims::Tdx(claims) => tdx::appraise(claims, references, policy, now),
        Claims::Snp(claims) => snp::appraise(claims, references, policy, now),
        Claims::AzSnpVtpm(claims) | Claims::AzTdxVtpm(claims) => {
            azure::appraise(claims, references, policy, now)
        }
    };
    let (matched, mut reasons) = match appraised {
        Ok(matched) => (Some(matched), Vec::new()),
        Err(reasons) => (None, reasons),
    };
    event_log::appraise(claims, &policy.event_log, &mut reasons);
    gpu::appraise(devices, references, &policy.gpu, &mut reasons);
    match matched {
        Some(matched) if reasons.is_empty() => {
            let devices_expire = devices.iter().map(|device| device.get().endorsements_expire);
            let expires = devices_expire.fold(claims.endorsements_expire(), UnixTime::min);
            Ok(AttestationResult::assertion(verified, policy, matched, now, expires))
        }
        _ => Err(AppraisalRefusal { reasons, verified }),
    }
}

fn joined<T: ToString>(values: impl Iterator<Item = T>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}
