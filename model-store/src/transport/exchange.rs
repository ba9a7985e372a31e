//! One request, one response: permitted, timed, judged by its status and its range.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Body;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::PacedBody;
use super::connect::Connector;
use super::outgoing::Outgoing;
use super::roots::{self, RootsError};
use crate::fault::Fault;
use crate::settings::{PlainHttp, StoreSettings, Timeouts};

/// What we call ourselves.
const AGENT: &str = concat!("adyton/", env!("CARGO_PKG_VERSION"));
/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// A request's body may be sent this slowly; bytes in a second.
const SLOWEST_UPLOAD: u64 = 128 * 1024;
/// Idle connections are given up before most servers do it.
const KEEP_IDLE: Duration = Duration::from_secs(25);

/// The client. Clones share connections.
#[derive(Clone)]
pub(crate) struct Transport {
    client: Client<Connector, Outgoing>,
    timeouts: Timeouts,
    plain_http: PlainHttp,
}

impl Transport {
    pub(crate) fn new(settings: &StoreSettings) -> Result<Self, RootsError> {
        let roots = roots::load(&settings.roots)?;
        let connector =
            Connector::new(roots, settings.timeouts.connect).map_err(RootsError::Root)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(settings.in_flight.get())
            .build(connector);
        Ok(Self { client, timeouts: settings.timeouts, plain_http: settings.plain_http })
    }

    /// The response, whatever its status.
    pub(crate) async fn send(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<PacedBody>, Fault> {
        self.permit(request.uri())?;
        let headers = request.headers_mut();
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let upload = request.body().len() / SLOWEST_UPLOAD;
        let patience =
            self.timeouts.connect + self.timeouts.first_byte + Duration::from_secs(upload);
        let answered = tokio::time::timeout(patience, self.client.request(request)).await;
        let response = answered
            .map_err(|_| Fault::FirstByteTimeout { seconds: patience.as_secs() })?
            .map_err(|error| {
                Fault::within(&error).unwrap_or_else(|| Fault::Broke(Arc::new(error)))
            })?;
        Ok(response.map(|body| PacedBody::new(body, self.timeouts.progress)))
    }

    /// The response of a success; of exactly the range that was asked for, if one was.
    pub(crate) async fn exchange(
        &self,
        request: Request<Outgoing>,
    ) -> Result<Response<PacedBody>, Fault> {
        let wanted = wanted(request.headers());
        judge(self.send(request).await?, wanted).await
    }

    /// Everybody over TLS, this machine without.
    fn permit(&self, uri: &Uri) -> Result<(), Fault> {
        let plain = match (uri.scheme_str(), self.plain_http) {
            (Some("https"), _) | (Some("http"), PlainHttp::InsecureAllow) => return Ok(()),
            (Some("http"), PlainHttp::LoopbackOnly) => uri.host().is_some_and(is_loopback),
            _ => false,
        };
        if plain {
            return Ok(());
        }
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        Err(Fault::PlainHttp { authority })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

/// Is it a success, and of the range that was `wanted`?
pub(crate) async fn judge(
    response: Response<PacedBody>,
    wanted: Option<Range<u64>>,
) -> Result<Response<PacedBody>, Fault> {
    let status = response.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        let to = location(response.headers()).unwrap_or("nowhere");
        let to = to.split(['?', '#']).next().unwrap_or_default().chars().take(256).collect();
        return Err(Fault::Redirected { status: status.as_u16(), to });
    }
    if !status.is_success() {
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        // What the server says is for people; without it the status stands.
        let said = response.into_body().beginning(MAX_ERROR_BYTES).await.unwrap_or_default();
        return Err(Fault::of_status(status, &said, retry_after));
    }
    if let Some(wanted) = wanted {
        if status != StatusCode::PARTIAL_CONTENT {
            return Err(Fault::NoRanges);
        }
        same_range(response.headers(), response.body(), wanted)?;
    }
    Ok(response)
}

fn same_range(headers: &HeaderMap, body: &PacedBody, wanted: Range<u64>) -> Result<(), Fault> {
    let wrong = |got: String| Fault::WrongRange {
        wanted: format!("{}-{}", wanted.start, wanted.end.saturating_sub(1)),
        got,
    };
    let said = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    match said.and_then(ContentRange::parse) {
        Some(got) if got.range == wanted => {}
        _ => {
            return Err(wrong(
                said.unwrap_or("without a Content-Range").chars().take(64).collect(),
            ));
        }
    }
    match body.size_hint().exact() {
        Some(len) if len != wanted.end - wanted.start => Err(wrong(format!("{len} in all"))),
        _ => Ok(()),
    }
}

/// `Content-Range: bytes 0-99/1000`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) range: Range<u64>,
    /// Bytes of the whole object, where the server says so.
    pub(crate) total: Option<u64>,
}

impl ContentRange {
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(CONTENT_RANGE)?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (number(first)?, number(last)?);
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let end = last.checked_add(1)?;
        let sound = first < end && total.is_none_or(|total| end <= total);
        sound.then_some(Self { range: first..end, total })
    }
}

/// Digits only: `parse` would take a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The range that a request of ours asks for.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<Range<u64>> {
    let (first, last) =
        headers.get(RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    Some(number(first)?..number(last)?.checked_add(1)?)
}

pub(super) fn location(headers: &HeaderMap) -> Option<&str> {
    headers.get(LOCATION)?.to_str().ok()
}

/// Bytes of a response's body, if its head says so.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(headers.get(CONTENT_LENGTH)?.to_str().ok()?)
}

fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_as_they_are_written() {
        let range = ContentRange::parse("bytes 5-9/20").unwrap();
        assert_eq!((range.range, range.total), (5..10, Some(20)));
        assert_eq!(ContentRange::parse("bytes 0-0/*").unwrap().total, None);
        for text in [
            "",
            "bytes",
            "bytes */20",
            "bytes 9-5/20",
            "bytes 5-20/20",
            "bytes 5-+9/20",
            "bytes -5/20",
            "items 5-9/20",
            "bytes 0-18446744073709551615/*",
            "bytes 5-9",
        ] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_is_an_address_or_localhost_and_nothing_that_looks_like_it() {
        for host in ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.example", "127.0.0.1.example", "[::2]", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
