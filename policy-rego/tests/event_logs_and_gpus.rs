//! Event logs and GPUs reach a policy in Trustee's shape, and only as far as they are proven.

use std::collections::BTreeMap;

use adyton_attestation::appraisal::RegoRules;
use adyton_attestation::ear::annotated_claims;
use adyton_attestation::evidence::nvidia_gpu::GpuEvidence;
use adyton_attestation::rcar::ResourcePath;
use adyton_attestation::verifier::verify_gpu;
use adyton_attestation::{
    Claims, EndorsementBundle, Evidence, GpuClaims, ReferenceValues, ReportData, Tee, TrustAnchors,
    UnixTime, Verified, verify,
};
use adyton_fake_tee::{FakeEvent, FakeEventLog, FakeGpu, FakeTee, TdProfile};
use adyton_rego::{Subject, judge};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const NONCE: [u8; 32] = [0x42; 32];

/// A policy for devices with what Trustee's default has in it: helper rules that decide who verified, typed
/// comparisons with lists and objects of reference values, `every`, a second body for another verifier.
const GPU: &str = r#"
package policy
import rego.v1

default hardware := 97
default executables := 33
default configuration := 36

trust_claims := {
	"hardware": hardware,
	"executables": executables,
	"configuration": configuration,
}

verified_here if {
	input.nvidia.verifier == "local"
	input.nvidia.arch in {"Hopper", "Blackwell"}
	is_object(input.nvidia.config)
	is_object(input.nvidia.measurements)
}

texts(values) if {
	is_array(values)
	count(values) > 0
	every value in values { is_string(value) }
}

one_of(actual, name) if {
	is_string(actual)
	allowed := query_reference_value(name)
	texts(allowed)
	actual in allowed
}

hardware := 2 if verified_here

hardware := 2 if {
	input.nvidia.verifier == "remote"
	input.nvidia["x-nvidia-gpu-arch-check"]
}

configuration := 2 if {
	verified_here
	one_of(input.nvidia.config.driver_version, "allowed_driver_versions")
	one_of(input.nvidia.config.vbios_version, "allowed_vbios_versions")
}

executables := 3 if {
	verified_here
	expected := query_reference_value("allowed_gpu_measurements")
	count(expected) > 0
	every index, accepted in expected {
		input.nvidia.measurements[index] in accepted
	}
}
"#;

/// What Trustee ships for resources, in other words: nobody whose submods are not all affirming.
const ALL_AFFIRMING: &str = r#"
package policy
import rego.v1
default allow := false
allow if {
	count(input.submods) > 0
	every submod in input.submods { submod["ear.status"] == "affirming" }
}
"#;

struct Scene {
    verified: Verified<Claims>,
    devices: Vec<Verified<GpuClaims>>,
    references: Vec<ReferenceValues>,
    rules: RegoRules,
}

impl Scene {
    /// A TD that booted as `log` says and sent it.
    fn booted(log: &FakeEventLog) -> Self {
        let tee = FakeTee::from_seed([7; 32], NOW);
        let profile = TdProfile { rtmrs: log.rtmrs(), ..TdProfile::default() };
        let kbs = json!({
            "cc_eventlog": STANDARD.encode(log.to_bytes()),
            "quote": STANDARD.encode(tee.quote(&profile, [0x5a; 64])),
        });
        let evidence = Evidence::parse_kbs(Tee::Tdx, &kbs).expect("evidence");
        let bundle = tee.endorsement_bundle(NOW, &[]).to_string();
        let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("bundle");
        let anchors = TrustAnchors::vendor();
        let anchors = anchors.with_insecure_extra_root(tee.root_pem().as_bytes()).expect("root");
        let expected = ReportData([0x5a; 64]);
        let verified = verify(&evidence, &bundle, &anchors, &expected, UnixTime(NOW));
        Self {
            verified: verified.expect("verified"),
            devices: Vec::new(),
            references: Vec::new(),
            rules: RegoRules::default(),
        }
    }

    fn with_gpu(mut self) -> Self {
        let gpu = FakeGpu::new(NOW);
        let anchors = TrustAnchors::vendor();
        let anchors = anchors.with_insecure_extra_root(gpu.root_pem().as_bytes()).expect("root");
        let evidence = GpuEvidence::parse_list(&gpu.evidence(NONCE, None)).expect("evidence");
        for device in &evidence {
            let device = verify_gpu(device, &anchors, &NONCE, UnixTime(NOW)).expect("verified");
            self.devices.push(device);
        }
        for set in FakeGpu::reference_values() {
            self.references.push(ReferenceValues::parse_toml(&set).expect("a set"));
        }
        self
    }

    fn attestation(mut self, body: &str) -> Self {
        let head = "package policy\nimport rego.v1\ndefault executables := 33\n";
        self.rules.attestation = Some(format!("{head}{body}"));
        self
    }

    fn judged(&self) -> Result<(), Vec<String>> {
        let annotated = Value::Object(annotated_claims(self.verified.get()));
        let resource = ResourcePath::parse("acme/model-key/kjv").expect("path");
        let subject = Subject {
            claims: self.verified.get(),
            evidence: &annotated,
            resource: &resource,
            query: BTreeMap::new(),
            references: &self.references,
            devices: &self.devices,
            now: UnixTime(NOW),
        };
        judge(&self.rules, &subject).map_err(|reasons| {
            reasons.iter().map(|reason| format!("{} {}", reason.code, reason.claim)).collect()
        })
    }
}

/// A log with events whose content is proven, of the forms that have details, and with others.
fn log() -> FakeEventLog {
    let mut log = FakeEventLog::default();
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let guid =
        [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 3, 0x2b, 0x8c];
    let variable = [&guid[..], &10_u64.to_le_bytes(), &1_u64.to_le_bytes(), &name, &[1]].concat();
    log.events.push(FakeEvent::of_data(1, 0x8000_0001, &variable));
    log.events.push(FakeEvent::of_data(2, 0x8000_0007, b"Calling EFI Application"));
    log
}

#[test]
fn a_policy_goes_by_events_whose_digests_it_knows() {
    let log = log();
    let kernel = log.events.iter().find(|event| event.event_type == 0x8000_0003).expect("one");
    let rule = r#"executables := 3 if {
        some event in input.tdx.uefi_event_logs
        event.type_name == "EV_EFI_BOOT_SERVICES_APPLICATION"
        event.index == 2
        some digest in event.digests
        digest.alg == "SHA-384"
        digest.digest in query_reference_value("boot_loader")
    }"#;
    let mut scene = Scene::booted(&log).attestation(rule);
    let known = json!([hex(&kernel.digest)]);
    scene.rules.reference.insert("boot_loader".to_owned(), known);
    assert_eq!(scene.judged(), Ok(()));
    scene.rules.reference.insert("boot_loader".to_owned(), json!(["00".repeat(48)]));
    let refused = ["rego.not-affirming rego.attestation: executables".to_owned()];
    assert_eq!(scene.judged(), Err(refused.to_vec()));
}

#[test]
fn details_are_those_of_trustee_where_the_digest_proves_them() {
    for rule in [
        r#"event.type_name == "EV_EFI_VARIABLE_DRIVER_CONFIG"
           event.details.unicode_name == "SecureBoot"
           event.details.variable_name == "61dfe48b-ca93-d211-aa0d-00e098032b8c"
           event.details.variable_data == "AQ=="
           event.digest_matches_event == true"#,
        r#"event.type_name == "EV_EFI_ACTION"
           event.details.string == "Calling EFI Application""#,
        r#"event.index == 4
           event.details.unicode_name == "AAEL"
           event.details.data.domain == "coco.example"
           event.details.data.operation == "load-model"
           startswith(base64.decode(event.event), "LEAA")"#,
    ] {
        let rule =
            format!("executables := 3 if {{\nsome event in input.tdx.uefi_event_logs\n{rule}\n}}");
        assert_eq!(Scene::booted(&log()).attestation(&rule).judged(), Ok(()), "{rule}");
    }
}

#[test]
fn content_that_no_digest_proves_does_not_reach_a_policy() {
    let refused = Err(vec!["rego.not-affirming rego.attestation: executables".to_owned()]);
    for rule in ["event.event", "event.details", "event.digest_matches_event == true"] {
        let rule = format!(
            "executables := 3 if {{\nsome event in input.tdx.uefi_event_logs\n\
             event.type_name == \"EV_EFI_BOOT_SERVICES_APPLICATION\"\n{rule}\n}}"
        );
        assert_eq!(Scene::booted(&log()).attestation(&rule).judged(), refused, "{rule}");
    }
}

#[test]
fn a_gpu_is_appraised_by_a_policy_for_devices() {
    let mut scene = Scene::booted(&log()).with_gpu().attestation("executables := 3");
    scene.rules.gpu = Some(GPU.to_owned());
    assert_eq!(scene.judged(), Ok(()));
    scene.rules.resource = Some(ALL_AFFIRMING.to_owned());
    assert_eq!(scene.judged(), Ok(()));

    // A driver that is not among the reference values: told, and seen by the resource policy.
    scene.rules.reference.insert("allowed_driver_versions".to_owned(), json!(["1.0"]));
    assert_eq!(scene.judged(), Err(vec!["rego.denied rego.resource: allow".to_owned()]));
    scene.rules.resource = None;
    let told = "rego.not-affirming rego.gpu: configuration";
    assert_eq!(scene.judged(), Err(vec![told.to_owned()]));
    let other = json!({ "1": ["00".repeat(48)] });
    scene.rules.reference.insert("allowed_gpu_measurements".to_owned(), other);
    let both = [told, "rego.not-affirming rego.gpu: executables"].map(str::to_owned);
    assert_eq!(scene.judged(), Err(both.to_vec()));
}

#[test]
fn a_gpu_that_no_policy_appraised_is_not_affirming() {
    let mut scene = Scene::booted(&log()).with_gpu().attestation("executables := 3");
    scene.rules.resource = Some(ALL_AFFIRMING.to_owned());
    assert_eq!(scene.judged(), Err(vec!["rego.denied rego.resource: allow".to_owned()]));
    scene.devices.clear();
    assert_eq!(scene.judged(), Ok(()), "without a device there is none to be appraised");
}

#[test]
fn a_resource_policy_sees_the_claims_of_a_gpu() {
    let mut scene = Scene::booted(&log()).with_gpu();
    let sees = r#"
        package policy
        import rego.v1
        default allow := false
        allow if {
            gpu := input.submods.gpu0["ear.veraison.annotated-evidence"].nvidia
            gpu.driver_version == "550.90.07"
            gpu.uuid == "4F2A0C5E1B7D9A3355"
        }
    "#;
    scene.rules.resource = Some(sees.to_owned());
    assert_eq!(scene.judged(), Ok(()));
    scene.devices.clear();
    assert_eq!(scene.judged(), Err(vec!["rego.denied rego.resource: allow".to_owned()]));
}

#[test]
fn a_broken_policy_for_devices_is_told_even_without_a_device() {
    let mut scene = Scene::booted(&log());
    scene.rules.gpu = Some("package policy\nhardware := {".to_owned());
    assert_eq!(scene.judged(), Err(vec!["rego.syntax rego.gpu".to_owned()]));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
