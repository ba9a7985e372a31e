//! `Verified` is born in the verifier only.

use adyton_attestation::{Claims, Verified};

fn forge(claims: Claims) -> Verified<Claims> {
    Verified::assertion(claims)
}

fn main() {}
