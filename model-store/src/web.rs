//! A folder of an HTTP server.
//!
//! Any server that knows ranges will do: an object is pinned by a request for its first byte, whose answer
//! tells its length, its ETag and its date.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::ops::Range;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, ETAG, IF_MATCH, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;
use zeroize::Zeroizing;

use crate::credentials::{Credentials, Field};
use crate::fault::Fault;
use crate::remote::{Chunks, Pinned, chunks};
use crate::settings::StoreSettings;
use crate::storage::StoreError;
use crate::transport::{ContentRange, Transport, content_length};

/// Longest ETag or date that is kept.
const MAX_VALIDATOR_BYTES: usize = 256;

/// A folder of an HTTP server.
pub(crate) struct Web {
    base: Url,
    transport: Transport,
    credentials: Option<Arc<Credentials>>,
}

impl Web {
    pub(crate) fn new(
        base: Url,
        transport: Transport,
        settings: &StoreSettings,
    ) -> Result<Self, StoreError> {
        let credentials = settings.access.credentials().cloned();
        if credentials.as_ref().is_some_and(|credentials| authorization(credentials).is_none()) {
            return Err(StoreError::Credentials {
                scheme: "https",
                expected: "give bearer_token, or username and password",
            });
        }
        Ok(Self { base, transport, credentials })
    }

    pub(crate) async fn look(&self, name: &str) -> Result<Pinned, Fault> {
        let mut headers = self.headers();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let response = self.transport.get(&self.url(name)?, headers).await?;
        let total = ContentRange::of(response.headers()).and_then(|range| range.total);
        let len = total.ok_or_else(|| Fault::Unsound {
            what: "its Content-Range does not tell the object's length".to_owned(),
        })?;
        let pinned = pinned(len, response.headers());
        // Read to its end, so that the connection can be used again.
        response.into_body().beginning(2).await?;
        Ok(pinned)
    }

    pub(crate) async fn part(
        &self,
        name: &str,
        pinned_: &Pinned,
        range: Range<u64>,
    ) -> Result<Chunks, Fault> {
        let mut headers = self.headers();
        headers.insert(RANGE, range_value(&range)?);
        if let Some(etag) = pinned_.strong_etag().and_then(|etag| HeaderValue::from_str(etag).ok())
        {
            headers.insert(IF_MATCH, etag);
        }
        let response = self.transport.get(&self.url(name)?, headers).await?;
        let total = ContentRange::of(response.headers()).and_then(|range| range.total);
        pinned_.same(&pinned(total.unwrap_or(pinned_.len), response.headers()))?;
        Ok(chunks(response.into_body()))
    }

    pub(crate) async fn whole(&self, name: &str) -> Result<(Option<u64>, Chunks), Fault> {
        let response = self.transport.get(&self.url(name)?, self.headers()).await?;
        Ok((content_length(response.headers()), chunks(response.into_body())))
    }

    pub(crate) fn url(&self, name: &str) -> Result<Url, Fault> {
        object_url(&self.base, name)
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = self.credentials.as_deref().and_then(authorization) {
            headers.insert(AUTHORIZATION, value);
        }
        headers
    }
}

/// The URL of one of the model's objects. Nothing in a name leads out of the folder.
pub(crate) fn object_url(base: &Url, name: &str) -> Result<Url, Fault> {
    let refused = || Fault::Name { name: name.to_owned() };
    let mut url = base.clone();
    {
        let mut segments = url.path_segments_mut().map_err(|()| refused())?;
        segments.pop_if_empty();
        for component in name.split('/') {
            if matches!(component, "" | "." | "..") || component.chars().any(char::is_control) {
                return Err(refused());
            }
            segments.push(component);
        }
    }
    Ok(url)
}

/// The `Authorization` of these credentials, if they make one.
pub(crate) fn authorization(credentials: &Credentials) -> Option<HeaderValue> {
    let text = match credentials.value(Field::BearerToken) {
        Some(token) => Zeroizing::new(format!("Bearer {token}")),
        None => basic(credentials)?,
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `Basic …` of user and password, if there are such.
pub(crate) fn basic(credentials: &Credentials) -> Option<Zeroizing<String>> {
    let user = credentials.value(Field::Username)?;
    let password = credentials.value(Field::Password)?;
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Some(Zeroizing::new(format!("Basic {}", encoded.as_str())))
}

pub(crate) fn range_value(range: &Range<u64>) -> Result<HeaderValue, Fault> {
    let text = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
    HeaderValue::from_str(&text).map_err(|_| Fault::NotSatisfiable)
}

fn pinned(len: u64, headers: &HeaderMap) -> Pinned {
    let text = |name: HeaderName| {
        let value = headers.get(name)?.to_str().ok()?;
        (value.len() <= MAX_VALIDATOR_BYTES).then(|| value.to_owned())
    };
    Pinned { len, etag: text(ETAG), version: None, last_modified: text(LAST_MODIFIED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_do_not_leave_the_folder() {
        let base = Url::parse("https://host/models/llama/").unwrap();
        let url = |name| object_url(&base, name).map(|url| url.to_string());
        assert_eq!(url("model.json").unwrap(), "https://host/models/llama/model.json");
        assert_eq!(
            url("a/b ?#%.sealed").unwrap(),
            "https://host/models/llama/a/b%20%3F%23%25.sealed"
        );
        for name in ["", "..", "a/../b", "/x", "a//b", "a\nb"] {
            assert!(matches!(url(name), Err(Fault::Name { .. })), "{name}");
        }
    }

    #[test]
    fn a_bearer_token_comes_before_a_password() {
        let take = |text: &str| Credentials::take(&mut text.as_bytes().to_vec()).unwrap();
        let value = authorization(&take("username=a\npassword=b")).unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic YTpi");
        let value = authorization(&take("username=a\npassword=b\nbearer_token=t")).unwrap();
        assert_eq!((value.to_str().unwrap(), value.is_sensitive()), ("Bearer t", true));
        assert!(authorization(&take("username=a")).is_none());
    }
}
