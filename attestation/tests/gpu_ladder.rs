//! The GPU ladder: sound Evidence is accepted, each fault is refused at its own rung.

use adyton_attestation::claims::Nvdec0;
use adyton_attestation::evidence::nvidia_gpu::{GpuEvidence, GpuFormatError};
use adyton_attestation::verifier::{GpuError, verify_gpu};
use adyton_attestation::{
    AppraisalPolicy, Claims, EndorsementBundle, Evidence, GpuClaims, Reason, ReferenceValues,
    ReportData, TrustAnchors, UnixTime, Verified, appraise_with_devices, verify,
};
use adyton_fake_tee::{FakeGpu, FakeTee, GpuFault, TdProfile};

const NOW: u64 = 1_800_000_000;
const NONCE: [u8; 32] = [0x42; 32];

fn anchors(gpu: &FakeGpu) -> TrustAnchors {
    TrustAnchors::vendor().with_insecure_extra_root(gpu.root_pem().as_bytes()).expect("a root")
}

fn verified(gpu: &FakeGpu, fault: Option<GpuFault>) -> Result<Verified<GpuClaims>, GpuError> {
    let mut devices = GpuEvidence::parse_list(&gpu.evidence(NONCE, fault))?;
    assert_eq!(devices.len(), 1);
    verify_gpu(&devices.remove(0), &anchors(gpu), &NONCE, UnixTime(NOW))
}

fn assert_complete(reason: &Reason) {
    for part in [&reason.rung, &reason.claim, &reason.expected, &reason.got, &reason.remedy] {
        assert!(!part.is_empty(), "{reason:?}");
    }
    assert!(reason.code.starts_with("gpu."), "{reason:?}");
}

#[test]
fn a_sound_device_is_verified_with_its_claims() {
    let device = verified(&FakeGpu::new(NOW), None).expect("verified");
    let claims = device.get();
    assert_eq!(claims.driver_version, "550.90.07");
    assert_eq!(claims.vbios_version, "96.00.9f.00.01");
    assert_eq!(claims.board, "1010 0200 882");
    assert_eq!(claims.chip_serial, "4F2A0C5E1B7D9A3355");
    assert_eq!(claims.nvdec0, Nvdec0::Disabled);
    assert_eq!(claims.measurements.len(), 64);
}

#[test]
fn every_fault_is_refused_at_its_own_rung_with_its_own_code() {
    let gpu = FakeGpu::new(NOW);
    for &(fault, rung, code) in GpuFault::ALL {
        if rung == "G6" {
            let device = verified(&gpu, Some(fault))
                .unwrap_or_else(|e| panic!("{fault:?} is the policy's: {e:?}"));
            assert_eq!(codes(&[device], &policy(), &references()), [code], "{fault:?}");
            continue;
        }
        let error = verified(&gpu, Some(fault)).map(|_| ()).expect_err("refused");
        assert_eq!((error.rung(), &*error.reason().code), (rung, code), "{fault:?}: {error:?}");
        assert_complete(&error.reason());
    }
}

#[test]
fn a_simulated_device_is_not_believed_without_its_root() {
    let gpu = FakeGpu::new(NOW);
    let devices = GpuEvidence::parse_list(&gpu.evidence(NONCE, None)).expect("parses");
    let error = verify_gpu(&devices[0], &TrustAnchors::vendor(), &NONCE, UnixTime(NOW));
    assert!(matches!(error.map(|_| ()), Err(GpuError::Chain { .. })));
}

#[test]
fn every_flipped_byte_of_a_report_is_refused() {
    let gpu = FakeGpu::new(NOW);
    let value = gpu.evidence(NONCE, None);
    let sound = hex::decode(value["device_evidence_list"][0]["evidence"].as_str().expect("hex"))
        .expect("hex");
    let anchors = anchors(&gpu);
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x01;
        let mut value = value.clone();
        value["device_evidence_list"][0]["evidence"] = hex::encode(bytes).into();
        let outcome = GpuEvidence::parse_list(&value)
            .map_err(GpuError::from)
            .and_then(|devices| verify_gpu(&devices[0], &anchors, &NONCE, UnixTime(NOW)));
        assert!(
            matches!(outcome.map(|_| ()), Err(GpuError::Format(_) | GpuError::Signature)),
            "byte {at}"
        );
    }
}

#[test]
fn more_devices_than_a_machine_has_are_refused_before_any_is_read() {
    let one = FakeGpu::new(NOW).evidence(NONCE, None)["device_evidence_list"][0].clone();
    let list = serde_json::Value::Array(vec![one; 17]);
    assert_eq!(
        GpuEvidence::parse_list(&list).map(|_| ()),
        Err(GpuFormatError::TooLarge { what: "number of devices", got: 17, limit: 16 })
    );
}

// ---- Appraisal: rung G6 ----

fn guest() -> Verified<Claims> {
    let tee = FakeTee::from_seed([3; 32], NOW);
    let data = ReportData([9; 64]);
    let evidence =
        Evidence::parse_file(&tee.quote(&TdProfile::default(), data.0)).expect("a quote");
    let bundle = tee.endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee.root_der()).expect("a root");
    verify(&evidence, &bundle, &anchors, &data, UnixTime(NOW)).expect("verified")
}

fn references() -> Vec<ReferenceValues> {
    let tee = FakeTee::from_seed([3; 32], NOW);
    let guest = tee.reference_values(&TdProfile::default());
    FakeGpu::reference_values()
        .iter()
        .chain([&guest])
        .map(|text| ReferenceValues::parse_toml(text).expect("a set"))
        .collect()
}

fn policy() -> AppraisalPolicy {
    let mut policy =
        AppraisalPolicy { reference_values: vec!["fake-td".into()], ..AppraisalPolicy::default() };
    policy.gpu.minimum_devices = 1;
    policy.gpu.reference_values = vec!["fake-gpu-driver".into(), "fake-gpu-vbios".into()];
    policy.validate().expect("a policy that can be meant");
    policy
}

fn codes(
    devices: &[Verified<GpuClaims>],
    policy: &AppraisalPolicy,
    sets: &[ReferenceValues],
) -> Vec<String> {
    match appraise_with_devices(guest(), devices, sets, policy, UnixTime(NOW)) {
        Ok(_) => Vec::new(),
        Err(refusal) => {
            refusal.reasons.iter().for_each(assert_complete);
            refusal.reasons.iter().map(|reason| reason.code.to_string()).collect()
        }
    }
}

#[test]
fn a_device_whose_manifests_match_is_accepted() {
    let device = verified(&FakeGpu::new(NOW), None).expect("verified");
    assert_eq!(codes(&[device], &policy(), &references()), [""; 0]);
}

#[test]
fn a_guest_without_the_devices_that_the_owner_asks_for_is_refused() {
    assert_eq!(codes(&[], &policy(), &references()), ["gpu.missing"]);
}

#[test]
fn one_device_does_not_count_twice() {
    let gpu = FakeGpu::new(NOW);
    let devices =
        [verified(&gpu, None).expect("verified"), verified(&gpu, None).expect("verified")];
    let mut two = policy();
    two.gpu.minimum_devices = 2;
    assert_eq!(codes(&devices, &two, &references()), ["gpu.twice"]);
}

#[test]
fn a_denied_chip_and_one_that_is_not_listed_are_refused() {
    let gpu = FakeGpu::new(NOW);
    let device = || verified(&gpu, None).expect("verified");
    let mut denied = policy();
    denied.gpu.denied_chips = [device().get().chip_serial.clone()].into();
    assert_eq!(codes(&[device()], &denied, &references()), ["gpu.chip.denied"]);
    let mut others = policy();
    others.gpu.allowed_chips = ["another".to_owned()].into();
    assert_eq!(codes(&[device()], &others, &references()), ["gpu.chip.not-allowed"]);
}

#[test]
fn two_manifests_that_claim_the_same_measurement_are_refused() {
    let [driver, vbios] = FakeGpu::reference_values();
    let vbios = vbios.replace("\n9 = ", "\n21 = ");
    let mut sets: Vec<_> = [driver, vbios]
        .iter()
        .map(|text| ReferenceValues::parse_toml(text).expect("a set"))
        .collect();
    sets.extend(references().into_iter().filter(|set| set.name() == "fake-td"));
    let device = verified(&FakeGpu::new(NOW), None).expect("verified");
    assert_eq!(codes(&[device], &policy(), &sets), ["gpu.manifests.conflict"]);
}

#[test]
fn a_policy_that_asks_for_devices_and_names_no_manifest_is_an_error() {
    let mut policy = policy();
    policy.gpu.reference_values.clear();
    let error = policy.validate().expect_err("refused");
    assert!(error.to_string().contains("appraisal.gpu.reference_values"), "{error}");
}
