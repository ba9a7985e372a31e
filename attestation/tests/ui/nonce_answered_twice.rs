//! A nonce counts once: `AwaitingAttestation` is used up by the first Attestation.

use adyton_attestation::rcar::{Attestation, AwaitingAttestation};

fn twice(session: AwaitingAttestation, first: &Attestation, second: &Attestation) {
    let _ = session.on_attestation(first);
    let _ = session.on_attestation(second);
}

fn main() {}
