//! `adyton connect` against a stub sidecar with simulated Evidence, honest or not, and a relay before it.

mod stand;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adyton_cli::https::{self, Address, Call, Party};
use adyton_cli::tls::{self, ClientIdentity};
use bytes::Bytes;
use http::{HeaderMap, Method};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stand::sidecar::{Lie, Sidecar, sidecar_with};
use stand::{Answer, Clients, Exchange, Leaf, Ran, Running, Said, Server};
use tokio::sync::mpsc;

const MODELS: &str = r#"{"object":"list","data":[]}"#;

/// What the inference server behind the sidecar answers.
fn models(exchange: &Exchange) -> Said {
    let said = Said::from((if exchange.target == "/missing" { 404 } else { 200 }, MODELS.into()))
        .with("content-type", "application/json")
        .with("x-hop", "1");
    match exchange.target.as_str() {
        "/last" => said.with("connection", "close"),
        _ => said.with("connection", "x-hop"),
    }
}

const TRUST: [&str; 8] = [
    "--client-cert",
    "me.pem",
    "--client-key",
    "me.key",
    "--bundle",
    "bundle.json",
    "--insecure-extra-root",
    "root.pem",
];

/// The command line towards `url`.
fn words<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let base = ["connect", url, "--reference-values", "references.toml", "--output", "json"];
    [&base[..], &TRUST[..], more].concat()
}

fn run(sidecar: &Sidecar, more: &[&str]) -> Ran {
    sidecar.stand.run(&words(&sidecar.server.url, more))
}

fn listening(sidecar: &Sidecar, more: &[&str]) -> Running {
    let listen = [&["--listen", "127.0.0.1:0"], more].concat();
    sidecar.stand.start(&words(&sidecar.server.url, &listen))
}

/// A local program without any library.
struct Local {
    stream: TcpStream,
    host: String,
}

/// Status line and headers as text, body.
type Heard = (String, String);

impl Local {
    fn to(running: &Running) -> Self {
        let url = running.said["listening"].as_str().expect("an address");
        let host = url.strip_prefix("http://").expect("plain HTTP").to_owned();
        let stream = TcpStream::connect(&host).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        Self { stream, host }
    }

    fn send(&mut self, head: &str, body: &str) {
        let head = head.replace("HOST", &self.host);
        self.stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).expect("sent");
    }

    /// Reads until `end` has come.
    fn until(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        let mut byte = [0];
        while !heard.ends_with(end.as_bytes()) {
            assert_eq!(self.stream.read(&mut byte).expect("read"), 1, "ended: {heard:?}");
            heard.extend_from_slice(&byte);
        }
        String::from_utf8(heard).expect("UTF-8")
    }

    fn heard(&mut self) -> Heard {
        let head = self.until("\r\n\r\n").to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).expect("a length");
        let length = length.split("\r\n").next().and_then(|n| n.parse().ok()).expect("a number");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the body");
        (head, String::from_utf8(body).expect("UTF-8"))
    }

    fn get(&mut self, path: &str) -> Heard {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: HOST"), "");
        self.heard()
    }
}

fn error(heard: &Heard) -> Value {
    let value: Value = serde_json::from_str(&heard.1).expect("JSON");
    value["error"].clone()
}

/// Questions who is there, and everything else, that reached the sidecar since the last look.
fn reached(server: &Server) -> (usize, Vec<Exchange>) {
    let (questions, requests): (Vec<_>, Vec<_>) =
        server.requests().into_iter().partition(Exchange::is_question);
    (questions.len(), requests)
}

/// A host that stole the serving key and passes everything on, as a client that the sidecar admits.
fn relay(sidecar: &Sidecar) -> Server {
    let identity = ClientIdentity {
        certificate: sidecar.stand.path("me.pem"),
        key: sidecar.stand.path("me.key"),
    };
    let config = tls::provisional(Some(&identity)).expect("an identity");
    let address = Address::parse(Party::Sidecar, &sidecar.server.url).expect("a URL");
    let leaf = Leaf { certificate: sidecar.certificate.clone(), key: sidecar.key.clone_key() };
    Server::start(leaf, Clients::Anybody, move |exchange| -> Answer {
        let (address, config) = (address.clone(), Arc::clone(&config));
        let target = exchange.target.clone();
        // The handler is called on the server's runtime, where nothing may block on another.
        let passed = std::thread::spawn(move || {
            https::block_on(async {
                let stream = https::connect(&address, config).await?;
                let call =
                    Call { method: Method::GET, target, headers: HeaderMap::new(), body: None };
                Ok(https::exchange(&address, stream, call, Duration::from_secs(30)).await?)
            })
            .expect("passed on")
        });
        let reply = passed.join().expect("passed on");
        (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).expect("UTF-8"))
    })
}

#[test]
fn an_unmodified_client_is_answered_over_an_attested_connection() {
    let sidecar = sidecar_with(Lie::None, models);
    let running = listening(&sidecar, &[]);
    let peer = &running.said["peer"];
    assert_eq!(peer["binding"], "channel");
    assert_eq!(peer["machine"], sidecar.ppid.as_str());
    assert_eq!(peer["model"]["name"], "llama");
    let url = running.said["listening"].as_str().expect("a URL");
    assert_eq!(running.said["openai_base_url"], format!("{url}/v1"));

    let mut local = Local::to(&running);
    local.send(
        "POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n\
         Authorization: Bearer sk-1\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\
         TE: trailers\r\nContent-Length: 2",
        "{}",
    );
    let (head, body) = local.heard();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert!(!head.contains("x-hop"), "hop-by-hop headers end here: {head}");
    assert_eq!(body, MODELS);

    let (questions, requests) = reached(&sidecar.server);
    assert_eq!((questions, requests.len()), (1, 1));
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.body.as_slice()), ("POST", &b"{}"[..]));
    assert_eq!(request.target, "/v1/chat/completions?x=1");
    let sidecar_host = sidecar.server.url.strip_prefix("https://").expect("https");
    assert_eq!(request.headers["host"], sidecar_host);
    assert_eq!(request.headers["authorization"], "Bearer sk-1");
    for gone in ["x-mine", "te", "connection"] {
        assert!(!request.headers.contains_key(gone), "{gone}");
    }
}

#[test]
fn connections_are_reused_one_request_after_the_other_and_attested_once() {
    let sidecar = sidecar_with(Lie::None, models);
    let running = listening(&sidecar, &[]);
    for _ in 0..3 {
        let mut local = Local::to(&running);
        assert_eq!(local.get("/v1/models").1, MODELS);
        assert_eq!(local.get("/v1/models").1, MODELS);
    }
    let (questions, requests) = reached(&sidecar.server);
    assert_eq!((questions, requests.len()), (1, 6));
    let exporter = requests[0].exporter;
    assert!(requests.iter().all(|request| request.exporter == exporter));
}

#[test]
fn a_connection_that_the_sidecar_closed_is_attested_anew() {
    let sidecar = sidecar_with(Lie::None, models);
    let running = listening(&sidecar, &[]);
    let mut local = Local::to(&running);
    assert_eq!(local.get("/last").1, MODELS);
    assert_eq!(local.get("/v1/models").1, MODELS);
    let (questions, requests) = reached(&sidecar.server);
    assert_eq!((questions, requests.len()), (2, 2));
    assert_ne!(requests[0].exporter, requests[1].exporter);
}

#[test]
fn events_of_a_stream_pass_one_by_one() {
    let (events, pieces) = mpsc::unbounded_channel();
    let pieces = Mutex::new(Some(pieces));
    let sidecar = sidecar_with(Lie::None, move |_| {
        let pieces = pieces.lock().expect("not poisoned").take().expect("asked once");
        Said::stream(pieces).with("content-type", "text/event-stream")
    });
    let running = listening(&sidecar, &[]);
    let mut local = Local::to(&running);
    local.send("GET /stream HTTP/1.1\r\nHost: HOST", "");
    // Each is read while the stream is open and the next one does not exist yet.
    for event in ["data: one\n\n", "data: two\n\n"] {
        events.send(Bytes::from(event)).expect("it is read");
        assert!(local.until(event).ends_with(event));
    }
    drop(events);
    local.until("\r\n0\r\n\r\n");
}

#[test]
fn other_measurements_end_with_11_before_a_request_is_sent_and_nothing_listens() {
    let sidecar = sidecar_with(Lie::None, models);
    let text = fs::read_to_string(sidecar.stand.path("references.toml")).expect("references");
    let table: toml::Table = text.parse().expect("TOML");
    let mrtd = table["mrtd"][0].as_str().expect("a measurement").to_owned();
    sidecar.stand.write("references.toml", text.replace(&mrtd, &"ee".repeat(48)).as_bytes());
    for job in [["--listen", "127.0.0.1:0"], ["--get", "/v1/models"]] {
        let ran = run(&sidecar, &job);
        assert_eq!((ran.code, ran.out.as_str()), (11, ""), "{ran:?}");
        assert_eq!(ran.error()["code"], "appraisal.refused");
        assert_eq!(ran.error()["reasons"][0]["code"], "tdx.measurement.mrtd");
        let (questions, requests) = reached(&sidecar.server);
        assert_eq!((questions, requests.len()), (1, 0));
    }
}

#[test]
fn a_relay_with_the_stolen_serving_key_ends_with_10_and_gets_no_request() {
    let sidecar = sidecar_with(Lie::None, models);
    let relay = relay(&sidecar);
    for job in [["--listen", "127.0.0.1:0"], ["--get", "/v1/models"]] {
        let ran = sidecar.stand.run(&words(&relay.url, &job));
        assert_eq!((ran.code, ran.out.as_str()), (10, ""), "{ran:?}");
        assert_eq!(ran.error()["reasons"][0]["rung"], "T18");
        let (questions, requests) = reached(&relay);
        assert_eq!((questions, requests.len()), (1, 0));
        let (questions, requests) = reached(&sidecar.server);
        assert_eq!((questions, requests.len()), (1, 0), "the relay passed the question on");
    }
}

#[test]
fn a_sidecar_that_is_replaced_later_is_answered_for_with_502_and_reasons() {
    let sidecar = sidecar_with(Lie::None, models);
    let running = listening(&sidecar, &[]);
    let mut local = Local::to(&running);
    for (lie, code, reason) in [
        (Lie::OtherConnection, "evidence.rejected", "tdx.report-data"),
        (Lie::OldNonce, "evidence.rejected", "report.nonce"),
        (Lie::OtherKey, "evidence.rejected", "report.serving-key"),
        (Lie::WeakerBinding, "evidence.rejected", "report.binding"),
    ] {
        // The kept connection is closed, so that the next request needs a new one.
        assert_eq!(local.get("/last").1, MODELS);
        let _ = reached(&sidecar.server);
        sidecar.tell(lie);
        let heard = local.get("/v1/models");
        assert!(heard.0.starts_with("http/1.1 502 bad gateway\r\n"), "{heard:?}");
        assert!(heard.0.contains("x-should-retry: false\r\n"), "{heard:?}");
        let error = error(&heard);
        assert_eq!(error["type"], "adyton_connect");
        assert_eq!(error["code"], code, "{error}");
        let first = &error["reasons"][0];
        assert_eq!(first["code"], reason, "{error}");
        assert!(first["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{error}");
        assert!(error["message"].as_str().is_some_and(|said| said.contains(reason)), "{error}");
        let (questions, requests) = reached(&sidecar.server);
        assert_eq!((questions, requests.len()), (1, 0), "{lie:?}: no byte of the request was sent");
        sidecar.tell(Lie::None);
        assert_eq!(local.get("/v1/models").1, MODELS, "and the honest one is served again");
    }
    kill_process(Pid::from_raw(running.pid() as i32).expect("a pid"), Signal::TERM).expect("sent");
    let (code, told) = running.end();
    assert_eq!(code, 0);
    assert_eq!(told.matches("\"evidence.rejected\"").count(), 4, "{told}");
}

#[test]
fn a_sidecar_that_is_gone_is_answered_for_with_502_and_may_be_asked_again() {
    let sidecar = sidecar_with(Lie::None, models);
    let running = listening(&sidecar, &[]);
    drop(sidecar.server);
    let heard = Local::to(&running).get("/v1/models");
    assert!(heard.0.starts_with("http/1.1 502 bad gateway\r\n"), "{heard:?}");
    assert!(!heard.0.contains("x-should-retry"), "{heard:?}");
    assert_eq!(error(&heard)["code"], "sidecar.unreachable");
}

#[test]
fn a_listener_beyond_loopback_needs_a_loud_word() {
    let sidecar = sidecar_with(Lie::None, models);
    let ran = run(&sidecar, &["--listen", "0.0.0.0:0"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert_eq!(ran.error()["code"], "connect.listen");
    assert_eq!(reached(&sidecar.server).0, 0);
    let loud = ["--listen", "0.0.0.0:0", "--insecure-listen-beyond-loopback"];
    let running = sidecar.stand.start(&words(&sidecar.server.url, &loud));
    kill_process(Pid::from_raw(running.pid() as i32).expect("a pid"), Signal::INT).expect("sent");
    let (code, told) = running.end();
    assert_eq!(code, 0);
    assert!(told.contains("\"insecure-listen-beyond-loopback\""), "{told}");
}

#[test]
fn a_page_from_the_web_does_not_reach_the_sidecar() {
    let sidecar = sidecar_with(Lie::None, models);
    let running = listening(&sidecar, &[]);
    for (head, status, code) in [
        ("Host: HOST\r\nOrigin: https://evil.example", "403 forbidden", "connect.origin"),
        ("Host: evil.example", "421 misdirected request", "connect.host"),
    ] {
        let mut local = Local::to(&running);
        local.send(&format!("GET /v1/models HTTP/1.1\r\n{head}"), "");
        let heard = local.heard();
        assert!(heard.0.starts_with(&format!("http/1.1 {status}\r\n")), "{heard:?}");
        assert_eq!(error(&heard)["code"], code);
    }
    assert!(reached(&sidecar.server).1.is_empty());
}

#[test]
fn with_a_local_key_only_who_has_it_is_let_in() {
    let sidecar = sidecar_with(Lie::None, models);
    sidecar.stand.write_secret("local.key", b"0123456789abcdef\n");
    let running = listening(&sidecar, &["--local-key-file", "local.key"]);
    let mut local = Local::to(&running);
    let heard = local.get("/v1/models");
    assert!(heard.0.starts_with("http/1.1 401 unauthorized\r\n"), "{heard:?}");
    assert_eq!(error(&heard)["code"], "connect.local-key");
    local.send(
        "GET /v1/models HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer 0123456789abcdef",
        "",
    );
    assert_eq!(local.heard().1, MODELS);
    let (_, requests) = reached(&sidecar.server);
    assert_eq!(requests.len(), 1);
    assert!(!requests[0].headers.contains_key("authorization"), "it goes no further");

    sidecar.stand.write_secret("short.key", b"0123\n");
    let ran = run(&sidecar, &["--listen", "127.0.0.1:0", "--local-key-file", "short.key"]);
    assert_eq!(ran.error()["code"], "connect.local-key", "{ran:?}");
}

#[test]
fn one_request_is_answered_with_the_peer_beside_it() {
    let sidecar = sidecar_with(Lie::None, models);
    let pin = sidecar.ppid.clone();
    let ran = run(&sidecar, &["--get", "/v1/models?x=1", "--pin", &pin]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json = ran.json();
    assert_eq!(json["status"], 200);
    assert_eq!(json["body"]["object"], "list");
    assert_eq!(json["peer"]["machine"], pin.as_str());
    let (questions, requests) = reached(&sidecar.server);
    assert_eq!((questions, requests.len()), (1, 1));
    assert_eq!(requests[0].target, "/v1/models?x=1");
    let ran = run(&sidecar, &["--get", "/missing"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.error()["code"], "request.failed");
    assert_eq!(ran.json()["status"], 404);
}

#[test]
fn another_machine_model_or_configuration_is_refused_by_name() {
    let sidecar = sidecar_with(Lie::None, models);
    let (digest, pin) = ("ff".repeat(32), format!("ppid:{}", "00".repeat(16)));
    for (flag, value, reason) in [
        ("--pin", pin.as_str(), "instance.machine"),
        ("--manifest-digest", &digest, "model.manifest-digest"),
        ("--config-digest", &digest, "config.digest"),
    ] {
        let ran = run(&sidecar, &["--get", "/v1/models", flag, value]);
        assert_eq!(ran.code, 11, "{ran:?}");
        assert_eq!(ran.error()["reasons"][0]["code"], reason);
    }
    assert!(reached(&sidecar.server).1.is_empty());
}

#[test]
fn the_typed_rules_of_a_policy_apply_and_rego_is_not_skipped_in_silence() {
    let sidecar = sidecar_with(Lie::None, models);
    let text = fs::read_to_string(sidecar.stand.path("references.toml")).expect("references");
    let table: toml::Table = text.parse().expect("TOML");
    let name = table["name"].as_str().expect("a name");
    let typed = format!(
        "key = \"kbs:///acme/model-key/llama\"\nminimum_model_version = 4\n[appraisal]\n\
         reference_values = [\"{name}\"]\n"
    );
    sidecar.stand.write("release.toml", typed.as_bytes());
    let ran = run(&sidecar, &["--get", "/v1/models", "--policy", "release.toml"]);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert_eq!(ran.error()["reasons"][0]["code"], "model.version");

    let rego =
        format!("{typed}[rego]\nresource = '''\npackage policy\ndefault allow := true\n'''\n");
    sidecar.stand.write("release.toml", rego.as_bytes());
    let ran = run(&sidecar, &["--get", "/v1/models", "--policy", "release.toml"]);
    assert_eq!(ran.code, 20, "{ran:?}");
    assert_eq!(ran.error()["code"], "connect.rego");
    assert!(reached(&sidecar.server).1.is_empty());
}
