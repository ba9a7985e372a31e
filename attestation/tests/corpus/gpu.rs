//! SPDM measurement reports of a GPU.

use adyton_attestation::evidence::nvidia_gpu::GpuEvidence;
use adyton_attestation::verifier::{GpuError, verify_gpu};
use adyton_attestation::{TrustAnchors, UnixTime};
use adyton_fake_tee::FakeGpu;

use crate::NOW;
use crate::case::{Coverage, field, run_bytes};

#[test]
fn every_defect_in_every_field_of_a_gpu_report_is_refused_with_its_code() {
    let gpu = FakeGpu::new(NOW);
    let nonce = [0x42; 32];
    let anchors =
        TrustAnchors::vendor().with_insecure_extra_root(gpu.root_pem().as_bytes()).expect("a root");
    let value = gpu.evidence(nonce, None);
    let text = |member: &str| value["device_evidence_list"][0][member].as_str().expect("text");
    let report = hex::decode(text("evidence")).expect("hex");
    let certificate = text("certificate").to_owned();
    let judge = |bytes: &[u8]| {
        let device = serde_json::json!([
            { "arch": "HOPPER", "evidence": hex::encode(bytes), "certificate": certificate }
        ]);
        let refused = |error: GpuError| error.reason().code.into_owned();
        let devices = GpuEvidence::parse_list(&device).map_err(|error| refused(error.into()))?;
        verify_gpu(&devices[0], &anchors, &nonce, UnixTime(NOW)).map(|_| ()).map_err(refused)
    };
    const FORM: &[&str] = &["gpu.report.malformed"];
    const SIGNED: &[&str] = &["gpu.report.signature"];
    const EITHER: &[&str] = &["gpu.report.malformed", "gpu.report.signature"];
    let record = 37 + 8;
    let opaque = record + 64 * 55 + 32;
    let signature = report.len() - 96;
    let fields = [
        field("request header", 0..4, FORM),
        field("request nonce, slot", 4..37, SIGNED),
        field("response version, code", 37..39, FORM),
        field("response parameters", 39..41, SIGNED),
        field("number of blocks, record length", 41..45, FORM),
        field("measurement record", record..record + 64 * 55, EITHER),
        field("responder's nonce", record + 64 * 55..opaque, SIGNED),
        field("opaque length", opaque..opaque + 2, FORM),
        field("opaque data", opaque + 2..signature, EITHER),
        field("signature", signature..report.len(), SIGNED),
    ];
    run_bytes("Hopper report", &report, Coverage::Whole, &fields, judge);
}
