//! Policies in the shape of Trustee's run as they are; everything but a clear yes is a refusal.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use adyton_attestation::appraisal::RegoRules;
use adyton_attestation::ear::{Tier, TrustVector, annotated_claims};
use adyton_attestation::rcar::ResourcePath;
use adyton_attestation::{
    Claims, EndorsementBundle, Evidence, ReferenceValues, ReportData, TrustAnchors, UnixTime,
    Verified, verify,
};
use adyton_fake_tee::{FakeTee, TdProfile};
use adyton_rego::{
    EVALUATION_LIMIT, MAX_INPUT_LEN, RegoPolicy, RegoRefusal, ResourceRequest, Subject, allow,
    appraise, judge,
};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

/// An attestation policy with what Trustee's default has in it: defaults, the object of claims, rules
/// with several bodies and `else`, rules for other TEEs, reference values through the builtin, helper
/// rules over event logs, extensions with comprehensions.
const ATTESTATION: &str = r#"
package policy

import rego.v1

default executables := 33
default hardware := 97
default configuration := 36
default file_system := 0
default instance_identity := 0
default runtime_opaque := 0
default storage_opaque := 0
default sourced_data := 0

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"file-system": file_system,
	"instance-identity": instance_identity,
	"runtime-opaque": runtime_opaque,
	"storage-opaque": storage_opaque,
	"sourced-data": sourced_data,
}

executables := 3 if {
	input.snp
	input.snp.evidence.measurement in query_reference_value("snp_launch_measurement")
}

hardware := 2 if {
	input.snp
	input.snp.evidence.reported_tcb.bootloader in query_reference_value("snp_bootloader")
}

executables := 3 if {
	input.tdx
	input.tdx.quote.body.rtmr_1 in query_reference_value("rtmr_1")
	input.tdx.quote.body.rtmr_2 in query_reference_value("rtmr_2")
	kernel_was_measured
} else := 4 if {
	input.tdx
	input.tdx.quote.body.rtmr_1 in query_reference_value("rtmr_1")
	input.tdx.quote.body.rtmr_2 in query_reference_value("rtmr_2")
}

hardware := 2 if {
	input.tdx
	input.tdx.quote.header.tee_type == "81000000"
	input.tdx.quote.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
	input.tdx.quote.body.mr_td in query_reference_value("mr_td")
	input.tdx.tcb_status == "UpToDate"
	input.tdx.collateral_expiration_status == "0"
	unwanted := {"INTEL-SA-00001"}
	count({id | some id in input.tdx.advisory_ids} & unwanted) == 0
}

configuration := 2 if {
	input.tdx.td_attributes.debug == false
	input.tdx.quote.body.xfam in query_reference_value("xfam")
}

kernel_was_measured if {
	some event in input.tdx.uefi_event_logs
	event.type_name == "EV_EFI_BOOT_SERVICES_APPLICATION"
	some digest in event.digests
	digest.digest == query_reference_value("kernel")
}

extensions := [{
	"name": "ear.trustee.identifiers",
	"key": -18,
	"value": {"validated": object.union_n([images])},
}]

images := {"container_images": found} if {
	found := [image | image := input.init_data_claims.containers[_].image]
	count(found) > 0
} else := {}
"#;

const RESOURCE: &str = r#"
package policy
import rego.v1

default allow = false

allow if {
	not any_not_affirming
	count(input.submods) > 0
	data.plugin == "resource"
	data["resource-path"] == ["acme", "model-key", "kjv"]
}

any_not_affirming if {
	some _, submod in input.submods
	submod["ear.status"] != "affirming"
}
"#;

struct Case {
    verified: Verified<Claims>,
    references: Vec<ReferenceValues>,
    evidence: Value,
    resource: ResourcePath,
}

/// A genuine TD, the Reference Values that fit, and a key.
fn case() -> &'static Case {
    static CASE: LazyLock<Case> = LazyLock::new(|| {
        let tee = FakeTee::from_seed([7; 32], NOW);
        let profile = TdProfile::default();
        let evidence = Evidence::parse_file(&tee.quote(&profile, [0x5a; 64])).expect("quote");
        let bundle = tee.endorsement_bundle(NOW, &[]).to_string();
        let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("bundle");
        let anchors = TrustAnchors::vendor();
        let anchors = anchors.with_insecure_extra_root(tee.root_pem().as_bytes()).expect("root");
        let expected = ReportData([0x5a; 64]);
        let verified = verify(&evidence, &bundle, &anchors, &expected, UnixTime(NOW));
        let verified = verified.expect("verified");
        let references = ReferenceValues::parse_toml(&tee.reference_values(&profile));
        let evidence = Value::Object(annotated_claims(verified.get()));
        let resource = ResourcePath::parse("acme/model-key/kjv").expect("path");
        Case { verified, references: vec![references.expect("set")], evidence, resource }
    });
    &CASE
}

fn parsed(text: &str) -> RegoPolicy {
    RegoPolicy::parse(text).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn references() -> Value {
    let xfam = case().evidence["tdx"]["quote"]["body"]["xfam"].clone();
    adyton_rego::references(&case().references, &[("xfam".to_owned(), json!([xfam]))].into())
}

fn judged(rules: &RegoRules) -> Result<(), Vec<String>> {
    let case = case();
    let subject = Subject {
        claims: case.verified.get(),
        evidence: &case.evidence,
        resource: &case.resource,
        query: BTreeMap::new(),
        references: &case.references,
        devices: &[],
        now: UnixTime(NOW),
    };
    judge(rules, &subject).map_err(|reasons| {
        assert!(!reasons.is_empty());
        for reason in &reasons {
            for text in [&reason.claim, &reason.expected, &reason.got, &reason.remedy] {
                assert!(!text.is_empty(), "{reason:?}");
            }
        }
        reasons.iter().map(|reason| format!("{} {}", reason.code, reason.claim)).collect()
    })
}

/// A release policy's `[rego]` with these texts; an empty one is none.
fn rules(attestation: &str, resource: &str) -> RegoRules {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let xfam = case().evidence["tdx"]["quote"]["body"]["xfam"].clone();
    RegoRules {
        attestation: some(attestation),
        gpu: None,
        resource: some(resource),
        reference: [("xfam".to_owned(), json!([xfam]))].into(),
    }
}

/// The policy with one piece of its text changed.
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

#[test]
fn a_policy_in_the_shape_of_trustees_default_appraises_a_td() {
    let appraised = appraise(&parsed(ATTESTATION), &case().evidence, &references());
    let appraised = appraised.expect("a vector");
    let expected =
        TrustVector { executables: 4, hardware: 2, configuration: 2, ..TrustVector::default() };
    assert_eq!(appraised.vector, expected);
    assert_eq!(appraised.vector.status(), Tier::Affirming);
    assert_eq!(appraised.identifiers, Some(json!({ "validated": {} })));
    assert_eq!(appraised.affirming(), Ok(()));
}

#[test]
fn without_reference_values_its_defaults_are_what_is_left() {
    let appraised = appraise(&parsed(ATTESTATION), &case().evidence, &json!({}));
    let vector = appraised.expect("a vector").vector;
    assert_eq!((vector.executables, vector.hardware, vector.configuration), (33, 97, 36));
    assert_eq!(vector.status(), Tier::Contraindicated);
}

#[test]
fn reference_values_are_also_data_and_rules_may_stand_alone() {
    let older = r#"
        package policy
        import rego.v1
        default hardware = 97
        hardware = 2 if input.tdx.quote.body.mr_td in data.reference.mr_td
        executables = 3
    "#;
    let vector =
        appraise(&parsed(older), &case().evidence, &references()).expect("a vector").vector;
    let expected = TrustVector { executables: 3, hardware: 2, ..TrustVector::default() };
    assert_eq!(vector, expected);
}

#[test]
fn a_policy_from_before_rego_v1_runs() {
    let v0 = r#"
        package policy
        default allow = false
        allow {
            input["submods"]["cpu0"]["ear.status"] == "affirming"
            data["resource-path"][0] == "acme"
        }
    "#;
    let token = json!({ "submods": { "cpu0": { "ear.status": "affirming" } } });
    let request = ResourceRequest { path: &case().resource, query: BTreeMap::new() };
    assert_eq!(allow(&parsed(v0), &token, &request), Ok(()));
    let token = json!({ "submods": { "cpu0": { "ear.status": "warning" } } });
    assert_eq!(allow(&parsed(v0), &token, &request), Err(RegoRefusal::Denied));
}

#[test]
fn a_policy_that_reads_the_trust_context_or_the_query_runs() {
    let newer = r#"
        package policy
        import rego.v1
        default allow = false
        plugin = data.plugin
        allow if {
            plugin == "resource"
            input.trust_context.attestation_summary.verification_result == true
            data.query.epoch == "2"
        }
    "#;
    let request = |epoch: &str| ResourceRequest {
        path: &case().resource,
        query: [("epoch".to_owned(), epoch.to_owned())].into(),
    };
    let token = |status: &str| json!({ "submods": { "cpu0": { "ear.status": status } } });
    let policy = parsed(newer);
    assert_eq!(allow(&policy, &token("affirming"), &request("2")), Ok(()));
    assert_eq!(allow(&policy, &token("affirming"), &request("1")), Err(RegoRefusal::Denied));
    assert_eq!(allow(&policy, &token("none"), &request("2")), Err(RegoRefusal::Denied));
    let nobody = json!({ "submods": {} });
    assert_eq!(allow(&policy, &nobody, &request("2")), Err(RegoRefusal::Denied));
}

#[test]
fn both_policies_of_a_release_policy_must_agree() {
    assert_eq!(judged(&rules(ATTESTATION, "")), Ok(()));
    assert_eq!(judged(&rules(ATTESTATION, RESOURCE)), Ok(()));
    // Without an attestation policy the token says `none`, which is not affirming.
    let denied = Err(vec!["rego.denied rego.resource: allow".to_owned()]);
    assert_eq!(judged(&rules("", RESOURCE)), denied);
    let other = with(RESOURCE, "\"kjv\"", "\"other\"");
    assert_eq!(judged(&rules(ATTESTATION, &other)), denied);
    let worse = with(ATTESTATION, "\"UpToDate\"", "\"OutOfDate\"");
    assert_eq!(judged(&rules(&worse, RESOURCE)), denied);
    assert_eq!(
        judged(&rules(&worse, "")),
        Err(vec!["rego.not-affirming rego.attestation: hardware".to_owned()])
    );
}

#[test]
fn every_claim_that_is_not_affirming_is_told() {
    let mut rules = rules(ATTESTATION, "");
    rules.reference.clear();
    for name in ["mr_td", "rtmr_1"] {
        rules.reference.insert(name.to_owned(), json!([]));
    }
    let expected = ["configuration", "executables", "hardware"]
        .map(|claim| format!("rego.not-affirming rego.attestation: {claim}"));
    assert_eq!(judged(&rules), Err(expected.to_vec()));
}

#[test]
fn an_attestation_policy_that_is_no_clear_yes_is_a_refusal() {
    let head = "package policy\nimport rego.v1\n";
    for (body, told) in [
        ("", "rego.undefined rego.attestation: trust_claims"),
        ("trust_claims := {}", "rego.undefined rego.attestation: trust_claims"),
        ("trust_claims := {\"hardware\": 0}", "rego.undefined rego.attestation: trust_claims"),
        ("hardware := 2 if input.missing", "rego.undefined rego.attestation: trust_claims"),
        ("trust_claims := 2", "rego.kind rego.attestation: trust_claims"),
        ("hardware := true", "rego.kind rego.attestation: hardware"),
        ("hardware := \"2\"", "rego.kind rego.attestation: hardware"),
        ("hardware := 2.5", "rego.kind rego.attestation: hardware"),
        ("hardware := 258", "rego.kind rego.attestation: hardware"),
        ("trust_claims := {\"luck\": 2}", "rego.unknown-claim rego.attestation"),
        ("hardware := 2\nhardware := 3", "rego.evaluation rego.attestation"),
        ("hardware := 2 if {", "rego.syntax rego.attestation"),
        ("hardware := numbers.range(1, 2)[1]", "rego.forbidden-builtin rego.attestation"),
        ("hardware := rand.intn(\"x\", 2)", "rego.forbidden-builtin rego.attestation"),
        ("hardware := 2 if http . send({})", "rego.forbidden-builtin rego.attestation"),
        (
            "hardware := 2 if input.x == query_reference_value(\"x\")",
            "rego.undefined rego.attestation: trust_claims",
        ),
    ] {
        assert_eq!(
            judged(&rules(&format!("{head}{body}"), "")),
            Err(vec![told.to_owned()]),
            "{body}"
        );
    }
    let elsewhere = "package other\nimport rego.v1\nhardware := 2";
    let refused = judged(&rules(elsewhere, ""));
    assert_eq!(refused, Err(vec!["rego.package rego.attestation".to_owned()]));
}

#[test]
fn a_resource_policy_that_is_no_clear_yes_is_a_refusal() {
    let head = "package policy\nimport rego.v1\n";
    for (body, told) in [
        ("", "rego.undefined rego.resource: allow"),
        ("allow if input.missing", "rego.undefined rego.resource: allow"),
        ("allow := false", "rego.denied rego.resource: allow"),
        ("allow := \"true\"", "rego.kind rego.resource: allow"),
        ("allow := 1", "rego.kind rego.resource: allow"),
        ("allow := [true]", "rego.kind rego.resource: allow"),
        ("allow := null", "rego.kind rego.resource: allow"),
        ("allow := true\nallow := false", "rego.evaluation rego.resource"),
        ("deny := true", "rego.undefined rego.resource: allow"),
        ("allow if f(1)\nf(x) if f(x)", "rego.recursion rego.resource"),
        ("allow if f(1)\nf(x) if g(x)\ng(x) if f(x)", "rego.recursion rego.resource"),
        ("allow if f(1)\nf(x) if data.policy.f(x)", "rego.recursion rego.resource"),
        ("allow if f(1)\nf(x) if data[\"policy\"].f(x)", "rego.recursion rego.resource"),
        ("allow if data.policy[input.x]", "rego.recursion rego.resource"),
        (
            "import data.policy as p\nallow if p.f(1)\nf(x) if p.f(x)",
            "rego.recursion rego.resource",
        ),
        ("import data.policy.f as g\nallow if g(1)\nf(x) if g(x)", "rego.recursion rego.resource"),
        (
            "import data as d\nallow if d.policy.f(1)\nf(x) if d.policy.f(x)",
            "rego.recursion rego.resource",
        ),
        ("allow if data", "rego.recursion rego.resource"),
        ("allow if data[input.x].y", "rego.recursion rego.resource"),
    ] {
        assert_eq!(
            judged(&rules("", &format!("{head}{body}"))),
            Err(vec![told.to_owned()]),
            "{body}"
        );
    }
}

#[test]
fn two_broken_policies_are_both_told() {
    let refused = judged(&rules("package", "package other\nimport rego.v1"));
    let told = ["rego.syntax rego.attestation", "rego.package rego.resource"];
    assert_eq!(refused, Err(told.map(str::to_owned).to_vec()));
    assert!(judged(&RegoRules::default()).is_err(), "a table without a policy permits nothing");
}

#[test]
fn a_policy_that_does_not_end_is_refused_in_time() {
    let endless = "package policy\nimport rego.v1\nallow if {\n".to_owned()
        + "some a in input.many; some b in input.many; some c in input.many; some d in input.many\n"
        + "a + b + c + d == -1\n}\n";
    let token = json!({ "many": (0..1000).collect::<Vec<_>>() });
    let request = ResourceRequest { path: &case().resource, query: BTreeMap::new() };
    let started = Instant::now();
    assert_eq!(allow(&parsed(&endless), &token, &request), Err(RegoRefusal::TooSlow));
    assert!(started.elapsed() < EVALUATION_LIMIT * 5, "{:?}", started.elapsed());
}

#[test]
fn input_that_is_too_long_is_refused_before_it_is_parsed() {
    let policy = parsed("package policy\nimport rego.v1\nallow := true");
    let request = ResourceRequest { path: &case().resource, query: BTreeMap::new() };
    let token = json!({ "submods": "x".repeat(MAX_INPUT_LEN) });
    let refused = allow(&policy, &token, &request).expect_err("refused");
    assert!(matches!(refused, RegoRefusal::InputTooLong { what: "input", .. }), "{refused:?}");
}

#[test]
fn a_call_that_takes_as_much_memory_as_a_number_says_is_refused() {
    let head = "package policy\nimport rego.v1\n";
    for body in [
        "allow := count(sprintf(\"%999999999d\", [1])) > 0",
        "allow := count(sprintf(\"%0999999999d\", [1])) > 0",
        "allow := count(sprintf(\"%.999999999f\", [1.5])) > 0",
        "allow := count(sprintf(concat(\"\", [\"%\", \"999999999d\"]), [1])) > 0",
        "allow if {\ncount(f(\"%999999999d\", [1])) > 0 with f as sprintf\n}\nf(x, y) := \"\"",
        "allow := bits.lsh(1, 999999999) > 0",
    ] {
        let refused = RegoPolicy::parse(&format!("{head}{body}"));
        assert!(matches!(refused, Err(RegoRefusal::Forbidden { .. })), "{body}: {refused:?}");
    }
    let plain = format!("{head}allow := sprintf(\"%v is %d%%\", [\"a\", 1]) == \"a is 1%\"");
    let token = json!({});
    let request = ResourceRequest { path: &case().resource, query: BTreeMap::new() };
    assert_eq!(allow(&parsed(&plain), &token, &request), Ok(()));
}

#[test]
fn a_policy_that_is_too_long_or_too_deep_is_refused() {
    let long = format!("package policy\n# {}", "x".repeat(300_000));
    assert!(matches!(RegoPolicy::parse(&long), Err(RegoRefusal::TooLong { .. })));
    let head = "package policy\nimport rego.v1\n";
    for (open, close) in [("[", "]"), ("(", ")"), ("[\n", "]\n"), ("{\"a\": ", "}")] {
        let deep = format!("{head}allow := {}1{}", open.repeat(5_000), close.repeat(5_000));
        assert!(matches!(RegoPolicy::parse(&deep), Err(RegoRefusal::Nesting { .. })), "{open}");
    }
    // Brackets in strings and comments are none.
    let text = format!(
        "{head}# {}\nallow := \"\\\"{}\" == `{}`",
        "(".repeat(99),
        "[".repeat(99),
        "{".repeat(99)
    );
    assert!(RegoPolicy::parse(&text).is_ok());
    let chain = |rules: usize| {
        let rules = (0..rules).map(|n| format!("r{n} := r{}\n", n + 1)).collect::<String>();
        format!("{head}allow := r0\n{rules}")
    };
    assert!(RegoPolicy::parse(&chain(30)).is_ok());
    assert!(matches!(RegoPolicy::parse(&chain(40)), Err(RegoRefusal::Recursion { .. })));
}

#[test]
fn the_deepest_policy_that_is_accepted_can_be_evaluated() {
    let (open, close) = ("[y | y := ".repeat(10), "]".repeat(10));
    let rules =
        (0..30).map(|n| format!("f{n}(x) := {open}f{}(x){close}\n", n + 1)).collect::<String>();
    let text =
        format!("package policy\nimport rego.v1\nhardware := 2 if f0(1)\n{rules}f30(x) := x\n");
    let vector = appraise(&parsed(&text), &json!({}), &json!({})).expect("a vector").vector;
    assert_eq!(vector.hardware, 2);
}

#[test]
fn a_claim_that_is_null_is_one_that_there_is_not() {
    let mut evidence = case().evidence.clone();
    evidence["snp"] = json!({ "evidence": { "cpuid": null } });
    let policy = "package policy\nimport rego.v1\n\
                  hardware := 2 if input.snp.evidence.cpuid == data.reference.cpuid";
    let case = case();
    let subject = Subject {
        claims: case.verified.get(),
        evidence: &evidence,
        resource: &case.resource,
        query: BTreeMap::new(),
        references: &[],
        devices: &[],
        now: UnixTime(NOW),
    };
    let mut rules = rules(policy, "");
    rules.reference.insert("cpuid".to_owned(), Value::Null);
    let refused = judge(&rules, &subject).expect_err("refused");
    assert_eq!(refused[0].code, "rego.undefined");
}
