//! The three exchanges with a KBS over HTTPS: bounded, timed, to the pinned CA only.
//!
//! One connection for each exchange: three are made in a sidecar's life. No redirects are followed,
//! no proxy is read from the environment.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::rcar::message::{Attestation, Request as RcarRequest};
use adyton_attestation::rcar::{ErrorInformation, RcarError, ResourcePath};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, HOST, SET_COOKIE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ReleaseError, ReleaseStep};
use crate::config::BrokerConfig;
use crate::report::SOFTWARE;

/// No reply of the protocol is larger.
const MAX_REPLY_BYTES: usize = 2 << 20;
const MAX_COOKIE_BYTES: usize = 4096;

/// A client of one KBS.
#[derive(Clone)]
pub struct Kbc {
    config: BrokerConfig,
    tls: TlsConnector,
}

/// Which epoch of a resource is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Epoch {
    Exactly(u32),
    /// The KBS knows it; what is asked for is not bound to one.
    Newest,
}

/// What ties the exchanges together: the newest cookie that the KBS gave. A KBS may give another one
/// with its answer to `POST /attest`, so that nobody who saw the first one has an attested session.
pub(super) struct Session {
    cookie: Option<HeaderValue>,
}

impl Session {
    /// The session after `response`: its cookie, or else the one there was.
    fn after(self, response: &Response<Bytes>) -> Self {
        let newest = response
            .headers()
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|value| value.as_bytes().split(|byte| *byte == b';').next())
            .find(|pair| pair.starts_with(b"kbs-session-id=") && pair.len() <= MAX_COOKIE_BYTES)
            .and_then(|pair| HeaderValue::from_bytes(pair).ok());
        Self { cookie: newest.or(self.cookie) }
    }
}

impl fmt::Debug for Kbc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kbc").field("url", &self.config.url).finish_non_exhaustive()
    }
}

impl Kbc {
    /// Trusts the configured CA and nothing else.
    ///
    /// # Errors
    /// [`ReleaseError::BrokerCa`]
    pub fn new(config: BrokerConfig) -> Result<Self, ReleaseError> {
        let mut roots = RootCertStore::empty();
        for root in &config.roots {
            roots.add(root.clone()).map_err(ReleaseError::BrokerCa)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(ReleaseError::BrokerCa)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config, tls: TlsConnector::from(Arc::new(tls)) })
    }

    pub(super) fn retry_for(&self) -> Duration {
        self.config.retry_for
    }

    pub(super) async fn auth(
        &self,
        request: &RcarRequest,
    ) -> Result<(Bytes, Session), ReleaseError> {
        let none = Session { cookie: None };
        let body = json(ReleaseStep::Auth, request)?;
        let response = self.exchange(ReleaseStep::Auth, Method::POST, "auth", body, &none).await?;
        let session = none.after(&response);
        Ok((response.into_body(), session))
    }

    pub(super) async fn attest(
        &self,
        attestation: &Attestation,
        session: Session,
    ) -> Result<(Bytes, Session), ReleaseError> {
        let step = ReleaseStep::Attest;
        let body = json(step, attestation)?;
        let response = self.exchange(step, Method::POST, "attest", body, &session).await?;
        let session = session.after(&response);
        Ok((response.into_body(), session))
    }

    pub(super) async fn resource(
        &self,
        resource: &ResourcePath,
        epoch: Epoch,
        session: &Session,
    ) -> Result<Bytes, ReleaseError> {
        let query = match epoch {
            Epoch::Exactly(epoch) => format!("?epoch={epoch}"),
            Epoch::Newest => String::new(),
        };
        let (repository, kind, tag) = (resource.repository(), resource.kind(), resource.tag());
        let path = format!("resource/{repository}/{kind}/{tag}{query}");
        let step = ReleaseStep::Resource;
        Ok(self.exchange(step, Method::GET, &path, Bytes::new(), session).await?.into_body())
    }

    /// One exchange. Anything but 200 is an error, with what the KBS says about it.
    async fn exchange(
        &self,
        step: ReleaseStep,
        method: Method,
        path: &str,
        body: Bytes,
        session: &Session,
    ) -> Result<Response<Bytes>, ReleaseError> {
        let response = tokio::time::timeout(
            self.config.request_timeout,
            self.send(step, method, path, body, session),
        )
        .await
        .map_err(|_| ReleaseError::Timeout { url: self.config.url.clone() })??;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let information = ErrorInformation::parse(response.body()).ok();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(ReleaseError::Busy { step, status, information });
        }
        Err(ReleaseError::Refused { step, status, information })
    }

    async fn send(
        &self,
        step: ReleaseStep,
        method: Method,
        path: &str,
        body: Bytes,
        session: &Session,
    ) -> Result<Response<Bytes>, ReleaseError> {
        let broke = |source: Box<dyn std::error::Error + Send + Sync>| ReleaseError::Broke {
            url: self.config.url.clone(),
            step,
            source,
        };
        let unreachable =
            |source| ReleaseError::Unreachable { url: self.config.url.clone(), source };

        let tcp = TcpStream::connect((self.config.host.as_str(), self.config.port))
            .await
            .map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let tls = self
            .tls
            .connect(self.config.server_name.clone(), tcp)
            .await
            .map_err(|error| self.not_connected(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(|error| broke(error.into()))?;
        // Ends with the exchange: the task owns the socket and stops when the sender is dropped.
        let driver = tokio::spawn(connection);

        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/kbs/v0/{path}", self.config.base_path))
            .header(HOST, self.authority())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, SOFTWARE);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(cookie) = &session.cookie {
            request = request.header(COOKIE, cookie);
        }
        let request: Request<Full<Bytes>> =
            request.body(Full::from(body)).map_err(|error| broke(error.into()))?;
        let response = sender.send_request(request).await.map_err(|error| broke(error.into()))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_REPLY_BYTES).collect().await.map_err(broke)?;
        drop(sender);
        driver.abort();
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    fn authority(&self) -> String {
        let host = &self.config.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{host}:{}", self.config.port)
    }

    /// An unknown certificate is not a network fault: asking again changes nothing.
    fn not_connected(&self, error: io::Error) -> ReleaseError {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(source @ rustls::Error::InvalidCertificate(_)) => {
                ReleaseError::CertificateUnknown {
                    url: self.config.url.clone(),
                    ca_file: self.config.ca_file.clone(),
                    source: source.clone(),
                }
            }
            _ => ReleaseError::Unreachable { url: self.config.url.clone(), source: error },
        }
    }
}

fn json(step: ReleaseStep, message: &impl serde::Serialize) -> Result<Bytes, ReleaseError> {
    serde_json::to_vec(message).map(Bytes::from).map_err(|source| ReleaseError::Protocol {
        step,
        source: RcarError::Json { message: "message of ours", source },
    })
}
