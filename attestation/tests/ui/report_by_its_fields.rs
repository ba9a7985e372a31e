//! `VerifiedReport` can't be put together from claims and a level of one's own choice.

use adyton_attestation::binding::BindingLevel;
use adyton_attestation::report::VerifiedReport;
use adyton_attestation::{Claims, Verified};

fn upgraded(verified: Verified<Claims>) -> VerifiedReport {
    VerifiedReport { verified, level: BindingLevel::Channel }
}

fn main() {}
