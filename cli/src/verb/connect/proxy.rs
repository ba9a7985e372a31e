//! `adyton connect URL --listen ADDRESS:PORT`: plain HTTP/1.1 on this side, an attested TEE on the other.
//!
//! In: local requests that the gate admits. Out: the sidecar's answers as they arrive, piece by piece, or
//! 502 with reasons. Nothing is buffered: a slow reader slows the sender. Framing is written anew by hyper on
//! both sides, hop-by-hop headers end here. Against: a local program that never ends its head, or opens
//! connections without end; an answer that belongs to another request (a connection is used again only after
//! its last answer was read to the end).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use adyton_client::{StreamError, StreamedBody};
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gate::Gate;
use super::refusal::Refusal;
use super::upstream::{Lease, Origin, Upstream};
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::verb::Context;

/// Local connections at once; further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 256;
/// Bytes of one request head.
const MAX_HEAD: usize = 64 * 1024;
/// Header fields of one request.
const MAX_HEADERS: usize = 128;
/// From the end of one answer to the end of the next head: a local program that says nothing is let go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long answers that are under way may take after a signal to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Refusals that wait to be printed; more are counted as told.
const NEWS: usize = 32;

type Reply = Response<Either<Full<Bytes>, Forwarded>>;

/// Attests once, listens, and serves until SIGINT or SIGTERM.
///
/// # Errors
/// [`Failure`]: the sidecar was refused or not reached (nothing listens then), or the address is taken.
pub(super) async fn run(
    upstream: Arc<Upstream>,
    listen: SocketAddr,
    gate: Gate,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    // 1. No listener before the sidecar was accepted.
    let first = upstream.attest().await?;
    let (facts, peer) = upstream.introduce(&first);
    upstream.keep(first);

    // 2. Signals before the address is told: who reads it may stop us at once.
    let signals = signal(SignalKind::interrupt()).and_then(|interrupt| {
        signal(SignalKind::terminate()).map(|terminate| (interrupt, terminate))
    });
    let (mut interrupt, mut terminate) = signals.map_err(|error| {
        Failure::because(Exit::Internal, "connect.signal", "signals cannot be received", &error)
    })?;
    let listener = TcpListener::bind(listen).await.map_err(|error| unbound(listen, &error))?;
    let bound = listener.local_addr().map_err(|error| unbound(listen, &error))?;
    let text = format!(
        "listening on http://{bound}\n{}\nexport OPENAI_BASE_URL=http://{bound}/v1\n",
        facts.render(context.console.paint())
    );
    let document = json!({
        "listening": format!("http://{bound}"),
        "openai_base_url": format!("http://{bound}/v1"),
        "peer": peer,
    });
    context.console.result(&text, &document)?;

    // 3. Serve; what goes wrong is told here, one after the other.
    let (news, mut arrives) = mpsc::channel(NEWS);
    let desk = Arc::new(Desk { upstream, gate, news });
    let graceful = GracefulShutdown::new();
    {
        // The listener is closed with the end of this block.
        let accepting = accept(listener, desk, &graceful);
        tokio::pin!(accepting);
        loop {
            tokio::select! {
                never = &mut accepting => match never {},
                Some(failure) = arrives.recv() => context.console.failure(&failure),
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
        }
    }
    context.console.note(Tone::Dim, "stopping");
    // Who does not end in time is cut off.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
    Ok(())
}

fn unbound(listen: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, "connect.listen", format!("{listen} cannot be listened on"))
        .expected("a free port of this machine")
        .remedy("choose another port; 0 takes a free one")
        .caused_by(error)
}

/// What every local connection needs.
struct Desk {
    upstream: Arc<Upstream>,
    gate: Gate,
    news: Sender<Failure>,
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, graceful: &GracefulShutdown) -> Infallible {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&free).acquire_owned().await else {
            std::future::pending::<Infallible>().await;
            continue;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: some will be closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // A failure to set it costs milliseconds, nothing else.
        let _ = stream.set_nodelay(true);
        let desk = Arc::clone(&desk);
        let service = service_fn(move |request| {
            let desk = Arc::clone(&desk);
            async move { Ok::<_, Infallible>(desk.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(served(graceful.watch(connection), place));
    }
}

/// A local program that breaks off is nobody's fault but its own.
async fn served(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    _place: OwnedSemaphorePermit,
) {
    let _ = connection.await;
}

impl Desk {
    async fn answer(&self, mut request: Request<Incoming>) -> Reply {
        let forwarded = match self.gate.admit(&mut request) {
            Ok(()) => forward(&self.upstream, request).await,
            Err(refusal) => Err(refusal),
        };
        forwarded.unwrap_or_else(|refusal| {
            let reply = refusal.reply().map(Either::Left);
            if let Some(failure) = refusal.into_news() {
                // When more fails than can be printed, the programs were told all the same.
                let _ = self.news.try_send(failure);
            }
            reply
        })
    }
}

/// Sends a request on an attested connection.
async fn forward(upstream: &Arc<Upstream>, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let mut request = rewritten(request);
    loop {
        let (mut lease, origin) = upstream.lease().await?;
        match lease.connection().stream(request).await {
            Ok(reply) => return answered(reply, lease),
            // The sidecar closed a kept connection just now. Every kept one may be like that; the last
            // is a fresh one.
            Err(StreamError::NotSent(unsent)) if origin == Origin::Kept => request = *unsent,
            Err(StreamError::NotSent(_)) => return Err(Refusal::upstream(broken(None))),
            Err(StreamError::Failed(error)) => {
                return Err(Refusal::upstream(broken(Some(&error))));
            }
        }
    }
}

fn broken(error: Option<&(dyn std::error::Error + 'static)>) -> Failure {
    let failure = Failure::new(
        Exit::BrokerUnreachable,
        "sidecar.broken",
        "the sidecar closed the connection without an answer",
    )
    .expected("an answer")
    .remedy("try again, if doing it twice does no harm; look at the sidecar's log");
    match error {
        Some(error) => failure.caused_by(error),
        None => failure,
    }
}

/// The request as the sidecar gets it: same path, its own Host, no hop-by-hop headers.
fn rewritten(request: Request<Incoming>) -> Request<StreamedBody> {
    let (mut parts, body) = request.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    // Both are written anew, from the sidecar's address and from the body.
    parts.headers.remove(HOST);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(EXPECT);
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Request::from_parts(parts, body.map_err(Into::into).boxed_unsync())
}

fn answered(reply: Response<Incoming>, lease: Lease) -> Result<Reply, Refusal> {
    let (mut parts, body) = reply.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::upstream(broken(None)));
    }
    remove_hop_by_hop(&mut parts.headers);
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    Ok(Response::from_parts(parts, Either::Right(Forwarded::new(body, lease))))
}

/// RFC 9110 7.6.1: what concerns one hop, and what `Connection` names besides.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"] {
        headers.remove(name);
    }
}

/// The body of an answer, and the connection that it comes over: free again after the last byte, closed if
/// nobody wants the rest.
struct Forwarded {
    body: Incoming,
    lease: Option<Lease>,
}

impl Forwarded {
    fn new(body: Incoming, lease: Lease) -> Self {
        let mut forwarded = Self { body, lease: Some(lease) };
        forwarded.release_at_end();
        forwarded
    }

    fn release_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.done();
        }
    }
}

impl Body for Forwarded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(task);
        match &polled {
            Poll::Ready(Some(Ok(_))) => self.release_at_end(),
            Poll::Ready(None) => {
                if let Some(lease) = self.lease.take() {
                    lease.done();
                }
            }
            // What broke is not used again.
            Poll::Ready(Some(Err(_))) => self.lease = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
