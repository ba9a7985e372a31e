//! An appraisal of the weaker proof gives no `AcceptedPeer`.

use adyton_attestation::UnixTime;
use adyton_attestation::peer::{AcceptedPeer, Expectations, RelayablePeer};

fn accept(peer: RelayablePeer, expectations: &Expectations, now: UnixTime) -> AcceptedPeer {
    peer.appraise(expectations, now).unwrap()
}

fn main() {}
