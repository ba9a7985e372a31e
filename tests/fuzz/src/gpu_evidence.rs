//! Evidence of NVIDIA devices: the SPDM report, and the KBS protocol's JSON around it.

use adyton_attestation::evidence::nvidia_gpu::{GpuEvidence, MeasurementReport};
use adyton_attestation::verifier::verify_gpu;
use adyton_attestation::{TrustAnchors, UnixTime};
use adyton_fake_tee::FakeGpu;
use serde_json::Value;

use crate::genuine::NOW;

/// Parses the bytes as a report and as JSON. A report accounts for every byte; no simulated device
/// leads to the vendor's root.
pub fn run(data: &[u8]) {
    if let Ok(report) = MeasurementReport::parse(data) {
        let mut written = report.signed().to_vec();
        written.extend_from_slice(report.signature());
        let (ours, padding) = data.split_at(written.len());
        assert_eq!(ours, written, "bytes that nobody accounts for");
        assert!(padding.iter().all(|byte| *byte == 0), "padding that is not zero");
    }
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    for device in GpuEvidence::parse_list(&value).unwrap_or_default() {
        let nonce = *device.report().nonce();
        let verdict = verify_gpu(&device, &TrustAnchors::vendor(), &nonce, UnixTime(NOW));
        assert!(verdict.is_err(), "a device that nobody certified");
    }
}

/// A sound report, and the JSON that carries it.
pub fn seeds() -> Vec<Vec<u8>> {
    let value = FakeGpu::new(NOW).evidence([7; 32], None);
    let report = value["device_evidence_list"][0]["evidence"].as_str().unwrap_or_default();
    let report = hex::decode(report).unwrap_or_default();
    vec![value.to_string().into_bytes(), report]
}
