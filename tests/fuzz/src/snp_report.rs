//! SEV-SNP reports as bytes.

use adyton_attestation::evidence::SnpEvidence;
use adyton_attestation::{
    AmdRevocation, DebugGuests, EndorsementBundle, Evidence, TrustAnchors, UnixTime, VerifyOptions,
    replay, verify_with,
};
use serde_json::json;

/// Parses, and then: the KBS form says the same report to the byte, and nobody signed it.
pub fn run(data: &[u8]) {
    let Ok(evidence) = SnpEvidence::parse(data) else {
        return;
    };
    assert_eq!(evidence.raw().as_slice(), data);
    says_the_same_again(&evidence);
    nobody_signed(evidence);
}

/// What is written in the KBS form reads as the same report with the same certificates.
pub(crate) fn says_the_same_again(evidence: &SnpEvidence) {
    let json = evidence.to_kbs();
    let again = SnpEvidence::parse_kbs(&json).expect("our own form");
    assert_eq!(again.raw(), evidence.raw());
    assert_eq!(again.certificates(), evidence.certificates());
    assert_eq!(again.to_kbs(), json);
}

/// No key of AMD's signed what comes out of a fuzzer, however lenient the options are.
pub(crate) fn nobody_signed(evidence: SnpEvidence) {
    const NOW: UnixTime = UnixTime(1_756_684_800);
    let options = VerifyOptions {
        debug_guests: DebugGuests::InsecureLeaveToAppraisal,
        amd_revocation: AmdRevocation::InsecureWaive,
        ..VerifyOptions::default()
    };
    let (bundle, anchors) = (EndorsementBundle::empty(), TrustAnchors::vendor());
    let expected = evidence.report_data();
    let evidence = Evidence::Snp(evidence);
    let refusal = verify_with(&evidence, &bundle, &anchors, &expected, NOW, &options)
        .expect_err("nobody signed this");
    assert!(!refusal.reasons().is_empty());
    assert!(!replay(&evidence, &bundle, &anchors, NOW).all_passed());
}

/// A report of a version for a processor, with every field filled that is free.
pub(crate) fn report(version: u8, cpuid: [u8; 3]) -> Vec<u8> {
    let mut raw: Vec<u8> = (1..=251).cycle().take(1184).collect();
    raw[..4].copy_from_slice(&[version, 0, 0, 0]);
    raw[0x08..0x10].copy_from_slice(&0x3_0000_u64.to_le_bytes());
    raw[0x34..0x38].copy_from_slice(&1_u32.to_le_bytes());
    raw[0x40..0x48].copy_from_slice(&0x25_u64.to_le_bytes());
    raw[0x48..0x50].fill(0);
    raw[0x188..0x1a0].fill(0);
    if version > 2 {
        raw[0x188..0x18b].copy_from_slice(&cpuid);
    }
    let is_turin = version > 2 && cpuid[0] == 0x1a;
    if is_turin {
        raw[0x1a8..0x1e0].fill(0);
    }
    for tcb in [0x38, 0x180, 0x1e0, 0x1f0] {
        if is_turin {
            raw[tcb + 4..tcb + 7].fill(0);
        } else {
            raw[tcb + 2..tcb + 6].fill(0);
        }
    }
    raw[0x1eb] = 0;
    raw[0x1ef] = 0;
    raw[if version < 5 { 0x1f8 } else { 0x208 }..0x2a0].fill(0);
    for scalar in [0x2a0, 0x2e8] {
        raw[scalar + 48..scalar + 72].fill(0);
    }
    raw[0x330..].fill(0);
    raw
}

/// Reports of every version and product line.
pub fn seeds() -> Vec<Vec<u8>> {
    let (milan, genoa, turin) = ([0x19, 1, 1], [0x19, 0xa0, 2], [0x1a, 2, 1]);
    vec![report(2, milan), report(3, milan), report(3, genoa), report(5, genoa), report(5, turin)]
}

/// The KBS form of a report with one certificate that is none.
pub(crate) fn kbs_seed(raw: &[u8]) -> Vec<u8> {
    let mut json = SnpEvidence::parse(raw).expect("a seed").to_kbs();
    json["cert_chain"] = json!([{ "cert_type": "VCEK", "data": [48, 3, 2, 1, 0] }]);
    json.to_string().into_bytes()
}
