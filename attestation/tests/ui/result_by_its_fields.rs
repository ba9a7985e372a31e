//! The fields of `AttestationResult` are private.

use adyton_attestation::{AttestationResult, Claims, UnixTime, Verified};

fn forge(verified: Verified<Claims>, now: UnixTime) -> AttestationResult {
    AttestationResult {
        verified,
        policy_digest: String::new(),
        matched: String::new(),
        appraised_at: now,
        expires: now,
    }
}

fn main() {}
