//! The field of `VerifiedPeer` is private, and so is its constructor: a weaker proof does not become one.

use adyton_attestation::peer::{ObservedConnection, RelayablePeer, VerifiedPeer};
use adyton_attestation::{AttestationReport, VerifiedReport};

fn by_its_constructor(
    verified: VerifiedReport,
    report: AttestationReport,
    observed: ObservedConnection,
) -> VerifiedPeer {
    VerifiedPeer::assertion(verified, report, observed)
}

fn from_the_weaker_one(peer: RelayablePeer) -> VerifiedPeer {
    VerifiedPeer(peer.0)
}

fn passed_off(peer: RelayablePeer) -> VerifiedPeer {
    peer
}

fn main() {}
