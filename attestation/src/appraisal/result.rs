//! The Attestation Result: claims that an owner's policy accepted.

use crate::appraisal::AppraisalPolicy;
use crate::claims::Claims;
use crate::unix_time::UnixTime;
use crate::verifier::Verified;

/// Verified claims that an appraisal accepted.
///
/// Holding one proves that at [`appraised_at`](Self::appraised_at) the claims were verified, matched
/// one set of Reference Values as a whole and met the policy with
/// [`policy_digest`](Self::policy_digest). It does not prove that they still do after
/// [`expires`](Self::expires).
#[derive(Debug)]
pub struct AttestationResult {
    verified: Verified<Claims>,
    policy_digest: String,
    matched: String,
    appraised_at: UnixTime,
    expires: UnixTime,
}

impl AttestationResult {
    /// The only birth of an `AttestationResult`: where an appraisal found no reason against.
    pub(in crate::appraisal) fn assertion(
        verified: Verified<Claims>,
        policy: &AppraisalPolicy,
        matched: String,
        now: UnixTime,
        collateral_expires: UnixTime,
    ) -> Self {
        let lifetime = u64::from(policy.result_lifetime_seconds);
        Self {
            verified,
            policy_digest: policy.digest(),
            matched,
            appraised_at: now,
            //= attestation/SPEC.md#6
            //# A result MUST NOT be used after its lifetime or after the collateral has expired, whichever is first.
            expires: now.plus_seconds(lifetime).min(collateral_expires),
        }
    }

    /// The accepted claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        self.verified.get()
    }

    /// Digest of the appraisal policy that accepted them, SHA-256, lower-case hex.
    #[must_use]
    pub fn policy_digest(&self) -> &str {
        &self.policy_digest
    }

    /// Name of the set of Reference Values that matched.
    #[must_use]
    pub fn matched_reference_values(&self) -> &str {
        &self.matched
    }

    /// When the appraisal took place.
    #[must_use]
    pub fn appraised_at(&self) -> UnixTime {
        self.appraised_at
    }

    /// When the result ends: with its lifetime or with the collateral, whichever is first.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Gives the verified claims back, to appraise them for another key.
    #[must_use]
    pub fn into_verified(self) -> Verified<Claims> {
        self.verified
    }
}
