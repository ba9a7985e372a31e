//! A prefix in a bucket: S3, Google Cloud Storage, Azure Blob Storage.
//!
//! `object_store` knows the dialects and signs; the requests go out through our own
//! [`Transport`], which judges what comes back. Its own retries are off: ours know what is missing.
//! Nothing is taken from the environment or from metadata services: without credentials, requests are
//! not signed.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::azure::{AzureAccessKey, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{
    ClientOptions, CredentialProvider, HttpClient, HttpConnector, HttpError, HttpErrorKind,
    HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{
    BackoffConfig, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, RetryConfig,
};

use crate::address::{Bucket, Provider};
use crate::credentials::{Credentials, Field};
use crate::fault::Fault;
use crate::remote::{Chunks, Pinned};
use crate::settings::{Addressing, StoreSettings};
use crate::storage::StoreError;
use crate::transport::{Outgoing, Transport};

/// Most bytes of an answer that is not an object: a token, an error, a list.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A prefix in a bucket.
pub(crate) struct BucketStore {
    bucket: Bucket,
    store: Arc<dyn ObjectStore>,
}

/// Who asks again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retrying {
    /// [`RemoteStorage`](crate::remote::RemoteStorage), which knows which bytes are missing.
    Caller,
    /// The library: it sends parts of an upload, and knows how to send them again.
    Library,
}

impl BucketStore {
    pub(crate) fn new(
        bucket: Bucket,
        transport: Transport,
        settings: &StoreSettings,
        retrying: Retrying,
    ) -> Result<Self, StoreError> {
        let connector = Connector { transport, retrying };
        let store: Arc<dyn ObjectStore> = match bucket.provider {
            Provider::S3 => s3(&bucket, connector, settings)?,
            Provider::Google => google(&bucket, connector, settings)?,
            Provider::Azure => azure(&bucket, connector, settings)?,
        };
        Ok(Self { bucket, store })
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    pub(crate) async fn look(&self, name: &str) -> Result<Pinned, Fault> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.store.get_opts(&self.path(name)?, options).await.map_err(fault)?;
        Ok(pinned(&found.meta))
    }

    pub(crate) async fn part(
        &self,
        name: &str,
        pinned_: &Pinned,
        range: Range<u64>,
    ) -> Result<Chunks, Fault> {
        let options = GetOptions {
            if_match: pinned_.strong_etag().map(str::to_owned),
            version: pinned_.version.clone(),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.path(name)?, options).await.map_err(fault)?;
        pinned_.same(&pinned(&found.meta))?;
        Ok(stream(found))
    }

    pub(crate) async fn whole(&self, name: &str) -> Result<(Option<u64>, Chunks), Fault> {
        let found =
            self.store.get_opts(&self.path(name)?, GetOptions::default()).await.map_err(fault)?;
        Ok((Some(found.meta.size), stream(found)))
    }

    pub(crate) fn path(&self, name: &str) -> Result<Path, Fault> {
        Path::parse(self.bucket.key(name)).map_err(|_| Fault::Name { name: name.to_owned() })
    }
}

fn pinned(meta: &ObjectMeta) -> Pinned {
    Pinned {
        len: meta.size,
        etag: meta.e_tag.clone(),
        version: meta.version.clone(),
        last_modified: Some(meta.last_modified.to_rfc3339()),
    }
}

fn stream(found: GetResult) -> Chunks {
    found.into_stream().map(|chunk| chunk.map_err(fault)).boxed()
}

/// Ours, where it came from our transport; otherwise what `object_store` made of an answer.
pub(crate) fn fault(error: object_store::Error) -> Fault {
    Fault::within(&error).unwrap_or_else(|| match error {
        object_store::Error::NotFound { .. } => Fault::Missing,
        object_store::Error::Precondition { .. } => Fault::Changed { what: "its ETag" },
        other => Fault::Unsound { what: crate::fault::printable(other.to_string().as_bytes()) },
    })
}

fn s3(
    bucket: &Bucket,
    connector: Connector,
    settings: &StoreSettings,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let signer = Signer::new(settings, bucket.provider)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&settings.region)
        .with_skip_signature(signer.is_none())
        .with_virtual_hosted_style_request(settings.addressing == Addressing::VirtualHost)
        .with_credentials(Arc::new(AwsSigner(signer)))
        .with_retry(connector.retry(settings))
        .with_http_connector(connector);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    let store = builder.build().map_err(|error| not_built("endpoint", bucket, error))?;
    Ok(Arc::new(store))
}

fn google(
    bucket: &Bucket,
    connector: Connector,
    settings: &StoreSettings,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&bucket.name)
        .with_retry(connector.retry(settings))
        .with_http_connector(connector);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_base_url(endpoint.as_str().trim_end_matches('/'));
    }
    let credentials = settings.access.credentials();
    builder = match credentials.and_then(|credentials| credentials.value(Field::ServiceAccount)) {
        // It asks Google for tokens itself, and so must hold the key.
        Some(account) => builder.with_service_account_key(account),
        None => {
            let signer = Signer::new(settings, bucket.provider)?;
            let nobody = signer.is_none();
            builder.with_skip_signature(nobody).with_credentials(Arc::new(GoogleSigner(signer)))
        }
    };
    let store = builder.build().map_err(|error| not_built("credentials", bucket, error))?;
    Ok(Arc::new(store))
}

fn azure(
    bucket: &Bucket,
    connector: Connector,
    settings: &StoreSettings,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let signer = Signer::new(settings, bucket.provider)?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(&bucket.name)
        .with_skip_signature(signer.is_none())
        .with_credentials(Arc::new(AzureSigner(signer)))
        .with_retry(connector.retry(settings))
        .with_http_connector(connector);
    if let Some(account) = &settings.account {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = &settings.endpoint {
        let endpoint = endpoint.as_str().trim_end_matches('/').to_owned();
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder.build().map_err(|error| not_built("account", bucket, error))?;
    Ok(Arc::new(store))
}

fn not_built(name: &'static str, bucket: &Bucket, error: object_store::Error) -> StoreError {
    StoreError::Setting { name, scheme: bucket.provider.scheme(), source: Box::new(error) }
}

/// Gives credentials to the library for one signature at a time.
#[derive(Debug)]
enum Signer {
    /// Requests are not signed.
    Nobody,
    Holder(Arc<Credentials>),
}

impl Signer {
    fn new(settings: &StoreSettings, provider: Provider) -> Result<Self, StoreError> {
        let Some(credentials) = settings.access.credentials() else { return Ok(Self::Nobody) };
        let has = |field| credentials.has(field);
        let (sound, expected) = match provider {
            Provider::S3 => (
                has(Field::AccessKeyId) && has(Field::SecretAccessKey),
                "give access_key_id and secret_access_key",
            ),
            Provider::Google => (has(Field::BearerToken), "give service_account, or bearer_token"),
            Provider::Azure => (
                has(Field::AccountKey) || has(Field::SasToken) || has(Field::BearerToken),
                "give account_key, sas_token, or bearer_token",
            ),
        };
        if !sound {
            return Err(StoreError::Credentials { scheme: provider.scheme(), expected });
        }
        Ok(Self::Holder(Arc::clone(credentials)))
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    fn value(&self, field: Field) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Holder(credentials) => credentials.value(field).map(str::to_owned),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there are no credentials of that kind")]
struct NoCredentials;

fn no_credentials(store: &'static str) -> object_store::Error {
    object_store::Error::Generic { store, source: Box::new(NoCredentials) }
}

#[derive(Debug)]
struct AwsSigner(Signer);
#[derive(Debug)]
struct GoogleSigner(Signer);
#[derive(Debug)]
struct AzureSigner(Signer);

#[async_trait]
impl CredentialProvider for AwsSigner {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let pair = self.0.value(Field::AccessKeyId).zip(self.0.value(Field::SecretAccessKey));
        let (key_id, secret_key) = pair.ok_or_else(|| no_credentials("S3"))?;
        let token = self.0.value(Field::SessionToken);
        Ok(Arc::new(AwsCredential { key_id, secret_key, token }))
    }
}

#[async_trait]
impl CredentialProvider for GoogleSigner {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        let bearer = self.0.value(Field::BearerToken).ok_or_else(|| no_credentials("GCS"))?;
        Ok(Arc::new(GcpCredential { bearer }))
    }
}

#[async_trait]
impl CredentialProvider for AzureSigner {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let signer = &self.0;
        let credential = if let Some(key) = signer.value(Field::AccountKey) {
            let key = AzureAccessKey::try_new(&key).map_err(|_| no_credentials("Azure"))?;
            AzureCredential::AccessKey(key)
        } else if let Some(token) = signer.value(Field::SasToken) {
            let pairs = url::form_urlencoded::parse(token.trim_start_matches('?').as_bytes());
            AzureCredential::SASToken(pairs.into_owned().collect())
        } else {
            let token = signer.value(Field::BearerToken);
            AzureCredential::BearerToken(token.ok_or_else(|| no_credentials("Azure"))?)
        };
        Ok(Arc::new(credential))
    }
}

/// Our transport, as the library asks for one.
#[derive(Debug, Clone)]
struct Connector {
    transport: Transport,
    retrying: Retrying,
}

impl Connector {
    fn retry(&self, settings: &StoreSettings) -> RetryConfig {
        let policy = settings.retry;
        match self.retrying {
            Retrying::Caller => RetryConfig { max_retries: 0, ..RetryConfig::default() },
            Retrying::Library => RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: policy.first_pause,
                    max_backoff: policy.longest_pause,
                    base: 2.0,
                },
                max_retries: policy.attempts.get().saturating_sub(1) as usize,
                ..RetryConfig::default()
            },
        }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Of all that is asked for, only objects are large; they come with GET.
        let small = request.method() != Method::GET;
        let request = request.map(Outgoing::Bytes);
        let answered = match self.retrying {
            Retrying::Caller => self.transport.exchange(request).await,
            // The library judges by the status whether to ask again.
            Retrying::Library => self.transport.send(request).await,
        };
        let (parts, body) = answered.map_err(|fault| self.http_error(fault))?.into_parts();
        let small = small || !parts.status.is_success();
        let body = if small {
            let answer = body.beginning(MAX_ANSWER_BYTES).await;
            answer.map_err(|fault| self.http_error(fault))?.into()
        } else {
            HttpResponseBody::new(
                body.map_err(|fault| HttpError::new(HttpErrorKind::Unknown, fault)),
            )
        };
        Ok(HttpResponse::from_parts(parts, body))
    }
}

impl Connector {
    /// "Unknown" is what the library does not ask again for by itself.
    fn http_error(&self, fault: Fault) -> HttpError {
        let kind = match self.retrying {
            Retrying::Caller => HttpErrorKind::Unknown,
            Retrying::Library if !fault.may_be_retried() => HttpErrorKind::Unknown,
            Retrying::Library => match fault {
                Fault::Unreachable { .. } | Fault::ConnectTimeout { .. } => HttpErrorKind::Connect,
                Fault::FirstByteTimeout { .. } | Fault::Stalled { .. } => HttpErrorKind::Timeout,
                _ => HttpErrorKind::Request,
            },
        };
        HttpError::new(kind, fault)
    }
}
