//! To an OCI registry (distribution-spec 1.1, "Push"): blobs in chunks, then the manifest that names them.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use url::Url;

use super::inventory::{Inventory, LocalObject};
use super::{Outcome, PushError};
use crate::fault::Fault;
use crate::oci::{
    ARTIFACT_TYPE, Digest, MANIFEST_TYPE, MAX_MANIFEST_BYTES, OBJECT_TYPE, Reference, Session,
    TITLE, base,
};
use crate::retry::Retry;
use crate::settings::StoreSettings;
use crate::storage::StoreError;
use crate::transport::{Outgoing, PacedBody, Transport, content_length};

/// Bytes of one chunk: registries behind load balancers take no endless bodies.
const CHUNK: u64 = 16 * 1024 * 1024;
/// The config of an artifact that needs none (image-spec, "Guidance for an Empty Descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

pub(super) struct Target {
    reference: Reference,
    base: Url,
    session: Session,
}

/// An upload that was begun.
struct Upload {
    place: Url,
    done: u64,
}

impl Target {
    pub(super) fn new(
        reference: Reference,
        transport: Transport,
        settings: &StoreSettings,
    ) -> Result<Self, PushError> {
        let scope = format!("repository:{}:pull,push", reference.repository());
        let session = Session::new(scope, transport, settings).map_err(PushError::Store)?;
        let base = base(&reference, settings).map_err(|source| {
            let source = Box::new(source);
            PushError::Store(StoreError::Setting { name: "endpoint", scheme: "oci", source })
        })?;
        Ok(Self { reference, base, session })
    }

    pub(super) async fn put(
        &self,
        object: &LocalObject,
        settings: &StoreSettings,
    ) -> Result<Outcome, Fault> {
        let blob = Blob::File(object.open()?);
        self.put_blob(&blob, object.len, object.digest, settings).await
    }

    /// The manifest, under its tag if there is one: from here on the model can be found.
    pub(super) async fn tag(
        &self,
        inventory: &Inventory,
        settings: &StoreSettings,
    ) -> Result<Reference, PushError> {
        let failed =
            |source| PushError::Fault { name: "the artifact's manifest".to_owned(), source };
        let bytes = manifest(inventory);
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(PushError::TooManyObjects { got: bytes.len(), limit: MAX_MANIFEST_BYTES });
        }
        let empty = Blob::Memory(Bytes::from_static(EMPTY));
        let put = self.put_blob(&empty, EMPTY.len() as u64, Digest::of(EMPTY), settings).await;
        put.map_err(failed)?;
        let digest = Digest::of(&bytes);
        let named = self.reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let url = self.url(&format!("manifests/{named}")).map_err(failed)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST_TYPE));
        let mut retry = Retry::new(&settings.retry);
        loop {
            let body = Outgoing::bytes(Bytes::from(bytes.clone()));
            match self.session.send(Method::PUT, &url, headers.clone(), body).await {
                Ok(_) => return Ok(self.reference.pinned(digest)),
                Err(fault) => retry.after(fault).await.map_err(failed)?,
            }
        }
    }

    async fn put_blob(
        &self,
        blob: &Blob,
        len: u64,
        digest: Digest,
        settings: &StoreSettings,
    ) -> Result<Outcome, Fault> {
        let mut retry = Retry::new(&settings.retry);
        let mut upload = None;
        loop {
            let before = upload.as_ref().map_or(0, |upload: &Upload| upload.done);
            match self.go_on(blob, len, digest, &mut upload).await {
                Ok(outcome) => return Ok(outcome),
                Err(fault) => {
                    if upload.as_ref().is_some_and(|upload| upload.done > before) {
                        retry.progressed();
                    }
                    retry.after(fault).await?;
                }
            }
            if let Some(begun) = upload.take() {
                // The registry knows best how much of it has arrived; or has forgotten all of it.
                upload = self.ask(begun).await.ok();
            }
        }
    }

    /// From nothing, or from where the upload stands, to its end.
    async fn go_on(
        &self,
        blob: &Blob,
        len: u64,
        digest: Digest,
        upload: &mut Option<Upload>,
    ) -> Result<Outcome, Fault> {
        let none = HeaderMap::new;
        if upload.is_none() {
            let url = self.url(&format!("blobs/{digest}"))?;
            match self.session.send(Method::HEAD, &url, none(), Outgoing::empty()).await {
                Ok(there) if content_length(there.headers()) == Some(len) => {
                    return Ok(Outcome::Skipped);
                }
                Ok(_) | Err(Fault::Missing) => {}
                Err(fault) => return Err(fault),
            }
        }
        let upload = match upload {
            Some(upload) => upload,
            None => {
                let url = self.url("blobs/uploads/")?;
                let begun =
                    self.session.send(Method::POST, &url, none(), Outgoing::empty()).await?;
                upload.insert(Upload { place: place(&url, &begun)?, done: 0 })
            }
        };
        while upload.done < len {
            let count = CHUNK.min(len - upload.done);
            let mut headers = none();
            let range = format!("{}-{}", upload.done, upload.done + count - 1);
            headers.insert(CONTENT_RANGE, value(&range)?);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            let body = Outgoing::bytes(blob.read(upload.done, count)?);
            let taken = self.session.send(Method::PATCH, &upload.place, headers, body).await?;
            upload.place = place(&upload.place, &taken)?;
            upload.done += count;
        }
        let mut last = upload.place.clone();
        last.query_pairs_mut().append_pair("digest", &digest.to_string());
        self.session.send(Method::PUT, &last, none(), Outgoing::empty()).await?;
        Ok(Outcome::Sent)
    }

    async fn ask(&self, upload: Upload) -> Result<Upload, Fault> {
        let asked = self.session.get(&upload.place, HeaderMap::new()).await?;
        let range = asked.headers().get(RANGE).and_then(|value| value.to_str().ok());
        let last = range.and_then(|range| range.trim_start_matches("bytes=").split_once('-'));
        // `0-0` is what registries say of nothing; one byte more or less is no chunk of ours.
        let done = match last.and_then(|(_, last)| last.parse::<u64>().ok()) {
            None | Some(0) => 0,
            Some(last) => last.saturating_add(1),
        };
        Ok(Upload { place: place(&upload.place, &asked)?, done })
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(|_| Fault::Name { name: path.to_owned() })
    }
}

/// Where an upload goes on. On the same origin: credentials go with it.
fn place(from: &Url, response: &http::Response<PacedBody>) -> Result<Url, Fault> {
    let said = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let unsound = |what: &str| Fault::Unsound { what: what.to_owned() };
    let next = said.and_then(|said| from.join(said).ok());
    let next = next.ok_or_else(|| unsound("an upload without a place"))?;
    if next.origin() != from.origin() {
        return Err(unsound("an upload that goes to another host"));
    }
    Ok(next)
}

enum Blob {
    Memory(Bytes),
    File(File),
}

impl Blob {
    fn read(&self, at: u64, len: u64) -> Result<Bytes, Fault> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File(file) => {
                let mut bytes = BytesMut::zeroed(usize::try_from(len).unwrap_or(usize::MAX));
                file.read_exact_at(&mut bytes, at).map_err(Fault::local)?;
                Ok(bytes.freeze())
            }
        }
    }
}

fn value(text: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(text).map_err(|_| Fault::Name { name: text.to_owned() })
}

/// The artifact's manifest. The same model always makes the same bytes.
fn manifest(inventory: &Inventory) -> Vec<u8> {
    let layers: Vec<_> = inventory
        .objects()
        .iter()
        .map(|object| {
            json!({
                "mediaType": OBJECT_TYPE,
                "digest": object.digest.to_string(),
                "size": object.len,
                "annotations": { TITLE: object.name },
            })
        })
        .collect();
    let config = json!({
        "mediaType": EMPTY_TYPE,
        "digest": Digest::of(EMPTY).to_string(),
        "size": EMPTY.len(),
        "data": "e30=",
    });
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": config,
        "layers": layers,
    })
    .to_string()
    .into_bytes()
}
