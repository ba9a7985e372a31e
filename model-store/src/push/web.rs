//! To an HTTP server that takes PUT.
//!
//! No server tells the digest of what it has, so what is there is compared by what makes a sealed object
//! itself: its length, its header (a fresh random salt) and the end of its tags.

use std::os::unix::fs::FileExt;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use url::Url;

use super::inventory::LocalObject;
use super::{Outcome, PushError};
use crate::fault::Fault;
use crate::retry::Retry;
use crate::settings::StoreSettings;
use crate::transport::{Outgoing, Transport};
use crate::web::Web;

/// Bytes at both ends that are compared.
const COMPARED: u64 = 4096;

pub(super) struct Target {
    web: Web,
    transport: Transport,
}

impl Target {
    pub(super) fn new(
        url: Url,
        transport: Transport,
        settings: &StoreSettings,
    ) -> Result<Self, PushError> {
        let web = Web::new(url, transport.clone(), settings).map_err(PushError::Store)?;
        Ok(Self { web, transport })
    }

    pub(super) async fn put(
        &self,
        object: &LocalObject,
        settings: &StoreSettings,
    ) -> Result<Outcome, Fault> {
        let mut retry = Retry::new(&settings.retry);
        loop {
            match self.once(object).await {
                Ok(outcome) => return Ok(outcome),
                Err(fault) => retry.after(fault).await?,
            }
        }
    }

    async fn once(&self, object: &LocalObject) -> Result<Outcome, Fault> {
        if self.is_there(object).await? {
            return Ok(Outcome::Skipped);
        }
        let url = self.web.url(&object.name)?;
        let mut request = Request::new(Outgoing::file(object.open()?, object.len));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() =
            url.as_str().parse().map_err(|_| Fault::Name { name: object.name.clone() })?;
        *request.headers_mut() = self.web.headers();
        let kind = HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        self.transport.exchange(request).await?;
        Ok(Outcome::Sent)
    }

    async fn is_there(&self, object: &LocalObject) -> Result<bool, Fault> {
        let pinned = match self.web.look(&object.name).await {
            Ok(pinned) if pinned.len == object.len => pinned,
            Ok(_) | Err(Fault::Missing) => return Ok(false),
            // An object of no bytes, or a server without ranges: it is sent, and the answer tells.
            Err(Fault::NotSatisfiable | Fault::NoRanges) => return Ok(false),
            Err(fault) => return Err(fault),
        };
        let file = object.open()?;
        let head = 0..COMPARED.min(object.len);
        let tail = object.len.saturating_sub(COMPARED)..object.len;
        for range in [head, tail] {
            let mut ours = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut ours, range.start).map_err(Fault::local)?;
            let theirs = self.web.part(&object.name, &pinned, range).await?;
            let theirs: Vec<Bytes> = theirs.try_collect().await?;
            if theirs.concat() != ours {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
