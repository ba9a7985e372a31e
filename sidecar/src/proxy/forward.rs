//! Carries a permitted request to the inference server and its answer back, both as streams.
//!
//! In: [`Permitted`]. Out: the response, its body still arriving. Nothing is buffered or
//! compressed; hop-by-hop headers end here, identity headers are removed in every spelling and
//! then set from the client's certificate, framing is written anew by hyper.
//! Against: identity and forwarding headers that a client made up; bodies without
//! an end; a dead server that looks alive.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::authorise::{Permitted, connection_lists};
use super::client_identity::AuthenticatedClient;
use super::patience::InFlight;
use super::respond::{ProxyError, ReplyBody};
use crate::upstream::{ConnectError, Lease, Upstream};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Forwards one request.
///
/// # Errors
/// [`ProxyError`] when no response head came from the server. What goes wrong later ends the
/// response's body.
pub async fn forward(
    permitted: Permitted<Incoming>,
    upstream: &Upstream,
    max_body_bytes: u64,
    in_flight: InFlight,
) -> Result<Response<ReplyBody>, ProxyError> {
    let (request, client, host) = permitted.into_parts();
    if request.body().size_hint().lower() > max_body_bytes {
        return Err(ProxyError::BodyTooLarge { limit: max_body_bytes });
    }
    let upload = Upload::default();
    let mut request = rewrite(request, &client, &host, upstream, |body| {
        BoundedBody::new(body, max_body_bytes, upload.clone())
    })?;

    // An idle connection may have been closed by the server just now: hyper then hands the request
    // back unsent, and the next one is tried; the last is a new one.
    loop {
        let (mut lease, fresh) = match upstream.pool().take_idle() {
            Some(lease) => (lease, Fresh::No),
            None => (upstream.pool().open().await.map_err(ProxyError::from)?, Fresh::Yes),
        };
        let answer = lease.connection().try_send_request(request);
        let silence = silence(&upload, upstream.config().first_byte_timeout);
        let answer = tokio::select! {
            answer = answer => answer,
            () = silence => return Err(ProxyError::UpstreamSilent),
        };
        match answer {
            Ok(response) => return answered(response, lease, in_flight),
            Err(mut error) => {
                if let Some(fault) = upload.fault(max_body_bytes) {
                    return Err(fault);
                }
                match (error.take_message(), fresh) {
                    (Some(unsent), Fresh::No) => request = unsent,
                    (Some(_) | None, Fresh::Yes) | (None, Fresh::No) => {
                        return Err(ProxyError::UpstreamBroke(error.into_error()));
                    }
                }
            }
        }
    }
}

enum Fresh {
    Yes,
    No,
}

/// Ends when the server has had the whole request for `patience` and said nothing.
async fn silence(upload: &Upload, patience: Duration) {
    let begun = Instant::now();
    loop {
        let quiet_since = begun.max(upload.last_moved());
        tokio::time::sleep_until(quiet_since + patience).await;
        if begun.max(upload.last_moved()) <= quiet_since {
            return;
        }
    }
}

fn answered(
    response: Response<Incoming>,
    lease: Lease,
    mut in_flight: InFlight,
) -> Result<Response<ReplyBody>, ProxyError> {
    // The head is the client's to take. With HTTP/2 the body is not even polled before the client's
    // window opens, so this must not wait for the first poll.
    in_flight.moved();
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    remove_hop_by_hop(&mut parts.headers);
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ProxyError::UpstreamSwitched);
    }
    let body = ForwardedBody { inner: body, lease: Some(lease), in_flight };
    Ok(Response::from_parts(parts, ReplyBody::Forwarded(body)))
}

/// Writes the request as the server gets it.
fn rewrite<B, C>(
    request: Request<B>,
    client: &AuthenticatedClient,
    host: &str,
    upstream: &Upstream,
    body: impl FnOnce(B) -> C,
) -> Result<Request<C>, ProxyError> {
    let (mut parts, old_body) = request.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    remove_claims_about_the_client(&mut parts.headers);
    join_cookies(&mut parts.headers)?;
    // hyper writes the length that the body really has.
    parts.headers.remove(CONTENT_LENGTH);
    for (name, value) in client.headers() {
        parts.headers.insert(name, value);
    }
    parts.headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    parts.headers.insert(
        FORWARDED_HOST,
        HeaderValue::from_str(host).map_err(|error| ProxyError::NotForwardable(error.into()))?,
    );
    parts.headers.insert(HOST, upstream.config().address.host());
    let target =
        parts.uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(target);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Ok(Request::from_parts(parts, body(old_body)))
}

/// RFC 9113 §8.2.3: HTTP/2 may split cookies over several fields, HTTP/1.1 has one.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), ProxyError> {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1 {
        let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
            .map_err(|error| ProxyError::NotForwardable(error.into()))?;
        headers.insert(COOKIE, joined);
    }
    Ok(())
}

/// Removes what belongs to one hop: the known names and those that Connection lists.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| **name != HOST && connection_lists(headers, name.as_str()))
        .cloned()
        .collect();
    for name in listed {
        headers.remove(name);
    }
    let known = [CONNECTION, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    for name in known {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"] {
        headers.remove(name);
    }
}

/// Removes every header in which a client could speak for us. Servers read names through many
/// conventions (CGI turns `-` into `_`), so every mark counts as a dash.
fn remove_claims_about_the_client(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

fn is_claim(name: &HeaderName) -> bool {
    let plain: String = name
        .as_str()
        .chars()
        .map(|mark| if mark.is_ascii_alphanumeric() { mark } else { '-' })
        .collect();
    plain.starts_with("x-adyton-")
        || plain.starts_with("x-forwarded-")
        || ["forwarded", "x-forwarded", "x-real-ip", "x-client-cert", "x-ssl-client-cert"]
            .contains(&plain.as_str())
}

impl From<ConnectError> for ProxyError {
    fn from(error: ConnectError) -> Self {
        tracing::warn!(error = crate::error::chain(&error), "upstream");
        match error {
            ConnectError::Refused { .. } => Self::UpstreamDown,
            ConnectError::Timeout { .. } => Self::UpstreamConnectTimeout,
            ConnectError::Broke { source, .. } => Self::UpstreamBroke(source),
        }
    }
}

/// What became of a request's body, seen from outside of it.
#[derive(Debug, Clone)]
struct Upload(Arc<UploadState>);

#[derive(Debug)]
struct UploadState {
    begun: Instant,
    moved_milliseconds: AtomicU64,
    fault: AtomicU8,
}

const TOO_LARGE: u8 = 1;
const BROKEN: u8 = 2;

impl Default for Upload {
    fn default() -> Self {
        Self(Arc::new(UploadState {
            begun: Instant::now(),
            moved_milliseconds: AtomicU64::new(0),
            fault: AtomicU8::new(0),
        }))
    }
}

impl Upload {
    fn moved(&self) {
        let elapsed = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.moved_milliseconds.store(elapsed, Ordering::Relaxed);
    }

    fn last_moved(&self) -> Instant {
        self.0.begun + Duration::from_millis(self.0.moved_milliseconds.load(Ordering::Relaxed))
    }

    fn blame(&self, fault: u8) {
        self.0.fault.store(fault, Ordering::Relaxed);
    }

    fn fault(&self, limit: u64) -> Option<ProxyError> {
        match self.0.fault.load(Ordering::Relaxed) {
            TOO_LARGE => Some(ProxyError::BodyTooLarge { limit }),
            BROKEN => Some(ProxyError::BodyBroken),
            _ => None,
        }
    }
}

/// A client's body on its way to the server: bounded, and without trailers, in which a client
/// could still name itself.
#[derive(Debug)]
pub struct BoundedBody {
    inner: Incoming,
    left: u64,
    upload: Upload,
    ended: bool,
}

/// Why a body broke off on its way to the server.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than allowed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The client broke off.
    #[error("the body did not arrive")]
    Broken(#[source] hyper::Error),
}

impl BoundedBody {
    fn new(inner: Incoming, limit: u64, upload: Upload) -> Self {
        Self { inner, left: limit, upload, ended: false }
    }
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame,
        };
        this.upload.moved();
        let data = match frame {
            None => None,
            Some(Err(error)) => {
                this.ended = true;
                this.upload.blame(BROKEN);
                return Poll::Ready(Some(Err(BodyError::Broken(error))));
            }
            Some(Ok(frame)) => frame.into_data().ok(),
        };
        let Some(data) = data else {
            this.ended = true;
            return Poll::Ready(None);
        };
        match this.left.checked_sub(data.len() as u64) {
            Some(left) => {
                this.left = left;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            None => {
                this.ended = true;
                this.upload.blame(TOO_LARGE);
                Poll::Ready(Some(Err(BodyError::TooLarge)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The server's body on its way to the client.
#[derive(Debug)]
pub struct ForwardedBody {
    inner: Incoming,
    lease: Option<Lease>,
    in_flight: InFlight,
}

impl Body for ForwardedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.inner).poll_frame(cx);
        match &frame {
            Poll::Pending => this.in_flight.waits_for_upstream(),
            Poll::Ready(Some(Ok(_))) => this.in_flight.moved(),
            Poll::Ready(None) => {
                this.in_flight.moved();
                if let Some(lease) = this.lease.take() {
                    lease.give_back();
                }
            }
            Poll::Ready(Some(Err(error))) => {
                this.in_flight.moved();
                this.lease = None;
                tracing::warn!(error = crate::error::chain(error), "upstream broke off its body");
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for ForwardedBody {
    fn drop(&mut self) {
        // hyper does not ask a body for more once it has said that it is at its end.
        if self.inner.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_known_in_every_spelling() {
        for name in [
            "x-adyton-client-san",
            "x_adyton_client_san",
            "x-adyton_client-subject",
            "x.adyton.client.san",
            "x-adyton-anything-new",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-real-ip",
            "x_real_ip",
        ] {
            assert!(is_claim(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["authorization", "x-request-id", "accept", "adyton", "x-adyto"] {
            assert!(!is_claim(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn split_cookies_become_one() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers).expect("joined");
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn headers_that_connection_lists_end_here() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Hop ,te, host"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert("x-stays", HeaderValue::from_static("1"));
        headers.insert(HOST, HeaderValue::from_static("a"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-stays"]);
    }
}
