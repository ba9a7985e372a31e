//! The `primary_evidence` member of an RCAR Attestation.

use adyton_attestation::{Evidence, Tee};
use adyton_fake_tee::TdProfile;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::evidence_file::{another_parser_agrees, only_genuine_quotes_verify};
use crate::genuine::{QUOTES, REPORT_DATA, TEE};

/// Parses the bytes as JSON, and then as Evidence of every TEE.
pub fn run(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if let Ok(evidence) = Evidence::parse_kbs(Tee::Tdx, &value) {
        another_parser_agrees(&evidence);
        only_genuine_quotes_verify(&evidence);
    }
}

/// Evidence with and without an event log, with unknown members, and of the sample TEE.
pub fn seeds() -> Vec<Vec<u8>> {
    let quote = STANDARD.encode(&QUOTES[0]);
    [
        TEE.primary_evidence(&TdProfile::default(), REPORT_DATA, &[]),
        json!({ "cc_eventlog": STANDARD.encode([0; 64]), "quote": quote }),
        json!({ "cc_eventlog": null, "quote": quote, "aa_eventlog": "unknown" }),
        json!({ "quote": quote }),
        json!({ "svn": "1", "report_data": STANDARD.encode(REPORT_DATA) }),
    ]
    .map(|value| value.to_string().into_bytes())
    .into()
}
