//! How a store is reached. Every field has a sound default; what weakens security says so.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use url::Url;

use crate::credentials::Credentials;

/// How a store is reached.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Region of an S3 bucket; `us-east-1` where it means nothing.
    pub region: String,
    /// Another endpoint than the provider's: `https://host:port`.
    pub endpoint: Option<Url>,
    /// How an S3 endpoint is told the bucket.
    pub addressing: Addressing,
    /// Storage account, at Azure.
    pub account: Option<String>,
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// Who asks.
    pub access: Access,
    /// Whether anybody is asked without TLS.
    pub plain_http: PlainHttp,
    /// Whether an OCI tag may stand without a digest.
    pub tags: Tags,
    /// Most requests at once.
    pub in_flight: NonZeroUsize,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// When to ask again.
    pub retry: RetryPolicy,
}

/// How an S3 endpoint is told the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`; the endpoint that is set already has the bucket in it.
    VirtualHost,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// The certificates of the operating system.
    System,
    /// These, and no others.
    Only(Vec<CertificateDer<'static>>),
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Access {
    /// Nobody in particular: sealed models may lie in public.
    Anonymous,
    /// The holder of these.
    Credentials(Arc<Credentials>),
}

impl Access {
    /// What is shown to whoever asks, if anything is.
    pub(crate) fn credentials(&self) -> Option<&Arc<Credentials>> {
        match self {
            Self::Anonymous => None,
            Self::Credentials(credentials) => Some(credentials),
        }
    }
}

/// Whether anybody is asked without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// This machine only.
    LoopbackOnly,
    /// Anybody. Whoever is on the way reads bearer tokens and passwords, and knows what is read; what the
    /// model is made of stays sealed and authenticated.
    InsecureAllow,
}

/// Whether an OCI tag may stand without a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// It may not: what was sealed is named by its digest.
    Refuse,
    /// It may: the registry decides what is loaded, among models sealed to the same key.
    InsecureAllow,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS.
    pub connect: Duration,
    /// From the end of a request to the head of its response.
    pub first_byte: Duration,
    /// Without a byte in the middle of a response.
    pub progress: Duration,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests in all without a byte of progress.
    pub attempts: NonZeroU32,
    /// Pause after the first failure; later ones double it.
    pub first_pause: Duration,
    /// No pause is longer, whatever the server asks for.
    pub longest_pause: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            endpoint: None,
            addressing: Addressing::Path,
            account: None,
            roots: Roots::System,
            access: Access::Anonymous,
            plain_http: PlainHttp::LoopbackOnly,
            tags: Tags::Refuse,
            in_flight: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            progress: Duration::from_secs(20),
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(20),
        }
    }
}
