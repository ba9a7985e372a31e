//! A KBS of a few lines: the library's server states over HTTPS, and faults on demand.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use adyton_attestation::challenge::Nonce;
use adyton_attestation::rcar::message::{Attestation, Request as RcarRequest};
use adyton_attestation::rcar::{
    AwaitingAttestation, ErrorInformation, JweExtras, ResourcePath, TeePublicKey, jwe, on_request,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::pki::{Ca, Leaf};

/// What the KBS does with a request instead of answering it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers with this status and body.
    Status(u16, String),
    /// Closes the connection.
    Drop,
    /// Never answers.
    Hang,
    /// Answers 200 with this.
    Bytes(Vec<u8>),
}

impl Fault {
    /// A refusal in the protocol's form.
    pub fn refusal(status: u16, variant: &str, decision: &str, codes: &[&str]) -> Self {
        let codes = codes.iter().map(|code| (*code).to_owned()).collect();
        let body = ErrorInformation::new(variant, "refused").with_refusal(decision, codes);
        Self::Status(status, serde_json::to_string(&body).expect("json"))
    }
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, AwaitingAttestation>,
    attested: HashMap<String, TeePublicKey>,
    faults: HashMap<&'static str, VecDeque<Fault>>,
    requests: Vec<String>,
    keys: HashMap<String, Vec<u8>>,
    minimum_version: Option<u64>,
    counter: u64,
}

#[derive(Clone)]
pub struct Kbs {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Kbs {
    pub async fn start(ca: &Ca) -> Self {
        let Leaf { certificate, key } = ca.server();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("pem")];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("pem");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("certificate");
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let kbs = Self { address, state: Arc::default() };
        let served = kbs.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                let (acceptor, kbs) = (acceptor.clone(), served.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let answer = service_fn(move |request| kbs.clone().answer(request));
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        kbs
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn put_key(&self, path: &str, key: &[u8]) {
        self.state.lock().expect("lock").keys.insert(path.to_owned(), key.to_vec());
    }

    pub fn minimum_version(&self, version: u64) {
        self.state.lock().expect("lock").minimum_version = Some(version);
    }

    /// The next requests to `endpoint` (`auth`, `attest`, `resource`) fare like this.
    pub fn next(&self, endpoint: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().expect("lock").faults.entry(endpoint).or_default().extend(faults);
    }

    /// Endpoints asked so far, in order.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().expect("lock").requests.clone()
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let path = request.uri().path().to_owned();
        let rest = path.strip_prefix("/kbs/v0/").expect("a KBS path").to_owned();
        let endpoint = rest.split('/').next().expect("a segment").to_owned();
        let cookie = request
            .headers()
            .get(http::header::COOKIE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        let fault = {
            let mut state = self.state.lock().expect("lock");
            state.requests.push(endpoint.clone());
            state.faults.get_mut(endpoint.as_str()).and_then(VecDeque::pop_front)
        };
        match fault {
            None => {}
            Some(Fault::Status(status, body)) => return Ok(reply(status, body.into_bytes())),
            Some(Fault::Bytes(body)) => return Ok(reply(200, body)),
            Some(Fault::Drop) => return Err("dropped".into()),
            Some(Fault::Hang) => match std::future::pending::<Infallible>().await {},
        }
        let mut state = self.state.lock().expect("lock");
        Ok(match endpoint.as_str() {
            "auth" => {
                let request = RcarRequest::parse(&body).expect("a Request");
                let nonce = Nonce::fresh().expect("random");
                let (challenge, session) = on_request(&request, nonce).expect("tdx");
                state.counter += 1;
                let cookie = format!("kbs-session-id={:032x}", state.counter);
                state.sessions.insert(cookie.clone(), session);
                let mut response = reply(200, serde_json::to_vec(&challenge).expect("json"));
                let cookie = format!("{cookie}; Expires=Mon, 23 Nov 2126 07:05:00 GMT");
                let cookie = cookie.parse().expect("a header");
                response.headers_mut().insert(http::header::SET_COOKIE, cookie);
                response
            }
            "attest" => {
                let attestation = Attestation::parse(&body).expect("an Attestation");
                let session = state.sessions.remove(&cookie).expect("a session");
                let presented = session.on_attestation(&attestation).expect("parses");
                assert_eq!(presented.evidence.report_data(), presented.expected, "binding");
                // As our broker does: the attested session has another id than the open one.
                state.counter += 1;
                let cookie = format!("kbs-session-id={:032x}", state.counter);
                state.attested.insert(cookie.clone(), presented.tee_key);
                let mut response = reply(200, br#"{"token":"a.b.c"}"#.to_vec());
                let cookie = cookie.parse().expect("a header");
                response.headers_mut().insert(http::header::SET_COOKIE, cookie);
                response
            }
            "resource" => {
                let path = rest.strip_prefix("resource/").expect("a resource");
                let tee_key = state.attested.get(&cookie).expect("attested");
                match state.keys.get(path) {
                    None => {
                        let body = ErrorInformation::new("PluginInternalError", "no such key");
                        reply(404, serde_json::to_vec(&body).expect("json"))
                    }
                    Some(key) => {
                        let extras = JweExtras {
                            resource: Some(ResourcePath::parse(path).expect("a path")),
                            minimum_model_version: state.minimum_version,
                        };
                        let jwe = jwe::encrypt(tee_key, key, &extras).expect("wraps");
                        reply(200, serde_json::to_vec(&jwe).expect("json"))
                    }
                }
            }
            _ => reply(404, Vec::new()),
        })
    }
}

fn reply(status: u16, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}
