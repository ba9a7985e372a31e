//! Starting, refusing to start, and stopping: the program itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use adyton_broker::error::StartupError;
use adyton_fake_tee::FakeTee;
use http::Method;
use serde_json::Value;

use crate::harness::{KEY, TestBroker, kid_json, write_inputs};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adyton-broker"));
    command.env_clear();
    command
}

fn config_file(folder: &Path, extra: &str) -> std::path::PathBuf {
    let tee = FakeTee::new(adyton_broker::broker::now().0);
    let path = folder.join("broker.toml");
    fs::write(&path, format!("{}{extra}", write_inputs(folder, &tee, &[]))).expect("config");
    path
}

/// Runs the program to its end; it must refuse to start.
fn refused(folder: &Path) -> (Option<i32>, Vec<Value>) {
    let Output { status, stderr, .. } = program()
        .arg("--config")
        .arg(folder.join("broker.toml"))
        .output()
        .expect("the program runs");
    let stderr = String::from_utf8(stderr).expect("text");
    let lines = stderr.lines().map(|line| serde_json::from_str(line).expect("a JSON line"));
    let findings =
        lines.filter(|line: &Value| line.get("remedy").is_some() && line.get("level").is_none());
    (status.code(), findings.collect())
}

/// Starts the program, waits for the ready file, stops it with SIGTERM.
fn started_and_stopped(folder: &Path) -> (Option<i32>, Value, String) {
    let ready = folder.join("ready.json");
    let mut child = program()
        .arg("--config")
        .arg(folder.join("broker.toml"))
        .arg("--ready-file")
        .arg(&ready)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let deadline = Instant::now() + Duration::from_secs(30);
    let content = loop {
        if let Ok(content) = fs::read(&ready) {
            break content;
        }
        assert!(child.try_wait().expect("status").is_none(), "ended before it was ready");
        assert!(Instant::now() < deadline, "not ready in time");
        std::thread::yield_now();
    };
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
    let output = child.wait_with_output().expect("ends");
    let log = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), serde_json::from_slice(&content).expect("JSON"), log)
}

#[test]
fn the_program_starts_says_where_and_ends_with_0_on_sigterm() {
    let folder = tempfile::tempdir().expect("folder");
    config_file(folder.path(), "");
    let (code, ready, log) = started_and_stopped(folder.path());
    assert_eq!(code, Some(0), "{log}");
    let state = folder.path().join("state");
    assert!(ready["kbs"].as_str().expect("text").starts_with("https://127.0.0.1:"));
    assert!(ready["admin"].as_str().expect("text").starts_with("https://127.0.0.1:"));
    assert_eq!(ready["ca_file"], state.join("tls/ca.pem").to_str().expect("text"));
    assert_eq!(ready["token_file"], state.join("admin-token").to_str().expect("text"));
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("one JSON object a line");
        assert!(line["timestamp"].as_str().expect("text").ends_with('Z'));
    }
    assert!(log.contains("INSECURE"), "the extra root is logged: {log}");
    let token = fs::read_to_string(state.join("admin-token")).expect("token");
    assert!(!log.contains(token.trim()));
    for secret in ["root.key", "admin-token", "tls/ca.key", "store.redb", "audit.jsonl"] {
        let mode = fs::metadata(state.join(secret)).expect(secret).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
}

#[test]
fn the_audit_log_of_a_run_verifies_and_a_tampered_one_does_not() {
    let folder = tempfile::tempdir().expect("folder");
    config_file(folder.path(), "");
    started_and_stopped(folder.path());
    let log = folder.path().join("state/audit.jsonl");
    let verify =
        || program().args(["audit", "verify"]).arg(&log).output().expect("the program runs");
    let good = verify();
    assert_eq!(good.status.code(), Some(0));
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(said.contains("chain of 2 records is unbroken"), "{said}");

    let text = fs::read_to_string(&log).expect("log").replace("broker-stopped", "broker-started");
    fs::write(&log, text).expect("tampered");
    let bad = verify();
    assert_eq!(bad.status.code(), Some(14));
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(said.contains("line 2"), "{said}");

    let (code, findings) = refused(folder.path());
    assert_eq!(code, Some(14));
    assert!(findings[0]["value"].as_str().expect("text").contains("line 2"), "{findings:?}");
}

#[test]
fn a_root_key_that_others_can_read_stops_the_start_with_a_remedy() {
    let folder = tempfile::tempdir().expect("folder");
    config_file(folder.path(), "");
    started_and_stopped(folder.path());
    let root_key = folder.path().join("state/root.key");
    fs::set_permissions(&root_key, fs::Permissions::from_mode(0o644)).expect("chmod");
    let (code, findings) = refused(folder.path());
    assert_eq!(code, Some(2));
    assert_eq!(findings[0]["step"], "root key");
    assert!(findings[0]["remedy"].as_str().expect("text").contains("chmod 600"));
}

#[test]
fn a_missing_root_key_stops_the_start() {
    let folder = tempfile::tempdir().expect("folder");
    config_file(folder.path(), "");
    started_and_stopped(folder.path());
    fs::remove_file(folder.path().join("state/root.key")).expect("removed");
    assert_eq!(refused(folder.path()).0, Some(14));
}

#[test]
fn a_token_file_that_others_can_read_stops_the_start() {
    let folder = tempfile::tempdir().expect("folder");
    config_file(folder.path(), "");
    started_and_stopped(folder.path());
    let token = folder.path().join("state/admin-token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).expect("chmod");
    let (code, findings) = refused(folder.path());
    assert_eq!(code, Some(2));
    assert_eq!(findings[0]["step"], "configuration key `admin.token_file`");
}

#[test]
fn every_mistake_in_configuration_and_files_is_reported_and_nothing_is_made() {
    let folder = tempfile::tempdir().expect("folder");
    let extra = "tls.certificate_file = \"/none.pem\"\nlisten_ = 1\nsession.timeout_seconds = 0\n";
    config_file(folder.path(), extra);
    let (code, findings) = refused(folder.path());
    assert_eq!(code, Some(2));
    assert_eq!(findings.len(), 4, "{findings:?}");
    assert!(!folder.path().join("state").exists());
}

#[test]
fn broken_roots_and_bundles_are_reported_together() {
    let folder = tempfile::tempdir().expect("folder");
    config_file(folder.path(), "");
    fs::write(folder.path().join("root.pem"), "no certificate").expect("written");
    fs::write(folder.path().join("bundle.json"), "{").expect("written");
    let (code, findings) = refused(folder.path());
    assert_eq!((code, findings.len()), (Some(2), 2), "{findings:?}");
}

#[test]
fn a_checked_configuration_is_printed_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let config = config_file(folder.path(), "");
    let output = program()
        .arg("--config")
        .arg(config)
        .arg("--check-config")
        .env("ADYTON_BROKER__SESSION__TIMEOUT_SECONDS", "77")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0));
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(printed.contains("session.timeout_seconds = 77"), "{printed}");
    assert!(!folder.path().join("state").exists());
}

#[test]
fn help_has_examples_and_every_key() {
    let output = program().arg("--help").output().expect("the program runs");
    let help = String::from_utf8(output.stdout).expect("text");
    assert!(help.contains("Examples:") && help.contains("audit verify"), "{help}");
    for setting in adyton_broker::config::SETTINGS {
        assert!(help.contains(setting.key), "{}", setting.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_broker_on_the_same_state_folder_is_refused() {
    let broker = TestBroker::start().await;
    let tee = FakeTee::new(adyton_broker::broker::now().0);
    let config = write_inputs(broker.folder.path(), &broker.tee, &[]);
    let other = tempfile::tempdir().expect("folder");
    let Err(error) = TestBroker::start_in(other, tee, config).await else {
        panic!("two brokers on one store");
    };
    assert!(matches!(error, StartupError::Store(_)), "{error:?}");
    assert!(error.findings()[0].remedy.contains("state_dir"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_store_stops_the_start() {
    let broker = TestBroker::start().await;
    let (folder, tee, config) = broker.stop().await;
    let store = folder.path().join("state/store.redb");
    let copy = folder.path().join("old.redb");
    fs::copy(&store, &copy).expect("copied");
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts");
    broker.admin(Method::POST, "/adyton/v1/keys", kid_json(KEY)).await;
    let (folder, tee, config) = broker.stop().await;
    fs::copy(&copy, &store).expect("rolled back");
    let Err(error) = TestBroker::start_in(folder, tee, config).await else {
        panic!("an old store was accepted");
    };
    assert_eq!(error.exit_code(), 14, "{error:?}");
}
