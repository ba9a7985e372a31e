//! Rung T13: event logs are read, replayed, and believed only where a register proves them.
//!
//! Synthetic logs come from the fake TEE, whose quotes have the registers of its log. Real ones come from
//! the vectors (see `real/mod.rs`), with the reading of another implementation beside them.

use std::path::Path;
use std::sync::LazyLock;

use adyton_attestation::claims::{
    ApplicationEvent, Claims, EventClaim, EventContent, EventLogClaims, Measurement, Rtmr,
};
use adyton_attestation::evidence::event_log::{CcEventLog, EventLogError};
use adyton_attestation::limits::{MAX_EVENT_CONTENT_LEN, MAX_EVENT_LOG_EVENTS, MAX_EVENT_LOG_LEN};
use adyton_attestation::verifier::event_log::registers;
use adyton_attestation::verifier::{EventLogRefusal, NotApplicable, Outcome};
use adyton_attestation::{
    EndorsementBundle, Evidence, ReportData, Tee, TrustAnchors, UnixTime, VerifyError, replay,
    verify,
};
use adyton_fake_tee::{FakeEvent, FakeEventLog, FakeTee, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

mod real;

use real::{read, vectors};

const NOW: u64 = 1_800_000_000;
const REPORT_DATA: [u8; 64] = [0x5a; 64];
const EV_EVENT_TAG: u32 = 6;
const EV_IPL: u32 = 13;

fn tee() -> &'static FakeTee {
    static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([7; 32], NOW));
    &TEE
}

fn anchors() -> TrustAnchors {
    TrustAnchors::vendor().with_insecure_extra_root(tee().root_pem().as_bytes()).expect("a root")
}

fn bundle() -> EndorsementBundle {
    let bundle = tee().endorsement_bundle(NOW, &[]).to_string();
    EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle")
}

/// Evidence of a TD that booted as `boot` says, with these bytes as its log.
fn evidence(boot: &FakeEventLog, log: &[u8]) -> Evidence {
    let profile = TdProfile { rtmrs: boot.rtmrs(), ..TdProfile::default() };
    let quote = tee().quote(&profile, REPORT_DATA);
    let kbs = json!({ "cc_eventlog": STANDARD.encode(log), "quote": STANDARD.encode(quote) });
    Evidence::parse_kbs(Tee::Tdx, &kbs).expect("evidence")
}

fn verified(boot: &FakeEventLog, log: &[u8]) -> Result<EventLogClaims, VerifyError> {
    let evidence = evidence(boot, log);
    verify(&evidence, &bundle(), &anchors(), &ReportData(REPORT_DATA), UnixTime(NOW)).map(
        |verified| {
            let Claims::Tdx(claims) = verified.get() else { panic!("TDX claims") };
            claims.event_log.clone()
        },
    )
}

fn events(boot: &FakeEventLog) -> Vec<EventClaim> {
    match verified(boot, &boot.to_bytes()) {
        Ok(EventLogClaims::Replayed { events }) => events,
        other => panic!("a replayed log, got {other:?}"),
    }
}

/// The register at which a log was refused.
fn refused_at(boot: &FakeEventLog, log: &FakeEventLog) -> Rtmr {
    match verified(boot, &log.to_bytes()) {
        Err(VerifyError::EventLog(EventLogRefusal::Register { register, .. })) => register,
        other => panic!("a refusal of a register, got {other:?}"),
    }
}

fn changed(change: impl FnOnce(&mut Vec<FakeEvent>)) -> FakeEventLog {
    let mut log = FakeEventLog::default();
    change(&mut log.events);
    log
}

#[test]
fn a_log_that_adds_up_to_the_registers_becomes_claims() {
    let boot = FakeEventLog::default();
    let events = events(&boot);
    assert_eq!(events.len(), boot.events.len());
    for (claim, event) in events.iter().zip(&boot.events) {
        assert_eq!(claim.digest.0, event.digest);
        assert_eq!(claim.alleged_type, event.event_type);
    }
    assert_eq!(events[0].content, EventContent::Unproven);
    assert_eq!(events[1].content, EventContent::Proven { data: b"SecureBoot".to_vec() });
    assert_eq!(
        events[6].content,
        EventContent::Application(ApplicationEvent {
            domain: "coco.example".into(),
            operation: "load-model".into(),
            content: "{\"model\": \"llama\"}".into(),
        })
    );
}

#[test]
fn padding_of_either_kind_says_nothing() {
    let boot = FakeEventLog::default();
    let plain = verified(&boot, &boot.to_bytes()).expect("a good log");
    assert_eq!(verified(&boot, &boot.to_table(65_536)).expect("0xff"), plain);
    let mut zeros = boot.to_bytes();
    zeros.resize(65_536, 0);
    assert_eq!(verified(&boot, &zeros).expect("zeros"), plain);
}

#[test]
fn an_event_after_the_padding_is_refused() {
    let boot = FakeEventLog::default();
    for filler in [0_u8, 0xff] {
        let hidden = FakeEvent::of_data(4, EV_IPL, b"hidden").to_bytes();
        let log = [boot.to_bytes(), vec![filler; 64], hidden].concat();
        let index = u32::from_le_bytes([filler; 4]);
        assert!(matches!(
            verified(&boot, &log),
            Err(VerifyError::EventLog(EventLogRefusal::Malformed(
                EventLogError::Register { event: 8, index: got }
            ))) if got == index
        ));
    }
}

#[test]
fn events_in_another_order_are_refused() {
    assert_eq!(refused_at(&FakeEventLog::default(), &changed(|e| e.swap(1, 2))), Rtmr::Rtmr0);
    assert_eq!(refused_at(&FakeEventLog::default(), &changed(|e| e.swap(3, 4))), Rtmr::Rtmr1);
}

#[test]
fn events_of_different_registers_have_no_order_between_them() {
    let boot = FakeEventLog::default();
    let log = changed(|events| events.swap(2, 3));
    assert!(verified(&boot, &log.to_bytes()).is_ok(), "registers do not prove it, nor deny it");
}

#[test]
fn every_event_that_is_left_out_or_repeated_is_refused() {
    let boot = FakeEventLog::default();
    let registers = [0, 0, 0, 1, 1, 2, 3].map(|register: usize| Rtmr::ALL[register]);
    for (at, register) in registers.into_iter().enumerate() {
        let dropped = changed(|events| drop(events.remove(at)));
        assert_eq!(refused_at(&boot, &dropped), register, "event {at} dropped");
        let repeated = changed(|events| events.insert(at, events[at].clone()));
        assert_eq!(refused_at(&boot, &repeated), register, "event {at} repeated");
        let altered = changed(|events| events[at].digest[47] ^= 1);
        assert_eq!(refused_at(&boot, &altered), register, "digest of event {at} altered");
        let moved = changed(|events| events[at].index = events[at].index % 4 + 1);
        let _ = refused_at(&boot, &moved);
    }
}

#[test]
fn an_event_that_is_added_is_refused_in_its_register() {
    let boot = FakeEventLog::default();
    for (index, register) in (1..).zip(Rtmr::ALL) {
        let log = changed(|events| events.push(FakeEvent::of_data(index, EV_IPL, b"added")));
        assert_eq!(refused_at(&boot, &log), register);
    }
}

#[test]
fn a_note_extends_nothing_and_is_no_claim() {
    let boot = FakeEventLog::default();
    let log = changed(|events| {
        events.insert(0, FakeEvent { index: 0, ..FakeEvent::of_data(1, 3, b"a note") });
        events.push(FakeEvent::of_data(4, 3, b"another"));
    });
    let plain = verified(&boot, &boot.to_bytes()).expect("a good log");
    assert_eq!(verified(&boot, &log.to_bytes()).expect("a good log"), plain);
}

#[test]
fn content_that_was_altered_under_its_digest_is_no_claim() {
    let boot = FakeEventLog::default();
    let log = changed(|events| {
        events[1].data = b"SecureB00t".to_vec();
        events[6].data[8] ^= 1;
    });
    let Ok(EventLogClaims::Replayed { events }) = verified(&boot, &log.to_bytes()) else {
        panic!("digests are as they were")
    };
    assert_eq!(events[1].content, EventContent::Unproven);
    assert_eq!(events[6].content, EventContent::Unproven);
    assert_eq!(events[6].digest.0, boot.events[6].digest);
}

#[test]
fn proven_content_that_is_too_long_is_left_out_by_name() {
    let data = vec![7; MAX_EVENT_CONTENT_LEN + 1];
    let boot = FakeEventLog {
        events: vec![
            FakeEvent::of_data(1, EV_IPL, &data),
            FakeEvent::of_data(1, EV_IPL, &data[1..]),
        ],
    };
    let events = events(&boot);
    assert_eq!(events[0].content, EventContent::TooLong { len: MAX_EVENT_CONTENT_LEN + 1 });
    assert_eq!(events[1].content, EventContent::Proven { data: data[1..].to_vec() });
}

#[test]
fn only_a_well_formed_tag_in_register_3_is_an_application_event() {
    let good = FakeEvent::application("a", "b", "");
    let with = |data: &[u8]| FakeEvent::of_data(4, EV_EVENT_TAG, data);
    let boot = FakeEventLog {
        events: vec![
            good.clone(),
            FakeEvent { index: 3, ..good.clone() },
            FakeEvent { event_type: EV_IPL, ..good.clone() },
            with(b"LEAA\x03\0\0\0a b"),
            with(b"LEAA\x05\0\0\0a b "),
            with(b"LEAA\x04\0\0\0 b c"),
            with(b"LEAA\x05\0\0\0a \xff c"),
            with(b"AAEL\x04\0\0\0a b "),
            with(b"LEAA\x04"),
        ],
    };
    let kinds: Vec<bool> = events(&boot)
        .iter()
        .map(|event| matches!(event.content, EventContent::Application(_)))
        .collect();
    assert_eq!(kinds, [true, false, false, false, false, false, false, false, false]);
}

#[test]
fn a_log_cut_anywhere_is_refused() {
    let boot = FakeEventLog::default();
    let whole = boot.to_bytes();
    for len in 0..whole.len() {
        match verified_without_signatures(&boot, &whole[..len]) {
            Err(EventLogRefusal::Malformed(EventLogError::Truncated { .. })) => {}
            Err(EventLogRefusal::Register { .. }) => {
                assert!(is_boundary(&boot, &whole[..len]), "cut at {len}");
            }
            other => panic!("cut at {len}: {other:?}"),
        }
    }
}

/// Whether a cut log ends where an event ends, or in zeros that look like padding.
fn is_boundary(boot: &FakeEventLog, cut: &[u8]) -> bool {
    let mut end = FakeEventLog::spec_id().len();
    let mut ends = vec![end];
    for event in &boot.events {
        end += event.to_bytes().len();
        ends.push(end);
    }
    ends.iter().any(|end| {
        cut.len() >= *end && cut[*end..].iter().all(|byte| *byte == 0) && cut.len() < *end + 4
    })
}

/// T13 alone: as `verify`, but quick.
fn verified_without_signatures(
    boot: &FakeEventLog,
    log: &[u8],
) -> Result<[Measurement; 4], EventLogRefusal> {
    let replayed = registers(&CcEventLog::parse(log)?);
    for ((register, quote), replayed) in
        Rtmr::ALL.into_iter().zip(boot.rtmrs().map(Measurement)).zip(replayed)
    {
        if quote != replayed {
            return Err(EventLogRefusal::Register { register, quote, replayed });
        }
    }
    Ok(replayed)
}

#[test]
fn a_log_cut_between_events_is_refused_by_the_verifier() {
    let boot = FakeEventLog::default();
    for len in 0..boot.events.len() {
        let _ = refused_at(&boot, &changed(|events| events.truncate(len)));
    }
}

/// The spec ID event's offsets: type 4, digest 8, size 28, body 32; in the body class 16, version 20,
/// count 24, algorithm 28, digest size 30, vendor size 32.
#[test]
fn numbers_that_lie_are_refused() {
    use EventLogError as E;
    let boot = FakeEventLog::default();
    let first = FakeEventLog::spec_id().len();
    let with = |at: usize, bytes: &[u8]| {
        let mut log = boot.to_bytes();
        log[at..at + bytes.len()].copy_from_slice(bytes);
        CcEventLog::parse(&log).map(|log| log.events.len()).expect_err("a defect")
    };
    let huge = [0xff; 4];
    assert_eq!(with(4, &[4]), E::SpecId { field: "event type" });
    assert_eq!(with(8, &[1]), E::SpecId { field: "digest" });
    assert!(matches!(with(28, &huge), E::Truncated { event: 0, field: "event data", .. }));
    assert_eq!(with(28, &[34]), E::SpecId { field: "size" });
    assert!(matches!(with(28, &[32]), E::Truncated { event: 0, field: "vendor size", .. }));
    assert_eq!(with(32, b"T"), E::SpecId { field: "signature" });
    assert_eq!(with(32 + 21, &[1]), E::SpecId { field: "version" });
    assert!(matches!(with(32 + 24, &huge), E::TooLarge { what: "algorithms", .. }));
    assert!(matches!(with(32 + 24, &[2]), E::Truncated { event: 0, .. }));
    assert_eq!(with(32 + 28, &[0x0b]), E::NoSha384);
    assert_eq!(with(32 + 30, &[32]), E::AlgorithmSize { algorithm: 0x0c, size: 32 });
    assert!(matches!(with(32 + 32, &[1]), E::Truncated { field: "vendor bytes", .. }));
    assert_eq!(with(first, &[5]), E::Register { event: 1, index: 5 });
    assert_eq!(with(first, &[0]), E::Register { event: 1, index: 0 });
    assert!(matches!(
        with(first + 8, &huge),
        E::TooLarge { what: "digests of an event", limit: 1, .. }
    ));
    assert!(matches!(with(first + 8, &[0]), E::Truncated { .. } | E::DigestMissing { .. }));
    assert_eq!(with(first + 12, &[0x0b]), E::Digest { event: 1, algorithm: 0x0b });
    assert!(matches!(with(first + 62, &huge), E::Truncated { event: 1, field: "event data", .. }));
}

#[test]
fn more_than_the_bounds_is_refused_before_it_is_read() {
    let large = vec![0; MAX_EVENT_LOG_LEN + 1];
    assert!(matches!(
        CcEventLog::parse(&large),
        Err(EventLogError::TooLarge { what: "bytes", .. })
    ));
    let event = FakeEvent::of_data(1, EV_IPL, b"");
    let log = FakeEventLog { events: vec![event; MAX_EVENT_LOG_EVENTS + 1] };
    assert_eq!(
        CcEventLog::parse(&log.to_bytes()),
        Err(EventLogError::TooLarge {
            what: "events",
            got: MAX_EVENT_LOG_EVENTS + 1,
            limit: MAX_EVENT_LOG_EVENTS
        })
    );
}

/// A log with the digests of a TPM's banks beside the registers', in the given order.
fn with_banks(algorithms: &[(u16, u16)], digests: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02".to_vec();
    body.extend(u32::try_from(algorithms.len()).expect("few").to_le_bytes());
    for (algorithm, size) in algorithms {
        body.extend(algorithm.to_le_bytes());
        body.extend(size.to_le_bytes());
    }
    body.push(0);
    let mut log = [&1_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[0; 20]].concat();
    log.extend(u32::try_from(body.len()).expect("short").to_le_bytes());
    log.extend(body);
    for word in [1, EV_IPL, u32::try_from(digests.len()).expect("few")] {
        log.extend(word.to_le_bytes());
    }
    for (algorithm, digest) in digests {
        log.extend(algorithm.to_le_bytes());
        log.extend(digest);
    }
    log.extend([1, 0, 0, 0, b'x']);
    log
}

#[test]
fn of_several_digests_the_registers_is_taken() {
    let banks = [(4, 20), (0x0b, 32), (0x0c, 48), (0x0d, 64)];
    let digest = |algorithm: u16, size: usize| (algorithm, vec![0x40 | algorithm as u8; size]);
    let all = [digest(0x0b, 32), digest(0x0c, 48), digest(4, 20), digest(0x0d, 64)];
    let bytes = with_banks(&banks, &all);
    let log = CcEventLog::parse(&bytes).expect("a log");
    assert_eq!(log.events.len(), 1);
    assert_eq!(log.events[0].digest, Measurement([0x4c; 48]));
    assert_eq!(log.len, bytes.len());

    let refused = |algorithms: &[(u16, u16)], digests: &[(u16, Vec<u8>)]| {
        CcEventLog::parse(&with_banks(algorithms, digests)).map(drop).expect_err("a defect")
    };
    let twice = [digest(0x0c, 48), digest(0x0c, 48)];
    assert_eq!(refused(&banks, &twice), EventLogError::Digest { event: 1, algorithm: 0x0c });
    assert_eq!(refused(&banks, &[digest(0x0b, 32)]), EventLogError::DigestMissing { event: 1 });
    assert_eq!(refused(&banks, &[]), EventLogError::DigestMissing { event: 1 });
    assert_eq!(
        refused(&[(0x0c, 48), (0x0c, 48)], &[]),
        EventLogError::AlgorithmSize { algorithm: 0x0c, size: 48 }
    );
    assert_eq!(
        refused(&[(0x0c, 48), (0x0b, 0)], &[]),
        EventLogError::AlgorithmSize { algorithm: 0x0b, size: 0 }
    );
    assert_eq!(
        refused(&[(0x0c, 48), (0x0b, 65)], &[]),
        EventLogError::AlgorithmSize { algorithm: 0x0b, size: 65 }
    );
}

fn outcome_of_t13(evidence: &Evidence) -> Outcome {
    let ladder = replay(evidence, &bundle(), &anchors(), UnixTime(NOW));
    let rung = ladder.rungs.into_iter().find(|rung| rung.id == "T13").expect("the rung");
    rung.outcome
}

#[test]
fn a_replay_for_people_shows_the_rung() {
    let boot = FakeEventLog::default();
    assert_eq!(outcome_of_t13(&evidence(&boot, &boot.to_bytes())), Outcome::Passed);
    let quote = Evidence::parse_file(&tee().quote(&TdProfile::default(), REPORT_DATA));
    assert_eq!(
        outcome_of_t13(&quote.expect("a quote")),
        Outcome::NotApplicable(NotApplicable::NoEventLog)
    );
    for (log, code) in [
        (changed(|events| events.truncate(1)).to_bytes(), "tdx.event-log.replay"),
        (b"no log".to_vec(), "tdx.event-log.malformed"),
    ] {
        let evidence = evidence(&boot, &log);
        let Outcome::Failed(reason) = outcome_of_t13(&evidence) else { panic!("a refusal") };
        assert_eq!((&*reason.code, &*reason.rung), (code, "T13"));
        let ladder = replay(&evidence, &bundle(), &anchors(), UnixTime(NOW));
        assert!(ladder.claims.is_none(), "no claims beside a failed rung");
    }
}

/// TCG's names of event types, for those in the real logs.
fn type_name(number: u32) -> &'static str {
    match number {
        0x1 => "EV_POST_CODE",
        0x4 => "EV_SEPARATOR",
        0x6 => "EV_EVENT_TAG",
        0xa => "EV_PLATFORM_CONFIG_FLAGS",
        0xd => "EV_IPL",
        0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
        0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0006 => "EV_EFI_GPT_EVENT",
        0x8000_0007 => "EV_EFI_ACTION",
        0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
        0x8000_00e0 => "EV_EFI_VARIABLE_AUTHORITY",
        other => panic!("event type {other:#x}"),
    }
}

#[test]
fn real_logs_are_read_as_another_implementation_reads_them() {
    let Some(folder) = vectors() else { return };
    let mut seen = 0;
    for name in ["CCEL_AAEL_alibabacloud", "CCEL_data_grub", "CCEL_data_grub_gke", "CCEL_data_ovmf"]
    {
        let bytes = read(&folder, &format!("trustee/eventlog/{name}"));
        let log = CcEventLog::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let theirs = read(&folder, &format!("trustee/eventlog/{name}_out.json"));
        let theirs: Value = serde_json::from_slice(&theirs).expect("JSON");
        let theirs = theirs["uefi_event_logs"].as_array().expect("a list").iter();
        let theirs: Vec<&Value> =
            theirs.filter(|event| event["type_name"] != "EV_NO_ACTION").collect();
        assert_eq!(log.events.len(), theirs.len(), "{name}");
        for (our, their) in log.events.iter().zip(theirs) {
            let index = 1 + Rtmr::ALL.iter().position(|all| *all == our.register).expect("one");
            assert_eq!(json!(index), their["index"], "{name}");
            assert_eq!(type_name(our.event_type), their["type_name"], "{name}");
            assert_eq!(our.digest.to_string(), their["digests"][0]["digest"], "{name}");
            assert_eq!(STANDARD.encode(our.data), their["event"], "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 87 + 37 + 33 + 20);
}

#[test]
fn every_real_log_is_read() {
    let Some(folder) = vectors() else { return };
    for (name, events, len) in [
        ("trustee/eventlog/CCEL_data_gcp", 21, 20_349),
        ("trustee/tdx/CCEL_data", 5, 9_822),
        ("trustee/tdx/CCEL_data_ovmf", 20, 2_120),
        ("go-tdx-guest/ccel/ccel_data.dat", 43, 18_101),
        ("intel-ta-client/CCEL.data.bin", 19, 2_026),
    ] {
        let bytes = read(&folder, name);
        let log = CcEventLog::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((log.events.len(), log.len), (events, len), "{name}");
    }
}

fn quoted_registers(folder: &Path, name: &str) -> [Measurement; 4] {
    match Evidence::parse_file(&read(folder, name)) {
        Ok(Evidence::Tdx(evidence)) => evidence.quote().body.rtmr,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_real_log_replays_to_its_quote_and_to_no_other() {
    let Some(folder) = vectors() else { return };
    let quote = quoted_registers(&folder, "go-tdx-guest/ccel/cos-113-tdx-quote.dat");
    let bytes = read(&folder, "go-tdx-guest/ccel/ccel_data.dat");
    let log = CcEventLog::parse(&bytes).expect("a log");
    assert_eq!(registers(&log), quote);
    assert!(quote[3].is_zero(), "nothing extended register 3");

    // Sample files that were put side by side, of different boots.
    let quote = quoted_registers(&folder, "trustee/tdx/tdx_quote_4.dat");
    for name in ["trustee/tdx/CCEL_data", "trustee/tdx/CCEL_data_ovmf"] {
        let bytes = read(&folder, name);
        let log = CcEventLog::parse(&bytes).expect("a log");
        assert_ne!(registers(&log)[..3], quote[..3], "{name}");
    }
}

/// A fake TD with the registers of a real log stands in for the machine, whose quote is not at hand.
#[test]
fn of_real_logs_only_hashed_content_becomes_claims() {
    let Some(folder) = vectors() else { return };
    let mut applications = Vec::new();
    for (name, proven) in [
        ("CCEL_AAEL_alibabacloud", 14),
        ("CCEL_data_grub", 16),
        ("CCEL_data_grub_gke", 11),
        ("CCEL_data_ovmf", 10),
    ] {
        let bytes = read(&folder, &format!("trustee/eventlog/{name}"));
        let log = CcEventLog::parse(&bytes).expect("a log");
        let rtmrs = registers(&log).map(|register| register.0);
        let quote = tee().quote(&TdProfile { rtmrs, ..TdProfile::default() }, REPORT_DATA);
        let kbs =
            json!({ "cc_eventlog": STANDARD.encode(&bytes), "quote": STANDARD.encode(quote) });
        let evidence = Evidence::parse_kbs(Tee::Tdx, &kbs).expect("evidence");
        let expected = ReportData(REPORT_DATA);
        let verified = verify(&evidence, &bundle(), &anchors(), &expected, UnixTime(NOW));
        let verified = verified.unwrap_or_else(|error| panic!("{name}: {error}"));
        let Claims::Tdx(claims) = verified.get() else { panic!("TDX claims") };
        let EventLogClaims::Replayed { events } = &claims.event_log else { panic!("a log") };
        let is_proven = |event: &&EventClaim| event.content != EventContent::Unproven;
        assert_eq!(events.iter().filter(is_proven).count(), proven, "{name}");
        for event in events {
            if let EventContent::Application(application) = &event.content {
                applications.push((application.domain.clone(), application.operation.clone()));
            }
        }
    }
    assert_eq!(applications.len(), 2);
    assert_eq!(applications[1], ("coco.com".to_owned(), "some-operation".to_owned()));
}
