//! Who on this machine may use the listener.
//!
//! In: the head of a local request. Out: nothing, or why it is not sent. Against: a web page in this user's
//! browser, which can reach loopback by its address (then it sends `Origin` or `Sec-Fetch-Site`) or by a name
//! of its own that it points there (DNS rebinding; then `Host` is that name); and, with a local key, other
//! users of this machine. Not against: other programs of this user, which could read the client key anyway.

use std::net::IpAddr;
use std::path::Path;

use http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use ring::digest::{SHA256, digest};
use url::{Host, Url};

use super::refusal::Refusal;
use crate::failure::{Exit, Failure};
use crate::file;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The longest file with a local key.
const KEY_LIMIT: u64 = 4096;

/// The shortest local key: below that it can be guessed.
const KEY_MINIMUM: usize = 16;

/// The rules for local requests.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Hosts,
    key: LocalKey,
}

/// Which names a local program may have called the listener.
#[derive(Debug, PartialEq, Eq)]
enum Hosts {
    /// `localhost` and loopback addresses: nobody else's DNS has a say.
    Loopback,
    /// Any: it listens beyond loopback, under names that we don't know.
    Any,
}

/// What local programs must show.
#[derive(Debug)]
enum LocalKey {
    /// Nothing: no `--local-key-file` was given.
    NotAsked,
    /// A key with this SHA-256. The key itself is not kept; comparing digests tells nothing by its timing.
    Sha256([u8; 32]),
}

impl Gate {
    /// The gate of a listener on `listen`.
    pub(super) fn read(listen: IpAddr, key_file: Option<&Path>) -> Result<Self, Failure> {
        let hosts = if listen.is_loopback() { Hosts::Loopback } else { Hosts::Any };
        let Some(path) = key_file else {
            return Ok(Self { hosts, key: LocalKey::NotAsked });
        };
        let bytes = file::read_secret("local key", path, KEY_LIMIT)?;
        let key = bytes.trim_ascii();
        if key.len() < KEY_MINIMUM || !key.iter().all(u8::is_ascii_graphic) {
            return Err(Failure::new(
                Exit::Malformed,
                "connect.local-key",
                format!("the local key {} cannot be used", path.display()),
            )
            .expected(format!("one line of at least {KEY_MINIMUM} printable ASCII characters"))
            .remedy("make one: openssl rand -hex 32 > FILE; chmod 600 FILE"));
        }
        Ok(Self { hosts, key: LocalKey::Sha256(sha256(key)) })
    }

    /// Whether this request may be sent on, and takes the local key out of it.
    pub(super) fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Refusal> {
        // A forward proxy would be asked for other servers; this one knows one.
        if request.method() == Method::CONNECT || request.uri().authority().is_some() {
            return Err(Refusal::local(
                StatusCode::BAD_REQUEST,
                "connect.not-a-forward-proxy",
                "this is no forward proxy",
                "a path in the request line",
                "use http://ADDRESS:PORT/v1 as the base URL, not as HTTP_PROXY",
            ));
        }
        self.check_host(request.headers())?;
        check_site(request.headers())?;
        self.check_key(request.headers_mut())
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(HOST).iter();
        let named = match (hosts.next(), hosts.next()) {
            (Some(one), None) => one.to_str().ok().and_then(|host| host.parse().ok()),
            _ => None,
        };
        match (named, &self.hosts) {
            (Some(_), Hosts::Any) => Ok(()),
            (Some(authority), Hosts::Loopback) if is_loopback(&authority) => Ok(()),
            _ => Err(Refusal::local(
                StatusCode::MISDIRECTED_REQUEST,
                "connect.host",
                "the request was meant for another host",
                "a Host header with localhost or a loopback address",
                "use the base URL that adyton connect printed",
            )),
        }
    }

    fn check_key(&self, headers: &mut HeaderMap) -> Result<(), Refusal> {
        let LocalKey::Sha256(expected) = &self.key else { return Ok(()) };
        let shown = headers.remove(AUTHORIZATION);
        let key = shown.as_ref().map(HeaderValue::as_bytes).and_then(bearer);
        match key {
            Some(key) if sha256(key) == *expected => Ok(()),
            Some(_) | None => Err(Refusal::local(
                StatusCode::UNAUTHORIZED,
                "connect.local-key",
                "the local key is missing or another one",
                "Authorization: Bearer, and the content of --local-key-file",
                "give the program the key as its API key (OPENAI_API_KEY)",
            )),
        }
    }
}

/// Refuses what a browser sends for a page that does not come from this machine.
fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let foreign_origin = headers.get_all(ORIGIN).iter().any(|origin| !is_local_origin(origin));
    let foreign_site = headers
        .get_all(SEC_FETCH_SITE)
        .iter()
        .any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    // A page of this machine on another port is `same-site` and has a local Origin.
    let vouched = headers.contains_key(ORIGIN) && !foreign_origin;
    if foreign_origin || (foreign_site && !vouched) {
        return Err(Refusal::local(
            StatusCode::FORBIDDEN,
            "connect.origin",
            "a web page asked, and it does not come from this machine",
            "no Origin header, or one of localhost or a loopback address",
            "let a program of this machine ask, not a page from the web",
        ));
    }
    Ok(())
}

fn is_local_origin(origin: &HeaderValue) -> bool {
    let url = origin.to_str().ok().and_then(|text| Url::parse(text).ok());
    url.is_some_and(|url| match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    })
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let no_user = !authority.as_str().contains('@');
    let local = host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    no_user && local
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get("/v1/models");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    fn asked(gate: &Gate, headers: &[(&str, &str)]) -> Option<String> {
        gate.admit(&mut request(headers)).err().map(|refusal| refusal.code().to_owned())
    }

    fn refused(code: &str) -> Option<String> {
        Some(code.to_owned())
    }

    fn open() -> Gate {
        Gate { hosts: Hosts::Loopback, key: LocalKey::NotAsked }
    }

    #[test]
    fn a_name_of_somebody_elses_is_refused_and_loopback_is_not() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080"] {
            assert_eq!(asked(&open(), &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "me@localhost", ""] {
            assert_eq!(asked(&open(), &[("host", host)]), refused("connect.host"), "{host}");
        }
        assert_eq!(asked(&open(), &[]), refused("connect.host"));
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(asked(&open(), &two), refused("connect.host"));
    }

    #[test]
    fn beyond_loopback_any_name_will_do() {
        let gate = Gate::read(IpAddr::V4(Ipv4Addr::UNSPECIFIED), None).expect("a gate");
        assert_eq!(asked(&gate, &[("host", "models.lan:8080")]), None);
        assert_eq!(asked(&gate, &[]), refused("connect.host"));
    }

    #[test]
    fn a_page_from_the_web_is_refused_and_one_from_this_machine_is_not() {
        let with = |name, value| asked(&open(), &[("host", "localhost:8080"), (name, value)]);
        for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
            assert_eq!(with("origin", origin), refused("connect.origin"), "{origin}");
        }
        assert_eq!(with("origin", "http://localhost:3000"), None);
        assert_eq!(with("sec-fetch-site", "cross-site"), refused("connect.origin"));
        assert_eq!(with("sec-fetch-site", "none"), None);
        let neighbour = [
            ("host", "localhost:8080"),
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "same-site"),
        ];
        assert_eq!(asked(&open(), &neighbour), None);
    }

    #[test]
    fn a_request_for_another_server_is_refused() {
        let mut request = Request::get("http://else.example/v1").body(()).expect("a request");
        let refused = open().admit(&mut request).expect_err("no forward proxy");
        assert_eq!(refused.code(), "connect.not-a-forward-proxy");
    }

    #[test]
    fn the_local_key_is_asked_for_and_goes_no_further() {
        let gate =
            Gate { hosts: Hosts::Loopback, key: LocalKey::Sha256(sha256(b"0123456789abcdef")) };
        let host = ("host", "localhost");
        assert_eq!(asked(&gate, &[host]), refused("connect.local-key"));
        for wrong in ["Bearer 0123456789abcdeF", "Basic 0123456789abcdef", "Bearer", "B"] {
            let with = [host, ("authorization", wrong)];
            assert_eq!(asked(&gate, &with), refused("connect.local-key"), "{wrong}");
        }
        let mut good = request(&[host, ("authorization", "bearer 0123456789abcdef")]);
        gate.admit(&mut good).expect("the key");
        assert!(!good.headers().contains_key(AUTHORIZATION));
    }
}
