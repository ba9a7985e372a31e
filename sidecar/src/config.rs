//! The sidecar's configuration: one TOML file, every key also as an environment variable.
//!
//! ```text
//! TOML file ─┐
//!            ├─► ConfigFile (serde, unknown keys refused) ─► check: all mistakes at once ─► Config
//! ADYTON_SIDECAR__… ─┘
//! ```
//!
//! A [`Config`] has been checked against the machine: files were read, addresses parsed, the
//! target is memory-backed. Its [`digest`](Config::digest) goes into every attestation report, so
//! a client that knows the intended configuration knows whether this is it.
//! It holds no secret: keys are paths.

mod check;
mod digest;
mod environment;
mod expose;
mod file;
mod problem;
mod store;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_attestation::attester::{DetectionOptions, Source};
use adyton_attestation::rcar::ResourcePath;
use adyton_model_store::{PlainHttp, StoreSettings, Tags};
use rustls_pki_types::{CertificateDer, ServerName};

pub use environment::PREFIX as ENVIRONMENT_PREFIX;
pub use expose::{ExposeConfig, Reading, S3Config};
pub use file::ConfigFile;
pub use problem::{ConfigError, Problem};

use crate::hygiene::Swap;
use crate::proxy::authorise::ClientPolicy;
use crate::proxy::limits::Limits;
use crate::upstream::UpstreamAddress;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the mTLS port will be, once there is something to serve.
    pub listen: SocketAddr,
    /// Where probes and metrics are served, in clear, for the node.
    pub admin_listen: SocketAddr,
    /// What to do about swap.
    pub swap: Swap,
    /// Where Evidence comes from.
    pub attester: AttesterConfig,
    /// Who releases keys.
    pub broker: BrokerConfig,
    /// What is opened, and where to.
    pub model: ModelConfig,
    /// How the inference server gets the weights.
    pub expose: ExposeConfig,
    /// The inference server in this pod.
    pub upstream: UpstreamConfig,
    /// Our certificate and whose clients we accept.
    pub tls: TlsConfig,
    /// Which of the authenticated clients may ask.
    pub clients: ClientPolicy,
    /// Bounds on everything a client can take.
    pub limits: Limits,
    effective: serde_json::Value,
}

/// Where Evidence comes from. Neither choice falls back to anything that is not a TEE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttesterConfig {
    /// Which sources are asked.
    pub choice: AttesterChoice,
    /// Where the sources are.
    pub places: DetectionOptions,
}

/// Which sources of Evidence are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttesterChoice {
    /// The first, in the order of [`Source::ORDER`], that names a supported TEE.
    Auto,
    /// This one.
    Only(Source),
}

/// The broker, as the KBS protocol reaches it.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Base URL as configured, for messages.
    pub url: String,
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Name that the broker's certificate must carry.
    pub server_name: ServerName<'static>,
    /// Path before `/kbs/v0`, without a slash at its end.
    pub base_path: String,
    /// The only roots that the broker's certificate may lead to.
    pub roots: Vec<CertificateDer<'static>>,
    /// File of those roots, for messages.
    pub ca_file: PathBuf,
    /// One HTTP exchange, connecting included.
    pub request_timeout: Duration,
    /// How long connection errors, 5xx and 429 are retried.
    pub retry_for: Duration,
}

/// The sealed model.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Where `model.json` and the sealed objects lie. Not trusted.
    pub source: adyton_model_store::Source,
    /// How that place is reached.
    pub store: StoreConfig,
    /// Memory-backed folder that the inference server reads.
    pub target: PathBuf,
    /// The name the manifest must carry.
    pub name: ExpectedName,
    /// Versions below this one are refused.
    pub minimum_version: u64,
    /// Which key to ask for.
    pub key: KeyChoice,
    /// Whether the files are opened into the target.
    pub opening: Opening,
    /// Threads that open chunks.
    pub threads: NonZeroUsize,
    /// Who in the guest may read the opened files.
    pub readers: Readers,
}

/// Whether the files are opened into the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// All of them, before anybody is served.
    IntoTarget,
    /// None: ranges are opened when they are asked for. The target stays empty.
    OnDemand,
}

/// How the place of the sealed model is reached.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Everything but the credentials.
    pub settings: StoreSettings,
    /// Where those come from.
    pub credentials: StoreCredentials,
}

/// Where the store's credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreCredentials {
    /// There are none: what is sealed may lie in public.
    Nobody,
    /// A file, read when the model is looked for.
    File(PathBuf),
    /// The broker, once it has accepted our Evidence.
    Broker(ResourcePath),
}

/// Who in the guest may read the opened files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Our own user.
    Owner,
    /// Our user and group.
    Group,
    /// Every user of the guest that sees the folder.
    Everyone,
}

/// Which model name is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedName {
    /// `model.name` is not set: the key decides, since only its holder can seal for it.
    AnyUnderThisKey,
    /// Exactly this name.
    Exactly(String),
}

/// Which of the manifest's recipients opens the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChoice {
    /// `model.key` is not set: the manifest's first recipient.
    FirstRecipient,
    /// The recipient of this key, `kbs:///<repository>/<type>/<tag>`.
    Named(String),
}

/// The inference server.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Where it listens: loopback or a Unix socket, as this hop is not encrypted.
    pub address: UpstreamAddress,
    /// Path that answers 2xx when it can serve.
    pub health_path: String,
    /// Time between two looks at it.
    pub health_interval: Duration,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time from the request's last byte to the response's head.
    pub first_byte_timeout: Duration,
}

/// TLS of the serving port.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// Roots that client certificates must lead to.
    pub client_roots: Vec<CertificateDer<'static>>,
    /// Where our own certificate comes from.
    pub certificate: ServingCertificate,
}

/// Whether the certificate that is born here carries Evidence over its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceInCertificate {
    /// It does not; clients ask the attestation endpoint.
    LeftOut,
    /// It does, for clients that can look at nothing else.
    Included,
}

/// Where the serving certificate comes from.
#[derive(Debug, Clone)]
pub enum ServingCertificate {
    /// Key and self-signed certificate are born in this process and die with it.
    BornHere {
        /// Subject alternative names.
        server_names: Vec<String>,
        /// Validity; at most 90 days.
        days: u16,
        /// Whether Evidence stands in it (RA-TLS), which allows six days at most.
        evidence: EvidenceInCertificate,
    },
    /// PEM files; the chain was parsed, the key is read when the port opens.
    Files {
        /// Leaf first.
        chain: Vec<CertificateDer<'static>>,
        /// PEM file, PKCS#8, SEC1 or PKCS#1.
        key_file: PathBuf,
    },
}

impl Config {
    /// Reads `path`, lays the environment over it, and checks everything.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake found; nothing was bound, written or asked for.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| {
            ConfigError::one(Problem {
                key: "--config".into(),
                value: format!("{}: {source}", path.display()),
                expected: "a readable TOML file".into(),
                remedy: "give the path of the configuration file with --config".into(),
            })
        })?;
        Self::from_toml(&text, environment)
    }

    /// The same from text.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = file::parse(text)?;
        environment::overlay(&mut table, environment)?;
        check::check(ConfigFile::from_table(table)?)
    }

    /// The effective configuration with its defaults and the digests of the files it names.
    pub fn effective(&self) -> &serde_json::Value {
        &self.effective
    }

    /// SHA-256 of the effective configuration as JSON with sorted keys and no white space.
    pub fn digest(&self) -> [u8; 32] {
        digest::of(&self.effective)
    }

    /// The `insecure_` keys that are switched on.
    pub fn insecure(&self) -> Vec<String> {
        let store = &self.model.store.settings;
        [
            ("insecure_allow_swap", self.swap == Swap::InsecureAllow),
            ("model.store.insecure_allow_http", store.plain_http == PlainHttp::InsecureAllow),
            ("model.store.insecure_allow_tag", store.tags == Tags::InsecureAllow),
        ]
        .into_iter()
        .filter(|(_, on)| *on)
        .map(|(name, _)| name.to_owned())
        .collect()
    }
}
