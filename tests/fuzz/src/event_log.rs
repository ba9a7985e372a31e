//! Event logs in TCG's crypto-agile format.

use adyton_attestation::evidence::event_log::{CcEventLog, EV_NO_ACTION};
use adyton_attestation::limits::{MAX_EVENT_LOG_EVENTS, MAX_EVENT_LOG_LEN};
use adyton_attestation::verifier::event_log::registers;
use adyton_fake_tee::{FakeEvent, FakeEventLog};

/// Reads the bytes as a log. What is accepted says the same without its padding and with other padding,
/// adds up to what its events written anew add up to, and has no event that its bytes have no room for.
pub fn run(data: &[u8]) {
    let Ok(log) = CcEventLog::parse(data) else { return };
    assert!(data.len() <= MAX_EVENT_LOG_LEN && log.len <= data.len());
    assert!(log.events.len() <= MAX_EVENT_LOG_EVENTS);
    let (events, padding) = data.split_at(log.len);
    assert!(padding.iter().all(|byte| *byte == 0) || padding.iter().all(|byte| *byte == 0xff));
    assert_eq!(CcEventLog::parse(events).as_ref(), Ok(&log), "padding means something");
    let mut padded = events.to_vec();
    padded.resize(MAX_EVENT_LOG_LEN.min(log.len.saturating_add(70)), 0xff);
    assert_eq!(CcEventLog::parse(&padded).as_ref(), Ok(&log), "padding means something");

    let taken: usize = log.events.iter().map(|event| event.data.len().saturating_add(66)).sum();
    assert!(taken <= log.len, "more events than bytes");
    assert!(log.events.iter().all(|event| event.event_type != EV_NO_ACTION));

    let anew = FakeEventLog {
        events: log
            .events
            .iter()
            .map(|event| FakeEvent {
                index: 1 + event.register as u32,
                event_type: event.event_type,
                digest: event.digest.0,
                data: event.data.to_vec(),
            })
            .collect(),
    };
    assert_eq!(registers(&log).map(|register| register.0), anew.rtmrs());
    // Other algorithms, notes and vendor bytes are not written: what is written is never longer.
    let bytes = anew.to_bytes();
    assert!(bytes.len() <= log.len, "written anew it grew");
    assert_eq!(CcEventLog::parse(&bytes).map(|again| again.events), Ok(log.events));
}

/// A boot, padded in both ways; one with notes; nothing but the first event.
pub fn seeds() -> Vec<Vec<u8>> {
    let boot = FakeEventLog::default();
    let mut zeros = boot.to_bytes();
    zeros.resize(2048, 0);
    let mut notes = boot.clone();
    notes.events.insert(0, FakeEvent { index: 0, ..FakeEvent::of_data(1, 3, b"StartupLocality") });
    vec![
        boot.to_bytes(),
        boot.to_table(2048),
        zeros,
        notes.to_bytes(),
        FakeEventLog::spec_id(),
        FakeEventLog { events: vec![FakeEvent::application("a", "b", "c d")] }.to_bytes(),
    ]
}
