//! The field of `Verified` is private.

use adyton_attestation::{Claims, Verified};

fn forge(claims: Claims) -> Verified<Claims> {
    Verified(claims)
}

fn main() {}
