//! The Azure vTPM ladder, rung by rung: each case has one fault, every signature is sound, and the
//! case fails exactly where it should.

use adyton_attestation::claims::{AzureHardwareClaims, Claims};
use adyton_attestation::verifier::Outcome;
use adyton_attestation::{
    AppraisalPolicy, Evidence, Ladder, ParavisorTds, ReferenceValues, ReportData, Tee,
    TrustAnchors, UnixTime, Verified, VerifyError, VerifyOptions, appraise, replay, verify,
    verify_with,
};
use adyton_fake_tee::{ATTRIBUTE_DEBUG, ATTRIBUTE_SEPT_VE_DISABLE, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

#[path = "azure_ladder/machine.rs"]
mod machine;

use machine::{ANCHORS, BUNDLE, Machine, NOW, Signer};

/// What [`Machine`] answers by default.
fn expected() -> ReportData {
    let mut data = [0x42; 64];
    data[48..].fill(0);
    ReportData(data)
}

fn judge(json: &Value, expected: &ReportData) -> Result<Verified<Claims>, VerifyError> {
    let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, json)?;
    verify(&evidence, &BUNDLE, &ANCHORS, expected, UnixTime(NOW))
}

/// The one reason against a machine: rung and code.
fn refusal_of(json: &Value, expected: &ReportData) -> (String, String) {
    let reasons = judge(json, expected).map(|_| ()).expect_err("a refusal").reasons();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    (reasons[0].rung.clone(), reasons[0].code.clone().into_owned())
}

fn refusal(machine: &Machine) -> (String, String) {
    refusal_of(&machine.evidence(), &expected())
}

fn at(rung: &str, code: &str) -> (String, String) {
    (rung.to_owned(), code.to_owned())
}

fn ladder(machine: &Machine) -> Ladder {
    let json = machine.evidence();
    let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, &json).expect("evidence");
    replay(&evidence, &BUNDLE, &ANCHORS, UnixTime(NOW))
}

#[test]
fn a_sound_machine_verifies_in_both_versions() {
    for version in [1, 2] {
        let machine = Machine { version, ..Machine::default() };
        let verified = judge(&machine.evidence(), &expected()).expect("a verdict");
        let Claims::AzTdxVtpm(claims) = verified.get() else { panic!("an Azure TD") };
        assert_eq!(u64::from(claims.evidence_version), version);
        assert_eq!(claims.report_data, expected());
        assert_eq!(claims.pcrs.map(|pcr| pcr.0).to_vec(), machine.pcrs);
        let AzureHardwareClaims::Tdx(td) = &claims.hardware else { panic!("a TD") };
        assert_eq!(td.root, *verified.get().root());
        let json = serde_json::to_value(verified.get()).expect("JSON");
        assert_eq!(json["tee"], "az-tdx-vtpm");
        assert_eq!(json["pcrs"]["23"], hex::encode([23; 32]));
        assert_eq!(json["hardware"]["hardware"], "tdx");
    }
}

#[test]
fn a1_hardware_that_does_not_commit_to_the_var_data_is_refused() {
    let commits_to_more = |machine: &Machine| {
        // The right digest, and something in the tail that has to be zero.
        let json = machine.evidence();
        let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, &json).expect("evidence");
        let Evidence::Azure(azure) = &evidence else { panic!("Azure") };
        let mut data = [0; 64];
        let digest = ring::digest::digest(&ring::digest::SHA256, azure.hcl().var_data_raw());
        data[..32].copy_from_slice(digest.as_ref());
        data[63] = 1;
        data
    };
    let sound = Machine::default();
    let tail = commits_to_more(&sound);
    for machine in [
        Machine { td_quote_data: Some([0; 64]), ..sound.clone() },
        Machine { td_report_data: Some([0; 64]), ..sound.clone() },
        Machine { td_quote_data: Some(tail), ..sound.clone() },
        Machine { td_report_data: Some(tail), ..sound.clone() },
    ] {
        assert_eq!(refusal(&machine), at("A1", "azure.var-data"));
    }
}

#[test]
fn the_hardwares_own_rungs_refuse_under_the_vtpm() {
    let debug = TdProfile {
        td_attributes: ATTRIBUTE_DEBUG | ATTRIBUTE_SEPT_VE_DISABLE,
        ..TdProfile::default()
    };
    let machine = Machine { td: debug, ..Machine::default() };
    assert_eq!(refusal(&machine), at("T9", "tdx.td-attributes.debug"));
    let machine = Machine {
        td: TdProfile { td_attributes: 0, ..TdProfile::default() },
        ..Machine::default()
    };
    assert_eq!(refusal(&machine), at("T9", "tdx.td-attributes.sept-ve-disable"));
    // Under the vendor's root a simulated machine is none.
    let json = Machine::default().evidence();
    let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, &json).expect("evidence");
    let vendor = TrustAnchors::vendor();
    let refused = verify(&evidence, &BUNDLE, &vendor, &expected(), UnixTime(NOW));
    assert!(matches!(refused, Err(VerifyError::PckChain { .. })), "{refused:?}");
}

#[test]
fn a_paravisors_td_verifies_on_request_and_says_so() {
    let verdict = |td_attributes: u64| {
        let td = TdProfile { td_attributes, ..TdProfile::default() };
        let json = Machine { td, ..Machine::default() }.evidence();
        let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, &json).expect("evidence");
        let options = VerifyOptions {
            paravisor_tds: ParavisorTds::InsecureAccept,
            ..VerifyOptions::default()
        };
        verify_with(&evidence, &BUNDLE, &ANCHORS, &expected(), UnixTime(NOW), &options)
    };
    let verified = verdict(0).expect("a verdict");
    let json = serde_json::to_value(verified.get()).expect("JSON");
    assert_eq!(json["hardware"]["attributes_profile"], "azure-paravisor");
    // A policy that says nothing about paravisors refuses it.
    let refused = appraise(verified, &[], &AppraisalPolicy::default(), UnixTime(NOW));
    let reasons = refused.map(|_| ()).expect_err("a refusal").reasons;
    assert!(reasons.iter().any(|reason| reason.code == "azure.paravisor-td"), "{reasons:?}");
    // Zero, and nothing else.
    let pks = verdict(1 << 30).map(|_| ());
    assert!(matches!(pks, Err(VerifyError::SeptVeDisable { .. })), "{pks:?}");
    let strict = verdict(ATTRIBUTE_SEPT_VE_DISABLE).expect("a verdict");
    let json = serde_json::to_value(strict.get()).expect("JSON");
    assert_eq!(json["hardware"]["attributes_profile"], "standard");
}

#[test]
fn a2_a_quote_by_another_key_or_digest_is_refused() {
    for signer in [Signer::OtherKey, Signer::AttestationKeySha384] {
        let machine = Machine { signer, ..Machine::default() };
        assert_eq!(refusal(&machine), at("A2", "azure.quote.signature"));
    }
}

#[test]
fn a2_what_the_key_signed_but_is_no_quote_is_refused() {
    let machine = Machine { magic: 0xff54_4348, ..Machine::default() };
    assert_eq!(refusal(&machine), at("A2", "azure.quote.magic"));
    let machine = Machine { attest_type: 0x8014, ..Machine::default() };
    assert_eq!(refusal(&machine), at("A2", "azure.quote.type"));
}

#[test]
fn a2_a_quote_over_other_pcrs_is_refused() {
    let sha256 = |bitmap: &[u8]| {
        [&[0x00, 0x0b, u8::try_from(bitmap.len()).expect("short")], bitmap].concat()
    };
    let all = sha256(&[0xff; 3]);
    let without_16 = sha256(&[0xff, 0xff, 0xfe]);
    let sha1 = vec![0x00, 0x04, 3, 0xff, 0xff, 0xff];
    for selections in [
        vec![],
        vec![without_16],
        vec![sha256(&[0xff, 0xff])],
        vec![sha256(&[0xff, 0xff, 0xff, 0x01])],
        vec![sha256(&[0xff, 0xff, 0xff, 0x00])],
        vec![sha1.clone()],
        vec![all.clone(), sha1],
        vec![all.clone(), all],
    ] {
        let machine = Machine { selections, ..Machine::default() };
        assert_eq!(refusal(&machine), at("A2", "azure.quote.pcr-selection"));
    }
}

#[test]
fn a2_pcr_values_under_other_numbers_are_refused() {
    let mut json = Machine::default().evidence();
    let pcrs = json["tpm_quote"]["pcrs"].as_array_mut().expect("a list");
    pcrs.swap(4, 5);
    assert_eq!(refusal_of(&json, &expected()), at("A2", "azure.quote.pcr-digest"));
}

#[test]
fn a2_pcr_values_that_were_not_quoted_are_refused() {
    let machine = Machine { pcr_digest: Some(vec![0; 32]), ..Machine::default() };
    assert_eq!(refusal(&machine), at("A2", "azure.quote.pcr-digest"));
    // A digest with something after it.
    let sound = ring::digest::digest(&ring::digest::SHA256, &Machine::default().pcrs.concat());
    let longer = [sound.as_ref(), &[0]].concat();
    let machine = Machine { pcr_digest: Some(longer), ..Machine::default() };
    assert_eq!(refusal(&machine), at("A2", "azure.quote.pcr-digest"));
}

#[test]
fn a2_another_number_of_pcrs_is_refused() {
    for count in [0, 23, 25] {
        let mut json = Machine::default().evidence();
        json["tpm_quote"]["pcrs"] = json!(vec![hex::encode([0; 32]); count]);
        assert_eq!(refusal_of(&json, &expected()), at("A2", "azure.evidence.pcrs"));
    }
}

#[test]
fn a3_a_hardware_report_of_another_challenge_is_refused() {
    let mut other = vec![0x42; 64];
    other[47] = 0x43;
    for user_data in [None, Some(vec![]), Some(vec![0x42; 47]), Some(vec![0; 64]), Some(other)] {
        let machine = Machine { user_data, ..Machine::default() };
        assert_eq!(refusal(&machine), at("A3", "azure.user-data"));
        // Version 1 does not look.
        let machine = Machine { version: 1, ..machine };
        assert!(judge(&machine.evidence(), &expected()).is_ok());
    }
}

#[test]
fn a3_an_empty_challenge_is_no_prefix() {
    let machine = Machine { extra_data: vec![], ..Machine::default() };
    assert_eq!(refusal(&machine), at("A3", "azure.user-data"));
}

#[test]
fn a5_another_challenge_is_refused_at_every_byte() {
    let json = Machine::default().evidence();
    for byte in 0..64 {
        let mut other = expected();
        other.0[byte] ^= 1;
        assert_eq!(refusal_of(&json, &other), at("A5", "azure.report-data"), "byte {byte}");
    }
}

#[test]
fn a5_qualifying_data_of_another_length_are_refused() {
    for extra_data in [vec![0x42; 47], vec![0x42; 49], expected().0.to_vec()] {
        let user_data = Some([extra_data.clone(), vec![0; 16]].concat());
        let machine = Machine { extra_data, user_data, ..Machine::default() };
        assert_eq!(refusal(&machine), at("A5", "azure.report-data"));
    }
}

#[test]
fn report_data_without_a_zero_tail_are_compared_whole() {
    let whole = ReportData([0x42; 64]);
    let machine = Machine {
        extra_data: whole.0.to_vec(),
        user_data: Some(whole.0.to_vec()),
        ..Machine::default()
    };
    let json = machine.evidence();
    assert!(judge(&json, &whole).is_ok());
    assert_eq!(refusal_of(&json, &expected()), at("A5", "azure.report-data"));
}

#[test]
fn evidence_of_the_other_hardware_is_refused() {
    let json = Machine::default().evidence();
    let refused = Evidence::parse_kbs(Tee::AzSnpVtpm, &json).expect_err("a TD's");
    assert_eq!(refused.reasons()[0].code, "azure.evidence.report-type");
    assert_eq!(refused.rung(), "A1");
}

#[test]
fn each_member_is_refused_by_name() {
    let large = "A".repeat(8192);
    for (pointer, value, code) in [
        ("/version", json!(3), "azure.evidence.version"),
        ("/tpm_quote", json!(null), "azure.evidence.member"),
        ("/tpm_quote/message", json!("zz"), "azure.evidence.member"),
        ("/tpm_quote/message", json!(large), "azure.evidence.too-large"),
        ("/tpm_quote/message", json!(""), "azure.quote.truncated"),
        ("/tpm_quote/signature", json!("00"), "azure.quote.signature-length"),
        ("/tpm_quote/signature", json!(large), "azure.evidence.too-large"),
        ("/tpm_quote/pcrs", json!("00"), "azure.evidence.member"),
        ("/tpm_quote/pcrs/7", json!("00"), "azure.evidence.member"),
        ("/tpm_quote/pcrs/7", json!(7), "azure.evidence.member"),
        ("/hcl_report", json!("A"), "azure.evidence.member"),
        ("/hcl_report", json!("+/=="), "azure.evidence.member"),
        ("/hcl_report", json!(""), "azure.hcl.truncated"),
        ("/hcl_report", json!(large), "azure.evidence.too-large"),
        ("/td_quote", json!([]), "azure.evidence.member"),
        ("/td_quote", json!(""), "evidence.truncated"),
        ("/td_quote", json!("A".repeat(32 * 1024)), "azure.evidence.too-large"),
    ] {
        let mut json = Machine::default().evidence();
        *json.pointer_mut(pointer).expect("a member") = value;
        let (_, refused) = refusal_of(&json, &expected());
        assert_eq!(refused, code, "{pointer}");
    }
    let (_, refused) = refusal_of(&json!([]), &expected());
    assert_eq!(refused, "azure.evidence.member");
}

#[test]
fn a_record_shows_every_rung() {
    let sound = ladder(&Machine::default());
    assert!(sound.all_passed(), "{:?}", sound.reasons());
    assert!(matches!(sound.claims, Some(Claims::AzTdxVtpm(_))));
    let ids: Vec<&str> = sound.rungs.iter().map(|rung| rung.id).collect();
    assert_eq!(ids.first(), Some(&"A1"));
    assert_eq!(ids[ids.len() - 4..], ["A2", "A3", "A5", "A4"]);
    for id in ["T1", "T2", "T7", "T8", "T9"] {
        assert!(ids.contains(&id), "{id}");
    }
    for (machine, rung) in [
        (Machine { td_report_data: Some([0; 64]), ..Machine::default() }, "A1"),
        (Machine { signer: Signer::OtherKey, ..Machine::default() }, "A2"),
        (Machine { user_data: None, ..Machine::default() }, "A3"),
    ] {
        let record = ladder(&machine);
        let failed: Vec<&str> = record
            .rungs
            .iter()
            .filter(|rung| matches!(rung.outcome, Outcome::Failed(_)))
            .map(|rung| rung.id)
            .collect();
        assert_eq!(failed, [rung]);
        assert!(record.claims.is_none());
    }
}

#[test]
fn a_verified_machine_is_appraised_by_its_reference_values() {
    let machine = Machine::default();
    let verified = judge(&machine.evidence(), &expected()).expect("a verdict");
    let Claims::AzTdxVtpm(claims) = verified.get() else { panic!("an Azure TD") };
    let AzureHardwareClaims::Tdx(td) = &claims.hardware else { panic!("a TD") };
    let mut set = format!(
        "name = \"podvm\"\ntee = \"az-tdx-vtpm\"\nmeasurement = [\"{}\"]\n[pcrs]\n",
        td.mrtd
    );
    for (index, pcr) in claims.pcrs.iter().enumerate() {
        set.push_str(&format!("{index} = [\"{pcr}\"]\n"));
    }
    let set = ReferenceValues::parse_toml(&set).expect("a set");
    let policy = AppraisalPolicy {
        reference_values: vec!["podvm".to_owned()],
        registers: [adyton_attestation::appraisal::Register::Mrtd].into(),
        ..AppraisalPolicy::default()
    };
    let result = appraise(verified, &[set], &policy, UnixTime(NOW)).expect("a result");
    assert_eq!(result.matched_reference_values(), "podvm");
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

fn len(json: &Value, pointer: &str) -> usize {
    let mut len = 0;
    with_bytes(json, pointer, |bytes| len = bytes.len());
    len
}

#[test]
fn every_byte_of_quote_signature_and_pcrs_matters() {
    let sound = Machine::default().evidence();
    assert!(judge(&sound, &expected()).is_ok());
    let members = (0..24).map(|pcr| format!("/tpm_quote/pcrs/{pcr}"));
    let members = members.chain(["/tpm_quote/message", "/tpm_quote/signature"].map(String::from));
    let mut flips = 0;
    for member in members {
        for at in 0..len(&sound, &member) {
            let flipped = with_bytes(&sound, &member, |bytes| bytes[at] ^= 1 << (at % 8));
            let (rung, _) = refusal_of(&flipped, &expected());
            assert_eq!(rung, "A2", "byte {at} of {member}");
            flips += 1;
        }
    }
    assert_eq!(flips, 24 * 32 + 161 + 256);
}

/// Bytes of the HCL report that nobody signed and nothing depends on: the TDREPORT, but for its type
/// and its report data. Its MAC is for the machine's own quoting enclave, and what the ladder verifies
/// is the quote that was made of it.
fn is_unsigned(at: usize) -> bool {
    let in_report = at.wrapping_sub(0x20);
    (1..1024).contains(&in_report) && !(128..192).contains(&in_report)
}

#[test]
fn every_byte_of_the_hcl_report_matters_but_the_listed_ones() {
    let sound = Machine::default().evidence();
    let (mut refused, mut accepted) = (0, 0);
    for at in 0..len(&sound, "/hcl_report") {
        let flipped = with_bytes(&sound, "/hcl_report", |bytes| bytes[at] ^= 1 << (at % 8));
        if is_unsigned(at) {
            assert!(judge(&flipped, &expected()).is_ok(), "byte {at:#x}");
            accepted += 1;
        } else {
            let (rung, code) = refusal_of(&flipped, &expected());
            assert_eq!(rung, "A1", "byte {at:#x}: {code}");
            refused += 1;
        }
    }
    assert_eq!((refused, accepted), (2600 - 959, 959));
}
