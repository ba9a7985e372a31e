//! A test stand: a TLS server that answers what a test tells it, and the real `adyton` binary run against it.

// Each test file uses its own part of the stand.
#![allow(dead_code)]

pub mod sidecar;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_rustls::TlsAcceptor;

/// What a handler sees of one request.
pub struct Exchange {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// RFC 9266 exporter value of the connection, seen from the server.
    pub exporter: [u8; 32],
}

impl Exchange {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// Whether it asks the sidecar who it is.
    pub fn is_question(&self) -> bool {
        self.target.starts_with("/.well-known/adyton/attestation?")
    }

    /// The value of a query parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        let url = url::Url::parse(&format!("https://host{}", self.target)).expect("a target");
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    }
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub der: CertificateDer<'static>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key, PEM, for these names and this use.
    pub fn issue(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> (String, String, Leaf) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("good names");
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let leaf = Leaf {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        };
        (certificate.pem(), key.serialize_pem(), leaf)
    }
}

pub struct Leaf {
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

/// Whom the server lets in.
pub enum Clients {
    Anybody,
    IssuedBy(CertificateDer<'static>),
}

/// Status and body of a reply.
pub type Answer = (u16, String);

/// A reply in full.
pub struct Said {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: UnsyncBoxBody<Bytes, Infallible>,
}

impl From<Answer> for Said {
    fn from((status, text): Answer) -> Self {
        Self { status, headers: Vec::new(), body: Full::from(text).boxed_unsync() }
    }
}

impl Said {
    /// Status 200 and what comes out of `pieces`, until its sender is dropped.
    pub fn stream(pieces: UnboundedReceiver<Bytes>) -> Self {
        Self { status: 200, headers: Vec::new(), body: Pieces(pieces).boxed_unsync() }
    }

    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

struct Pieces(UnboundedReceiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(task).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

type Handler = dyn Fn(&Exchange) -> Said + Send + Sync;

/// A server on loopback that lives as long as the value.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Exchange>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start<A: Into<Said>>(
        leaf: Leaf,
        clients: Clients,
        handler: impl Fn(&Exchange) -> A + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3");
        let builder = match clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::IssuedBy(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca).expect("a CA");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .expect("a verifier");
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder
            .with_single_cert(vec![leaf.certificate], leaf.key)
            .expect("a server certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let requests: Arc<Mutex<Vec<Exchange>>> = Arc::default();
        let handler: Arc<Handler> = Arc::new(move |exchange| handler(exchange).into());
        let (bound, port) = mpsc::channel();
        let log = Arc::clone(&requests);
        runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            bound.send(port).expect("the test waits");
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                let handler = Arc::clone(&handler);
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let exporter = tls
                        .get_ref()
                        .1
                        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None)
                        .expect("an exporter value");
                    let service = service_fn(move |request| {
                        answer(request, exporter, Arc::clone(&handler), Arc::clone(&log))
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(tls), service)
                        .await;
                });
            }
        });
        let port = port.recv_timeout(Duration::from_secs(10)).expect("the server is bound");
        Self { url: format!("https://localhost:{port}"), requests, _runtime: runtime }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.requests.lock().expect("not poisoned"))
    }
}

async fn answer(
    request: Request<Incoming>,
    exporter: [u8; 32],
    handler: Arc<Handler>,
    log: Arc<Mutex<Vec<Exchange>>>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let exchange = Exchange {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: headers.collect(),
        body: body.collect().await?.to_bytes().to_vec(),
        exporter,
    };
    let said = handler(&exchange);
    log.lock().expect("not poisoned").push(exchange);
    let mut reply = Response::builder().status(said.status);
    for (name, value) in said.headers {
        reply = reply.header(name, value);
    }
    Ok(reply.body(said.body).expect("a reply"))
}

/// A folder with everything the CLI needs, and the CLI itself.
pub struct Stand {
    pub folder: tempfile::TempDir,
    base: Vec<String>,
}

/// What came of one run.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The result on stdout.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The member `error` of the last line on stderr.
    pub fn error(&self) -> serde_json::Value {
        let last = self.err.lines().last().unwrap_or_default();
        let value: serde_json::Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        value["error"].clone()
    }
}

impl Stand {
    /// A stand without a broker.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("temporary folder"), base: Vec::new() }
    }

    /// A stand whose runs speak to a stub broker behind `handler`.
    pub fn with_broker(
        handler: impl Fn(&Exchange) -> Answer + Send + Sync + 'static,
    ) -> (Self, Server) {
        let authority = Authority::new("stub broker CA");
        let (_, _, leaf) =
            authority.issue(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth);
        let server = Server::start(leaf, Clients::Anybody, handler);
        let mut stand = Self::new();
        let ca = stand.write("ca.pem", authority.pem.as_bytes());
        let token = stand.write_secret("admin-token", b"token-of-the-test\n");
        stand.base = vec![
            format!("--broker={}", server.url),
            format!("--broker-ca={}", ca.display()),
            format!("--admin-token-file={}", token.display()),
        ];
        (stand, server)
    }

    /// A stand whose runs show a client certificate to a stub broker that demands one.
    pub fn with_mutual_tls(
        handler: impl Fn(&Exchange) -> Answer + Send + Sync + 'static,
    ) -> (Self, Server) {
        let authority = Authority::new("stub broker CA");
        let admins = Authority::new("stub admin CA");
        let (_, _, leaf) = authority.issue(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
        let (certificate, key, _) = admins.issue(&["owner"], ExtendedKeyUsagePurpose::ClientAuth);
        let server = Server::start(leaf, Clients::IssuedBy(admins.der.clone()), handler);
        let mut stand = Self::new();
        let ca = stand.write("ca.pem", authority.pem.as_bytes());
        let certificate = stand.write("owner.pem", certificate.as_bytes());
        let key = stand.write_secret("owner.key", key.as_bytes());
        stand.base = vec![
            format!("--broker={}", server.url),
            format!("--broker-ca={}", ca.display()),
            format!("--admin-cert-file={}", certificate.display()),
            format!("--admin-key-file={}", key.display()),
        ];
        (stand, server)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("write");
        path
    }

    pub fn write_secret(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        path
    }

    /// Runs `adyton` with these words, without the caller's environment.
    pub fn run(&self, words: &[&str]) -> Ran {
        self.run_with(words, &[])
    }

    pub fn run_with(&self, words: &[&str], environment: &[(&str, &str)]) -> Ran {
        let output = self.command(words, environment).output().expect("adyton runs");
        ran(&output)
    }

    /// Runs with another broker URL than the stand's.
    pub fn run_at(&self, url: &str, words: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adyton"));
        let rest = self.base.iter().filter(|word| !word.starts_with("--broker="));
        command.args(words).arg(format!("--broker={url}")).args(rest).env_clear();
        ran(&command.output().expect("adyton runs"))
    }

    /// Starts `adyton` and waits for its first line on stdout, a JSON document.
    pub fn start(&self, words: &[&str]) -> Running {
        let mut command = self.command(words, &[]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("adyton starts");
        let mut first = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut first).expect("a line");
        let Ok(said) = serde_json::from_str(&first) else {
            panic!("no document, but {first:?}: {:?}", child.wait_with_output());
        };
        Running { child, said }
    }

    fn command(&self, words: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adyton"));
        command
            .args(words)
            .args(&self.base)
            .env_clear()
            .env("HOME", self.folder.path())
            .envs(environment.iter().copied())
            .current_dir(self.folder.path());
        command
    }
}

/// A program that runs until it is stopped, or dropped.
pub struct Running {
    child: Child,
    /// Its first line.
    pub said: serde_json::Value,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end: exit code and what it wrote on stderr.
    pub fn end(mut self) -> (i32, String) {
        let mut stderr = self.child.stderr.take().expect("piped");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut text).expect("UTF-8");
        (self.child.wait().expect("ended").code().expect("not killed"), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().expect("not killed"),
        out: String::from_utf8(output.stdout.clone()).expect("UTF-8"),
        err: String::from_utf8(output.stderr.clone()).expect("UTF-8"),
    }
}

/// A real vector, or a printed reason why there is none.
pub fn vector(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = root.join("../shared");
    let folder =
        std::env::var_os("ADYTON_VECTORS").map_or_else(|| shared.join("vectors"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("ADYTON_VECTORS_REQUIRED").is_none(),
        "ADYTON_VECTORS_REQUIRED is set, but {} is missing",
        path.display()
    );
    println!("skipped: no vector {} (set ADYTON_VECTORS)", path.display());
    None
}
