//! `AcceptedPeer` comes out of an appraisal only, and never out of a weaker proof.

use adyton_attestation::peer::{AcceptedPeer, Expectations, Instance, RelayablePeer};
use adyton_attestation::{AttestationReport, AttestationResult, UnixTime};

fn by_its_fields(
    result: AttestationResult,
    report: AttestationReport,
    instance: Instance,
) -> AcceptedPeer {
    AcceptedPeer { result, report, instance }
}

fn of_a_relayable_one(
    peer: RelayablePeer,
    expectations: &Expectations,
    now: UnixTime,
) -> AcceptedPeer {
    peer.appraise(expectations, now).unwrap()
}

fn main() {}
