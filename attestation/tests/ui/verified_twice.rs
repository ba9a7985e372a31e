//! `Verified` can't be cloned: an appraisal consumes it.

use adyton_attestation::{Claims, Verified};

fn twice(verified: Verified<Claims>) -> (Verified<Claims>, Verified<Claims>) {
    (verified.clone(), verified)
}

fn main() {}
