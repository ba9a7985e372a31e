//! HTTPS exchanges with a bound on everything.
//!
//! Job: one TCP connection, one TLS 1.3 handshake, HTTP/1.1 requests on it. In: an [`Address`], a TLS
//! configuration, requests. Out: replies of at most [`REPLY_LIMIT`] bytes. Must not: follow redirects or
//! proxies, talk plain HTTP, wait for ever, resume sessions.
//! Against: a peer that stalls or streams without end; an admin token sent to the wrong server.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use crate::failure::{Exit, Failure};

/// The longest reply that is read: a decision log page or an attestation report with its event log.
pub const REPLY_LIMIT: usize = 8 * 1024 * 1024;

/// Time for TCP and TLS together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who is at the other end; names the flags in remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The broker's admin listener.
    Broker,
    /// A sidecar's mTLS listener.
    Sidecar,
}

impl Party {
    fn word(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Sidecar => "sidecar",
        }
    }
}

/// Host and port of an `https:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    party: Party,
    authority: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Address {
    /// Reads `https://host[:port][/]`.
    ///
    /// # Errors
    /// [`HttpsError::Address`] for another scheme, credentials, a path, a query, or no host.
    pub fn parse(party: Party, text: &str) -> Result<Self, HttpsError> {
        let refuse = |problem| HttpsError::Address { party, text: text.to_owned(), problem };
        let url = Url::parse(text).map_err(|_| refuse("it is not a URL"))?;
        if url.scheme() != "https" {
            return Err(refuse("its scheme is not https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("it carries credentials"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("it has a path or a query"));
        }
        let port = url.port_or_known_default().unwrap_or(443);
        let (host, name) = match url.host().ok_or_else(|| refuse("it has no host"))? {
            Host::Domain(domain) => {
                let name = ServerName::try_from(domain.to_owned())
                    .map_err(|_| refuse("its host is not a DNS name"))?;
                (domain.to_owned(), name)
            }
            Host::Ipv4(ip) => (ip.to_string(), ServerName::from(IpAddr::V4(ip))),
            Host::Ipv6(ip) => (ip.to_string(), ServerName::from(IpAddr::V6(ip))),
        };
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Ok(Self { party, authority: format!("{shown}:{port}"), host, port, name })
    }

    /// `host:port`, as in messages and the Host header.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// TLS with this address failed.
    pub fn tls_failed(&self, source: rustls::Error) -> HttpsError {
        HttpsError::Tls { party: self.party, authority: self.authority.clone(), source }
    }

    /// The connection with this address broke.
    pub fn broke(&self, source: Box<dyn std::error::Error + Send + Sync>) -> HttpsError {
        HttpsError::Broken { party: self.party, authority: self.authority.clone(), source }
    }

    /// A step with this address took too long.
    pub fn timed_out(&self, step: &'static str, after: Duration) -> HttpsError {
        HttpsError::TimedOut { party: self.party, authority: self.authority.clone(), step, after }
    }

    /// This address sent too much.
    pub fn reply_too_long(&self) -> HttpsError {
        HttpsError::ReplyTooLong { party: self.party, authority: self.authority.clone() }
    }
}

/// Why an exchange failed.
#[derive(Debug, Error)]
pub enum HttpsError {
    /// The URL cannot be used.
    #[error("the {} URL {text} cannot be used: {problem}", party.word())]
    Address {
        /// Whose URL.
        party: Party,
        /// The URL as given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No TCP connection.
    #[error("the {} at {authority} could not be reached", party.word())]
    Unreachable {
        /// Who.
        party: Party,
        /// Where.
        authority: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A step took too long.
    #[error("the {} at {authority} did not answer in time ({step})", party.word())]
    TimedOut {
        /// Who.
        party: Party,
        /// Where.
        authority: String,
        /// Which step.
        step: &'static str,
        /// The bound.
        after: Duration,
    },
    /// The server's certificate was refused, or the server refused ours, or TLS failed otherwise.
    #[error("no secure connection to the {} at {authority}", party.word())]
    Tls {
        /// Who.
        party: Party,
        /// Where.
        authority: String,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// The connection broke or the peer does not speak HTTP.
    #[error("the connection to the {} at {authority} broke off", party.word())]
    Broken {
        /// Who.
        party: Party,
        /// Where.
        authority: String,
        /// The transport's word.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A reply over [`REPLY_LIMIT`].
    #[error("the {} at {authority} sent too long a reply", party.word())]
    ReplyTooLong {
        /// Who.
        party: Party,
        /// Where.
        authority: String,
    },
}

impl From<HttpsError> for Failure {
    fn from(error: HttpsError) -> Self {
        let message = error.to_string();
        let unreachable = |party: Party, code: &str| {
            Self::new(Exit::BrokerUnreachable, format!("{}.{code}", party.word()), message.clone())
        };
        match &error {
            HttpsError::Address { party, text, .. } => {
                Self::new(Exit::Usage, format!("{}.url", party.word()), message.clone())
                    .got(text.clone())
                    .expected("https://HOST[:PORT] without a path")
                    .remedy(match party {
                        Party::Broker => "give the admin listener's URL with --broker or ADYTON_BROKER",
                        Party::Sidecar => "give the sidecar's mTLS URL",
                    })
            }
            HttpsError::Unreachable { party, source, .. } => unreachable(*party, "unreachable")
                .got(source.to_string())
                .expected("a listener at this address")
                .remedy(match party {
                    Party::Broker => "start the broker, or name its admin listener with --broker",
                    Party::Sidecar => {
                        "the sidecar listens only once the model is open: look at its /readyz?verbose"
                    }
                }),
            HttpsError::TimedOut { party, after, .. } => unreachable(*party, "timeout")
                .got(format!("no answer within {} s", after.as_secs()))
                .expected("an answer")
                .remedy("try again; if it stays so, look at the peer's log"),
            HttpsError::Tls { party, source, .. } => tls_failure(*party, message.clone(), source),
            HttpsError::Broken { party, source, .. } => unreachable(*party, "broken")
                .remedy(
                    "check that the URL names the right port; a peer that refuses our client certificate \
                     may also just hang up",
                )
                .caused_by(source.as_ref()),
            HttpsError::ReplyTooLong { party, .. } => Self::new(
                Exit::Malformed,
                format!("{}.reply-too-long", party.word()),
                message.clone(),
            )
            .expected(format!("at most {REPLY_LIMIT} bytes"))
            .remedy("check that the URL names the right service"),
        }
    }
}

/// TLS errors by what a person can do about them.
fn tls_failure(party: Party, message: String, source: &rustls::Error) -> Failure {
    use CertificateError as Certificate;
    let word = party.word();
    let build = |code: &str| {
        Failure::new(Exit::BrokerUnreachable, format!("{word}.{code}"), message.clone())
            .caused_by(source)
    };
    match source {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            build("certificate-unknown")
                .got("a certificate that the given CA did not issue")
                .expected("a certificate issued by the broker's CA")
                .remedy("give the broker's CA file with --broker-ca (a first start makes STATE_DIR/tls/ca.pem)")
        }
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => build("certificate-name")
            .got("a certificate for other names")
            .expected("a certificate that carries the host of the URL")
            .remedy("use a name from the certificate in the URL, or add this one to the broker's server_names"),
        rustls::Error::InvalidCertificate(_) => build("certificate-refused")
            .expected("a certificate that is valid now")
            .remedy("check the peer's certificate and this machine's clock"),
        rustls::Error::AlertReceived(_) => build("client-certificate")
            .got("a TLS alert instead of an answer")
            .expected("that the peer accepts our certificate")
            .remedy(match party {
                Party::Broker => "check --admin-cert-file and --admin-key-file against the broker's admin CA",
                Party::Sidecar => {
                    "give a certificate of the sidecar's client CA with --client-cert and --client-key"
                }
            }),
        _ => build("tls")
            .expected("TLS 1.3")
            .remedy("check that the URL names a TLS port of the right service"),
    }
}

/// One reply, body read in full.
#[derive(Debug)]
pub struct Reply {
    /// The status line's code.
    pub status: StatusCode,
    /// The body, at most [`REPLY_LIMIT`] bytes.
    pub body: Bytes,
}

/// One request's variable parts.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Headers besides Host and Content-Type.
    pub headers: HeaderMap,
    /// Body and its media type.
    pub body: Option<(&'static str, Bytes)>,
}

/// Connects and finishes the TLS handshake within [`CONNECT_TIMEOUT`].
///
/// # Errors
/// [`HttpsError::Unreachable`], [`HttpsError::Tls`], [`HttpsError::TimedOut`].
pub async fn connect(
    address: &Address,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, HttpsError> {
    let party = address.party;
    let authority = address.authority.clone();
    let both = async {
        let tcp =
            TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|source| {
                HttpsError::Unreachable { party, authority: authority.clone(), source }
            })?;
        // A failure to set it costs milliseconds, nothing else.
        let _ = tcp.set_nodelay(true);
        TlsConnector::from(config)
            .connect(address.name.clone(), tcp)
            .await
            .map_err(|source| transport_error(address, Box::new(source)))
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, both).await {
        Ok(result) => result,
        Err(_) => Err(HttpsError::TimedOut {
            party,
            authority,
            step: "connecting",
            after: CONNECT_TIMEOUT,
        }),
    }
}

/// Sends one request on an open connection and reads the reply within `timeout`.
///
/// # Errors
/// [`HttpsError::Broken`], [`HttpsError::Tls`] (a refusal of our certificate arrives here in TLS 1.3),
/// [`HttpsError::ReplyTooLong`], [`HttpsError::TimedOut`].
pub async fn exchange(
    address: &Address,
    stream: TlsStream<TcpStream>,
    call: Call,
    timeout: Duration,
) -> Result<Reply, HttpsError> {
    match tokio::time::timeout(timeout, send(address, stream, call)).await {
        Ok(result) => result,
        Err(_) => Err(HttpsError::TimedOut {
            party: address.party,
            authority: address.authority.clone(),
            step: "waiting for the reply",
            after: timeout,
        }),
    }
}

async fn send(
    address: &Address,
    stream: TlsStream<TcpStream>,
    call: Call,
) -> Result<Reply, HttpsError> {
    let broken = |source| transport_error(address, source);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(Box::new(error)))?;
    let driver = tokio::spawn(connection);
    let mut request =
        Request::builder().method(call.method).uri(&call.target).header(HOST, &address.authority);
    if let Some((media_type, _)) = &call.body {
        request = request.header(CONTENT_TYPE, *media_type);
    }
    let body = call.body.map(|(_, bytes)| bytes).unwrap_or_default();
    let mut request = request.body(Full::new(body)).map_err(|error| broken(Box::new(error)))?;
    request.headers_mut().extend(call.headers);
    let result = async {
        let reply = sender.send_request(request).await.map_err(|error| broken(Box::new(error)))?;
        let status = reply.status();
        let body =
            Limited::new(reply.into_body(), REPLY_LIMIT).collect().await.map_err(|source| {
                if source.is::<LengthLimitError>() {
                    HttpsError::ReplyTooLong {
                        party: address.party,
                        authority: address.authority.clone(),
                    }
                } else {
                    broken(source)
                }
            })?;
        Ok(Reply { status, body: body.to_bytes() })
    }
    .await;
    drop(sender);
    driver.abort();
    result
}

/// Finds rustls's own word in a chain of transport errors, because it decides the remedy.
fn transport_error(
    address: &Address,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> HttpsError {
    let party = address.party;
    let authority = address.authority.clone();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
    while let Some(current) = next {
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return HttpsError::Tls { party, authority, source: tls.clone() };
        }
        // io::Error hides the error it wraps from `source()`.
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    HttpsError::Broken { party, authority, source }
}

/// Runs the one asynchronous part of a verb.
///
/// # Errors
/// [`Failure`] of the verb, or that no runtime could be made.
pub fn block_on<T>(task: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            Failure::new(Exit::Internal, "runtime", "the network runtime could not be started")
                .caused_by(&error)
                .remedy("check this machine's limits on files and memory")
        })?;
    runtime.block_on(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port_only() {
        let address = Address::parse(Party::Broker, "https://[::1]:8443/").expect("good URL");
        assert_eq!(address.authority(), "[::1]:8443");
        let default = Address::parse(Party::Sidecar, "https://models.example").expect("good URL");
        assert_eq!(default.authority(), "models.example:443");
    }

    #[test]
    fn an_address_that_would_leak_or_mislead_is_refused_with_its_problem() {
        let cases = [
            ("http://localhost:1", "its scheme is not https"),
            ("localhost:8443", "its scheme is not https"),
            ("https://user:pass@localhost", "it carries credentials"),
            ("https://localhost/kbs/v0", "it has a path or a query"),
            ("https://localhost?x=1", "it has a path or a query"),
            ("nonsense", "it is not a URL"),
        ];
        for (text, said) in cases {
            match Address::parse(Party::Broker, text) {
                Err(HttpsError::Address { problem, .. }) => assert_eq!(problem, said, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
