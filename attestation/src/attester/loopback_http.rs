//! One HTTP/1.1 request to a service on loopback, answered within a time and a size.
//!
//! Role: transport of the CoCo guest API. In: an address that is proven to be loopback when it is
//! parsed, a path, an optional body. Out: status and body. No redirects, no names to resolve, no
//! connection that is kept. Against: Evidence requests that leave the pod, answers without end.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use thiserror::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// An address on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoopbackAddr(SocketAddr);

/// An answer, complete.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum LoopbackError {
    /// No connection, or it broke, or the time is over.
    #[error("no answer")]
    Io(#[source] io::Error),
    /// The answer is refused.
    #[error("{0}")]
    Malformed(&'static str),
}

impl LoopbackAddr {
    /// Parses `http://<loopback address or localhost>[:port][/]`. `localhost` is not resolved, it
    /// is 127.0.0.1.
    pub(super) fn from_url(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let addr = if let Ok(addr) = authority.parse::<SocketAddr>() {
            addr
        } else {
            let (host, port) = match authority.strip_prefix("localhost") {
                Some("") => (IpAddr::V4(Ipv4Addr::LOCALHOST), 80),
                Some(port) => {
                    let port = port.strip_prefix(':')?.parse().ok()?;
                    (IpAddr::V4(Ipv4Addr::LOCALHOST), port)
                }
                None if authority == "[::1]" => (IpAddr::V6(Ipv6Addr::LOCALHOST), 80),
                None => (IpAddr::V4(authority.parse().ok()?), 80),
            };
            SocketAddr::new(host, port)
        };
        //= attestation/SPEC.md#4.2
        //# A client MUST refuse an address that is not on loopback, without resolving names.
        addr.ip().is_loopback().then_some(Self(addr))
    }
}

impl From<LoopbackAddr> for SocketAddr {
    fn from(addr: LoopbackAddr) -> Self {
        addr.0
    }
}

impl std::fmt::Display for LoopbackAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// Sends one request and reads the whole answer.
///
/// `target` is path and query and must already be encoded. With a `json` body the method is
/// POST, without it GET. `time` bounds the whole exchange, `max_body` the answer's body.
pub(super) fn exchange(
    addr: LoopbackAddr,
    target: &str,
    json: Option<&[u8]>,
    time: Duration,
    max_body: usize,
) -> Result<Answer, LoopbackError> {
    request(addr.0, target, &[], json, time, max_body)
}

/// As [`exchange`], with more headers, to an address for which the caller answers.
pub(super) fn request(
    addr: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    json: Option<&[u8]>,
    time: Duration,
    max_body: usize,
) -> Result<Answer, LoopbackError> {
    let started = Instant::now();
    let mut stream =
        TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT.min(time)).map_err(LoopbackError::Io)?;
    stream.set_write_timeout(Some(time)).map_err(LoopbackError::Io)?;
    let mut request = Vec::new();
    let method = if json.is_some() { "POST" } else { "GET" };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {addr}\r\naccept: */*\r\nconnection: close\r\n"
    );
    request.extend_from_slice(head.as_bytes());
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if let Some(json) = json {
        let length = json.len();
        let head = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
        request.extend_from_slice(head.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(json.unwrap_or_default());
    stream.write_all(&request).map_err(LoopbackError::Io)?;

    let mut received = Vec::new();
    // Room for the head, the body, and the framing of a chunked body of small chunks.
    let limit = max_body.saturating_mul(2).saturating_add(MAX_HEAD);
    let mut chunk = [0_u8; 8192];
    let mut ended = false;
    loop {
        if let Some(answer) = parse(&received, ended, max_body)? {
            return Ok(answer);
        }
        if ended {
            return Err(LoopbackError::Malformed("it ended early"));
        }
        let left = time.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(LoopbackError::Io(io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left)).map_err(LoopbackError::Io)?;
        match stream.read(&mut chunk) {
            Ok(0) => ended = true,
            Ok(got) => received.extend_from_slice(chunk.get(..got).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(LoopbackError::Io(e)),
        }
        if received.len() > limit {
            return Err(LoopbackError::Malformed("it is longer than allowed"));
        }
    }
}

/// How the body's end is told (RFC 9112 §6.3).
enum Framing {
    Chunked,
    Length(usize),
    UntilClose,
}

/// Parses what has been received so far; `None` when more is needed.
fn parse(bytes: &[u8], ended: bool, max_body: usize) -> Result<Option<Answer>, LoopbackError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) if head <= MAX_HEAD => head,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return Ok(None),
        Ok(_) => return Err(LoopbackError::Malformed("its head is longer than allowed")),
        Err(_) => return Err(LoopbackError::Malformed("it is not HTTP/1.1")),
    };
    let status = response.code.ok_or(LoopbackError::Malformed("it has no status"))?;
    if status < 200 {
        return Err(LoopbackError::Malformed("it is an interim response"));
    }
    let body = bytes.get(head..).unwrap_or_default();
    let body = match framing(response.headers)? {
        Framing::Chunked => match unchunk(body, max_body)? {
            Some(body) => body,
            None => return Ok(None),
        },
        Framing::Length(length) if length > max_body => {
            return Err(LoopbackError::Malformed("it is longer than allowed"));
        }
        Framing::Length(length) => match body.get(..length) {
            Some(body) => body.to_vec(),
            None => return Ok(None),
        },
        Framing::UntilClose if body.len() > max_body => {
            return Err(LoopbackError::Malformed("it is longer than allowed"));
        }
        Framing::UntilClose if ended => body.to_vec(),
        Framing::UntilClose => return Ok(None),
    };
    Ok(Some(Answer { status, body }))
}

fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, LoopbackError> {
    const CONTRADICTORY: LoopbackError = LoopbackError::Malformed("its length is contradictory");
    let mut framing = Framing::UntilClose;
    for header in headers {
        let next = if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(LoopbackError::Malformed("its transfer encoding is unknown"));
            }
            Framing::Chunked
        } else if header.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(header.value).ok();
            let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            Framing::Length(digits.and_then(|d| d.parse().ok()).ok_or(CONTRADICTORY)?)
        } else {
            continue;
        };
        match framing {
            Framing::UntilClose => framing = next,
            Framing::Chunked | Framing::Length(_) => return Err(CONTRADICTORY),
        }
    }
    Ok(framing)
}

/// Takes the chunk framing off (RFC 9112 §7.1); `None` when more is needed. Trailers are ignored.
fn unchunk(mut bytes: &[u8], max_body: usize) -> Result<Option<Vec<u8>>, LoopbackError> {
    const MALFORMED: LoopbackError = LoopbackError::Malformed("its chunks are malformed");
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(MALFORMED),
        };
        if size == 0 {
            return Ok(Some(body));
        }
        let size = usize::try_from(size).map_err(|_| MALFORMED)?;
        if size > max_body.saturating_sub(body.len()) {
            return Err(LoopbackError::Malformed("it is longer than allowed"));
        }
        let chunk = bytes.get(start..).unwrap_or_default();
        let (Some(data), Some(after)) = (chunk.get(..size), chunk.get(size..)) else {
            return Ok(None);
        };
        match after {
            [b'\r', b'\n', rest @ ..] => bytes = rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(MALFORMED),
        }
        body.extend_from_slice(data);
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
mod tests;
