//! The Azure vTPM ladder on simulated machines, rung by rung: each case has one fault, every signature is
//! sound, and the case fails exactly where it should, by the Verifier or by the appraisal.
//!
//! Real machines' Evidence is in `azure_real_vectors.rs`.

#![allow(clippy::result_large_err, reason = "a test may carry a whole refusal")]

use std::net::TcpListener;
use std::sync::LazyLock;

use adyton_attestation::appraisal::MinimumTcb;
use adyton_attestation::attester::{Attester as _, CocoAttester};
use adyton_attestation::claims::{AzureHardwareClaims, Claims, SnpProduct};
use adyton_attestation::verifier::{LeftTo, NotApplicable, Outcome};
use adyton_attestation::{
    AppraisalPolicy, EndorsementBundle, Evidence, Ladder, ParavisorTds, Reason, ReferenceValues,
    ReportData, Tee, TrustAnchors, UnixTime, Verified, VerifyError, VerifyOptions, appraise,
    explain, replay, verify, verify_with,
};
use adyton_fake_tee::{
    ATTRIBUTE_SEPT_VE_DISABLE, AzureFault, AzureProfile, FakeAzure, FakeHardware, FakeKey,
    FakeProduct, FakeSnp, FakeTee, GuestApi, SnpProfile, TdProfile,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

/// When everything happens, in seconds since the Unix epoch.
const NOW: u64 = 1_800_000_000;

/// What the Verifier asked for: a SHA-384 digest and its padding.
const EXPECTED: ReportData = {
    let mut data = [0x42; 64];
    let mut at = 48;
    while at < 64 {
        data[at] = 0;
        at += 1;
    }
    ReportData(data)
};

/// A simulated VM with what a Verifier needs for it.
struct Vm {
    machine: FakeAzure,
    tee: Tee,
    bundle: EndorsementBundle,
    anchors: TrustAnchors,
}

static SNP: LazyLock<Vm> = LazyLock::new(|| {
    vm(FakeAzure::snp(FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek)), Tee::AzSnpVtpm)
});
static TDX: LazyLock<Vm> =
    LazyLock::new(|| vm(FakeAzure::tdx(FakeTee::from_seed([0xa2; 32], NOW)), Tee::AzTdxVtpm));

fn vm(machine: FakeAzure, tee: Tee) -> Vm {
    let bundle = machine.endorsement_bundle(NOW).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let root = machine.root_pem();
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(root.as_bytes()).expect("a root");
    Vm { machine, tee, bundle, anchors }
}

fn on(hardware: FakeHardware) -> &'static Vm {
    match hardware {
        FakeHardware::Snp => &SNP,
        FakeHardware::Tdx => &TDX,
    }
}

fn profile() -> AzureProfile {
    AzureProfile::answering(EXPECTED.0)
}

impl Vm {
    fn judge(&self, json: &Value, expected: &ReportData) -> Result<Verified<Claims>, VerifyError> {
        let evidence = Evidence::parse_kbs(self.tee, json)?;
        verify(&evidence, &self.bundle, &self.anchors, expected, UnixTime(NOW))
    }

    /// The one reason against the Evidence.
    fn refusal_of(&self, json: &Value, expected: &ReportData) -> Reason {
        let refused = self.judge(json, expected).map(|_| ()).expect_err("a refusal");
        let mut reasons = refused.reasons();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert_eq!(refused.rung(), reasons[0].rung, "{reasons:?}");
        reasons.remove(0)
    }

    fn ladder(&self, profile: &AzureProfile, fault: Option<AzureFault>) -> Option<Ladder> {
        let json = self.machine.evidence(profile, fault);
        let evidence = Evidence::parse_kbs(self.tee, &json).ok()?;
        Some(replay(&evidence, &self.bundle, &self.anchors, UnixTime(NOW)))
    }

    /// A policy under which a sound VM gets its key, and the set that it matches.
    fn policy(&self) -> (AppraisalPolicy, Vec<ReferenceValues>) {
        let set = self.machine.reference_values(&profile());
        let mut policy = AppraisalPolicy {
            reference_values: vec!["fake-azure".to_owned()],
            ..AppraisalPolicy::default()
        };
        let tcb = SnpProfile::default().tcb;
        let minimum = MinimumTcb {
            fmc: None,
            bootloader: tcb.bootloader,
            tee: tcb.tee,
            snp: tcb.snp,
            microcode: tcb.microcode,
        };
        policy.snp.minimum_tcb = [(SnpProduct::Genoa, minimum)].into();
        (policy, vec![ReferenceValues::parse_toml(&set).expect("a set")])
    }
}

fn at(reason: &Reason) -> (&str, &str) {
    (&reason.rung, &reason.code)
}

fn assert_complete(reason: &Reason) {
    for part in [&reason.rung, &reason.claim, &reason.expected, &reason.got, &reason.remedy] {
        assert!(!part.is_empty(), "{reason:?}");
    }
}

/// Every fault on every hardware that shows it, in both versions of the Evidence.
fn every_case() -> impl Iterator<Item = (AzureFault, &'static str, &'static str, &'static Vm, u64)>
{
    AzureFault::ALL.iter().flat_map(|&(fault, rung, code)| {
        let machines = fault.hardware().iter().map(|hardware| on(*hardware));
        machines.flat_map(move |vm| [1, 2].map(|version| (fault, rung, code, vm, version)))
    })
}

/// A3 is a question to version 2 alone, and a fault of the version is one of both.
fn is_shown_in(fault: AzureFault, rung: &str, version: u64) -> bool {
    version == 2 || rung != "A3" || fault == AzureFault::OldVersion
}

#[test]
fn a_sound_machine_verifies_in_both_versions_and_is_appraised() {
    for hardware in FakeHardware::ALL {
        let vm = on(hardware);
        for version in [1, 2] {
            let profile = AzureProfile { version, ..profile() };
            let json = vm.machine.evidence(&profile, None);
            let verified = vm.judge(&json, &EXPECTED).expect("a verdict");
            let (Claims::AzSnpVtpm(claims) | Claims::AzTdxVtpm(claims)) = verified.get() else {
                panic!("an Azure VM")
            };
            assert_eq!(u64::from(claims.evidence_version), version);
            assert_eq!(claims.report_data, EXPECTED);
            assert_eq!(claims.pcrs.map(|pcr| pcr.0).to_vec(), profile.pcrs);
            match &claims.hardware {
                AzureHardwareClaims::Snp(snp) => assert_eq!(snp.root, *verified.get().root()),
                AzureHardwareClaims::Tdx(td) => assert_eq!(td.root, *verified.get().root()),
            }
            let json = serde_json::to_value(verified.get()).expect("JSON");
            assert_eq!(json["tee"], hardware.tee());
            assert_eq!(json["pcrs"]["23"], hex::encode(profile.pcrs[23]));
            let (mut policy, sets) = vm.policy();
            policy.azure.minimum_evidence_version = 1;
            let result = appraise(verified, &sets, &policy, UnixTime(NOW)).expect("a result");
            assert_eq!(result.matched_reference_values(), "fake-azure");
        }
    }
}

#[test]
fn every_fault_is_refused_by_the_verifier_at_its_own_rung_with_its_own_code() {
    let mut ran = 0;
    for (fault, rung, code, vm, version) in every_case() {
        if fault.is_for_appraisal() || !is_shown_in(fault, rung, version) {
            continue;
        }
        let profile = AzureProfile { version, ..profile() };
        let reason = vm.refusal_of(&vm.machine.evidence(&profile, Some(fault)), &EXPECTED);
        assert_eq!(at(&reason), (rung, code), "{fault:?}, {}, {version}: {reason:?}", vm.tee);
        assert_complete(&reason);
        ran += 1;
    }
    assert_eq!(ran, 290, "added a fault? raise this number in the same commit");
}

#[test]
fn what_version_1_does_not_state_it_is_not_refused_for() {
    for (fault, _, _, vm, version) in every_case().filter(|(_, rung, ..)| *rung == "A3") {
        // Without qualifying data there is no answer to any challenge.
        if version == 2 || matches!(fault, AzureFault::OldVersion | AzureFault::EmptyExtraData) {
            continue;
        }
        let json = vm.machine.evidence(&AzureProfile { version, ..profile() }, Some(fault));
        assert!(vm.judge(&json, &EXPECTED).is_ok(), "{fault:?}");
    }
}

#[test]
fn every_fault_that_the_verifier_lets_pass_is_refused_by_the_appraisal() {
    for (fault, rung, code, vm, version) in every_case() {
        if !fault.is_for_appraisal() || version == 1 {
            continue;
        }
        let json = vm.machine.evidence(&profile(), Some(fault));
        let verified = vm.judge(&json, &EXPECTED).expect("the Verifier has no opinion");
        let (policy, sets) = vm.policy();
        let refused = appraise(verified, &sets, &policy, UnixTime(NOW)).map(|_| ());
        let reasons = refused.expect_err("a refusal").reasons;
        assert_eq!(reasons.iter().map(at).collect::<Vec<_>>(), [(rung, code)], "{fault:?}");
        assert_complete(&reasons[0]);
    }
}

#[test]
fn every_rung_has_a_fault() {
    for rung in ["A1", "A2", "A3", "A4", "A5"] {
        assert!(AzureFault::ALL.iter().any(|(_, of, _)| *of == rung), "{rung}");
    }
}

#[test]
fn a_replay_fails_each_fault_at_its_own_rung_alone() {
    let sound = TDX.ladder(&profile(), None).expect("a ladder");
    assert!(sound.all_passed(), "{:?}", sound.reasons());
    assert!(matches!(sound.claims, Some(Claims::AzTdxVtpm(_))));
    let ids: Vec<&str> = sound.rungs.iter().map(|rung| rung.id).collect();
    assert_eq!(ids.first(), Some(&"A1"));
    assert_eq!(ids[ids.len() - 4..], ["A2", "A3", "A5", "A4"]);
    for id in ["T1", "T2", "T7", "T8", "T9"] {
        assert!(ids.contains(&id), "{id}");
    }
    let outcome =
        |id: &str| sound.rungs.iter().find(|rung| rung.id == id).map(|rung| rung.outcome.clone());
    assert_eq!(outcome("T18"), Some(Outcome::NotApplicable(NotApplicable::ComparedByA1)));
    assert_eq!(outcome("A5"), Some(Outcome::LeftTo(LeftTo::Challenge)));
    assert_eq!(outcome("A4"), Some(Outcome::LeftTo(LeftTo::Appraisal)));
    for (fault, rung, code, vm, version) in every_case() {
        // What does not parse has no ladder, and what only a challenge or a policy shows no failed rung.
        if fault.is_for_appraisal() || rung == "A5" || !is_shown_in(fault, rung, version) {
            continue;
        }
        let profile = AzureProfile { version, ..profile() };
        let Some(record) = vm.ladder(&profile, Some(fault)) else { continue };
        let refused: Vec<(&str, &str)> = record
            .rungs
            .iter()
            .filter_map(|rung| match &rung.outcome {
                Outcome::Failed(reason) | Outcome::Waived(reason) => Some((rung.id, &*reason.code)),
                Outcome::Passed
                | Outcome::NotReached
                | Outcome::LeftTo(_)
                | Outcome::NotApplicable(_) => None,
            })
            .collect();
        assert_eq!(refused, [(rung, code)], "{fault:?}");
        // A replay shows a debuggable guest as what somebody may have waived.
        assert!(record.claims.is_none() || fault == AzureFault::DebugGuest, "{fault:?}");
    }
}

#[test]
fn three_defects_of_a_machine_are_all_told() {
    // One of the hardware's chain, one of the vTPM, one of the challenge.
    let json = SNP.machine.evidence(&profile(), Some(AzureFault::OtherKey));
    let evidence = Evidence::parse_kbs(SNP.tee, &json).expect("evidence");
    let (bundle, vendor) = (&SNP.bundle, TrustAnchors::vendor());
    let (other, now) = (ReportData([0xee; 64]), UnixTime(NOW));
    let refusal = verify(&evidence, bundle, &vendor, &other, now).expect_err("refused");
    let told = explain(&refusal, &evidence, bundle, &vendor, &other, now);
    let codes: Vec<&str> = told.iter().map(|reason| reason.code.as_ref()).collect();
    assert_eq!(codes, ["snp.chain", "azure.quote.signature", "azure.report-data"]);
}

#[test]
fn the_guest_api_gives_our_attester_evidence_that_our_verifier_takes() {
    for hardware in FakeHardware::ALL {
        let machine = match hardware {
            FakeHardware::Snp => {
                FakeAzure::snp(FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek))
            }
            FakeHardware::Tdx => FakeAzure::tdx(FakeTee::from_seed([0xa3; 32], NOW)),
        };
        let tee: Tee = hardware.tee().parse().expect("a TEE of ours");
        let bundle = machine.endorsement_bundle(NOW).to_string();
        let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
        let root = machine.root_pem();
        let anchors =
            TrustAnchors::vendor().with_insecure_extra_root(root.as_bytes()).expect("a root");
        let api = GuestApi::azure(machine, 2, None);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || api.serve(&listener));
        let attester = CocoAttester::new(&url).expect("the API answers");
        assert_eq!(attester.tee(), tee);
        let json = attester.collect(&EXPECTED).expect("Evidence over our report data");
        let evidence = Evidence::parse_kbs(tee, &json).expect("Evidence");
        let verdict = verify(&evidence, &bundle, &anchors, &EXPECTED, UnixTime(NOW));
        assert!(verdict.is_ok(), "{tee}: {verdict:?}");
    }
}

// ---- What the Verifier decides besides single faults ----

#[test]
fn a_simulated_machine_is_not_believed_without_its_root() {
    for hardware in FakeHardware::ALL {
        let vm = on(hardware);
        let json = vm.machine.evidence(&profile(), None);
        let evidence = Evidence::parse_kbs(vm.tee, &json).expect("evidence");
        let vendor = TrustAnchors::vendor();
        let refused = verify(&evidence, &vm.bundle, &vendor, &EXPECTED, UnixTime(NOW));
        let code = refused.map(|_| ()).expect_err("a refusal").reasons()[0].code.clone();
        assert!(matches!(&*code, "tdx.pck-chain" | "snp.chain"), "{code}");
    }
}

#[test]
fn a_paravisors_td_verifies_on_request_and_says_so() {
    let vm = &*TDX;
    let verdict = |td_attributes: u64| {
        let td = TdProfile { td_attributes, ..profile().td };
        let json = vm.machine.evidence(&AzureProfile { td, ..profile() }, None);
        let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, &json).expect("evidence");
        let options = VerifyOptions {
            paravisor_tds: ParavisorTds::InsecureAccept,
            ..VerifyOptions::default()
        };
        verify_with(&evidence, &vm.bundle, &vm.anchors, &EXPECTED, UnixTime(NOW), &options)
    };
    let verified = verdict(0).expect("a verdict");
    let json = serde_json::to_value(verified.get()).expect("JSON");
    assert_eq!(json["hardware"]["attributes_profile"], "azure-paravisor");
    // A policy that says nothing about paravisors refuses it, for this alone.
    let (policy, sets) = vm.policy();
    let refused = appraise(verified, &sets, &policy, UnixTime(NOW));
    let reasons = refused.map(|_| ()).expect_err("a refusal").reasons;
    assert_eq!(reasons.iter().map(at).collect::<Vec<_>>(), [("T9", "azure.paravisor-td")]);
    // Zero, and nothing else.
    let pks = verdict(1 << 30).map(|_| ());
    assert!(matches!(pks, Err(VerifyError::SeptVeDisable { .. })), "{pks:?}");
    let strict = verdict(ATTRIBUTE_SEPT_VE_DISABLE).expect("a verdict");
    let json = serde_json::to_value(strict.get()).expect("JSON");
    assert_eq!(json["hardware"]["attributes_profile"], "standard");
}

#[test]
fn a5_another_challenge_is_refused_at_every_byte() {
    let json = TDX.machine.evidence(&profile(), None);
    for byte in 0..64 {
        let mut other = EXPECTED;
        other.0[byte] ^= 1;
        let reason = TDX.refusal_of(&json, &other);
        assert_eq!(at(&reason), ("A5", "azure.report-data"), "byte {byte}");
    }
}

#[test]
fn report_data_without_a_zero_tail_are_compared_whole() {
    let whole = ReportData([0x42; 64]);
    let json = TDX.machine.evidence(&AzureProfile::answering(whole.0), None);
    assert!(TDX.judge(&json, &whole).is_ok());
    assert_eq!(at(&TDX.refusal_of(&json, &EXPECTED)), ("A5", "azure.report-data"));
}

#[test]
fn evidence_of_the_other_hardware_is_refused() {
    for (vm, other) in [(&*SNP, Tee::AzTdxVtpm), (&*TDX, Tee::AzSnpVtpm)] {
        let json = vm.machine.evidence(&profile(), None);
        let refused = Evidence::parse_kbs(other, &json).expect_err("the other's");
        assert_eq!(at(&refused.reasons()[0]), ("A1", "azure.evidence.report-type"));
    }
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
        let mut json = TDX.machine.evidence(&profile(), None);
        *json.pointer_mut(pointer).expect("a member") = value;
        let refused = TDX.refusal_of(&json, &EXPECTED);
        assert_eq!(refused.code, code, "{pointer}");
    }
    assert_eq!(TDX.refusal_of(&json!([]), &EXPECTED).code, "azure.evidence.member");
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
    let sound = TDX.machine.evidence(&profile(), None);
    assert!(TDX.judge(&sound, &EXPECTED).is_ok());
    let members = (0..24).map(|pcr| format!("/tpm_quote/pcrs/{pcr}"));
    let members = members.chain(["/tpm_quote/message", "/tpm_quote/signature"].map(String::from));
    let mut flips = 0;
    for member in members {
        for at in 0..len(&sound, &member) {
            let flipped = with_bytes(&sound, &member, |bytes| bytes[at] ^= 1 << (at % 8));
            let rung = TDX.refusal_of(&flipped, &EXPECTED).rung;
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
    let sound = TDX.machine.evidence(&profile(), None);
    let (mut refused, mut accepted) = (0, 0);
    for at in 0..len(&sound, "/hcl_report") {
        let flipped = with_bytes(&sound, "/hcl_report", |bytes| bytes[at] ^= 1 << (at % 8));
        if is_unsigned(at) {
            assert!(TDX.judge(&flipped, &EXPECTED).is_ok(), "byte {at:#x}");
            accepted += 1;
        } else {
            let reason = TDX.refusal_of(&flipped, &EXPECTED);
            assert_eq!(reason.rung, "A1", "byte {at:#x}: {reason:?}");
            refused += 1;
        }
    }
    assert_eq!((refused, accepted), (2600 - 959, 959));
}
