//! Attestation reports, as clients get them from a serving endpoint.

use adyton_attestation::report::AttestationReport;
use adyton_fake_tee::TdProfile;
use serde_json::json;

use crate::genuine::{REPORT_DATA, TEE};

/// Parses; what is written again keeps what the report data commit to.
pub fn run(data: &[u8]) {
    let Ok(report) = AttestationReport::parse(data) else {
        return;
    };
    let again = serde_json::to_vec(&report).expect("a report serialises");
    let again = AttestationReport::parse(&again).expect("our own report parses");
    assert_eq!(again.nonce, report.nonce);
    assert_eq!(again.binding, report.binding);
    assert_eq!(again.spki_sha256, report.spki_sha256);
    assert_eq!(again.manifest_digest, report.manifest_digest);
    assert_eq!(again.config_digest, report.config_digest);
    assert_eq!(again.model, report.model);
    assert_eq!(again.insecure, report.insecure);
}

/// A report, and one of a version to come.
pub fn seeds() -> Vec<Vec<u8>> {
    let digest = "ab".repeat(32);
    let report = |version: u32| {
        json!({
            "version": version,
            "tee": "tdx",
            "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "binding": "certificate",
            "evidence": TEE.primary_evidence(&TdProfile::default(), REPORT_DATA, &[]),
            "spki_sha256": digest,
            "manifest_digest": digest,
            "config_digest": digest,
            "model": {
                "name": "kjv",
                "version": 3,
                "id": "00112233445566778899aabbccddeeff",
                "kid": "kbs:///acme/model-key/kjv?epoch=1"
            },
            "protections": {
                "key_memory": "memfd_secret",
                "dumpable": false,
                "core_files": false,
                "swap": false
            },
            "phase": "ready",
            "insecure": [],
            "software": "adyton-sidecar 0.1.0"
        })
        .to_string()
        .into_bytes()
    };
    vec![report(1), report(2)]
}
