//! The fields of `AcceptedPeer` are private.

use adyton_attestation::peer::{AcceptedPeer, Instance};
use adyton_attestation::{AttestationReport, AttestationResult};

fn forge(
    result: AttestationResult,
    report: AttestationReport,
    instance: Instance,
) -> AcceptedPeer {
    AcceptedPeer { result, report, instance }
}

fn main() {}
