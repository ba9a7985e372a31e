//! `sev` 8, AMD's reference crate, beside our parser and ladder over real reports.
//!
//! Where the two agree, two readings of AMD's documents agree. Where they differ, the test says why ours
//! is right: `sev` checks signatures and nothing else, and leaves dates, roles, revocation, chip, firmware
//! and guest policy to whoever calls it.

use std::path::Path;

use adyton_attestation::endorsement::AmdEndorsements;
use adyton_attestation::endorsement::amd::AmdCertificate;
use adyton_attestation::evidence::SnpEvidence;
use adyton_attestation::evidence::snp::certificates::CertificateLabel;
use adyton_attestation::evidence::snp::{PresentedCertificates, SnpFormatError};
use adyton_attestation::verifier::SnpError;
use adyton_attestation::{
    AmdRevocation, EndorsementBundle, Evidence, TrustAnchors, UnixTime, VerifyError, VerifyOptions,
    verify_with,
};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use sev::certs::snp::{Certificate, Chain, Verifiable as _, builtin, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

mod real;

use real::{expected, read, vectors};

/// 2025-09-01: every real certificate counts.
const NOW: UnixTime = UnixTime(1_756_684_800);
/// 2026-01-01: the VLEK of the vectors has ended.
const AFTER_THE_VLEK: UnixTime = UnixTime(1_767_225_600);

/// One real report with everything that verifies it.
struct Case {
    name: String,
    raw: Vec<u8>,
    vek: Vec<u8>,
    /// ASK or ASVK, by the kind of the key.
    intermediate: Vec<u8>,
    ark: Vec<u8>,
}

fn pem(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    use rustls_pki_types::pem::PemObject as _;
    rustls_pki_types::CertificateDer::pem_slice_iter(&read(folder, name))
        .map(|der| der.expect("a certificate").to_vec())
        .collect()
}

fn cases(folder: &Path) -> Vec<Case> {
    let cases: Vec<Case> = expected(folder, "snp")
        .into_iter()
        .map(|(name, listed)| case(folder, name, &listed))
        .collect();
    assert_eq!(cases.len(), 6, "the vectors have other reports than before");
    cases
}

fn case(folder: &Path, name: String, listed: &Value) -> Case {
    let raw = match name.split_once('@') {
        Some((file, _)) => read(folder, file)[0x20..0x20 + 1184].to_vec(),
        None if name.ends_with("report_milan.bin") => {
            let text = read(folder, &name.replace(".bin", ".hex"));
            hex::decode(text.trim_ascii()).expect("hex")
        }
        None => read(folder, &name),
    };
    let vek = listed["vek"].as_str().expect("a file").split(' ').next().expect("a file");
    let vek = if vek.ends_with(".pem") { pem(folder, vek).remove(0) } else { read(folder, vek) };
    let product = listed["product"].as_str().expect("a product").to_lowercase();
    let chain = pem(folder, &format!("trustee/snp/{product}_ask_ark_asvk.pem"));
    let [ask, ark, asvk] = <[Vec<u8>; 3]>::try_from(chain).expect("three certificates");
    let intermediate = if name.contains("vlek") { asvk } else { ask };
    Case { name, raw, vek, intermediate, ark }
}

/// What `sev` says: whether its chain of signatures holds.
fn sev_accepts(case: &Case, raw: &[u8]) -> bool {
    let Ok(report) = AttestationReport::from_bytes(raw) else { return false };
    let certificate = |der: &[u8]| Certificate::from_der(der).expect("a certificate");
    let ca = ca::Chain { ark: certificate(&case.ark), ask: certificate(&case.intermediate) };
    let chain = Chain { ca, vek: certificate(&case.vek) };
    (&chain, &report).verify().is_ok()
}

/// What we say, under the vendor's roots and without a list, for there is none in the vectors.
fn ours(case: &Case, raw: &[u8], now: UnixTime) -> Result<(), VerifyError> {
    let options =
        VerifyOptions { amd_revocation: AmdRevocation::InsecureWaive, ..VerifyOptions::default() };
    let key = PresentedCertificates::one(CertificateLabel::Vcek, &case.vek).expect("one");
    let evidence = SnpEvidence::parse(raw).map_err(|error| VerifyError::Evidence(error.into()))?;
    let evidence = Evidence::Snp(evidence.with_certificates(key));
    let mut amd = AmdEndorsements::default();
    let intermediate = AmdCertificate::parse(case.intermediate.clone()).expect("AMD's");
    amd.add_certificate(intermediate).expect("room");
    let bundle = EndorsementBundle::from(amd);
    let expected = evidence.report_data();
    verify_with(&evidence, &bundle, &TrustAnchors::vendor(), &expected, now, &options).map(drop)
}

#[test]
fn the_built_in_roots_and_intermediates_are_those_that_sev_carries() {
    type Get = fn() -> std::io::Result<Certificate>;
    let all: [(&str, Get); 6] = [
        ("ark_milan", builtin::milan::ark),
        ("ask_milan", builtin::milan::ask),
        ("ark_genoa", builtin::genoa::ark),
        ("ask_genoa", builtin::genoa::ask),
        ("ark_turin", builtin::turin::ark),
        ("ask_turin", builtin::turin::ask),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/verifier");
    for (name, get) in all {
        let theirs = get().and_then(|certificate| certificate.to_der()).expect(name);
        let ours = std::fs::read(folder.join(format!("{name}.der"))).expect(name);
        assert_eq!(digest(&SHA256, &ours).as_ref(), digest(&SHA256, &theirs).as_ref(), "{name}");
    }
}

#[test]
fn both_read_and_write_the_same_values() {
    let Some(folder) = vectors() else { return };
    for case in cases(&folder) {
        let theirs = AttestationReport::from_bytes(&case.raw).expect("sev reads real reports");
        let theirs = serde_json::to_value(theirs).expect("JSON");
        let ours = SnpEvidence::parse(&case.raw).expect("we read real reports").to_kbs();
        assert_eq!(ours["attestation_report"], theirs, "{}", case.name);
        // And what `sev` writes, we read back to the very bytes.
        let json = serde_json::json!({ "attestation_report": theirs, "cert_chain": null });
        let again = SnpEvidence::parse_kbs(&json).expect("its form");
        assert_eq!(again.raw().as_slice(), case.raw, "{}", case.name);
        // The other way round: what we write is a report to `sev`.
        let back: AttestationReport =
            serde_json::from_value(ours["attestation_report"].clone()).expect("sev reads our form");
        assert_eq!(back.to_bytes().expect("bytes").as_slice(), case.raw, "{}", case.name);
    }
}

#[test]
fn a_turin_report_of_version_5_goes_through_both_forms_likewise() {
    let raw = turin_v5();
    let theirs = AttestationReport::from_bytes(&raw).expect("sev reads it");
    let ours = SnpEvidence::parse(&raw).expect("we read it").to_kbs();
    assert_eq!(ours["attestation_report"], serde_json::to_value(theirs).expect("JSON"));
    let again = SnpEvidence::parse_kbs(&ours).expect("our own form");
    assert_eq!(again.raw().as_slice(), raw);
}

/// Each field with bytes of its own, as far as the version leaves it free.
fn turin_v5() -> Vec<u8> {
    let mut raw: Vec<u8> = (0..1184_u32).map(|at| (at % 251) as u8 + 1).collect();
    raw[..4].copy_from_slice(&[5, 0, 0, 0]);
    raw[0x188..0x18b].copy_from_slice(&[0x1a, 0x02, 0x01]);
    for reserved in [
        0x4c..0x50,
        0x18b..0x1a0,
        0x1a8..0x1e0,
        0x1eb..0x1ec,
        0x1ef..0x1f0,
        0x208..0x2a0,
        0x330..1184,
    ] {
        raw[reserved].fill(0);
    }
    for tcb in [0x38, 0x180, 0x1e0, 0x1f0] {
        raw[tcb + 4..tcb + 7].fill(0);
    }
    raw
}

#[test]
fn where_sev_accepts_we_accept_or_say_what_it_did_not_look_at() {
    let Some(folder) = vectors() else { return };
    let mut differences = Vec::new();
    for case in cases(&folder) {
        assert!(sev_accepts(&case, &case.raw), "{}", case.name);
        match ours(&case, &case.raw, NOW) {
            Ok(()) => {}
            // POLICY.DEBUG lets the host read the guest. `sev` does not look at the policy.
            Err(VerifyError::Snp(SnpError::Debug { .. })) => differences.push("debug"),
            Err(other) => panic!("{}: {other:?}", case.name),
        }
        match ours(&case, &case.raw, AFTER_THE_VLEK) {
            // The VLEK ended on 2025-12-10. `sev` has no clock and no argument for one.
            Err(VerifyError::Snp(SnpError::Validity { .. })) => differences.push("expired"),
            Ok(()) | Err(VerifyError::Snp(SnpError::Debug { .. })) => {}
            Err(other) => panic!("{}: {other:?}", case.name),
        }
    }
    differences.sort_unstable();
    assert_eq!(differences, ["debug", "expired"]);
}

#[test]
fn what_nobody_signed_both_refuse_but_for_bytes_that_sev_leaves_out() {
    let Some(folder) = vectors() else { return };
    let all = cases(&folder);
    let case = all.iter().find(|case| case.name.contains("genoa")).expect("a Genoa report");
    assert!(ours(case, &case.raw, NOW).is_ok());
    // Every field once, and the signature on both sides of each boundary.
    let offsets = [
        0x04, 0x08, 0x10, 0x20, 0x30, 0x34, 0x38, 0x40, 0x48, 0x50, 0x8f, 0x90, 0xbf, 0xc0, 0xe0,
        0x110, 0x140, 0x160, 0x180, 0x18a, 0x1a0, 0x1df, 0x1e0, 0x1e8, 0x1ec, 0x1f0, 0x29f, 0x2a0,
        0x2cf, 0x2d0, 0x2e7, 0x2e8, 0x317, 0x318, 0x32f, 0x330, 0x49f,
    ];
    let mut only_sev = Vec::new();
    for at in offsets {
        let mut raw = case.raw.clone();
        raw[at] ^= 1;
        assert!(ours(case, &raw, NOW).is_err(), "byte {at:#x} is not protected");
        if sev_accepts(case, &raw) {
            only_sev.push(at);
        }
    }
    // The upper 24 bytes of R and S: `sev` takes the lower 48 and drops the rest. And the bytes after S,
    // which it does not read. Nobody signs any of them, so that one signed report has countless forms.
    // AMD 56860 wants all of them zero, and so do we.
    assert_eq!(only_sev, [0x2d0, 0x2e7, 0x318, 0x32f, 0x330, 0x49f]);
}

#[test]
fn a_version_that_has_no_document_is_read_by_sev_and_not_by_us() {
    let Some(folder) = vectors() else { return };
    let genoa = cases(&folder).into_iter().find(|case| case.name.contains("genoa")).expect("Genoa");
    for version in [4, 6, u8::MAX] {
        let mut raw = genoa.raw.clone();
        raw[0] = version;
        // `sev` takes 4 for 3 and all later ones for 5. What a bit means there, nobody knows yet.
        assert!(AttestationReport::from_bytes(&raw).is_ok(), "{version}");
        let refused = SnpEvidence::parse(&raw).err();
        assert_eq!(refused, Some(SnpFormatError::Version { got: version.into() }));
    }
}
