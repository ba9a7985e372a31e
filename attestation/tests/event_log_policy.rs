//! Each rule of `[appraisal.event_log]` with a case that fails exactly there.

use std::sync::LazyLock;

use adyton_attestation::appraisal::{
    EventLogPolicy, PolicyError, RequiredApplicationEvent, RequiredEvent,
};
use adyton_attestation::claims::{Measurement, Rtmr};
use adyton_attestation::limits::MAX_POLICY_EVENTS;
use adyton_attestation::{
    AppraisalPolicy, EndorsementBundle, Evidence, ReferenceValues, ReportData, Tee, TrustAnchors,
    UnixTime, appraise, verify,
};
use adyton_fake_tee::{FakeEventLog, FakeTee, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const REPORT_DATA: ReportData = ReportData([0x5a; 64]);

static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([9; 32], NOW));

fn profile() -> TdProfile {
    TdProfile { rtmrs: FakeEventLog::default().rtmrs(), ..TdProfile::default() }
}

/// Codes of the reasons against a TD with this log, all of them.
fn refusals(log: Option<&FakeEventLog>, event_log: EventLogPolicy) -> Vec<String> {
    let bundle = TEE.endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(TEE.root_der()).expect("a root");
    let log = log.map_or(Value::Null, |log| json!(STANDARD.encode(log.to_table(4096))));
    let quote = STANDARD.encode(TEE.quote(&profile(), REPORT_DATA.0));
    let evidence = Evidence::parse_kbs(Tee::Tdx, &json!({ "cc_eventlog": log, "quote": quote }));
    let evidence = evidence.expect("evidence");
    let verified =
        verify(&evidence, &bundle, &anchors, &REPORT_DATA, UnixTime(NOW)).expect("sound");
    let references = ReferenceValues::parse_toml(&TEE.reference_values(&profile())).expect("a set");
    let policy = AppraisalPolicy {
        reference_values: vec![references.name().to_owned()],
        event_log,
        ..AppraisalPolicy::default()
    };
    match appraise(verified, &[references], &policy, UnixTime(NOW)) {
        Ok(_) => Vec::new(),
        Err(refusal) => {
            assert!(refusal.reasons.iter().all(|reason| reason.rung == "T13"));
            refusal.reasons.into_iter().map(|reason| reason.code.to_string()).collect()
        }
    }
}

fn required() -> EventLogPolicy {
    EventLogPolicy { require: true, ..EventLogPolicy::default() }
}

/// Event 3 of the fake boot: the boot loader.
fn boot_loader(register: Rtmr) -> RequiredEvent {
    RequiredEvent { register, digest: Measurement(FakeEventLog::default().events[3].digest) }
}

fn application(content: &str) -> RequiredApplicationEvent {
    RequiredApplicationEvent {
        domain: "coco.example".into(),
        operation: "load-model".into(),
        content: content.into(),
    }
}

#[test]
fn a_log_is_asked_for_only_where_the_policy_says_so() {
    assert_eq!(refusals(None, EventLogPolicy::default()), [""; 0]);
    assert_eq!(refusals(Some(&FakeEventLog::default()), required()), [""; 0]);
    assert_eq!(refusals(None, required()), ["tdx.event-log.absent"]);
}

#[test]
fn events_are_found_by_register_and_digest() {
    let log = FakeEventLog::default();
    let wanted = |register| EventLogPolicy { events: vec![boot_loader(register)], ..required() };
    assert_eq!(refusals(Some(&log), wanted(Rtmr::Rtmr1)), [""; 0]);
    assert_eq!(refusals(Some(&log), wanted(Rtmr::Rtmr2)), ["tdx.event-log.event-missing"]);
}

#[test]
fn application_events_are_found_when_their_digest_proves_them() {
    let log = FakeEventLog::default();
    let wanted =
        |content| EventLogPolicy { application_events: vec![application(content)], ..required() };
    assert_eq!(refusals(Some(&log), wanted("{\"model\": \"llama\"}")), [""; 0]);
    let missing = ["tdx.event-log.application-event-missing"];
    assert_eq!(refusals(Some(&log), wanted("{\"model\": \"llama\"")), missing);

    let mut altered = log;
    let data = &mut altered.events[6].data;
    let at = data.len() - 3;
    data[at] = b'b';
    let forged = wanted("{\"model\": \"llamb\"}");
    assert_eq!(refusals(Some(&altered), forged), missing, "not what was measured");
}

#[test]
fn every_reason_is_told() {
    let policy = EventLogPolicy {
        events: vec![boot_loader(Rtmr::Rtmr0), boot_loader(Rtmr::Rtmr3)],
        application_events: vec![application("x")],
        ..required()
    };
    assert_eq!(
        refusals(Some(&FakeEventLog::default()), policy),
        [
            "tdx.event-log.event-missing",
            "tdx.event-log.event-missing",
            "tdx.event-log.application-event-missing"
        ]
    );
}

fn refused_key(policy: EventLogPolicy) -> &'static str {
    let policy = AppraisalPolicy { event_log: policy, ..AppraisalPolicy::default() };
    match policy.validate() {
        Err(PolicyError::Value { key, .. }) => key,
        other => panic!("a refused value, got {other:?}"),
    }
}

#[test]
fn policies_that_cannot_be_meant_are_refused() {
    let events = vec![boot_loader(Rtmr::Rtmr1); MAX_POLICY_EVENTS + 1];
    let many = EventLogPolicy { events, ..required() };
    assert_eq!(refused_key(many), "appraisal.event_log");
    let idle = EventLogPolicy { application_events: vec![application("x")], ..Default::default() };
    assert_eq!(refused_key(idle), "appraisal.event_log.require");
    for domain in ["", "two words"] {
        let event = RequiredApplicationEvent { domain: domain.into(), ..application("x") };
        let policy = EventLogPolicy { application_events: vec![event], ..required() };
        assert_eq!(refused_key(policy), "appraisal.event_log.application_events");
    }
}

#[test]
fn the_table_is_read_from_toml_and_unknown_keys_are_refused() {
    let digest = "ab".repeat(48);
    let table = format!(
        "require = true\n[[events]]\nregister = \"rtmr1\"\ndigest = \"{digest}\"\n\
         [[application_events]]\ndomain = \"a\"\noperation = \"b\"\ncontent = \"c d\"\n"
    );
    let policy: EventLogPolicy = toml::from_str(&table).expect("a table");
    assert_eq!(policy.events[0].digest, Measurement([0xab; 48]));
    assert_eq!(policy.application_events[0].content, "c d");
    for unknown in ["required = true", "require = 1"] {
        assert!(toml::from_str::<EventLogPolicy>(unknown).is_err(), "{unknown}");
    }
    let typed = format!("{table}event_type = 6\n");
    assert!(toml::from_str::<EventLogPolicy>(&typed).is_err(), "types are not proven");
}
