//! A `RaTlsPeer` is born in `verify_certificate` only, and is no `VerifiedPeer`.

use adyton_attestation::Verified;
use adyton_attestation::Claims;
use adyton_attestation::peer::VerifiedPeer;
use adyton_attestation::ra_tls::{RaTlsBinding, RaTlsPeer};

fn forge(verified: Verified<Claims>, binding: RaTlsBinding) -> RaTlsPeer {
    RaTlsPeer::assertion(verified, binding)
}

fn passed_off(peer: RaTlsPeer) -> VerifiedPeer {
    peer
}

fn main() {}
