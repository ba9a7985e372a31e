//! Reports of real NVIDIA devices with their real certificates: every verdict, and claims that NVIDIA's
//! own tools read from the same bytes.
//!
//! The vectors are not part of the project; where they are looked for stands in `real/mod.rs`.

use std::path::Path;

use adyton_attestation::claims::{AnchorUsed, GpuRevocation, Nvdec0};
use adyton_attestation::evidence::nvidia_gpu::{
    GpuArchitecture, GpuEvidence, GpuFormatError, SpdmError,
};
use adyton_attestation::verifier::chain::ChainError;
use adyton_attestation::verifier::{GpuError, verify_gpu};
use adyton_attestation::{GpuClaims, TrustAnchors, UnixTime};
use serde_json::Value;

mod real;

use real::{read, vectors};

/// 2026-11-26. The devices' certificates are valid until the end of the year 9999.
const NOW: UnixTime = UnixTime(1_795_651_200);

/// A report as hex text with a PEM chain, as NVIDIA's and Trustee's own tests keep them.
fn hex_evidence(
    folder: &Path,
    architecture: GpuArchitecture,
    report: &str,
    chain: &str,
) -> Result<GpuEvidence, GpuFormatError> {
    let report = hex::decode(read(folder, report).trim_ascii()).expect("hex");
    GpuEvidence::from_parts(architecture, &report, read(folder, chain))
}

/// Verified over the nonce that the report carries, which these vectors have no challenge for.
fn verdict(evidence: &GpuEvidence) -> Result<GpuClaims, GpuError> {
    let nonce = *evidence.report().nonce();
    verify_gpu(evidence, &TrustAnchors::vendor(), &nonce, NOW).map(|device| device.get().clone())
}

#[test]
fn real_hopper_reports_are_verified_with_their_claims() {
    let Some(folder) = vectors() else { return };
    let cases = [
        (
            "trustee/nvidia/hopperAttestationReport.txt",
            "trustee/nvidia/hopper_cert_chain_case1.txt",
            "550.90.07",
            "96.00.9f.00.01",
            "1010 0200 882",
        ),
        // This one is followed by a zero byte.
        (
            "trustee/nvidia/hopper_coco_report1.txt",
            "trustee/nvidia/hopper_coco_certs1.txt",
            "580.95.05",
            "96.00.74.00.1a",
            "1010 0200 882",
        ),
    ];
    for (report, chain, driver, vbios, board) in cases {
        let evidence = hex_evidence(&folder, GpuArchitecture::Hopper, report, chain).expect(report);
        let claims = verdict(&evidence).unwrap_or_else(|error| panic!("{report}: {error:?}"));
        assert_eq!(claims.driver_version, driver);
        assert_eq!(claims.vbios_version, vbios);
        assert_eq!(claims.board, board);
        assert_eq!(claims.nvdec0, Nvdec0::Disabled);
        assert_eq!(claims.root, AnchorUsed::Vendor);
        assert_eq!(claims.measurements.len(), 64);
    }
}

#[test]
fn claims_are_those_that_another_verifier_reads() {
    let Some(folder) = vectors() else { return };
    let (report, chain) = (
        "trustee/nvidia/hopperAttestationReport.txt",
        "trustee/nvidia/hopper_cert_chain_case1.txt",
    );
    let claims =
        verdict(&hex_evidence(&folder, GpuArchitecture::Hopper, report, chain).expect("parses"))
            .expect("verified");
    let theirs: Value =
        serde_json::from_slice(&read(&folder, "trustee/nvidia/hopperAttestationReport-claims.txt"))
            .expect("JSON");
    assert_eq!(theirs["config"]["driver_version"], claims.driver_version);
    assert_eq!(theirs["config"]["vbios_version"], claims.vbios_version);
    assert_eq!(theirs["config"]["fwid"], claims.firmware_id.to_string());
    for (index, measurement) in claims.measurements.iter().enumerate() {
        assert_eq!(theirs["measurements"][(index + 1).to_string()], measurement.to_string());
    }
}

#[test]
fn evidence_of_nvidias_sdk_is_verified_over_its_own_nonce_and_no_other() {
    let Some(folder) = vectors() else { return };
    for name in ["hopper_evidence.json", "hopper_evidence_cert_hold.json"] {
        let list: Value =
            serde_json::from_slice(&read(&folder, &format!("nvidia-attestation-sdk/{name}")))
                .expect("JSON");
        let nonce: [u8; 32] = hex::decode(list[0]["nonce"].as_str().expect("text"))
            .expect("hex")
            .try_into()
            .expect("32");
        let devices = GpuEvidence::parse_list(&list).expect(name);
        let device = verify_gpu(&devices[0], &TrustAnchors::vendor(), &nonce, NOW);
        let device = device.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        // The second one's certificate is on hold at NVIDIA's OCSP responder, which nobody asks here.
        assert_eq!(device.get().revocation, GpuRevocation::NotPublishedOffline);
        for flipped in [0, 31] {
            let mut other = nonce;
            other[flipped] ^= 1;
            let error = verify_gpu(&devices[0], &TrustAnchors::vendor(), &other, NOW).map(|_| ());
            assert!(matches!(error, Err(GpuError::Nonce { .. })), "{name}: {error:?}");
        }
    }
}

#[test]
fn architectures_that_are_not_verified_here_parse_and_are_refused_with_what_is_missing() {
    let Some(folder) = vectors() else { return };
    let list: Value =
        serde_json::from_slice(&read(&folder, "nvidia-attestation-sdk/switch_evidence_ls10.json"))
            .expect("JSON");
    let switch = GpuEvidence::parse_list(&list).expect("parses").remove(0);
    let blackwell = hex_evidence(
        &folder,
        GpuArchitecture::Blackwell,
        "nvidia-attestation-sdk/blackwellAttestationReport.txt",
        "trustee/nvidia/hopper_coco_certs1.txt",
    )
    .expect("parses");
    for (device, architecture) in
        [(switch, GpuArchitecture::Ls10), (blackwell, GpuArchitecture::Blackwell)]
    {
        let error = verdict(&device).expect_err("refused");
        assert!(matches!(error, GpuError::Architecture { got } if got == architecture));
        assert!(error.reason().remedy.contains("manifests"), "{:?}", error.reason());
    }
}

#[test]
fn a_switch_that_calls_itself_hopper_is_found_out_by_its_certificates() {
    let Some(folder) = vectors() else { return };
    let mut list: Value =
        serde_json::from_slice(&read(&folder, "nvidia-attestation-sdk/switch_evidence_ls10.json"))
            .expect("JSON");
    list[0]["arch"] = "HOPPER".into();
    let switch = GpuEvidence::parse_list(&list).expect("parses").remove(0);
    let error = verdict(&switch).expect_err("refused");
    assert!(matches!(error, GpuError::Identity { .. }), "{error:?}");
}

#[test]
fn a_report_that_the_leaf_did_not_sign_is_refused() {
    let Some(folder) = vectors() else { return };
    for report in [
        "nvidia-attestation-sdk/hopperAttestationReportInvalidSignature.txt",
        "nvidia-attestation-sdk/hopperAttestationReportExpired.txt",
    ] {
        let chain = "trustee/nvidia/hopper_cert_chain_case1.txt";
        let evidence =
            hex_evidence(&folder, GpuArchitecture::Hopper, report, chain).expect("parses");
        assert!(matches!(verdict(&evidence), Err(GpuError::Signature)), "{report}");
    }
}

#[test]
fn chains_that_are_cut_are_refused() {
    let Some(folder) = vectors() else { return };
    let report = "trustee/nvidia/hopperAttestationReport.txt";
    let refusal = |case: &str| {
        let chain = format!("trustee/nvidia/hopper_cert_chain_{case}.txt");
        let evidence =
            hex_evidence(&folder, GpuArchitecture::Hopper, report, &chain).expect("parses");
        verdict(&evidence).expect_err("refused")
    };
    // Where the leaf should be there is a certificate that issues others.
    let is_ca = |refusal: &GpuError| {
        matches!(refusal, GpuError::Chain { source: ChainError::Role { .. }, .. })
    };
    // The root alone, a missing intermediate, a missing leaf.
    let root_alone = refusal("case2");
    assert!(is_ca(&root_alone), "{root_alone:?}");
    let no_intermediate = refusal("case3");
    assert!(
        matches!(no_intermediate, GpuError::Chain { source: ChainError::UnknownIssuer { .. }, .. }),
        "{no_intermediate:?}"
    );
    let no_leaf = refusal("case4");
    assert!(is_ca(&no_leaf), "{no_leaf:?}");
}

#[test]
fn every_truncation_of_a_real_report_is_an_error() {
    let Some(folder) = vectors() else { return };
    let report = read(&folder, "trustee/nvidia/hopperAttestationReport.txt");
    let report = hex::decode(report.trim_ascii()).expect("hex");
    for len in 0..report.len() {
        let outcome = GpuEvidence::from_parts(GpuArchitecture::Hopper, &report[..len], Vec::new())
            .map(|_| ());
        assert!(
            matches!(outcome, Err(GpuFormatError::Report(SpdmError::Truncated { .. }))),
            "{len}: {outcome:?}"
        );
    }
}
