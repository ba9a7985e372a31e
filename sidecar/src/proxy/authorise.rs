//! May this client ask this? The last decision before a request leaves for the server.
//!
//! In: a request as hyper parsed it, and who sent it. Out: [`Permitted`], which
//! [`forward`](super::forward) demands. On HTTP/1.1 the [`gate`](super::gate) has judged the
//! framing; here is what holds for both protocols.
//! Against: clients of the CA that are not meant for this model; HTTP/2 requests that would turn
//! into something else when written as HTTP/1.1.

use std::collections::BTreeSet;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, Method, Request};

use super::client_identity::AuthenticatedClient;
use super::framing::{Violation, is_host};
use super::respond::ProxyError;

/// Which authenticated clients may use the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientPolicy {
    /// Everybody whom the configured CA has given a certificate.
    EveryClientOfTheCa,
    /// Who has one of these subject alternative names, `DNS:…` or `URI:…`.
    OneOf(BTreeSet<String>),
}

/// A request that may be forwarded for the client that comes with it.
#[derive(Debug)]
pub struct Permitted<B> {
    request: Request<B>,
    client: AuthenticatedClient,
    host: String,
}

impl<B> Permitted<B> {
    fn assertion(request: Request<B>, client: AuthenticatedClient, host: String) -> Self {
        Self { request, client, host }
    }

    /// The request, who sends it, and the one host it is for.
    pub fn into_parts(self) -> (Request<B>, AuthenticatedClient, String) {
        (self.request, self.client, self.host)
    }
}

/// Decides.
///
/// # Errors
/// In this order: a [`Violation`] for method, target, host and framing headers;
/// [`ProxyError::UpgradeRefused`]; [`ProxyError::ClientNotPermitted`].
pub fn authorise<B>(
    request: Request<B>,
    client: &AuthenticatedClient,
    policy: &ClientPolicy,
) -> Result<Permitted<B>, ProxyError> {
    // 1. Methods that turn a proxy into something else.
    if request.method() == Method::CONNECT || request.method() == Method::TRACE {
        return Err(Violation::Method.into());
    }
    // 2. A path, or `*` of OPTIONS.
    let path = request.uri().path();
    let asterisk = path == "*" && request.method() == Method::OPTIONS;
    // HTTP/2 lets bytes through that HTTP/1.1 has no place for; the gate refuses them there.
    let target = request.uri().path_and_query().map_or(path, |target| target.as_str());
    if !asterisk && !path.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Violation::Target.into());
    }
    // 3. One host, said once or twice alike.
    let host = host(&request)?;
    // 4. Names that some server reads as framing.
    for name in request.headers().keys() {
        let spelled = name.as_str().replace('_', "-");
        let framing = ["content-length", "transfer-encoding", "host"].contains(&spelled.as_str());
        if framing && spelled != name.as_str() {
            return Err(Violation::FramingUnderscore.into());
        }
    }
    // 5. No other protocol inside.
    if request.headers().contains_key(UPGRADE) || connection_lists(request.headers(), "upgrade") {
        return Err(ProxyError::UpgradeRefused);
    }
    // 6. The client.
    let permitted = match policy {
        ClientPolicy::EveryClientOfTheCa => true,
        ClientPolicy::OneOf(names) => client.sans().iter().any(|san| names.contains(san)),
    };
    if !permitted {
        return Err(ProxyError::ClientNotPermitted);
    }
    Ok(Permitted::assertion(request, client.clone(), host))
}

fn host<B>(request: &Request<B>) -> Result<String, Violation> {
    let mut said = request.headers().get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    let header = said.next();
    if said.next().is_some() {
        return Err(Violation::Host);
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = match (authority, header) {
        (Some(authority), Some(header)) if !authority.eq_ignore_ascii_case(header) => {
            return Err(Violation::TargetHostMismatch);
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(Violation::Host),
    };
    if !is_host(host) {
        return Err(Violation::Host);
    }
    String::from_utf8(host.to_vec()).map_err(|_| Violation::Host)
}

/// Is `token` among the names that `Connection` lists?
pub(super) fn connection_lists(headers: &HeaderMap, token: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case(token))
}
