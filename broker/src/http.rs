//! Listeners: TCP, TLS and HTTP/1.1 with bounds on everything, and an end in good order.
//!
//! In: a bound socket, a TLS configuration, routes. Out: nothing; it serves until it is told to stop,
//! then lets requests in flight finish for a bounded time.
//! Against: slow or endless heads, handshakes that never end, more connections than there is memory.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::FromRequestParts;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use ring::digest::{SHA256, digest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::broker::Broker;
use crate::config::HttpLimits;

/// Longest TLS handshake.
/// Longest life of a connection. An exchange takes seconds; who keeps a place longer, perhaps without
/// reading, keeps it from others. Longer than the longest `limits.request_timeout_seconds`.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(900);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the head of a request, also between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Most header fields of a request.
const MAX_HEADERS: usize = 64;
/// Largest head of a request, in bytes. Bearer tokens of ours have below 8 KiB.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How much of a body that is too long is read and thrown away, in bytes.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;
/// Pause after a failed accept: the usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    address: Arc<str>,
    certificate_digest: Option<Arc<str>>,
}

impl Peer {
    fn new(address: SocketAddr, certificate: Option<&[u8]>) -> Self {
        let digest = |der| hex::encode(digest(&SHA256, der)).into();
        Self { address: address.to_string().into(), certificate_digest: certificate.map(digest) }
    }

    /// Address and port.
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// SHA-256 of the client certificate that the TLS layer verified, hex.
    pub fn certificate_digest(&self) -> Option<&str> {
        self.certificate_digest.as_deref()
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        // Every connection of ours sets it.
        Ok(known.unwrap_or(Self { address: "unknown".into(), certificate_digest: None }))
    }
}

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is longer than the endpoint takes.
    TooLarge,
    /// The connection broke before its end.
    Broken,
}

/// Reads a whole body of at most `limit` bytes. A longer one is read on for a while and thrown away:
/// a client that still writes when the connection closes never sees why.
///
/// # Errors
/// [`BodyError`].
pub async fn whole_body(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut kept = BytesMut::with_capacity(announced.min(limit));
    let mut seen: usize = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen <= limit {
            kept.extend_from_slice(&data);
        } else if seen > limit.saturating_add(MAX_DISCARDED_BYTES) {
            break;
        }
    }
    if seen > limit { Err(BodyError::TooLarge) } else { Ok(kept.freeze()) }
}

/// A bound socket with everything that is served on it.
pub struct Listener {
    /// Name in metrics and logs.
    pub name: &'static str,
    /// The bound socket.
    pub socket: TcpListener,
    /// TLS.
    pub tls: TlsAcceptor,
    /// Routes.
    pub router: Router,
    /// Bounds.
    pub limits: HttpLimits,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Serves until `stop` becomes true, then waits for requests in flight, at most `limits.drain`.
pub async fn serve(listener: Listener, broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    let Listener { name, socket, tls, router, limits } = listener;
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            // An error means that the sender is gone, which is the end as well.
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = socket.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = name, %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            broker.metrics.refused_connection(name);
            continue;
        };
        let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
        let broker = Arc::clone(&broker);
        tokio::spawn(async move {
            if !connection(stream, address, tls, router, watcher).await {
                broker.metrics.refused_connection(name);
            }
            drop(place);
        });
    }
    drop(socket);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(listener = name, "requests in flight were cut off at the drain limit");
    }
}

/// Serves one connection. False when it never became one of HTTP.
async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: TlsAcceptor,
    router: Router,
    watcher: Watcher,
) -> bool {
    // Small replies go out at once; where that can't be set they only go later.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(peer = %address, %error, "TLS handshake failed");
            return false;
        }
        Err(_) => return false,
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let peer = Peer::new(address, certificates.and_then(|chain| chain.first()).map(|der| &**der));
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        routes.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(MAX_CONNECTION_AGE, watcher.watch(served)).await {
        Ok(Err(error)) => tracing::debug!(peer = %address, %error, "connection ended early"),
        Err(_) => tracing::debug!(peer = %address, "connection ended at its age limit"),
        Ok(Ok(())) => {}
    }
    true
}
