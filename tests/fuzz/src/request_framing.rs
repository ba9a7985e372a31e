//! Request framing: the strict reading that stands before every other HTTP parser of the proxy.
//!
//! The first byte says into how many pieces the rest is cut before it arrives.

use adyton_sidecar::proxy::framing::{HeadLimits, Position, Scanner, Violation};
use bytes::BytesMut;
use httparse::Status;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 * 1024,
    lines: 100,
};

/// Scans; cuts between reads make no difference, nothing is changed on the way, and another parser
/// that reads what passed stands at the same place in the same request.
pub fn run(data: &[u8]) {
    let Some((pieces, input)) = data.split_first() else {
        return;
    };
    let whole = scan(input, input.len().max(1));
    let cut = scan(input, (input.len() / (usize::from(*pieces) + 1)).max(1));
    assert_eq!(whole.clean, cut.clean, "the cut made a difference");
    assert_eq!(whole.violation, cut.violation, "the cut made a difference");
    assert!(input.starts_with(&whole.clean), "bytes changed on the way");
    if let (Some(theirs), None) = (another_reading(&whole.clean), whole.violation) {
        let ours = whole.position != Position::InBody;
        assert_eq!(theirs == Place::BetweenRequests, ours, "two parsers stand at different places");
    }
}

struct Scan {
    clean: Vec<u8>,
    violation: Option<Violation>,
    position: Position,
}

fn scan(input: &[u8], piece: usize) -> Scan {
    let mut scanner = Scanner::new(LIMITS);
    let (mut raw, mut clean) = (BytesMut::new(), BytesMut::new());
    let mut violation = None;
    for piece in input.chunks(piece) {
        raw.extend_from_slice(piece);
        violation = scanner.advance(&mut raw, &mut clean).err();
        if violation.is_some() {
            break;
        }
    }
    Scan {
        position: scanner.position(&raw),
        clean: clean.to_vec(),
        violation,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BetweenRequests,
    InBody,
}

/// Where httparse stands after `clean`; nothing when it refuses something, which is no danger.
fn another_reading(mut clean: &[u8]) -> Option<Place> {
    while !clean.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; LIMITS.lines + 1];
        let mut request = httparse::Request::new(&mut headers);
        let Status::Complete(head) = request.parse(clean).ok()? else {
            panic!("another parser waits for more of a head that passed");
        };
        let of = |name: &str| {
            let mut lines = request
                .headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name));
            let value = lines.next().map(|header| header.value);
            assert!(lines.next().is_none(), "two lines of {name} passed");
            value
        };
        let (length, coding) = (of("content-length"), of("transfer-encoding"));
        assert!(length.is_none() || coding.is_none(), "two ways to frame one body passed");
        clean = clean.get(head..)?;
        if coding.is_some() {
            match chunked(clean)? {
                Some(rest) => clean = rest,
                None => return Some(Place::InBody),
            }
        } else if let Some(length) = length {
            let length: usize = std::str::from_utf8(length).ok()?.trim().parse().ok()?;
            match clean.get(length..) {
                Some(rest) => clean = rest,
                None => return Some(Place::InBody),
            }
        }
    }
    Some(Place::BetweenRequests)
}

/// What follows a chunked body; `Some(None)` when it does not end here.
fn chunked(mut body: &[u8]) -> Option<Option<&[u8]>> {
    loop {
        let Status::Complete((start, size)) = httparse::parse_chunk_size(body).ok()? else {
            return Some(None);
        };
        body = body.get(start..)?;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; LIMITS.lines + 1];
            return match httparse::parse_headers(body, &mut trailers).ok()? {
                Status::Complete((end, _)) => Some(body.get(end..)),
                Status::Partial => Some(None),
            };
        }
        let Some(rest) = body.get(usize::try_from(size).ok()?..) else {
            return Some(None);
        };
        let Some(rest) = rest.strip_prefix(b"\r\n") else {
            return Some(None);
        };
        body = rest;
    }
}

/// Requests in a row, and the classics of request smuggling.
pub fn seeds() -> Vec<Vec<u8>> {
    let get = "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nbody\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n{get}");
    [
        format!("{get}{post}{chunked}{get}"),
        with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
        with("Content-Length: 5\r\nContent-Length: 0"),
        with("Content-Length: 5, 5"),
        with("Content-Length: +5"),
        with("Content_Length: 5"),
        with("Transfer-Encoding: xchunked"),
        with("Transfer-Encoding : chunked"),
        with("Transfer-Encoding:\r\n chunked"),
        with("Transfer-Encoding: chunked, identity"),
        with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"),
        chunked.replace("4\r\nbody", "4;a=b\r\nbody"),
        chunked.replace("4\r\nbody", "00000000000000004\r\nbody"),
        chunked.replace("\r\n0\r\n", "\n0\n"),
        get.replace("\r\n", "\n"),
        get.replace("Host: a", "Host: a\r\nHost: b"),
        get.replace("/v1", "http://b/v1"),
    ]
    .map(|text| [&[7], text.as_bytes()].concat())
    .into()
}
