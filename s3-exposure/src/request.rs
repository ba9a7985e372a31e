//! Request heads: bytes to a [`Request`], or a refusal. Stricter than RFC 9112 asks a server to be.
//!
//! In: the bytes up to and with the empty line. Out: method, target, header fields with lower-case names, each
//! once; a Host that agrees with an absolute target; the certainty that there is no body.
//! Against: two readers who see two requests in the same bytes (bare line feeds, folded lines, two
//! lengths, two hosts).

use crate::error::Refusal;
use crate::limits::{MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES};
use crate::target::Target;

/// What the endpoint answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Head and body.
    Get,
    /// The head that a GET would have.
    Head,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// A request as it was sent: well-formed, and signed by nobody as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: Method,
    target: Target,
    host: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Reads a head, which ends with its empty line.
    ///
    /// # Errors
    /// The first of [`HeadTooLarge`](Refusal::HeadTooLarge), [`Malformed`](Refusal::Malformed),
    /// [`TooManyHeaders`](Refusal::TooManyHeaders), [`Version`](Refusal::Version),
    /// [`Duplicate`](Refusal::Duplicate), [`Method`](Refusal::Method), [`Body`](Refusal::Body), those of
    /// [`Target::parse`], [`HostMismatch`](Refusal::HostMismatch).
    pub fn parse(head: &[u8]) -> Result<Self, Refusal> {
        if head.len() > MAX_HEAD_BYTES {
            return Err(Refusal::HeadTooLarge);
        }
        verify_bytes(head)?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(Refusal::Malformed { what: "expected one head and nothing else" }),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyHeaders),
            Err(httparse::Error::Version) => return Err(Refusal::Version),
            Err(_) => return Err(Refusal::Malformed { what: "a line that cannot be read" }),
        }
        if parsed.version != Some(1) {
            return Err(Refusal::Version);
        }
        let headers = fields_of(parsed.headers)?;
        let method = match parsed.method.unwrap_or_default() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            other => return Err(Refusal::Method { got: other.chars().take(32).collect() }),
        };
        let find = |name| find(&headers, name);
        if find("transfer-encoding").is_some()
            || find("content-length").is_some_and(|len| len != "0")
        {
            return Err(Refusal::Body);
        }
        let target = Target::parse(parsed.path.unwrap_or_default())?;
        let Some(host) = find("host").filter(|host| !host.is_empty()) else {
            return Err(Refusal::Malformed { what: "expected a Host field" });
        };
        let host = host.to_ascii_lowercase();
        // RFC 9112 §3.2.2 would have us ignore Host. It is signed, so it must not say something else.
        if let Some(authority) = target.authority.as_ref().filter(|named| **named != host) {
            return Err(Refusal::HostMismatch { target: authority.clone(), host });
        }
        Ok(Self { method, target, host, headers })
    }

    /// GET or HEAD.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What is asked for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Host and port in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The value of a header field, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Lower-case names of the header fields.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }

    /// Whether the client wants the connection to end with this request.
    pub(crate) fn wants_close(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.split(',').any(|o| o.trim().eq_ignore_ascii_case("close")))
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(at, _)| at == name).map(|(_, value)| value.as_str())
}

/// Line ends are CR LF, everything else is visible ASCII, spaces and tabs.
fn verify_bytes(head: &[u8]) -> Result<(), Refusal> {
    let mut before = 0;
    for (at, byte) in head.iter().enumerate() {
        let next = head.get(at + 1).copied();
        match *byte {
            b'\n' if before != b'\r' => {
                return Err(Refusal::Malformed { what: "a line feed without a carriage return" });
            }
            b'\r' if next != Some(b'\n') => {
                return Err(Refusal::Malformed { what: "a carriage return without a line feed" });
            }
            b'\r' | b'\n' | b'\t' | b' '..=b'~' => {}
            _ => return Err(Refusal::Malformed { what: "a byte beyond visible ASCII" }),
        }
        before = *byte;
    }
    Ok(())
}

fn fields_of(parsed: &[httparse::Header<'_>]) -> Result<Vec<(String, String)>, Refusal> {
    let mut headers: Vec<(String, String)> = Vec::with_capacity(parsed.len());
    for field in parsed {
        let name = field.name.to_ascii_lowercase();
        let value = str::from_utf8(field.value)
            .map_err(|_| Refusal::Malformed { what: "a value that is not ASCII" })?;
        if find(&headers, &name).is_some() {
            return Err(Refusal::Duplicate { name });
        }
        if value.len() > MAX_TARGET_BYTES {
            return Err(Refusal::HeadTooLarge);
        }
        headers.push((name, value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Request, Refusal> {
        Request::parse(head.as_bytes())
    }

    #[test]
    fn a_head_is_read() {
        let request =
            parse("GET /b/k?x HTTP/1.1\r\nHost: H:1\r\nRange: bytes=0-1 \r\n\r\n").unwrap();
        assert_eq!((request.method(), request.host()), (Method::Get, "h:1"));
        assert_eq!(request.header("range"), Some("bytes=0-1"));
    }

    #[test]
    fn bytes_that_two_readers_could_read_in_two_ways_are_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: \u{e9}\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert!(matches!(parse(head), Err(Refusal::Malformed { .. })), "{head:?}");
        }
    }

    #[test]
    fn a_field_that_stands_twice_is_refused() {
        let twice = parse("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n");
        assert_eq!(twice, Err(Refusal::Duplicate { name: "host".into() }));
    }

    #[test]
    fn a_request_with_a_body_is_refused() {
        for field in ["Content-Length: 1", "Content-Length: 00", "Transfer-Encoding: chunked"] {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
            assert_eq!(parse(&head), Err(Refusal::Body), "{field}");
        }
        assert!(parse("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").is_ok());
    }

    #[test]
    fn a_method_that_could_write_is_refused() {
        for method in ["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "CONNECT", "get", "FOO"] {
            let head = format!("{method} /b/k HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(parse(&head), Err(Refusal::Method { got: method.into() }), "{method}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        assert_eq!(parse("GET / HTTP/1.0\r\nHost: h\r\n\r\n"), Err(Refusal::Version));
        assert_eq!(parse("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), Err(Refusal::Version));
    }

    #[test]
    fn an_absolute_target_for_another_host_is_refused() {
        let head = "GET http://a:1/b HTTP/1.1\r\nHost: b:1\r\n\r\n";
        let expected = Refusal::HostMismatch { target: "a:1".into(), host: "b:1".into() };
        assert_eq!(parse(head), Err(expected));
        assert!(parse("GET http://A:1/b HTTP/1.1\r\nHost: a:1\r\n\r\n").is_ok());
    }

    #[test]
    fn heads_and_fields_over_their_bounds_are_refused() {
        let long =
            format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES));
        assert_eq!(parse(&long), Err(Refusal::HeadTooLarge));
        let many: String = (0..MAX_HEADERS).map(|n| format!("x-{n}: 1\r\n")).collect();
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n");
        assert_eq!(parse(&many), Err(Refusal::TooManyHeaders));
    }
}
