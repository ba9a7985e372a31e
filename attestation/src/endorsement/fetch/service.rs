//! Where the vendors' services are: the operator's URLs, and nothing from Evidence.

use std::fmt;
use std::net::IpAddr;

use super::Statement;

/// Intel's Provisioning Certification Service.
const INTEL_PCS: &str = "https://api.trustedservices.intel.com";
/// Where Intel publishes the revocation list of its root; the PCS itself does not serve it.
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// AMD's Key Distribution Service.
const AMD_KDS: &str = "https://kdsintf.amd.com";
/// Longest URL that is read, in bytes.
const MAX_URL: usize = 512;

/// Which service a statement comes from; each has its own pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Intel PCS, or a PCCS.
    Intel,
    /// The revocation list of Intel's root.
    IntelRootCrl,
    /// AMD KDS, chains and lists.
    Amd,
    /// AMD KDS, certificates of processors: about one in ten seconds for each address.
    AmdVcek,
}

impl Service {
    /// The service in one word, as in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intel => "intel",
            Self::IntelRootCrl => "intel-root-crl",
            Self::Amd => "amd-kds",
            Self::AmdVcek => "amd-kds-vcek",
        }
    }
}

/// Whether a service is spoken to over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TLS, the server's certificate verified.
    Https,
    /// Clear text, on this machine only.
    HttpOnLoopback,
}

/// An operator's URL of a service: scheme, host, port and a path before the service's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

/// Why a text is not the URL of a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `https://` nor `http://`.
    #[error("it does not begin with https://")]
    Scheme,
    /// `http://` and a host that is not this machine.
    #[error(
        "http:// is taken on loopback only (127.0.0.1, [::1]); who is asked would not be verified"
    )]
    ClearText,
    /// Credentials, a query, a fragment, or characters that a URL does not have.
    #[error("it has more than scheme, host, port and path, or characters that none of them has")]
    Shape,
    /// No host, or a port that is no number.
    #[error("its host or port can't be read")]
    Authority,
}

impl BaseUrl {
    /// Reads `https://host[:port][/path]`, or the same with `http://` on loopback.
    ///
    /// # Errors
    /// [`UrlError::Shape`], [`Scheme`](UrlError::Scheme), [`Authority`](UrlError::Authority),
    /// [`ClearText`](UrlError::ClearText).
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]%!$&'()*+,;=".contains(&byte);
        if text.len() > MAX_URL || !text.bytes().all(allowed) {
            return Err(UrlError::Shape);
        }
        let (rest, default_port) =
            match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
                (Some(rest), _) => (rest, 443),
                (None, Some(rest)) => (rest, 80),
                (None, None) => return Err(UrlError::Scheme),
            };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, String::new()),
        };
        let (host, port) = split_port(authority).ok_or(UrlError::Authority)?;
        let port = port.map_or(Some(default_port), |port| port.parse().ok());
        let port = port.filter(|port| *port != 0).ok_or(UrlError::Authority)?;
        let is_name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let ip: Option<IpAddr> = host.parse().ok();
        if !is_name && ip.is_none() {
            return Err(UrlError::Authority);
        }
        let scheme = match (default_port, ip) {
            (443, _) => Scheme::Https,
            (_, Some(ip)) if ip.is_loopback() => Scheme::HttpOnLoopback,
            (_, _) => return Err(UrlError::ClearText),
        };
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self { scheme, host: host.to_owned(), port, path })
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Name or address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as in a `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The path of the URL itself, without a slash at its end; empty when there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::HttpOnLoopback => "http",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Host, with the brackets of an IPv6 address taken off, and the text of the port.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after {
            "" => Some((host, None)),
            after => Some((host, Some(after.strip_prefix(':')?))),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

/// The services that an operator configured. One that is left out is never asked.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// Intel PCS or a PCCS.
    pub intel: Option<BaseUrl>,
    /// The whole URL of the list of Intel's root. Without it, a PCCS is asked for it under `intel`, and
    /// for Intel's own PCS, which does not serve it, Intel's place of publication.
    pub intel_root_crl: Option<BaseUrl>,
    /// AMD KDS, or a cache that speaks like it.
    pub amd: Option<BaseUrl>,
}

impl Services {
    /// The vendors' own public services.
    #[must_use]
    pub fn vendors() -> Self {
        let url = |text| BaseUrl::parse(text).ok();
        Self { intel: url(INTEL_PCS), intel_root_crl: None, amd: url(AMD_KDS) }
    }

    /// Whether no service is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intel.is_none() && self.amd.is_none()
    }

    /// Where to ask for a statement: the server, and path with query. `None` when its service is not
    /// configured.
    #[must_use]
    pub fn target(&self, statement: &Statement) -> Option<(BaseUrl, String)> {
        let base = match statement.service() {
            Service::Intel => self.intel.clone()?,
            Service::Amd | Service::AmdVcek => self.amd.clone()?,
            Service::IntelRootCrl => {
                let intel = self.intel.clone()?;
                let own = self.intel_root_crl.clone().or_else(|| {
                    let pcs = BaseUrl::parse(INTEL_PCS).ok()?;
                    (pcs.host == intel.host).then(|| BaseUrl::parse(INTEL_ROOT_CRL).ok())?
                });
                if let Some(url) = own {
                    let path = if url.path.is_empty() { "/".to_owned() } else { url.path.clone() };
                    return Some((url, path));
                }
                intel
            }
        };
        let path = format!("{}{}", base.path, statement.path());
        Some((base, path))
    }

    /// The URL of a statement, for messages.
    #[must_use]
    pub fn url(&self, statement: &Statement) -> Option<String> {
        let (base, path) = self.target(statement)?;
        let origin = BaseUrl { path: String::new(), ..base };
        Some(format!("{origin}{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_https_or_on_loopback() {
        let url = |text| BaseUrl::parse(text).map(|url| url.to_string());
        assert_eq!(url("https://pccs.example/").as_deref(), Ok("https://pccs.example:443"));
        assert_eq!(
            url("https://[2001:db8::1]:8081/x/").as_deref(),
            Ok("https://[2001:db8::1]:8081/x")
        );
        assert_eq!(url("http://127.0.0.1:80").as_deref(), Ok("http://127.0.0.1:80"));
        assert_eq!(url("http://[::1]:8080").as_deref(), Ok("http://[::1]:8080"));
        assert_eq!(url("http://pccs.example"), Err(UrlError::ClearText));
        assert_eq!(url("http://localhost"), Err(UrlError::ClearText));
        assert_eq!(url("ftp://pccs.example"), Err(UrlError::Scheme));
        for shape in ["https://a@b", "https://a/?q", "https://a/#f", "https://a b", "https://ä"] {
            assert_eq!(url(shape), Err(UrlError::Shape), "{shape}");
        }
        for authority in
            ["https://", "https://a:", "https://a:0", "https://a:99999", "https://[::1"]
        {
            assert_eq!(url(authority), Err(UrlError::Authority), "{authority}");
        }
    }

    #[test]
    fn the_root_list_comes_from_where_it_is() {
        let list = Statement::IntelRootCrl;
        assert_eq!(
            Services::vendors().url(&list).as_deref(),
            Some("https://certificates.trustedservices.intel.com:443/IntelSGXRootCA.der")
        );
        let intel = BaseUrl::parse("https://pccs.example:8081").ok();
        let pccs = Services { intel: intel.clone(), ..Services::default() };
        assert_eq!(
            pccs.url(&list).as_deref(),
            Some("https://pccs.example:8081/sgx/certification/v4/rootcacrl")
        );
        let intel_root_crl = BaseUrl::parse("https://mirror.example/root.crl").ok();
        let mirrored = Services { intel, intel_root_crl, amd: None };
        assert_eq!(mirrored.url(&list).as_deref(), Some("https://mirror.example:443/root.crl"));
        assert_eq!(Services::default().url(&list), None);
    }
}
