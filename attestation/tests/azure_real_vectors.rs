//! Evidence of real Azure confidential VMs: what parses, what verifies, and which byte matters.
//!
//! `real/mod.rs` says where the vectors are, and what happens without them.
//!
//! Real machines answered the challenge `challenge`, nine bytes, which no Verifier of the KBS protocol
//! sends. So rung A5 refuses them all, and everything below it has to pass.

use std::path::Path;
use std::sync::OnceLock;

use adyton_attestation::claims::{AnchorUsed, AttributesProfile, AzureHardwareClaims, Claims};
use adyton_attestation::endorsement::AmdEndorsements;
use adyton_attestation::endorsement::amd::AmdCertificate;
use adyton_attestation::evidence::azure::{AzureEvidenceVersion, AzureFormatError};
use adyton_attestation::evidence::hcl::{HclHardwareReport, HclReport, SecureBoot, UserData};
use adyton_attestation::evidence::tpm::{TpmAttest, TpmSignature};
use adyton_attestation::evidence::{AzureEvidence, EvidenceError};
use adyton_attestation::verifier::{AzureError, Outcome};
use adyton_attestation::{
    AmdRevocation, DebugGuests, EndorsementBundle, Evidence, Ladder, ParavisorTds, ReportData, Tee,
    TrustAnchors, UnixTime, VerifyError, VerifyOptions, replay, replay_with, verify, verify_with,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use der::Encode as _;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use x509_cert::Certificate;

mod real;

use real::{read, read_json, vectors};

/// A time at which the collateral of the TD's platform type is current.
const TDX_NOW: UnixTime = UnixTime(1_740_000_000);
const TDX_COLLATERAL: &str = "derived/collateral_00806f050000_2025-02.json";
const TDX_EVIDENCE: &str = "trustee/az-tdx-vtpm/evidence-v1.json";
const SNP_EVIDENCE: &str = "trustee/az-snp-vtpm/evidence-v1.json";
/// A time at which AMD's certificates and the VCEK are valid.
const SNP_NOW: UnixTime = UnixTime(1_795_000_000);
/// The vectors have no list of AMD's.
const NO_LISTS: VerifyOptions = VerifyOptions {
    debug_guests: DebugGuests::Refuse,
    paravisor_tds: ParavisorTds::Refuse,
    amd_revocation: AmdRevocation::InsecureWaive,
};
const PARAVISOR: VerifyOptions = VerifyOptions {
    debug_guests: DebugGuests::Refuse,
    paravisor_tds: ParavisorTds::InsecureAccept,
    amd_revocation: AmdRevocation::Require,
};

fn azure(tee: Tee, json: &Value) -> AzureEvidence {
    AzureEvidence::parse_kbs(tee, json).unwrap_or_else(|error| panic!("{tee}: {error}"))
}

fn intel(folder: &Path) -> EndorsementBundle {
    EndorsementBundle::parse(&read(folder, TDX_COLLATERAL)).expect("a bundle")
}

/// Intel's collateral for the TD's platform type, read once.
fn intel_once(folder: &Path) -> &'static EndorsementBundle {
    static BUNDLE: OnceLock<EndorsementBundle> = OnceLock::new();
    BUNDLE.get_or_init(|| intel(folder))
}

/// AMD's intermediate and root for Milan. No list of revoked ones is among the vectors.
fn amd(folder: &Path) -> EndorsementBundle {
    let pem = read(folder, "trustee/snp/milan_ask_ark_asvk.pem");
    let mut amd = AmdEndorsements::default();
    for certificate in Certificate::load_pem_chain(&pem).expect("PEM") {
        let der = certificate.to_der().expect("DER");
        amd.add_certificate(AmdCertificate::parse(der).expect("AMD's")).expect("room");
    }
    amd.into()
}

/// What [`verify_with`] says to TDX Evidence under the paravisor profile.
fn verdict(folder: &Path, json: &Value) -> Result<(), VerifyError> {
    let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, json)?;
    let anchors = TrustAnchors::vendor();
    let expected = ReportData([0; 64]);
    verify_with(&evidence, intel_once(folder), &anchors, &expected, TDX_NOW, &PARAVISOR).map(|_| ())
}

#[test]
fn every_hcl_report_is_read() {
    let Some(folder) = vectors() else { return };
    for (name, secure_boot, has_user_data) in [
        ("trustee/az-snp-vtpm/hcl-report.bin", SecureBoot::On, true),
        ("trustee/az-tdx-vtpm/hcl-report.bin", SecureBoot::On, true),
        ("azure-cvm-tooling/hcl-report-snp.bin", SecureBoot::On, false),
        ("azure-cvm-tooling/hcl-report-tdx.bin", SecureBoot::Off, true),
    ] {
        let bytes = read(&folder, name);
        let report = HclReport::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let committed = digest(&SHA256, report.var_data_raw());
        let report_data = match report.hardware() {
            HclHardwareReport::Snp(snp) => &snp[0x50..0x90],
            HclHardwareReport::Tdx(td) => &td[128..192],
        };
        assert_eq!(&report_data[..32], committed.as_ref(), "{name}");
        assert_eq!(report_data[32..], [0; 32], "{name}");
        let var_data = report.var_data();
        assert_eq!(var_data.secure_boot, secure_boot, "{name}");
        let user_data = match has_user_data {
            true => UserData::Stated(vec![0; 64]),
            false => UserData::NotStated,
        };
        assert_eq!(var_data.user_data, user_data, "{name}");
        assert!(var_data.vm_unique_id.is_some(), "{name}");
    }
}

#[test]
fn the_var_data_file_is_the_one_in_its_report() {
    let Some(folder) = vectors() else { return };
    let report = read(&folder, "trustee/az-snp-vtpm/hcl-report.bin");
    let report = HclReport::parse(&report).expect("a report");
    let file = read(&folder, "azure-cvm-tooling/var-data.bin");
    assert_eq!(file.len(), report.var_data_raw().len());
}

#[test]
fn every_tpm_quote_is_read() {
    let Some(folder) = vectors() else { return };
    for name in ["trustee/az-snp-vtpm/tpm-quote-v1.json", "trustee/az-tdx-vtpm/tpm-quote-v1.json"] {
        let quote = read_json(&folder, name);
        let message = hex::decode(quote["message"].as_str().expect("hex")).expect("hex");
        let attest = TpmAttest::parse(&message).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(attest.extra_data, b"challenge", "{name}");
        assert_eq!(attest.selections.len(), 1, "{name}");
        assert_eq!(attest.selections[0].bitmap, [0xff; 3], "{name}");
    }
    // A quote over PCRs 0 to 7 and 14 alone.
    let attest = TpmAttest::parse(&read(&folder, "trustee/az-snp-vtpm/tpm-quote.msg"));
    assert_eq!(attest.expect("a quote").selections[0].bitmap, [0xff, 0x40, 0x00]);
    let signature = read(&folder, "trustee/az-snp-vtpm/tpm-quote.sig");
    assert!(TpmSignature::from_raw(&signature).is_ok());
}

#[test]
fn the_oldest_form_is_refused_by_its_missing_version() {
    let Some(folder) = vectors() else { return };
    for name in ["trustee/az-snp-vtpm/evidence-v0.json", "trustee/az-tdx-vtpm/evidence-v0.json"] {
        let refused = Evidence::parse_file(&read(&folder, name)).expect_err(name);
        assert!(
            matches!(&refused, EvidenceError::Azure(AzureFormatError::Version { .. })),
            "{name}: {refused:?}"
        );
        let reason = &refused.reasons()[0];
        assert_eq!(reason.code, "azure.evidence.version", "{name}");
        assert!(reason.remedy.contains("update the attestation agent"), "{name}: {reason}");
    }
}

#[test]
fn an_unknown_version_is_refused() {
    let Some(folder) = vectors() else { return };
    for version in [json!(0), json!(3), json!("2"), json!(-1), json!(2.0), Value::Null] {
        let mut evidence = read_json(&folder, TDX_EVIDENCE);
        evidence["version"] = version;
        let refused = AzureEvidence::parse_kbs(Tee::AzTdxVtpm, &evidence).expect_err("refused");
        assert_eq!(refused.reason().code, "azure.evidence.version");
    }
}

#[test]
fn a_tds_evidence_verifies_up_to_its_challenge_under_the_paravisor_profile() {
    let Some(folder) = vectors() else { return };
    let json = read_json(&folder, TDX_EVIDENCE);
    let evidence = azure(Tee::AzTdxVtpm, &json);
    assert_eq!(evidence.version(), AzureEvidenceVersion::V1);
    assert_eq!(evidence.report_data().0[..10], *b"challenge\0");
    // Nine bytes are no report data, whatever is expected.
    let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, &json).expect("evidence");
    let expected = evidence.report_data();
    let anchors = TrustAnchors::vendor();
    let refused = verify_with(&evidence, &intel(&folder), &anchors, &expected, TDX_NOW, &PARAVISOR);
    assert!(
        matches!(&refused, Err(VerifyError::Azure(AzureError::ReportData { got, .. }))
            if got == b"challenge"),
        "{refused:?}"
    );
}

#[test]
fn a_tds_evidence_is_refused_by_default() {
    let Some(folder) = vectors() else { return };
    let json = read_json(&folder, TDX_EVIDENCE);
    let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, &json).expect("evidence");
    let expected = evidence.report_data();
    let anchors = TrustAnchors::vendor();
    let refused = verify(&evidence, &intel(&folder), &anchors, &expected, TDX_NOW);
    assert!(matches!(refused, Err(VerifyError::SeptVeDisable { .. })), "{refused:?}");
}

#[test]
fn a_tds_record_passes_with_t9_waived_and_named() {
    let Some(folder) = vectors() else { return };
    let json = read_json(&folder, TDX_EVIDENCE);
    let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, &json).expect("evidence");
    let anchors = TrustAnchors::vendor();
    let record = replay_with(&evidence, &intel(&folder), &anchors, TDX_NOW, &PARAVISOR);
    assert!(record.all_passed(), "{:?}", record.reasons());
    let waived: Vec<&str> = record
        .rungs
        .iter()
        .filter(|rung| matches!(rung.outcome, Outcome::Waived(_)))
        .map(|rung| rung.id)
        .collect();
    assert_eq!(waived, ["T9"]);
    let Some(Claims::AzTdxVtpm(claims)) = record.claims else { panic!("claims") };
    assert_eq!(claims.evidence_version, 1);
    assert_eq!(claims.secure_boot, SecureBoot::On);
    assert_eq!(claims.vm_unique_id.as_deref(), Some("6332533D-5649-4D02-8AA7-8F64B7C3EE21"));
    assert_eq!(claims.tpm_firmware_version, 0x2020_0312_0012_0003);
    assert_eq!(hex::encode(claims.pcrs[23].0), "00".repeat(32));
    let AzureHardwareClaims::Tdx(td) = &claims.hardware else { panic!("a TD") };
    assert_eq!(td.attributes_profile, AttributesProfile::AzureParavisor);
    assert_eq!(td.root, AnchorUsed::Vendor);
    assert_eq!(
        td.mrtd.to_string(),
        "024a32b070383331181619fa387cb4d55d1e38879f989933055ccad5bc2db795d1737b66205949d15469dc8c1ba7ab7b"
    );
    // Without the option the same record fails there, and nowhere else.
    let strict = replay(&evidence, &intel(&folder), &anchors, TDX_NOW);
    assert_eq!(failed(&strict), ["T9"]);
    assert!(strict.claims.is_none());
}

fn failed(record: &Ladder) -> Vec<&'static str> {
    record
        .rungs
        .iter()
        .filter(|rung| matches!(rung.outcome, Outcome::Failed(_)))
        .map(|rung| rung.id)
        .collect()
}

/// Applies `change` to the bytes behind one member, in whatever text they are written.
fn with_bytes(json: &Value, pointer: &str, change: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut json = json.clone();
    let member = json.pointer_mut(pointer).expect("a member");
    let text = member.as_str().expect("text");
    let is_hex = pointer.starts_with("/tpm_quote");
    let mut bytes = match is_hex {
        true => hex::decode(text).expect("hex"),
        false => URL_SAFE.decode(text).expect("base64url"),
    };
    change(&mut bytes);
    let text = if is_hex { hex::encode(bytes) } else { URL_SAFE.encode(bytes) };
    *member = text.into();
    json
}

#[test]
fn parts_of_two_real_machines_are_no_machine() {
    let Some(folder) = vectors() else { return };
    let sound = read_json(&folder, TDX_EVIDENCE);
    // The HCL report of another TD.
    let mut json = sound.clone();
    json["hcl_report"] =
        URL_SAFE.encode(read(&folder, "azure-cvm-tooling/hcl-report-tdx.bin")).into();
    let refused = verdict(&folder, &json);
    assert!(matches!(refused, Err(VerifyError::Azure(AzureError::VarData { .. }))), "{refused:?}");
    // The TPM quote of an SNP machine.
    let mut json = sound.clone();
    json["tpm_quote"] = read_json(&folder, "trustee/az-snp-vtpm/tpm-quote-v1.json");
    let refused = verdict(&folder, &json);
    assert!(matches!(refused, Err(VerifyError::Azure(AzureError::QuoteSignature))), "{refused:?}");
    // A TDX quote of a machine outside Azure.
    let mut json = sound.clone();
    json["td_quote"] = URL_SAFE.encode(read(&folder, "dcap-qvl/tdx_quote")).into();
    let refused = verdict(&folder, &json);
    assert!(matches!(refused, Err(VerifyError::Azure(AzureError::VarData { .. }))), "{refused:?}");
    // Called version 2, the same Evidence has user data of zeros.
    let mut json = sound;
    json["version"] = json!(2);
    let refused = verdict(&folder, &json);
    assert!(matches!(refused, Err(VerifyError::Azure(AzureError::UserData { .. }))), "{refused:?}");
}

#[test]
fn every_byte_of_a_real_machines_evidence_matters_but_the_listed_ones() {
    let Some(folder) = vectors() else { return };
    let sound = read_json(&folder, TDX_EVIDENCE);
    let refusal = |json: &Value| match verdict(&folder, json) {
        Err(VerifyError::Azure(AzureError::ReportData { .. })) => None,
        Err(refused) => Some(refused.rung()),
        Ok(()) => panic!("nine bytes are no report data"),
    };
    assert_eq!(refusal(&sound), None);
    let members = (0..24).map(|pcr| (format!("/tpm_quote/pcrs/{pcr}"), 32, "A2"));
    let members = members.chain([
        ("/tpm_quote/message".to_owned(), 122, "A2"),
        ("/tpm_quote/signature".to_owned(), 256, "A2"),
        ("/hcl_report".to_owned(), 2600, "A1"),
    ]);
    let mut unsigned = 0;
    for (member, len, rung) in members {
        for at in 0..len {
            let flipped = with_bytes(&sound, &member, |bytes| bytes[at] ^= 1 << (at % 8));
            // The TDREPORT, but for its type and its report data: its MAC is for the machine's own
            // quoting enclave, and what counts is the quote made of it.
            let in_report = at.wrapping_sub(0x20);
            let is_unsigned = member == "/hcl_report"
                && (1..1024).contains(&in_report)
                && !(128..192).contains(&in_report);
            if is_unsigned {
                assert_eq!(refusal(&flipped), None, "byte {at} of {member}");
                unsigned += 1;
            } else {
                assert_eq!(refusal(&flipped), Some(rung), "byte {at} of {member}");
            }
        }
    }
    assert_eq!(unsigned, 959);
}

/// What [`verify_with`] says to SNP Evidence without AMD's revocation list.
fn snp_verdict(bundle: &EndorsementBundle, json: &Value) -> Result<(), VerifyError> {
    let evidence = Evidence::parse_kbs(Tee::AzSnpVtpm, json)?;
    let (anchors, expected) = (TrustAnchors::vendor(), ReportData([0; 64]));
    verify_with(&evidence, bundle, &anchors, &expected, SNP_NOW, &NO_LISTS).map(|_| ())
}

#[test]
fn an_snp_guests_record_passes_with_the_missing_list_waived_and_named() {
    let Some(folder) = vectors() else { return };
    let json = read_json(&folder, SNP_EVIDENCE);
    let evidence = Evidence::parse_kbs(Tee::AzSnpVtpm, &json).expect("evidence");
    let (anchors, bundle) = (TrustAnchors::vendor(), amd(&folder));
    let record = replay_with(&evidence, &bundle, &anchors, SNP_NOW, &NO_LISTS);
    assert!(record.all_passed(), "{:?}", record.reasons());
    let Some(Claims::AzSnpVtpm(claims)) = record.claims else { panic!("claims") };
    let AzureHardwareClaims::Snp(snp) = &claims.hardware else { panic!("an SNP guest") };
    assert_eq!((snp.report_version, snp.vmpl), (3, 0));
    assert_eq!(snp.root, AnchorUsed::Vendor);
    // The challenge of nine bytes is all that stands against it.
    let refused = snp_verdict(&bundle, &json);
    assert!(
        matches!(refused, Err(VerifyError::Azure(AzureError::ReportData { .. }))),
        "{refused:?}"
    );
    // Without the waiver the list is missed, and nothing else.
    let strict = replay(&evidence, &bundle, &anchors, SNP_NOW);
    assert_eq!(failed(&strict), ["S5"]);
    assert!(strict.claims.is_none());
}

#[test]
fn a_vcek_of_another_machine_is_refused() {
    let Some(folder) = vectors() else { return };
    let mut json = read_json(&folder, SNP_EVIDENCE);
    json["vcek"] = URL_SAFE.encode(read(&folder, "trustee/snp/test-vcek.der")).into();
    let refused = snp_verdict(&amd(&folder), &json).expect_err("another chip's");
    assert_eq!(refused.rung(), "S7", "{refused:?}");
}

#[test]
fn an_hcl_report_of_another_snp_guest_is_refused() {
    let Some(folder) = vectors() else { return };
    let mut json = read_json(&folder, SNP_EVIDENCE);
    json["hcl_report"] =
        URL_SAFE.encode(read(&folder, "trustee/az-snp-vtpm/hcl-report.bin")).into();
    let refused = snp_verdict(&amd(&folder), &json).expect_err("not the VCEK's machine");
    assert!(refused.rung().starts_with('S'), "{refused:?}");
}

#[test]
fn every_byte_of_a_real_snp_guests_evidence_matters() {
    let Some(folder) = vectors() else { return };
    let (sound, bundle) = (read_json(&folder, SNP_EVIDENCE), amd(&folder));
    let refusal = |json: &Value| match snp_verdict(&bundle, json) {
        Err(VerifyError::Azure(AzureError::ReportData { .. })) => None,
        Err(refused) => Some(refused.rung()),
        Ok(()) => panic!("nine bytes are no report data"),
    };
    assert_eq!(refusal(&sound), None);
    let vcek = URL_SAFE.decode(sound["vcek"].as_str().expect("text")).expect("base64url").len();
    let mut flips = 0;
    for (member, len) in [
        ("/hcl_report", 2600),
        ("/vcek", vcek),
        ("/tpm_quote/message", 122),
        ("/tpm_quote/signature", 256),
    ] {
        for at in 0..len {
            let flipped = with_bytes(&sound, member, |bytes| bytes[at] ^= 1 << (at % 8));
            assert!(refusal(&flipped).is_some(), "byte {at} of {member} does not matter");
            flips += 1;
        }
    }
    assert_eq!(flips, 2600 + vcek + 122 + 256);
}
