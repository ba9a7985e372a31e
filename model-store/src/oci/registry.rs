//! A sealed model in a registry, as a store (OCI distribution-spec 1.1, "Pull").
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::ops::Range;

use http::header::{ACCEPT, RANGE};
use http::{HeaderMap, HeaderValue, Response};
use tokio::sync::OnceCell;
use url::Url;

use super::manifest::{Layer, MANIFEST_TYPE, MAX_MANIFEST_BYTES, Manifest};
use super::reference::{Digest, Reference};
use super::session::Session;
use crate::fault::{Fault, printable};
use crate::remote::{Chunks, Pinned, chunks};
use crate::settings::StoreSettings;
use crate::storage::StoreError;
use crate::transport::{PacedBody, Transport};
use crate::web::range_value;

/// One artifact in a registry.
pub(crate) struct Registry {
    reference: Reference,
    base: Url,
    session: Session,
    manifest: OnceCell<Manifest>,
}

impl Registry {
    pub(crate) fn new(
        reference: Reference,
        transport: Transport,
        settings: &StoreSettings,
    ) -> Result<Self, StoreError> {
        let scope = format!("repository:{}:pull", reference.repository());
        let session = Session::new(scope, transport, settings)?;
        let base = base(&reference, settings).map_err(|source| StoreError::Setting {
            name: "endpoint",
            scheme: "oci",
            source: Box::new(source),
        })?;
        Ok(Self { reference, base, session, manifest: OnceCell::new() })
    }

    pub(crate) async fn look(&self, name: &str) -> Result<Pinned, Fault> {
        let layer = self.layer(name).await?;
        Ok(Pinned { len: layer.size, version: Some(layer.digest.to_string()), ..Pinned::default() })
    }

    pub(crate) async fn part(&self, name: &str, range: Range<u64>) -> Result<Chunks, Fault> {
        let layer = self.layer(name).await?;
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range_value(&range)?);
        Ok(chunks(self.get(&format!("blobs/{}", layer.digest), headers).await?.into_body()))
    }

    pub(crate) async fn whole(&self, name: &str) -> Result<(Option<u64>, Chunks), Fault> {
        let layer = self.layer(name).await?;
        let path = format!("blobs/{}", layer.digest);
        let body = self.get(&path, HeaderMap::new()).await?.into_body();
        Ok((Some(layer.size), chunks(body)))
    }

    /// Small objects are read as a whole, and so are compared with their digest at once.
    pub(crate) fn verify(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        match self.manifest.get().and_then(|manifest| manifest.layer(name)) {
            Some(layer) => same_digest(layer.digest, bytes),
            None => Err(Fault::Missing),
        }
    }

    async fn layer(&self, name: &str) -> Result<Layer, Fault> {
        let manifest = self.manifest.get_or_try_init(|| self.read_manifest()).await?;
        manifest.layer(name).ok_or(Fault::Missing)
    }

    async fn read_manifest(&self) -> Result<Manifest, Fault> {
        let named = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPE));
        let response = self.get(&format!("manifests/{named}"), headers).await?;
        let limit = usize::try_from(MAX_MANIFEST_BYTES).unwrap_or(usize::MAX);
        let bytes = response.into_body().beginning(limit.saturating_add(1)).await?;
        match self.reference.digest() {
            Some(expected) => same_digest(expected, &bytes)?,
            None => tracing::warn!(
                reference = %self.reference,
                resolved = %self.reference.pinned(Digest::of(&bytes)),
                "a tag was resolved, because the configuration allows it"
            ),
        }
        Manifest::parse(&bytes).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let what = format!("its manifest: {error} {}", cause.unwrap_or_default());
            Fault::NotASealedModel { what: printable(what.as_bytes()) }
        })
    }

    async fn get(&self, path: &str, headers: HeaderMap) -> Result<Response<PacedBody>, Fault> {
        let url = self.base.join(path).map_err(|_| Fault::Name { name: path.to_owned() })?;
        self.session.get(&url, headers).await
    }
}

fn same_digest(expected: Digest, bytes: &[u8]) -> Result<(), Fault> {
    let got = Digest::of(bytes);
    if got == expected {
        return Ok(());
    }
    Err(Fault::Digest { expected: expected.to_string(), got: got.to_string() })
}

/// `https://registry/v2/name/`; without TLS where the `endpoint` says so, or on this machine if nothing does.
pub(crate) fn base(
    reference: &Reference,
    settings: &StoreSettings,
) -> Result<Url, url::ParseError> {
    let mut url = match &settings.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => Url::parse(&format!("https://{}", reference.registry()))?,
    };
    url.set_path(&format!("/v2/{}/", reference.repository()));
    url.set_query(None);
    Ok(url)
}
