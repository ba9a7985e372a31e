//! One broker in this process with its own folder and its own simulated TEE.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adyton_attestation::Tee;
use adyton_attestation::rcar::client::Attested;
use adyton_attestation::rcar::{
    AttestResponse, Attestation, ChallengeMessage, ErrorInformation, JweResponse, RcarClient,
    ResourcePath, TeeKeyPair, Unwrapped,
};
use adyton_broker::broker::now;
use adyton_broker::config::BrokerConfig;
use adyton_broker::error::StartupError;
use adyton_broker::serve::{CheckedConfig, Endpoints, RunningBroker};
use adyton_fake_tee::{FakeTee, Fault, TdProfile};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

pub const KEY: &str = "kbs:///acme/model-key/kjv";
pub const KEY_PATH: &str = "acme/model-key/kjv";

/// A whole reply.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `<name>=<value>` of the cookie that was set.
    pub fn cookie(&self) -> String {
        let line = self.headers["set-cookie"].to_str().expect("visible ASCII");
        line.split(';').next().expect("first part").to_owned()
    }

    /// The error body of the KBS protocol.
    pub fn error(&self) -> ErrorInformation {
        ErrorInformation::parse(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Status, variant and codes of a refusal.
    pub fn refusal(&self) -> (u16, String, Vec<String>) {
        let error = self.error();
        let codes = error.adyton.as_ref().map(|adyton| adyton.codes.clone()).unwrap_or_default();
        (self.status.as_u16(), error.variant().to_owned(), codes)
    }
}

/// An attested guest: its cookie and the TEE key that was bound.
pub struct Guest {
    pub cookie: String,
    pub attested: Attested,
}

pub struct TestBroker {
    pub folder: TempDir,
    pub tee: FakeTee,
    pub endpoints: Endpoints,
    pub running: Arc<adyton_broker::broker::Broker>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    config: String,
}

impl TestBroker {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// `extra` is appended to the configuration.
    pub async fn start_with(extra: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let tee = FakeTee::new(now().0);
        let config = format!("{}{extra}", write_inputs(folder.path(), &tee, &[]));
        Self::start_in(folder, tee, config).await.expect("the broker starts")
    }

    pub async fn start_in(
        folder: TempDir,
        tee: FakeTee,
        config: String,
    ) -> Result<Self, StartupError> {
        Self::start_changed_in(folder, tee, config, |_| {}).await
    }

    /// `change` is made after the configuration was parsed, for what no file can say.
    pub async fn start_changed(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let tee = FakeTee::new(now().0);
        let config = write_inputs(folder.path(), &tee, &[]);
        let started = Self::start_changed_in(folder, tee, config, change).await;
        started.expect("the broker starts")
    }

    async fn start_changed_in(
        folder: TempDir,
        tee: FakeTee,
        config: String,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self, StartupError> {
        let parsed = BrokerConfig::load(Some((Path::new("broker.toml"), &config)), [], []);
        let mut parsed = parsed.map_err(StartupError::Configuration)?;
        change(&mut parsed);
        let checked = CheckedConfig::check(parsed)?;
        let broker = RunningBroker::start(checked).await?;
        let (stop, stopped) = watch::channel(false);
        let endpoints = broker.endpoints().clone();
        let running = Arc::clone(broker.broker());
        let task = tokio::spawn(broker.run(stopped));
        Ok(Self { folder, tee, endpoints, running, stop, task, config })
    }

    /// Stops in good order and gives back what a restart needs.
    pub async fn stop(self) -> (TempDir, FakeTee, String) {
        self.stop.send(true).expect("the broker runs");
        self.task.await.expect("the broker ends in good order");
        drop(self.running);
        (self.folder, self.tee, self.config)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Creates the key, registers the TEE's Reference Values and a policy.
    pub async fn with_key_and_policy(self) -> Self {
        let created = self.admin(Method::POST, "/adyton/v1/keys", kid_json(KEY)).await;
        assert_eq!(created.status, 201, "{}", created.text());
        let values = self.tee.reference_values(&TdProfile::default());
        let set = self.admin(Method::PUT, "/adyton/v1/reference-values", values).await;
        assert_eq!(set.status, 200, "{}", set.text());
        self.set_policy(KEY, "minimum_model_version = 3").await;
        self
    }

    pub async fn set_policy(&self, key: &str, extra: &str) {
        let policy =
            format!("key = {key:?}\n{extra}\n[appraisal]\nreference_values = [\"fake-td\"]\n");
        let set = self.admin(Method::PUT, "/adyton/v1/policies", policy).await;
        assert_eq!(set.status, 200, "{}", set.text());
    }

    pub async fn admin(&self, method: Method, path: &str, body: String) -> Reply {
        let token = std::fs::read_to_string(self.state_dir().join("admin-token")).expect("token");
        self.admin_with(method, path, body, Some(format!("Bearer {}", token.trim()))).await
    }

    pub async fn admin_with(
        &self,
        method: Method,
        path: &str,
        body: String,
        authorization: Option<String>,
    ) -> Reply {
        let url = self.endpoints.admin.clone().expect("the admin API is on");
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::from(body)).expect("request");
        send(&url, self.client_config(), request).await.expect("a reply")
    }

    pub async fn kbs(
        &self,
        method: &str,
        path: &str,
        cookie: Option<&str>,
        body: Vec<u8>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        self.kbs_request(request.body(Full::from(body)).expect("request")).await
    }

    pub async fn kbs_request(&self, request: Request<Full<Bytes>>) -> Reply {
        send(&self.endpoints.kbs, self.client_config(), request).await.expect("a reply")
    }

    pub fn client_config(&self) -> ClientConfig {
        client_config(&self.endpoints.ca_file, None)
    }

    /// RCAR up to the reply of `/attest`, with the evidence that `profile` and `faults` give.
    pub async fn try_attest(
        &self,
        profile: &TdProfile,
        faults: &[Fault],
    ) -> Result<Guest, (Reply, Vec<u8>)> {
        let (request, awaiting) = RcarClient::start(Tee::Tdx);
        let body = serde_json::to_vec(&request).expect("JSON");
        let reply = self.kbs("POST", "/kbs/v0/auth", None, body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let challenge = ChallengeMessage::parse(&reply.body).expect("challenge");
        let key = TeeKeyPair::generate().expect("key");
        let (report_data, awaiting) = awaiting.on_challenge(&challenge, key).expect("bound");
        let evidence = self.tee.primary_evidence(profile, report_data.0, faults);
        let (attestation, awaiting) = awaiting.with_evidence(evidence);
        let body = serde_json::to_vec(&attestation).expect("JSON");
        let cookie = reply.cookie();
        let reply = self.kbs("POST", "/kbs/v0/attest", Some(&cookie), body.clone()).await;
        if reply.status != 200 {
            return Err((reply, body));
        }
        let attested = awaiting.on_token(AttestResponse::parse(&reply.body).expect("token"));
        Ok(Guest { cookie: reply.cookie(), attested })
    }

    pub async fn attest(&self) -> Guest {
        match self.try_attest(&TdProfile::default(), &[]).await {
            Ok(guest) => guest,
            Err((reply, _)) => panic!("{}", reply.text()),
        }
    }

    pub async fn ask(&self, guest: &Guest, path: &str) -> Reply {
        let path = format!("/kbs/v0/resource/{path}");
        self.kbs("GET", &path, Some(&guest.cookie), Vec::new()).await
    }

    /// A session up to the Challenge and an Attestation that would be accepted.
    pub async fn prepared(&self) -> (String, Attestation, TeeKeyPair) {
        let (request, awaiting) = RcarClient::start(Tee::Tdx);
        let body = serde_json::to_vec(&request).expect("JSON");
        let reply = self.kbs("POST", "/kbs/v0/auth", None, body).await;
        let challenge = ChallengeMessage::parse(&reply.body).expect("challenge");
        let key = TeeKeyPair::generate().expect("key");
        let copy = TeeKeyPair::from_pkcs8(&key.to_pkcs8().expect("DER")).expect("same key");
        let (report_data, awaiting) = awaiting.on_challenge(&challenge, key).expect("bound");
        let evidence = self.tee.primary_evidence(&TdProfile::default(), report_data.0, &[]);
        (reply.cookie(), awaiting.with_evidence(evidence).0, copy)
    }

    pub async fn send_attestation(&self, cookie: Option<&str>, attestation: &Attestation) -> Reply {
        let body = serde_json::to_vec(attestation).expect("JSON");
        self.kbs("POST", "/kbs/v0/attest", cookie, body).await
    }

    /// The owner's view of the decision that a refusal names.
    pub async fn decision(&self, reply: &Reply) -> Value {
        let id = reply.error().adyton.expect("a decision").decision;
        let path = format!("/adyton/v1/decisions/{id}");
        let found = self.admin(Method::GET, &path, String::new()).await;
        assert_eq!(found.status, 200, "{}", found.text());
        found.json()
    }
}

/// Writes roots and Endorsements of the TEE and returns a configuration that names them.
pub fn write_inputs(folder: &Path, tee: &FakeTee, faults: &[Fault]) -> String {
    let root = folder.join("root.pem");
    let bundle = folder.join("bundle.json");
    std::fs::write(&root, tee.root_pem()).expect("root");
    let endorsements = tee.endorsement_bundle(now().0, faults);
    std::fs::write(&bundle, endorsements.to_string()).expect("bundle");
    let state = folder.join("state");
    format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nstate_dir = {state:?}\n\
         endorsements.bundle_files = [{bundle:?}]\nverifier.insecure_extra_roots = [{root:?}]\n"
    )
}

pub fn kid_json(kid: &str) -> String {
    serde_json::json!({ "kid": kid }).to_string()
}

pub fn unwrap_key(guest: &Guest, reply: &Reply) -> Unwrapped {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let jwe = JweResponse::parse(&reply.body).expect("JWE");
    let path = ResourcePath::parse(KEY_PATH).expect("path");
    guest.attested.unwrap(&path, &jwe).expect("encrypted to the attested key")
}

/// Trusts `ca_file`; identifies itself with the chain and key of `identity`.
pub fn client_config(ca_file: &Path, identity: Option<(&Path, &Path)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).expect("CA file") {
        roots.add(certificate.expect("certificate")).expect("root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .expect("chain")
                .collect::<Result<Vec<_>, _>>()
                .expect("chain");
            let key = PrivateKeyDer::from_pem_file(key).expect("key");
            builder.with_client_auth_cert(chain, key).expect("identity")
        }
    }
}

pub async fn send(
    url: &str,
    config: ClientConfig,
    request: Request<Full<Bytes>>,
) -> Result<Reply, Box<dyn std::error::Error>> {
    let address = url.strip_prefix("https://").expect("an https URL");
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let reply = sender.send_request(request).await?;
    let (parts, body) = reply.into_parts();
    let body = body.collect().await?.to_bytes();
    drop(sender);
    connection.abort();
    Ok(Reply { status: parts.status, headers: parts.headers, body })
}
