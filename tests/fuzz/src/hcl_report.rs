//! HCL reports, as Azure's paravisor keeps them in the vTPM.

use adyton_attestation::evidence::hcl::{HclHardwareReport, HclReport};
use serde_json::{Value, json};

/// Offsets of the layout, from openvmm's `igvm_attest`.
const HARDWARE_REPORT: usize = 0x20;
const REQUEST_DATA: usize = 0x4c0;
const VAR_DATA: usize = 0x4d4;

/// Parses, and then: whatever is no hardware report and no var-data is the one header and zeros.
pub fn run(data: &[u8]) {
    let Ok(report) = HclReport::parse(data) else {
        return;
    };
    let var_data = report.var_data_raw();
    assert_eq!(&data[VAR_DATA..VAR_DATA + var_data.len()], var_data);
    let (kind, hardware): (u32, &[u8]) = match report.hardware() {
        HclHardwareReport::Snp(bytes) => (2, &bytes[..]),
        HclHardwareReport::Tdx(bytes) => (4, &bytes[..]),
    };
    let version = u32::from_le_bytes(data[4..8].try_into().expect("four bytes"));
    assert!(matches!(version, 1 | 2));
    let again = write(version, kind, hardware, var_data);
    assert_eq!(data[..again.len()], again, "a byte that no field accounts for");
    assert!(data[again.len()..].iter().all(|byte| *byte == 0), "padding");
    let json: Value = serde_json::from_slice(var_data).expect("another reader agrees");
    let keys = json["keys"].as_array().expect("a list of keys");
    assert_eq!(keys.iter().filter(|key| key["kid"] == "HCLAkPub").count(), 1);
}

/// Writes a report without padding. Independent of the parser.
pub(crate) fn write(version: u32, kind: u32, hardware: &[u8], var_data: &[u8]) -> Vec<u8> {
    let var_len = u32::try_from(var_data.len()).expect("short");
    let request_len = var_len + 20;
    let size = u32::try_from(REQUEST_DATA).expect("short") + request_len;
    let mut bytes = b"HCLA".to_vec();
    for number in [version, size, 2, 0, 0, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    assert_eq!(bytes.len(), HARDWARE_REPORT);
    bytes.extend(hardware);
    bytes.resize(REQUEST_DATA, 0);
    for number in [request_len, 1, kind, 1, var_len] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(var_data);
    bytes
}

/// Var-data with one attestation key.
pub(crate) fn var_data() -> Value {
    // 256 bytes of 0x92…, in base64url.
    let modulus = format!("{}kg", "kpKS".repeat(85));
    json!({
        "keys": [
            { "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": modulus },
            { "kid": "HCLEkPub", "key_ops": ["encrypt"], "kty": "RSA", "e": "AQAB", "n": modulus },
        ],
        "vm-configuration": { "secure-boot": true, "vmUniqueId": "A2", "tpm-enabled": true },
        "user-data": format!("{}{}", "42".repeat(48), "00".repeat(16)),
    })
}

/// A TDREPORT that commits to nothing.
pub(crate) fn td_report() -> Vec<u8> {
    let mut report = vec![0; 1024];
    report[0] = 0x81;
    report
}

/// An SNP report of version 2 that nobody signed.
pub(crate) fn snp_report() -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0] = 2;
    report
}

/// Reports of both kinds, padded and not, and of an old paravisor.
pub fn seeds() -> Vec<Vec<u8>> {
    let var_data = var_data();
    let text = var_data.to_string().into_bytes();
    let mut padded = write(2, 4, &td_report(), &text);
    padded.resize(2600, 0);
    let old = json!({ "keys": [var_data["keys"][0]] }).to_string().into_bytes();
    vec![
        padded,
        write(2, 4, &td_report(), &text),
        write(1, 2, &snp_report(), &text),
        write(1, 2, &snp_report(), &old),
    ]
}
