//! Who may pull: the challenge of a registry, and the token that answers it.
//!
//! A registry answers 401 with `WWW-Authenticate: Bearer realm="…",service="…",scope="…"`; the token is asked
//! for at the realm, with user and password if there are such, and kept until the registry refuses it. A
//! registry that says `Basic` gets user and password itself.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;
use zeroize::{Zeroize, Zeroizing};

use crate::credentials::Credentials;
use crate::fault::Fault;
use crate::transport::Transport;
use crate::web::basic;

/// Largest answer of a token service, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1024;
const MAX_CHALLENGE_BYTES: usize = 4096;

/// What a registry wants to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password.
    Basic,
    /// A token from another place.
    Bearer { realm: Url, service: Option<String>, scope: Option<String> },
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.token.zeroize();
        self.access_token.zeroize();
    }
}

impl Challenge {
    /// Reads the value of `WWW-Authenticate` (RFC 9110, section 11.6.1).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_CHALLENGE_BYTES {
            return None;
        }
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match name.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => realm = Url::parse(value).ok(),
                "service" => service = Some(value.to_owned()),
                "scope" => scope = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }

    /// The `Authorization` that answers it.
    pub(crate) async fn answer(
        &self,
        fallback_scope: &str,
        transport: &Transport,
        credentials: Option<&Credentials>,
    ) -> Result<HeaderValue, Fault> {
        let basic = credentials.and_then(basic);
        let (realm, service, scope) = match self {
            Self::Basic => {
                let value = basic.ok_or_else(|| Fault::Refused {
                    status: 401,
                    said: "it asks for a user and a password, and there are none".to_owned(),
                })?;
                return sensitive(&value);
            }
            Self::Bearer { realm, service, scope } => (realm, service, scope),
        };
        let mut url = realm.clone();
        url.query_pairs_mut()
            .extend_pairs(service.as_ref().map(|service| ("service", service)))
            .append_pair("scope", scope.as_deref().unwrap_or(fallback_scope));
        let mut headers = HeaderMap::new();
        if let Some(basic) = &basic {
            headers.insert(AUTHORIZATION, sensitive(basic)?);
        }
        let response = transport.get(&url, headers).await?;
        let bytes = Zeroizing::new(response.into_body().beginning(MAX_TOKEN_BYTES).await?);
        let unsound = || Fault::Unsound { what: "the token service gave no token".to_owned() };
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| unsound())?;
        let token = answer.token.as_ref().or(answer.access_token.as_ref()).ok_or_else(unsound)?;
        sensitive(&Zeroizing::new(format!("Bearer {token}")))
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Fault::Unsound {
        what: "a token with characters that no header has".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        let text = "Bearer realm=\"https://auth.example/token\",service=\"registry.example\",\
                    scope=\"repository:acme/llama:pull,push\"";
        assert_eq!(
            Challenge::parse(text),
            Some(Challenge::Bearer {
                realm: Url::parse("https://auth.example/token").unwrap(),
                service: Some("registry.example".to_owned()),
                scope: Some("repository:acme/llama:pull,push".to_owned()),
            })
        );
        let text = "bearer service=x, realm=\"https://auth.example/\"";
        assert!(matches!(Challenge::parse(text), Some(Challenge::Bearer { scope: None, .. })));
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        for text in ["", "Negotiate", "Bearer", "Bearer realm=x", "Bearer realm=\"https://x", "="] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
        let long = format!("Bearer realm=\"https://x/{}\"", "a".repeat(MAX_CHALLENGE_BYTES));
        assert_eq!(Challenge::parse(&long), None);
    }
}
