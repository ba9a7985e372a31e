//! To a bucket: in parts, several at once; the object's SHA-256 goes with it as metadata.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, MultipartUpload, PutMultipartOptions, PutOptions, PutPayload,
};

use super::Outcome;
use super::inventory::LocalObject;
use crate::bucket::{BucketStore, fault};
use crate::fault::Fault;
use crate::settings::StoreSettings;

/// Smaller objects go in one piece.
const PART: u64 = 8 * 1024 * 1024;
/// Most parts of an upload, at every provider.
const MAX_PARTS: u64 = 10_000;
/// Where the digest stands.
const DIGEST: Attribute = Attribute::Metadata(Cow::Borrowed("adyton-sha256"));

pub(super) async fn put(
    store: &BucketStore,
    object: &LocalObject,
    settings: &StoreSettings,
) -> Result<Outcome, Fault> {
    let path = store.path(&object.name)?;
    if is_there(store, &path, object).await? {
        return Ok(Outcome::Skipped);
    }
    let attributes: Attributes = [
        (DIGEST, object.digest.to_string()),
        (Attribute::ContentType, "application/octet-stream".to_owned()),
    ]
    .into_iter()
    .collect();
    let file = Arc::new(object.open()?);
    if object.len <= PART {
        let payload = read(file, 0, object.len).await.map_err(Fault::local)?;
        let options = PutOptions { attributes, ..PutOptions::default() };
        let put = store.store().put_opts(&path, payload, options).await;
        put.map_err(said)?;
        return Ok(Outcome::Sent);
    }
    let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
    let begun = store.store().put_multipart_opts(&path, options).await;
    let mut upload = begun.map_err(said)?;
    match parts(upload.as_mut(), file, object, settings).await {
        Ok(()) => Ok(Outcome::Sent),
        Err(error) => {
            // So that nobody pays for parts that belong to nothing; if it fails, a lifecycle rule must.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

async fn is_there(store: &BucketStore, path: &Path, object: &LocalObject) -> Result<bool, Fault> {
    let options = GetOptions { head: true, ..GetOptions::default() };
    match store.store().get_opts(path, options).await.map_err(said) {
        Ok(found) => {
            let digest = found.attributes.get(&DIGEST).map(AsRef::as_ref);
            Ok(found.meta.size == object.len && digest == Some(object.digest.to_string().as_str()))
        }
        Err(Fault::Missing) => Ok(false),
        Err(fault) => Err(fault),
    }
}

async fn parts(
    upload: &mut dyn MultipartUpload,
    file: Arc<File>,
    object: &LocalObject,
    settings: &StoreSettings,
) -> Result<(), Fault> {
    let part = PART.max(object.len.div_ceil(MAX_PARTS).next_multiple_of(1024 * 1024));
    let mut running = FuturesUnordered::new();
    let mut at = 0;
    while at < object.len {
        if running.len() >= settings.in_flight.get() {
            running.try_next().await.map_err(said)?;
        }
        let len = part.min(object.len - at);
        let payload = read(Arc::clone(&file), at, len).await;
        running.push(upload.put_part(payload.map_err(Fault::local)?));
        at += len;
    }
    while running.try_next().await.map_err(said)?.is_some() {}
    drop(running);
    upload.complete().await.map_err(said)?;
    Ok(())
}

async fn read(file: Arc<File>, at: u64, len: u64) -> std::io::Result<PutPayload> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = BytesMut::zeroed(usize::try_from(len).unwrap_or(usize::MAX));
        file.read_exact_at(&mut bytes, at)?;
        Ok(PutPayload::from(bytes.freeze()))
    });
    read.await.map_err(std::io::Error::other)?
}

/// What the library says about a status, which it has judged itself here.
fn said(error: object_store::Error) -> Fault {
    let denied = match &error {
        object_store::Error::PermissionDenied { .. } => Some(403),
        object_store::Error::Unauthenticated { .. } => Some(401),
        _ => None,
    };
    match denied {
        Some(status) => {
            let said = crate::fault::printable(error.to_string().as_bytes());
            Fault::Refused { status, said }
        }
        None => fault(error),
    }
}
