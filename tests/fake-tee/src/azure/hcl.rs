//! The simulated paravisor: var-data, and the HCL report around them. Numbers are little-endian.
//!
//! Layout: openvmm, `openhcl_attestation_protocol`, `igvm_attest/get.rs`; written from it, not from the
//! product's parser.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::azure::profile::AzureProfile;
use crate::azure::tpm;

/// Where the hardware's report begins.
pub(super) const HARDWARE_REPORT: usize = 0x20;
/// Where the request data begin: size, version, report type, hash type, length of the var-data.
pub(super) const REQUEST_DATA: usize = 0x4c0;
/// Where the var-data begin.
pub(super) const VAR_DATA: usize = 0x4d4;
/// Bytes of the NV index that holds the report.
const NV_INDEX: usize = 2600;

/// The hardware's report.
pub(super) enum Report {
    /// An attestation report.
    Snp(Vec<u8>),
    /// A TDREPORT with these report data. Its MAC means nothing off the machine.
    Tdx([u8; 64]),
}

impl AzureProfile {
    /// The var-data: the vTPM's key, the VM's configuration, what the guest wrote.
    pub fn var_data(&self) -> Vec<u8> {
        let modulus = URL_SAFE_NO_PAD.encode(tpm::attestation_modulus());
        let mut var_data = json!({
            "keys": [{ "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": modulus }],
            "vm-configuration": { "secure-boot": true, "vmUniqueId": "A2" },
        });
        if let Some(user_data) = &self.user_data {
            var_data["user-data"] = hex::encode_upper(user_data).into();
        }
        var_data.to_string().into_bytes()
    }
}

/// The content of the NV index.
pub(super) fn report(hardware: &Report, var_data: &[u8]) -> Vec<u8> {
    let var_len = u32::try_from(var_data.len()).expect("short");
    let mut bytes = b"HCLA".to_vec();
    // Version, report size, request type, status, reserved.
    let request_data = u32::try_from(REQUEST_DATA).expect("an offset");
    for number in [2, request_data + 20 + var_len, 2, 0, 0, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    let report_type = match hardware {
        Report::Snp(report) => {
            bytes.extend(report);
            2
        }
        Report::Tdx(report_data) => {
            let mut report = [0; 1024];
            report[0] = 0x81;
            report[128..192].copy_from_slice(report_data);
            bytes.extend(report);
            4
        }
    };
    bytes.resize(REQUEST_DATA, 0);
    for number in [20 + var_len, 1, report_type, 1, var_len] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(var_data);
    bytes.resize(NV_INDEX.max(bytes.len()), 0);
    bytes
}
