//! Event logs beside a quote: rung T13.

use adyton_attestation::{Evidence, ReportData, Tee};
use adyton_fake_tee::{FakeEventLog, FakeTee, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::NOW;
use crate::case::{Coverage, Expected, Field, Judge, bundle, claim, field, judged, run_bytes};

const MALFORMED: &[&str] = &["tdx.event-log.malformed"];
const REPLAY: &[&str] = &["tdx.event-log.replay"];
/// A length that lies moves everything behind it.
const LENGTH: &[&str] = &["tdx.event-log.malformed", "tdx.event-log.replay"];

/// TCG "PC Client Platform Firmware Profile", §10.2. Types and data of events are covered by no digest: they
/// are told apart from proven content, and decide nothing here.
fn fields(log: &FakeEventLog, len: usize) -> Vec<Field> {
    let mut fields = vec![
        claim("Spec ID: register index", 0..4),
        field("Spec ID: event type", 4..8, MALFORMED),
        field("Spec ID: digest", 8..28, MALFORMED),
        field("Spec ID: size", 28..32, MALFORMED),
        field("Spec ID: signature", 32..48, MALFORMED),
        claim("Spec ID: platform class", 48..52),
        field("Spec ID: version", 52..54, MALFORMED),
        claim("Spec ID: errata, size of a word", 54..56),
        field("Spec ID: algorithms", 56..64, MALFORMED),
        field("Spec ID: vendor size", 64..65, MALFORMED),
    ];
    let mut at = FakeEventLog::spec_id().len();
    let last = log.events.len() - 1;
    for (index, event) in log.events.iter().enumerate() {
        let data = at + 12 + 50 + 4;
        fields.extend([
            judged("register index", at..at + 4, |at, new| match (at, new) {
                (0, 1..=4) => Expected::Refused(REPLAY),
                _ => Expected::Refused(MALFORMED),
            }),
            judged("event type", at + 4..at + 8, {
                let sound = event.event_type;
                move |at, new| {
                    let mut bytes = sound.to_le_bytes();
                    bytes[at] = new;
                    // EV_NO_ACTION extends no register.
                    match u32::from_le_bytes(bytes) {
                        3 => Expected::Refused(REPLAY),
                        _ => Expected::Claim,
                    }
                }
            }),
            field("digest count", at + 8..at + 12, LENGTH),
            field("digest algorithm", at + 12..at + 14, MALFORMED),
            field("digest", at + 14..at + 62, REPLAY),
            judged("event size", at + 62..data, {
                // The last event may take padding for data: its digest is not of them, so that they are
                // never content.
                let (len, end, is_last) = (event.data.len(), len - data, index == last);
                move |at, new| {
                    let mut bytes = u32::try_from(len).expect("short").to_le_bytes();
                    bytes[at] = new;
                    let stated = usize::try_from(u32::from_le_bytes(bytes)).expect("a size");
                    match is_last && stated > len && stated <= end {
                        true => Expected::Claim,
                        false => Expected::Refused(LENGTH),
                    }
                }
            }),
            claim("event data", data..data + event.data.len()),
        ]);
        at = data + event.data.len();
    }
    fields.push(field("padding", at..len, MALFORMED));
    fields
}

#[test]
fn every_defect_in_every_field_of_an_event_log_is_refused_with_its_code() {
    let tee = FakeTee::from_seed([22; 32], NOW);
    let endorsements = bundle(&tee.endorsement_bundle(NOW, &[]).to_string()).expect("a bundle");
    let judge = Judge::of(tee.root_der());
    let log = FakeEventLog::default();
    let profile = TdProfile::default().with_event_log(log.clone());
    let evidence = tee.primary_evidence(&profile, [3; 64], &[]);
    let sound = STANDARD.decode(evidence["cc_eventlog"].as_str().expect("a log")).expect("base64");
    run_bytes("event log", &sound, Coverage::Whole, &fields(&log, sound.len()), |bytes| {
        let mut json = evidence.clone();
        json["cc_eventlog"] = STANDARD.encode(bytes).into();
        let evidence = Evidence::parse_kbs(Tee::Tdx, &json);
        judge.judge(evidence, &endorsements, &ReportData([3; 64]))
    });
}
