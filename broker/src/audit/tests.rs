use std::fs;

use super::*;

fn log_with(records: u64) -> (tempfile::TempDir, PathBuf, Head) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join(AUDIT_FILE);
    let (mut log, torn) = AuditLog::open(&path, Head::EMPTY).expect("new log");
    assert_eq!(torn, None);
    for number in 0..records {
        let entry = AuditEntry::new(AuditEvent::KeyReleased, "kbs:///a/b/c", "127.0.0.1:9")
            .with("number", number.to_string())
            .for_decision(format!("{number:020}"));
        log.append(format!("2026-11-23T13:00:{number:02}Z"), entry).expect("written");
    }
    let head = log.head();
    (folder, path, head)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("log").lines().map(str::to_owned).collect()
}

fn write_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("log");
}

fn chain_error(path: &Path, known: Head) -> ChainError {
    match AuditLog::open(path, known) {
        Err(AuditError::Chain { source, .. }) => source,
        other => panic!("expected a broken chain, got {other:?}"),
    }
}

#[test]
fn a_log_is_verified_and_continued() {
    let (_folder, path, head) = log_with(3);
    let (mut log, torn) = AuditLog::open(&path, head).expect("verified");
    assert_eq!((log.head(), torn), (head, None));
    let entry = AuditEntry::new(AuditEvent::BrokerStarted, "", "");
    let after = log.append("2026-11-23T14:00:00Z".into(), entry).expect("written");
    assert_eq!(after.seq, 4);
    let summary = verify_chain(File::open(&path).expect("log"), 4).expect("verified");
    assert_eq!(summary.head, after);
}

#[test]
fn a_record_is_one_line_of_canonical_json() {
    let (_folder, path, _) = log_with(1);
    let line = lines(&path).remove(0);
    let record = r#""record":{"actor":"127.0.0.1:9","at":"2026-11-23T13:00:00Z","decision":"00000000000000000000","details":{"number":"0"},"event":"key-released","seq":1,"subject":"kbs:///a/b/c"}}"#;
    assert!(line.starts_with(r#"{"hash":""#) && line.ends_with(record), "{line}");
}

#[test]
fn an_edited_record_is_found_with_its_line() {
    let (_folder, path, head) = log_with(3);
    let mut all = lines(&path);
    all[1] = all[1].replace("kbs:///a/b/c", "kbs:///a/b/d");
    write_lines(&path, &all);
    assert!(matches!(chain_error(&path, head), ChainError::Hash { line: 2 }));
}

#[test]
fn an_edited_and_rehashed_record_is_found_at_the_next_line() {
    let (_folder, path, head) = log_with(3);
    let mut all = lines(&path);
    let (forged, _) = chain::link(
        verify_chain(
            all[0].as_bytes().iter().chain(b"\n").copied().collect::<Vec<_>>().as_slice(),
            0,
        )
        .expect("first line")
        .head,
        "2026-11-23T13:00:01Z".into(),
        AuditEntry::new(AuditEvent::KeyDenied, "", ""),
    );
    all[1] = forged.trim_end().to_owned();
    write_lines(&path, &all);
    assert!(matches!(chain_error(&path, head), ChainError::Previous { line: 3 }));
}

#[test]
fn a_deleted_record_is_found() {
    let (_folder, path, head) = log_with(3);
    let mut all = lines(&path);
    all.remove(1);
    write_lines(&path, &all);
    assert!(matches!(chain_error(&path, head), ChainError::Sequence { line: 2, got: 3 }));
}

#[test]
fn reordered_records_are_found() {
    let (_folder, path, head) = log_with(3);
    let mut all = lines(&path);
    all.swap(0, 1);
    write_lines(&path, &all);
    assert!(matches!(chain_error(&path, head), ChainError::Sequence { line: 1, got: 2 }));
}

#[test]
fn another_spelling_of_the_same_record_is_found() {
    let (_folder, path, head) = log_with(2);
    let mut all = lines(&path);
    all[0] = all[0].replace(r#""seq":1"#, r#""seq": 1"#);
    write_lines(&path, &all);
    assert!(matches!(chain_error(&path, head), ChainError::NotCanonical { line: 1 }));
}

#[test]
fn a_line_that_is_no_record_is_found() {
    let (_folder, path, head) = log_with(2);
    let mut all = lines(&path);
    all.insert(1, "hello".into());
    write_lines(&path, &all);
    assert!(matches!(chain_error(&path, head), ChainError::Malformed { line: 2, .. }));
}

#[test]
fn an_endless_line_is_refused_without_reading_it_all() {
    let endless = io::repeat(b'x');
    assert!(matches!(verify_chain(endless, 0), Err(ChainError::TooLong { line: 1 })));
}

#[test]
fn a_log_without_its_end_is_refused() {
    let (_folder, path, head) = log_with(3);
    let mut all = lines(&path);
    all.pop();
    write_lines(&path, &all);
    let error = AuditLog::open(&path, head).expect_err("truncated");
    assert!(matches!(error, AuditError::Truncated { found: 2, known: 3, .. }), "{error:?}");
}

#[test]
fn a_log_of_another_history_is_refused() {
    let (_folder, path, head) = log_with(3);
    let known = Head { hash: [7; 32], ..head };
    let error = AuditLog::open(&path, known).expect_err("other history");
    assert!(matches!(error, AuditError::OtherHistory { seq: 3, .. }), "{error:?}");
}

#[test]
fn a_store_one_record_behind_is_a_crash_and_two_behind_is_an_old_copy() {
    let (_folder, path, _) = log_with(3);
    let head_at = |seq: u64| {
        let hash = verify_chain(File::open(&path).expect("log"), seq).expect("chain");
        Head { seq, hash: hash.hash_at_mark.expect("reached") }
    };
    assert!(AuditLog::open(&path, head_at(2)).is_ok());
    let error = AuditLog::open(&path, head_at(1)).expect_err("old copy");
    assert!(matches!(error, AuditError::StoreIsOlder { found: 3, known: 1, .. }), "{error:?}");
}

#[test]
fn a_torn_last_line_is_cut_off_and_reported() {
    let (_folder, path, head) = log_with(2);
    let whole = fs::read(&path).expect("log");
    let mut torn = whole.clone();
    torn.extend_from_slice(b"{\"hash\":\"12");
    fs::write(&path, torn).expect("log");
    let (log, torn) = AuditLog::open(&path, head).expect("continued");
    assert_eq!((log.head(), torn), (head, Some(TornLine { bytes: 11 })));
    assert_eq!(fs::read(&path).expect("log"), whole);
}

#[test]
fn a_failed_write_refuses_every_later_one() {
    let (_folder, path, head) = log_with(1);
    let (mut log, _) = AuditLog::open(&path, head).expect("opened");
    // A descriptor that was opened for reading gives the write error of a broken disk.
    log.file = File::open(&path).expect("read-only");
    let entry = AuditEntry::new(AuditEvent::KeyReleased, "", "");
    let error = log.append(String::new(), entry.clone()).expect_err("read-only");
    assert!(matches!(error, AuditError::Io { action: "flushed to disk", .. }), "{error:?}");
    assert!(matches!(log.append(String::new(), entry), Err(AuditError::Failed)));
    assert!(!log.is_usable());
}
