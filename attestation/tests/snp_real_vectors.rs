//! SNP reports of real machines with their real certificates: every verdict and every field.
//!
//! The vectors are not part of the project; where they are looked for stands in `real/mod.rs`.

use std::path::Path;

use adyton_attestation::claims::{SigningKey, SnpProduct, SnpRevocation};
use adyton_attestation::endorsement::AmdEndorsements;
use adyton_attestation::endorsement::amd::AmdCertificate;
use adyton_attestation::evidence::SnpEvidence;
use adyton_attestation::evidence::snp::certificates::CertificateLabel;
use adyton_attestation::evidence::snp::{PresentedCertificates, SnpFormatError};
use adyton_attestation::verifier::chain::ChainError;
use adyton_attestation::verifier::{Outcome, SnpError, replay_with, verify_cached};
use adyton_attestation::{
    AmdRevocation, AnchorUsed, Claims, DebugGuests, EndorsementBundle, Evidence, ParavisorTds,
    SignatureCache, SnpClaims, Tee, TrustAnchors, UnixTime, VerifyError, VerifyOptions,
    verify_with,
};
use serde_json::Value;

mod real;

use real::{expected, read, vectors};

/// The report of a vector: `name@0x20` is one inside a larger file, and `report_milan.bin` is kept as hex.
fn report(folder: &Path, name: &str) -> Vec<u8> {
    match name.split_once('@') {
        Some((file, _)) => read(folder, file)[0x20..0x20 + 1184].to_vec(),
        None if name.ends_with("report_milan.bin") => {
            let text = read(folder, &name.replace(".bin", ".hex"));
            hex::decode(text.trim_ascii()).expect("hex")
        }
        None => read(folder, name),
    }
}

fn evidence(folder: &Path, name: &str) -> SnpEvidence {
    SnpEvidence::parse(&report(folder, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_field_of_every_report_is_read_as_listed() {
    let Some(folder) = vectors() else { return };
    let all = expected(&folder, "snp");
    assert_eq!(all.len(), 6, "more vectors? look at each in the same commit");
    for (name, listed) in &all {
        let evidence = evidence(&folder, name);
        let report = evidence.report();
        let text = |member: &str| listed[member].as_str().expect(member).to_owned();
        let number = |member: &str| {
            u64::from_str_radix(text(member).trim_start_matches("0x"), 16).expect(member)
        };
        assert_eq!(listed["version"], report.version.number(), "{name}");
        assert_eq!(listed["guest_svn"], report.guest_svn, "{name}");
        assert_eq!(listed["vmpl"], report.vmpl, "{name}");
        assert_eq!(listed["sig_algo"], report.signature_algorithm, "{name}");
        assert_eq!(number("policy"), report.policy.0, "{name}");
        assert_eq!(number("plat_info"), report.platform_info.0, "{name}");
        assert_eq!(number("key_info"), u64::from(report.key_info.0), "{name}");
        for (member, got) in [
            ("report_data", hex::encode(report.report_data.0)),
            ("measurement", report.measurement.to_string()),
            ("host_data", report.host_data.to_string()),
            ("id_key_digest", report.id_key_digest.to_string()),
            ("author_key_digest", report.author_key_digest.to_string()),
            ("report_id", report.report_id.to_string()),
            ("chip_id", report.chip_id.to_string()),
            ("current_tcb", hex::encode(report.current_tcb.0)),
            ("reported_tcb", hex::encode(report.reported_tcb.0)),
            ("committed_tcb", hex::encode(report.committed_tcb.0)),
            ("launch_tcb", hex::encode(report.launch_tcb.0)),
        ] {
            assert_eq!(text(member), got, "{name}: {member}");
        }
        let cpuid = report.cpuid.map_or([0; 3], |c| [c.family, c.model, c.stepping]);
        assert_eq!(text("cpuid"), hex::encode(cpuid), "{name}");
    }
}

#[test]
fn every_report_survives_the_kbs_form_byte_for_byte() {
    let Some(folder) = vectors() else { return };
    for name in expected(&folder, "snp").keys() {
        let evidence = evidence(&folder, name);
        let json = evidence.to_kbs();
        assert!(json.get("attestation_report").is_some(), "{name} went out as bytes");
        let again = SnpEvidence::parse_kbs(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again.raw(), evidence.raw(), "{name}");
    }
}

#[test]
fn evidence_of_another_kbs_client_is_the_report_of_its_machine() {
    let Some(folder) = vectors() else { return };
    let json: Value =
        serde_json::from_slice(&read(&folder, "trustee/snp/kbs-evidence-genoa-v3.json"))
            .expect("JSON");
    let Ok(Evidence::Snp(evidence)) = Evidence::parse_kbs(Tee::Snp, &json) else { panic!("SNP") };
    assert_eq!(evidence.raw().as_slice(), read(&folder, "trustee/snp/genoa-v3-report.bin"));
    let certificates: Vec<_> = evidence.certificates().iter().collect();
    assert_eq!(certificates.len(), 1);
    assert_eq!(certificates[0].1, read(&folder, "trustee/snp/genoa-v3-vcek.der"));
    // And back: member by member what `sev` wrote, but for members that it leaves out.
    let ours = evidence.to_kbs();
    let theirs = json["attestation_report"].as_object().expect("an object");
    for (member, value) in theirs {
        assert_eq!(&ours["attestation_report"][member], value, "{member}");
    }
    assert_eq!(ours["cert_chain"], json["cert_chain"]);
}

#[test]
fn a_file_with_a_report_is_recognised_in_every_form() {
    let Some(folder) = vectors() else { return };
    let raw = report(&folder, "trustee/snp/genoa-v3-report.bin");
    let json = read(&folder, "trustee/snp/kbs-evidence-genoa-v3.json");
    for file in [raw.clone(), hex::encode(&raw).into_bytes(), json] {
        let Ok(Evidence::Snp(evidence)) = Evidence::parse_file(&file) else { panic!("SNP") };
        assert_eq!(evidence.raw().as_slice(), raw);
    }
}

#[test]
fn a_reserved_byte_that_is_not_zero_is_refused_where_it_stands() {
    let Some(folder) = vectors() else { return };
    let sound = report(&folder, "trustee/snp/genoa-v3-report.bin");
    for offset in [0x4c, 0x4f, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x1f8, 0x208, 0x29f, 0x330, 0x49f] {
        let mut raw = sound.clone();
        raw[offset] = 1;
        let refused = SnpEvidence::parse(&raw).map(|_| ());
        assert_eq!(refused, Err(SnpFormatError::Reserved { offset, got: 1 }));
    }
}

// ---- Verdicts ----

/// 2025-11-01: every certificate counts, the VLEK included.
const NOW: UnixTime = UnixTime(1_761_955_200);
/// 2026-11-26: the VLEK has ended on 2025-12-10.
const LATER: UnixTime = UnixTime(1_795_651_200);

/// AMD's revocation lists are not among the vectors.
const NO_LISTS: VerifyOptions = VerifyOptions {
    debug_guests: DebugGuests::Refuse,
    paravisor_tds: ParavisorTds::Refuse,
    amd_revocation: AmdRevocation::InsecureWaive,
};

fn pem(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    use rustls_pki_types::pem::PemObject as _;
    rustls_pki_types::CertificateDer::pem_slice_iter(&read(folder, name))
        .map(|der| der.expect("a certificate").to_vec())
        .collect()
}

/// The certificate of the endorsement key that a vector names, DER.
fn key_certificate(folder: &Path, listed: &Value) -> Vec<u8> {
    let text = listed["vek"].as_str().expect("vek");
    let name = text.split(' ').next().expect("a file");
    if name.ends_with(".pem") { pem(folder, name).remove(0) } else { read(folder, name) }
}

/// The report with its key's certificate, as a host would hand it over.
fn with_key(folder: &Path, name: &str) -> SnpEvidence {
    let der = key_certificate(folder, &expected(folder, "snp")[name]);
    evidence(folder, name).with_certificates(
        // The label is wrong for one of them, on purpose: nobody may look at it.
        PresentedCertificates::one(CertificateLabel::Vcek, &der).expect("one certificate"),
    )
}

/// ASK, ARK and ASVK of a product, as AMD's service gives them out.
fn chains(folder: &Path) -> EndorsementBundle {
    let mut amd = AmdEndorsements::default();
    for product in ["milan", "genoa", "turin"] {
        for der in pem(folder, &format!("trustee/snp/{product}_ask_ark_asvk.pem")) {
            amd.add_certificate(AmdCertificate::parse(der).expect("AMD's")).expect("room");
        }
    }
    amd.into()
}

fn verdict(
    evidence: SnpEvidence,
    endorsements: &EndorsementBundle,
    now: UnixTime,
    options: &VerifyOptions,
) -> Result<SnpClaims, SnpError> {
    let expected = evidence.report_data();
    let evidence = Evidence::Snp(evidence);
    match verify_with(&evidence, endorsements, &TrustAnchors::vendor(), &expected, now, options) {
        Ok(verified) => match verified.get() {
            Claims::Snp(claims) => Ok((**claims).clone()),
            other => panic!("SNP claims, not {other:?}"),
        },
        Err(VerifyError::Snp(error)) => {
            let reason = error.reason();
            for part in [&reason.claim, &reason.expected, &reason.got, &reason.remedy] {
                assert!(!part.is_empty(), "{reason:?}");
            }
            Err(error)
        }
        Err(other) => panic!("a refusal of the SNP ladder, not {other:?}"),
    }
}

#[test]
fn every_real_report_has_the_listed_verdict() {
    let Some(folder) = vectors() else { return };
    let bundle = chains(&folder);
    for (name, listed) in &expected(&folder, "snp") {
        let got = verdict(with_key(&folder, name), &bundle, NOW, &NO_LISTS);
        if listed["verdict"].as_str().expect("text").contains("debug") {
            assert!(matches!(got, Err(SnpError::Debug { .. })), "{name}: {got:?}");
            let lenient =
                VerifyOptions { debug_guests: DebugGuests::InsecureLeaveToAppraisal, ..NO_LISTS };
            let claims = verdict(with_key(&folder, name), &bundle, NOW, &lenient).expect(name);
            assert!(claims.policy.debug_allowed());
            continue;
        }
        let claims = got.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(listed["product"], claims.product.as_str(), "{name}");
        assert_eq!(claims.root, AnchorUsed::Vendor, "{name}");
        assert_eq!(claims.revocation, SnpRevocation::InsecureWaived, "{name}");
    }
}

#[test]
fn without_a_revocation_list_the_default_is_no() {
    let Some(folder) = vectors() else { return };
    let evidence = with_key(&folder, "trustee/snp/genoa-v3-report.bin");
    let got = verdict(evidence, &chains(&folder), NOW, &VerifyOptions::default());
    assert_eq!(got, Err(SnpError::NoRevocationList { product: SnpProduct::Genoa }));
}

#[test]
fn a_vcek_needs_no_bundle_and_a_vlek_needs_the_asvk() {
    let Some(folder) = vectors() else { return };
    let nothing = EndorsementBundle::empty();
    let vcek = with_key(&folder, "trustee/snp/genoa-v3-report.bin");
    verdict(vcek, &nothing, NOW, &NO_LISTS).expect("the ASK is built in");
    let vlek = with_key(&folder, "trustee/snp/test-vlek-report.bin");
    assert_eq!(
        verdict(vlek, &nothing, NOW, &NO_LISTS),
        Err(SnpError::NoIntermediate { kind: SigningKey::Vlek, product: SnpProduct::Milan })
    );
}

#[test]
fn the_keys_certificate_may_come_from_the_verifiers_bundle() {
    let Some(folder) = vectors() else { return };
    let name = "trustee/snp/genoa-v3-report.bin";
    let der = key_certificate(&folder, &expected(&folder, "snp")[name]);
    let mut amd = AmdEndorsements::default();
    amd.add_certificate(AmdCertificate::parse(der).expect("AMD's")).expect("room");
    let bare = evidence(&folder, name);
    verdict(bare.clone(), &amd.into(), NOW, &NO_LISTS).expect("verified");
    let nothing = EndorsementBundle::empty();
    assert_eq!(
        verdict(bare, &nothing, NOW, &NO_LISTS),
        Err(SnpError::NoEndorsementKey { wanted: SigningKey::Vcek })
    );
}

#[test]
fn of_all_keys_in_a_bundle_the_one_of_this_kind_chip_and_firmware_is_tried() {
    let Some(folder) = vectors() else { return };
    let all = expected(&folder, "snp");
    let mut keys = AmdEndorsements::default();
    for listed in all.values() {
        let key = AmdCertificate::parse(key_certificate(&folder, listed)).expect("AMD's");
        keys.add_certificate(key).expect("room");
    }
    let bundle = chains(&folder).merge(keys.into()).expect("room");
    let lenient = VerifyOptions { debug_guests: DebugGuests::InsecureLeaveToAppraisal, ..NO_LISTS };
    for name in all.keys() {
        let claims = verdict(evidence(&folder, name), &bundle, NOW, &lenient);
        claims.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

#[test]
fn a_vlek_is_refused_after_its_end() {
    let Some(folder) = vectors() else { return };
    let evidence = with_key(&folder, "trustee/snp/test-vlek-report.bin");
    let got = verdict(evidence, &chains(&folder), LATER, &NO_LISTS);
    assert!(
        matches!(got, Err(SnpError::Validity { source: ChainError::Expired { .. } })),
        "{got:?}"
    );
}

#[test]
fn certificates_of_another_chip_kind_product_or_encoding_are_refused_for_that_reason() {
    let Some(folder) = vectors() else { return };
    let bundle = chains(&folder);
    let refusal = |report: &str, certificate: &str| {
        let der = read(&folder, certificate);
        let certificates = PresentedCertificates::one(CertificateLabel::Vcek, &der).expect("one");
        let evidence = evidence(&folder, report).with_certificates(certificates);
        verdict(evidence, &bundle, NOW, &NO_LISTS).expect_err("refused")
    };
    // Another chip at the same TCB.
    let other = refusal("trustee/snp/test-report.bin", "sev/vcek_milan.der");
    assert!(matches!(other, SnpError::Chip { .. }), "{other:?}");
    // A VLEK called VCEK, and the other way round.
    let kind = refusal("trustee/snp/test-report.bin", "trustee/snp/test-vlek.der");
    let (vcek, vlek) = (SigningKey::Vcek, SigningKey::Vlek);
    assert_eq!(kind, SnpError::KeyKind { expected: vcek, got: vlek });
    let kind = refusal("trustee/snp/test-vlek-report.bin", "trustee/snp/test-vcek.der");
    assert_eq!(kind, SnpError::KeyKind { expected: vlek, got: vcek });
    // A Genoa's certificate for a Milan, a Turin's for a Genoa.
    let product = refusal("trustee/snp/genoa-v3-report.bin", "trustee/snp/test-vcek.der");
    assert!(matches!(product, SnpError::Product { .. }), "{product:?}");
    let product = refusal("trustee/snp/genoa-v3-report.bin", "sev/vcek_turin.der");
    assert!(matches!(product, SnpError::Product { .. }), "{product:?}");
    // Encoded anew, so not signed.
    for name in
        ["trustee/snp/test-vcek-invalid-legacy.der", "trustee/snp/test-vcek-invalid-new.der"]
    {
        let broken = refusal("trustee/snp/test-report.bin", name);
        assert!(
            matches!(broken, SnpError::Chain { source: ChainError::Signature { .. }, .. }),
            "{name}: {broken:?}"
        );
    }
}

#[test]
fn every_rung_was_climbed_on_real_evidence() {
    let Some(folder) = vectors() else { return };
    let evidence = Evidence::Snp(with_key(&folder, "trustee/snp/genoa-v3-report.bin"));
    let anchors = TrustAnchors::vendor();
    let ladder = replay_with(&evidence, &chains(&folder), &anchors, NOW, &NO_LISTS);
    assert!(ladder.all_passed() && ladder.claims.is_some(), "{ladder:?}");
    for rung in &ladder.rungs {
        let decided_later = ["S18", "S10", "S13", "S14", "S15", "S17"].contains(&rung.id);
        match &rung.outcome {
            Outcome::Passed => assert!(!decided_later, "{rung}"),
            Outcome::LeftTo(_) => assert!(decided_later, "{rung}"),
            Outcome::Waived(_) => assert_eq!(rung.id, "S5"),
            other => panic!("{rung}: {other:?}"),
        }
    }
}

#[test]
fn every_flipped_byte_of_a_real_report_is_refused() {
    let Some(folder) = vectors() else { return };
    let name = "trustee/snp/genoa-v3-report.bin";
    let sound = report(&folder, name);
    let der = key_certificate(&folder, &expected(&folder, "snp")[name]);
    let certificates = PresentedCertificates::one(CertificateLabel::Vcek, &der).expect("one");
    let nothing = EndorsementBundle::empty();
    let anchors = TrustAnchors::vendor();
    let cache = SignatureCache::new();
    let mut refused = 0;
    for at in 0..sound.len() {
        let mut raw = sound.clone();
        raw[at] ^= 1;
        let Ok(evidence) = SnpEvidence::parse(&raw) else {
            refused += 1;
            continue;
        };
        let expected = evidence.report_data();
        let evidence = Evidence::Snp(evidence.with_certificates(certificates.clone()));
        let got = verify_cached(&evidence, &nothing, &anchors, &expected, NOW, &NO_LISTS, &cache);
        assert!(matches!(got, Err(VerifyError::Snp(_))), "byte {at:#x}: {got:?}");
        refused += 1;
    }
    assert_eq!(refused, 1184, "no byte of a report is without effect");
}

#[test]
fn every_flipped_byte_of_a_real_certificate_is_refused() {
    let Some(folder) = vectors() else { return };
    let name = "trustee/snp/genoa-v3-report.bin";
    let sound = key_certificate(&folder, &expected(&folder, "snp")[name]);
    for at in 0..sound.len() {
        let mut der = sound.clone();
        der[at] ^= 1;
        let certificates = PresentedCertificates::one(CertificateLabel::Vcek, &der).expect("one");
        let evidence = evidence(&folder, name).with_certificates(certificates);
        let got = verdict(evidence, &EndorsementBundle::empty(), NOW, &NO_LISTS);
        assert!(got.is_err(), "byte {at:#x}");
    }
}
