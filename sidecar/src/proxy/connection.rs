//! One accepted connection, from its TLS handshake to its end.
//!
//! In: a TCP stream. It finds out who the client is, chooses the protocol that ALPN agreed on, and
//! lets hyper serve. It ends the connection when it is idle, stalled, or when the port drains.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_identity::AuthenticatedClient;
use super::control_frames::ControlFrames;
use super::framing::HeadLimits;
use super::gate::Gate;
use super::limits::{Limits, MAX_ERROR_RESETS, MAX_PENDING_RESETS, MAX_SEND_BUFFER};
use super::patience::{Activity, Patient, Verdict};
use super::service::{Protocol, Service};
use super::tls::ALPN_H2;
use crate::shutdown::Shutdown;

/// How often a connection's task looks at its activity.
const LOOK: Duration = Duration::from_millis(500);

/// Runs the connection to its end; errors are logged, nobody waits for them.
pub(super) async fn run(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: Arc<Service>,
    limits: &Limits,
    shutdown: Shutdown,
) {
    let _open = service.metrics().connection_opened();
    let handshake = timeout(limits.handshake_timeout, acceptor.accept(stream));
    let stream = tokio::select! {
        () = shutdown.requested() => return,
        stream = handshake => stream,
    };
    let stream = match stream {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return refused(&service, &crate::error::chain(&error)),
        Err(_) => return refused(&service, "the TLS handshake took too long"),
    };
    let client = match AuthenticatedClient::of(stream.get_ref().1) {
        Ok(client) => client,
        Err(error) => return refused(&service, &crate::error::chain(&error)),
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    let activity = Activity::default();
    if is_h2 {
        serve_h2(stream, client, service, limits, activity, shutdown).await;
    } else {
        serve_http1(stream, client, service, limits, activity, shutdown).await;
    }
}

/// The client gets a TLS alert; the reason in words is for our log.
fn refused(service: &Service, reason: &str) {
    service.metrics().connection_refused();
    tracing::warn!(
        reason,
        remedy = "clients need a certificate of the CA in tls.client_ca_file, and TLS 1.3",
        "connection refused"
    );
}

async fn serve_http1(
    stream: TlsStream<TcpStream>,
    client: AuthenticatedClient,
    service: Arc<Service>,
    limits: &Limits,
    activity: Activity,
    shutdown: Shutdown,
) {
    let (gate, refused) = Gate::new(
        Patient::new(stream, limits.stall_timeout),
        HeadLimits { bytes: limits.max_head_bytes, lines: limits.max_headers },
        limits.header_read_timeout,
        limits.stall_timeout,
    );
    let answer = {
        let activity = activity.clone();
        service_fn(move |request| {
            let service = Arc::clone(&service);
            let client = client.clone();
            let in_flight = activity.begin();
            let protocol = Protocol::Http1(refused.clone());
            async move {
                Ok::<_, std::convert::Infallible>(
                    service.answer(request, client, protocol, in_flight).await,
                )
            }
        })
    };
    let connection = http1::Builder::new()
        // The gate has its own clock and bounds; these must not be smaller.
        .header_read_timeout(None)
        .max_headers(limits.max_headers.saturating_add(1))
        .max_buf_size(limits.max_head_bytes.max(64 * 1024).saturating_mul(2))
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(gate), answer);
    tokio::pin!(connection);
    let mut end = End::new(limits, activity);
    let outcome = loop {
        tokio::select! {
            outcome = connection.as_mut() => break outcome,
            what = end.comes(&shutdown) => match what {
                Ending::Gracefully => connection.as_mut().graceful_shutdown(),
                Ending::Now => return,
            },
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = crate::error::chain(&error), "connection ended");
    }
}

async fn serve_h2(
    stream: TlsStream<TcpStream>,
    client: AuthenticatedClient,
    service: Arc<Service>,
    limits: &Limits,
    activity: Activity,
    shutdown: Shutdown,
) {
    let stream = ControlFrames::new(Patient::new(stream, limits.stall_timeout));
    let answer = {
        let activity = activity.clone();
        service_fn(move |request| {
            let service = Arc::clone(&service);
            let client = client.clone();
            let in_flight = activity.begin();
            async move {
                Ok::<_, std::convert::Infallible>(
                    service.answer(request, client, Protocol::H2, in_flight).await,
                )
            }
        })
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let mut end = End::new(limits, activity);
    let outcome = loop {
        tokio::select! {
            outcome = connection.as_mut() => break outcome,
            what = end.comes(&shutdown) => match what {
                Ending::Gracefully => connection.as_mut().graceful_shutdown(),
                Ending::Now => return,
            },
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = crate::error::chain(&error), "connection ended");
    }
}

/// What the connection's task does next.
enum Ending {
    /// Finish what runs, take nothing new.
    Gracefully,
    /// Drop it.
    Now,
}

/// Watches for reasons to end a connection. One graceful end is announced; an idle peer that does
/// not take it is dropped.
struct End<'a> {
    limits: &'a Limits,
    activity: Activity,
    look: tokio::time::Interval,
    announced: Option<Why>,
}

#[derive(Clone, Copy)]
enum Why {
    Draining,
    Idle { since: Instant },
}

impl<'a> End<'a> {
    fn new(limits: &'a Limits, activity: Activity) -> Self {
        Self { limits, activity, look: interval(LOOK), announced: None }
    }

    async fn comes(&mut self, shutdown: &Shutdown) -> Ending {
        loop {
            match self.announced {
                Some(Why::Draining) => {
                    self.look.tick().await;
                }
                Some(Why::Idle { .. }) | None => {
                    tokio::select! {
                        () = shutdown.requested() => {
                            self.announced = Some(Why::Draining);
                            return Ending::Gracefully;
                        }
                        _ = self.look.tick() => {}
                    }
                }
            }
            let verdict =
                self.activity.verdict(self.limits.idle_timeout, self.limits.stall_timeout);
            match (verdict, self.announced) {
                (Verdict::Stalled, _) => return Ending::Now,
                (Verdict::Idle, None) => {
                    self.announced = Some(Why::Idle { since: Instant::now() });
                    return Ending::Gracefully;
                }
                // A request that crossed our goodbye on the wire is still answered.
                (Verdict::Idle, Some(Why::Idle { since }))
                    if since.elapsed() > self.limits.stall_timeout =>
                {
                    return Ending::Now;
                }
                (Verdict::Busy | Verdict::Idle, _) => {}
            }
        }
    }
}
