//! SEV-SNP Evidence in the KBS protocol's form.

use adyton_attestation::evidence::SnpEvidence;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::snp_report::{self, kbs_seed, nobody_signed, says_the_same_again};

/// Parses the bytes as JSON and that as Evidence; it is written and read as the same again.
pub fn run(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let Ok(evidence) = SnpEvidence::parse_kbs(&value) else {
        return;
    };
    says_the_same_again(&evidence);
    nobody_signed(evidence);
}

/// Reports as numbers, as bytes, and both.
pub fn seeds() -> Vec<Vec<u8>> {
    let reports = snp_report::seeds();
    let raw = STANDARD.encode(&reports[3]);
    let mut both = SnpEvidence::parse(&reports[3]).expect("a seed").to_kbs();
    both["attestation_report_raw"] = raw.as_str().into();
    let bytes = json!({ "attestation_report_raw": raw, "cert_chain": null });
    let forms = [both, bytes].map(|json| json.to_string().into_bytes());
    reports.iter().map(|raw| kbs_seed(raw)).chain(forms).collect()
}
