//! `Verified` has no default.

use adyton_attestation::Verified;

fn forge() -> Verified<u8> {
    Default::default()
}

fn main() {}
