//! The program itself: it waits for its model, tells where it is, and ends on a signal.

mod client;

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Far more than any step takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../model/kjv-llama")
}

/// The program, and the file its log goes to: a pipe that nobody reads would stop it when full.
struct Program {
    child: Child,
    log: tempfile::NamedTempFile,
}

fn start(arguments: &[&str]) -> Program {
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let child = Command::new(env!("CARGO_BIN_EXE_adyton-example-server"))
        .args(arguments)
        .stderr(log.reopen().expect("the file can be opened again"))
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    Program { child, log }
}

/// The exit code and the log of a program that ends by itself.
async fn ended(mut program: Program) -> (Option<i32>, String) {
    let status = timeout(PATIENCE, program.child.wait()).await.expect("the program ends");
    let log = std::fs::read_to_string(program.log.path()).expect("the log is text");
    (status.expect("the program has a status").code(), log)
}

fn terminate(program: &Program) {
    let id = program
        .child
        .id()
        .and_then(|id| Pid::from_raw(id.cast_signed()))
        .expect("the program runs");
    kill_process(id, Signal::TERM).expect("the program can be signalled");
}

/// Asks again until `done`; there is no event to wait for between two processes but the answer.
async fn until<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let trying = async {
        loop {
            if let Some(done) = attempt().await {
                return done;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, trying).await.expect("it happens in time")
}

async fn health(socket: &Path) -> StatusCode {
    let stream = UnixStream::connect(socket).await.expect("the server listens");
    client::send(stream, Method::GET, "/health", Body::empty()).await.status
}

#[tokio::test]
async fn it_waits_for_the_model_serves_on_a_socket_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (socket, opened) = (folder.path().join("s"), folder.path().join("model"));
    let ready = folder.path().join("ready.json");
    let listen = format!("unix:{}", socket.display());
    let path = |path: &Path| path.to_str().expect("the path is text").to_owned();
    let program = start(&[
        "--model",
        &path(&opened),
        "--wait-seconds",
        "60",
        "--listen",
        &listen,
        "--ready-file",
        &path(&ready),
    ]);

    let told = until(async || std::fs::read_to_string(&ready).ok()).await;
    assert_eq!(told, serde_json::json!({ "url": listen }).to_string());
    assert_eq!(health(&socket).await, StatusCode::SERVICE_UNAVAILABLE);

    // As the sidecar does it: the folder appears complete.
    std::os::unix::fs::symlink(model(), &opened).expect("the model appears");
    until(async || (health(&socket).await == StatusCode::OK).then_some(())).await;
    let ask = r#"{"model":"model","prompt":"In the beginning","max_tokens":8}"#;
    let stream = UnixStream::connect(&socket).await.expect("the server listens");
    let answer = client::send(stream, Method::POST, "/v1/completions", ask).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);

    terminate(&program);
    let (code, log) = ended(program).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("In the beginning"), "the log has the prompt: {log}");
    assert!(!socket.exists());
}

#[tokio::test]
async fn sigterm_ends_the_waiting_for_a_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ready = folder.path().join("ready.json");
    let path = ready.to_str().expect("the path is text");
    let arguments =
        ["--model", "/nonexistent/model", "--wait-seconds", "600", "--listen", "127.0.0.1:0"];
    let program = start(&[arguments.as_slice(), &["--ready-file", path]].concat());
    until(async || ready.exists().then_some(())).await;
    terminate(&program);
    let (code, log) = ended(program).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("cut off"), "it waited for the end of the grace: {log}");
}

#[tokio::test]
async fn a_model_that_does_not_appear_ends_it_with_the_path_and_a_remedy() {
    let program = start(&["--model", "/nonexistent/model", "--listen", "127.0.0.1:0"]);
    let (code, log) = ended(program).await;
    assert_eq!(code, Some(30));
    assert!(log.contains("/nonexistent/model") && log.contains("--wait-seconds"), "{log}");
}

#[tokio::test]
async fn an_address_beyond_loopback_is_refused_unless_allowed() {
    let (code, log) =
        ended(start(&["--model", "/nonexistent/model", "--listen", "0.0.0.0:0"])).await;
    assert_eq!(code, Some(2));
    assert!(log.contains("--allow-non-loopback"), "{log}");
}
