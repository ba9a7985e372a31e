//! The secret half of a TEE key has no `Debug`: it can't reach a log.

use adyton_attestation::rcar::TeeKeyPair;

fn logged(pair: &TeeKeyPair) -> String {
    format!("{pair:?}")
}

fn main() {}
