//! `AttestationResult` is born in the appraisal only.

use adyton_attestation::{AppraisalPolicy, AttestationResult, Claims, UnixTime, Verified};

fn forge(verified: Verified<Claims>, policy: &AppraisalPolicy, now: UnixTime) -> AttestationResult {
    AttestationResult::assertion(verified, policy, String::new(), now, now)
}

fn main() {}
