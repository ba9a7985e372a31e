//! Where a sidecar listens.

use std::fmt;
use std::net::IpAddr;

use rustls_pki_types::ServerName;
use url::{Host, Url};

/// Host and port of an `https:` URL. No redirects, no credentials, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    authority: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
}

/// A text is not the address of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} cannot be used: {problem}; expected https://HOST[:PORT]")]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl ServerAddress {
    /// Reads `https://host[:port][/]`.
    ///
    /// # Errors
    /// [`AddressError`] for another scheme, credentials, a path, a query, or no host.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let refuse = |problem| AddressError { text: text.to_owned(), problem };
        let url = Url::parse(text).map_err(|_| refuse("it is not a URL"))?;
        if url.scheme() != "https" {
            return Err(refuse("its scheme is not https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("it carries credentials"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("it has a path or a query"));
        }
        let port = url.port_or_known_default().unwrap_or(443);
        let (host, name) = match url.host().ok_or_else(|| refuse("it has no host"))? {
            Host::Domain(domain) => {
                let name = ServerName::try_from(domain.to_owned())
                    .map_err(|_| refuse("its host is not a DNS name"))?;
                (domain.to_owned(), name)
            }
            Host::Ipv4(ip) => (ip.to_string(), ServerName::from(IpAddr::V4(ip))),
            Host::Ipv6(ip) => (ip.to_string(), ServerName::from(IpAddr::V6(ip))),
        };
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Ok(Self { authority: format!("{shown}:{port}"), host, port, name })
    }

    /// `host:port`, as in the Host header.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host, to resolve and connect to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name for SNI. No certificate is compared with it: the report decides.
    #[must_use]
    pub fn server_name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port_only() {
        let address = ServerAddress::parse("https://[::1]:8443/").expect("good URL");
        assert_eq!((address.authority(), address.port()), ("[::1]:8443", 8443));
        let default = ServerAddress::parse("https://models.example").expect("good URL");
        assert_eq!(default.authority(), "models.example:443");
    }

    #[test]
    fn an_address_that_would_leak_or_mislead_is_refused_with_its_problem() {
        for (text, said) in [
            ("http://localhost:1", "its scheme is not https"),
            ("localhost:8443", "its scheme is not https"),
            ("https://user:pass@localhost", "it carries credentials"),
            ("https://localhost/v1", "it has a path or a query"),
            ("https://localhost?x=1", "it has a path or a query"),
            ("nonsense", "it is not a URL"),
        ] {
            let refused = ServerAddress::parse(text).expect_err(text);
            assert_eq!(refused.problem, said, "{text}");
        }
    }
}
