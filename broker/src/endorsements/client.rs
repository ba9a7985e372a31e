//! One GET with a bound on everything.
//!
//! In: an operator's URL, a path that a [`Statement`] made. Out: an [`Answer`]. Must not: follow
//! redirects or proxies, send credentials or cookies, keep connections, believe a length.
//! Against: a service, or whoever sits before it, that hangs, drips, cuts off, sends without end, or
//! has another certificate than it should.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::endorsement::fetch::{
    Answer, BaseUrl, Scheme, Statement, retry_after_seconds,
};
use adyton_attestation::limits::MAX_ENDORSEMENT_ANSWER_LEN;
use http::header::{ACCEPT, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Finding;

/// Headers of an answer. KDS sends about 15.
const MAX_HEADERS: usize = 100;
/// Bytes of the status line and all headers. An issuer chain, URL-encoded, has about 5 KiB.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// Where systems keep the CAs that they trust, PEM.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Largest CA file that is read, in bytes.
const MAX_CA_FILE: u64 = 4 * 1024 * 1024;

/// Longest times of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For TCP and TLS.
    pub connect: Duration,
    /// For everything together.
    pub total: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No TCP connection.
    #[error("it could not be reached ({0})")]
    Unreachable(Arc<io::Error>),
    /// TLS failed; most often the certificate was refused.
    #[error("no secure connection ({0})")]
    Tls(String),
    /// A step took too long.
    #[error("no answer within {} s ({step})", after.as_secs())]
    TimedOut {
        /// Which step.
        step: &'static str,
        /// The bound.
        after: Duration,
    },
    /// The connection broke before the answer was whole, or no HTTP was spoken.
    #[error("the answer broke off ({0})")]
    Broken(String),
    /// The body is longer than any answer.
    #[error("the answer has more than {limit} bytes")]
    TooLong {
        /// The bound in bytes.
        limit: usize,
    },
}

impl ClientError {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "check the URL, name resolution, and that egress to it is open",
            Self::Tls(_) => {
                "check the service's certificate; for a private CA set `endorsements.ca_file`"
            }
            Self::TimedOut { .. } => {
                "check the service and the network; `endorsements.timeout_seconds` bounds the wait"
            }
            Self::Broken(_) => "check the service, and proxies on the way to it",
            Self::TooLong { .. } => "check that the URL is that of the service",
        }
    }
}

/// An answer and what the service says about its own pace.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// Seconds of `Retry-After`, bounded.
    pub retry_after: Option<u64>,
}

/// Sends requests, each on a connection of its own.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
    timeouts: Timeouts,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts the CAs in `ca_file`, or the system's.
    ///
    /// # Errors
    /// A finding about `endorsements.ca_file`.
    pub fn new(ca_file: Option<&Path>, timeouts: Timeouts) -> Result<Self, Finding> {
        let roots = roots(ca_file)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| {
            Finding::new("TLS", "(built-in versions)", error.to_string(), "report this as a defect")
        })?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), timeouts })
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`ClientError`] of the first step that fails.
    pub async fn get(
        &self,
        base: &BaseUrl,
        path: &str,
        statement: &Statement,
    ) -> Result<Reply, ClientError> {
        let after = self.timeouts.total;
        let exchange = async {
            let tcp = self.within_connect(connect(base)).await?;
            match base.scheme() {
                Scheme::HttpOnLoopback => exchange(tcp, base, path, statement).await,
                Scheme::Https => {
                    let tls = self.within_connect(self.handshake(base, tcp)).await?;
                    exchange(tls, base, path, statement).await
                }
            }
        };
        match tokio::time::timeout(after, exchange).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::TimedOut { step: "waiting for the answer", after }),
        }
    }

    async fn within_connect<T>(
        &self,
        step: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let after = self.timeouts.connect;
        match tokio::time::timeout(after, step).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::TimedOut { step: "connecting", after }),
        }
    }

    async fn handshake(
        &self,
        base: &BaseUrl,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
        let name = match base.host().parse::<IpAddr>() {
            Ok(ip) => ServerName::from(ip),
            Err(_) => ServerName::try_from(base.host().to_owned())
                .map_err(|error| ClientError::Tls(error.to_string()))?,
        };
        let failed = |error: io::Error| ClientError::Tls(error.to_string());
        self.tls.connect(name, tcp).await.map_err(failed)
    }
}

async fn connect(base: &BaseUrl) -> Result<TcpStream, ClientError> {
    let connected = TcpStream::connect((base.host(), base.port())).await;
    connected.map_err(|error| ClientError::Unreachable(Arc::new(error)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    base: &BaseUrl,
    path: &str,
    statement: &Statement,
) -> Result<Reply, ClientError> {
    let broken = |error: &dyn std::error::Error| ClientError::Broken(chain(error));
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Ends with this function, whichever way: the guard aborts the task that drives the connection.
    let _driver = AbortOnDrop(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an endorsement service ended early");
        }
    }));
    let request = Request::get(path)
        .header(HOST, base.authority())
        .header(USER_AGENT, concat!("adyton/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status().as_u16();
    let retry_after = text(response.headers(), RETRY_AFTER.as_str());
    let retry_after = retry_after.as_deref().and_then(retry_after_seconds);
    let issuer_chain =
        statement.chain_headers().iter().find_map(|name| text(response.headers(), name));
    // What a failure says in its body is for people with a browser.
    let body = if status == 200 {
        let limited = Limited::new(response.into_body(), MAX_ENDORSEMENT_ANSWER_LEN);
        let body =
            limited.collect().await.map_err(|error| match error.is::<LengthLimitError>() {
                true => ClientError::TooLong { limit: MAX_ENDORSEMENT_ANSWER_LEN },
                false => ClientError::Broken(chain(error.as_ref())),
            })?;
        body.to_bytes().to_vec()
    } else {
        Vec::new()
    };
    Ok(Reply { answer: Answer { status, issuer_chain, body }, retry_after })
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Finding> {
    let (path, added) = match ca_file {
        Some(path) => (path.to_owned(), read_roots(path)),
        None => {
            let found = SYSTEM_CA_FILES.iter().map(PathBuf::from).find(|path| path.is_file());
            let path = found.unwrap_or_else(|| PathBuf::from(SYSTEM_CA_FILES[0]));
            let added = read_roots(&path);
            (path, added)
        }
    };
    added.map_err(|problem| {
        Finding::new(
            "configuration key `endorsements.ca_file`",
            path.display().to_string(),
            format!("PEM certificates of CAs ({problem})"),
            "name the file with the CA of the service, or install the system's CA certificates",
        )
    })
}

fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_CA_FILE {
        return Err(format!("{length} bytes, at most {MAX_CA_FILE} are read"));
    }
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|_| "not PEM".to_owned())?;
    let mut roots = RootCertStore::empty();
    // System files hold certificates of all ages; what rustls can't use as a root is left out.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err("no certificate in it".to_owned()) } else { Ok(roots) }
}
