//! One connection, from "somebody is there" to "the TEE that we expected is there", each step by value.

use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::peer::{
    AcceptedPeer, ChannelAnswer, ChannelExchange, Expectations, MAX_REPORT_LEN, ObservedConnection,
    PeerRefusal, PeerTrust, VerifiedPeer,
};
use adyton_attestation::report::AttestationReport;
use adyton_attestation::{ReportError, UnixTime};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::ServerAddress;
use crate::error::ClientError;
use crate::tls::{ClientIdentity, observe, provisional_config};

/// Time for TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Making a quote takes a TEE up to some seconds, and requests queue for it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(60);

/// A TLS 1.3 connection to somebody whose key signed the handshake. It can ask who that is, and
/// nothing else.
#[derive(Debug)]
pub struct ProvisionalConnection {
    pub(crate) http: Http,
    pub(crate) observed: ObservedConnection,
    certificate: CertificateDer<'static>,
}

/// A connection over which a report came. Nothing is known yet.
#[derive(Debug)]
pub struct AnsweredConnection {
    http: Http,
    certificate: CertificateDer<'static>,
    answer: ChannelAnswer,
}

/// A connection that ends in a genuine TEE, whatever that runs.
#[derive(Debug)]
pub struct VerifiedConnection {
    http: Http,
    certificate: CertificateDer<'static>,
    peer: VerifiedPeer,
}

/// A connection that ends in a genuine TEE that is what was expected. Confidential data may be sent.
#[derive(Debug)]
pub struct AttestedConnection {
    http: Http,
    certificate: CertificateDer<'static>,
    peer: AcceptedPeer,
}

/// A report that did not verify, with what it said: for people, never for a decision.
#[derive(Debug)]
pub struct RefusedConnection {
    /// Why.
    pub error: ReportError,
    /// What the peer said.
    pub report: Box<AttestationReport>,
}

/// The body of a request that is sent while it arrives from elsewhere.
pub type StreamedBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Why a streamed request has no answer.
#[derive(Debug)]
pub enum StreamError {
    /// The connection was closed before a byte of the request was sent; here it is, for another
    /// connection.
    NotSent(Box<Request<StreamedBody>>),
    /// Something was sent, and then it failed. Sending it again could do a thing twice.
    Failed(ClientError),
}

/// Connects, with a whole TLS 1.3 handshake, to whoever answers at `address`.
///
/// # Errors
/// [`ClientError::Unreachable`], [`TimedOut`](ClientError::TimedOut) after ten seconds,
/// [`Tls`](ClientError::Tls), [`NotBindable`](ClientError::NotBindable).
pub async fn connect(
    address: &ServerAddress,
    identity: &ClientIdentity,
) -> Result<ProvisionalConnection, ClientError> {
    let config = provisional_config(identity)?;
    let stream = open(address, config).await?;
    ProvisionalConnection::over(stream, address.authority()).await
}

/// TCP and TLS, within [`CONNECT_TIMEOUT`].
pub(crate) async fn open(
    address: &ServerAddress,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let authority = address.authority();
    let both = async {
        let tcp = TcpStream::connect((address.host(), address.port())).await.map_err(|source| {
            ClientError::Unreachable { authority: authority.to_owned(), source }
        })?;
        // A failure to set it costs milliseconds, nothing else.
        let _ = tcp.set_nodelay(true);
        TlsConnector::from(config)
            .connect(address.server_name(), tcp)
            .await
            .map_err(|source| ClientError::transport(Box::new(source)))
    };
    within(authority, "connecting", CONNECT_TIMEOUT, both).await
}

impl ProvisionalConnection {
    /// Takes over a connection that the caller made, with [`provisional_config`] or otherwise.
    /// `authority` is for the Host header.
    ///
    /// Looks at the connection itself, not at the configuration: TLS 1.3, a whole handshake, no early
    /// data. Whether the key signed the handshake, only the caller's configuration knows.
    ///
    /// # Errors
    /// [`ClientError::NotBindable`], [`Tls`](ClientError::Tls), [`Broken`](ClientError::Broken).
    pub async fn over<S>(stream: TlsStream<S>, authority: &str) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (observed, certificate) = observe(stream.get_ref().1)?;
        Ok(Self { http: Http::over(stream, authority).await?, observed, certificate })
    }

    /// Asks who is there, at level `channel`.
    ///
    /// # Errors
    /// [`ClientError::Status`], [`ReplyTooLong`](ClientError::ReplyTooLong),
    /// [`Report`](ClientError::Report) when it does not parse, [`TimedOut`](ClientError::TimedOut)
    /// after a minute, transport errors.
    pub async fn ask(self) -> Result<AnsweredConnection, ClientError> {
        let Self { mut http, observed, certificate } = self;
        let exchange = ChannelExchange::begin(observed)?;
        let body = http.report(&exchange.target()).await?;
        let answer = exchange.answer(&body).map_err(ClientError::Report)?;
        Ok(AnsweredConnection { http, certificate, answer })
    }

    /// Asks, verifies and appraises.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask), [`ClientError::Report`], [`Refused`](ClientError::Refused).
    pub async fn attest(
        self,
        trust: &PeerTrust,
        expectations: &Expectations,
        now: UnixTime,
    ) -> Result<AttestedConnection, ClientError> {
        let answered = self.ask().await?;
        let verified =
            answered.verify(trust, now).map_err(|refused| ClientError::Report(refused.error))?;
        verified.appraise(expectations, now).map_err(ClientError::Refused)
    }

    /// What this side saw of the connection.
    #[must_use]
    pub fn observed(&self) -> ObservedConnection {
        self.observed
    }

    /// The server's leaf certificate. Nobody vouches for it yet.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

impl AnsweredConnection {
    /// What the peer says, unverified.
    #[must_use]
    pub fn report(&self) -> &AttestationReport {
        self.answer.report()
    }

    /// Verifies the report over our nonce and this connection.
    ///
    /// # Errors
    /// [`RefusedConnection`]; the connection is closed.
    pub fn verify(
        self,
        trust: &PeerTrust,
        now: UnixTime,
    ) -> Result<VerifiedConnection, RefusedConnection> {
        let report = self.answer.report().clone();
        match self.answer.verify(trust, now) {
            Ok(peer) => {
                Ok(VerifiedConnection { http: self.http, certificate: self.certificate, peer })
            }
            Err(error) => Err(RefusedConnection { error, report: Box::new(report) }),
        }
    }
}

impl VerifiedConnection {
    /// Who is there.
    #[must_use]
    pub fn peer(&self) -> &VerifiedPeer {
        &self.peer
    }

    /// Compares the peer with what was expected.
    ///
    /// # Errors
    /// [`PeerRefusal`] with every reason against; the connection is closed.
    pub fn appraise(
        self,
        expectations: &Expectations,
        now: UnixTime,
    ) -> Result<AttestedConnection, PeerRefusal> {
        let peer = self.peer.appraise(expectations, now)?;
        Ok(AttestedConnection { http: self.http, certificate: self.certificate, peer })
    }

    /// The proof without the connection, which is closed.
    #[must_use]
    pub fn into_peer(self) -> VerifiedPeer {
        self.peer
    }
}

impl AttestedConnection {
    /// Who is there.
    #[must_use]
    pub fn peer(&self) -> &AcceptedPeer {
        &self.peer
    }

    /// The server's certificate. Its key is the one that the Evidence commits to.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Sends a request on this connection, one after the other.
    ///
    /// # Errors
    /// Transport errors. A connection that broke is not made again: a new one has to be attested.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        self.http.send(request.map(whole)).await
    }

    /// Sends a request whose body is still arriving. The next one may follow once the body of the
    /// answer was read to its end.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn stream(
        &mut self,
        request: Request<StreamedBody>,
    ) -> Result<Response<Incoming>, StreamError> {
        self.http.stream(request).await
    }

    /// Whether the server has closed the connection, as far as is known yet.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.http.sender.is_closed()
    }
}

/// HTTP/1.1 on one connection.
#[derive(Debug)]
pub(crate) struct Http {
    sender: SendRequest<StreamedBody>,
    authority: String,
}

impl Http {
    async fn over<S>(stream: TlsStream<S>, authority: &str) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ClientError::transport(Box::new(error)))?;
        // Ends with the sender.
        tokio::spawn(connection);
        Ok(Self { sender, authority: authority.to_owned() })
    }

    /// The body of the attestation endpoint's reply, bounded in length and time.
    pub(crate) async fn report(&mut self, target: &str) -> Result<Bytes, ClientError> {
        let request = Request::get(target)
            .body(whole(Full::default()))
            .map_err(|error| ClientError::Broken(Box::new(error)))?;
        let authority = self.authority.clone();
        let reply = async {
            let reply = self.send(request).await?;
            let status = reply.status();
            let body = Limited::new(reply.into_body(), MAX_REPORT_LEN).collect().await;
            let body = body.map_err(too_long_or_broken)?.to_bytes();
            match status {
                StatusCode::OK => Ok(body),
                status => Err(ClientError::Status { status, body: printable(&body) }),
            }
        };
        within(&authority, "waiting for the report", REPORT_TIMEOUT, reply).await
    }

    async fn send(
        &mut self,
        request: Request<StreamedBody>,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = self.addressed(request)?;
        let broken = |error: hyper::Error| ClientError::transport(Box::new(error));
        self.sender.ready().await.map_err(broken)?;
        self.sender.send_request(request).await.map_err(broken)
    }

    async fn stream(
        &mut self,
        request: Request<StreamedBody>,
    ) -> Result<Response<Incoming>, StreamError> {
        let request = self.addressed(request).map_err(StreamError::Failed)?;
        if self.sender.ready().await.is_err() {
            return Err(StreamError::NotSent(Box::new(request)));
        }
        self.sender.try_send_request(request).await.map_err(|mut error| {
            match error.take_message() {
                Some(unsent) => StreamError::NotSent(Box::new(unsent)),
                None => StreamError::Failed(ClientError::transport(Box::new(error.into_error()))),
            }
        })
    }

    /// The request with the Host header of this server, if it has none.
    fn addressed(
        &self,
        mut request: Request<StreamedBody>,
    ) -> Result<Request<StreamedBody>, ClientError> {
        let host = HeaderValue::from_str(&self.authority)
            .map_err(|error| ClientError::Broken(Box::new(error)))?;
        request.headers_mut().entry(HOST).or_insert(host);
        Ok(request)
    }
}

fn whole(body: Full<Bytes>) -> StreamedBody {
    body.map_err(|never| match never {}).boxed_unsync()
}

fn too_long_or_broken(source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
    match source.is::<LengthLimitError>() {
        true => ClientError::ReplyTooLong { limit: MAX_REPORT_LEN },
        false => ClientError::transport(source),
    }
}

fn printable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

async fn within<T>(
    authority: &str,
    step: &'static str,
    after: Duration,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(after, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ClientError::TimedOut { authority: authority.to_owned(), step, after }),
    }
}
