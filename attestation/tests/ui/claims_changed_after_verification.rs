//! Verified claims can be read and not changed.

use adyton_attestation::{Claims, Verified};

fn change(verified: &mut Verified<Claims>, other: Claims) {
    *verified.get() = other;
}

fn main() {}
