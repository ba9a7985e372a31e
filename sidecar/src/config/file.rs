//! The configuration file's shape: names, defaults, nothing checked yet.
//!
//! Kept loose (strings and numbers) so that [`check`](super::check) can report all mistakes at
//! once; serde would stop at the first.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::expose::ExposeSection;
use super::problem::{ConfigError, Problem};

/// The whole file. Every missing key has the default shown here, or is a mistake.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// mTLS port, `address:port`.
    pub listen: String,
    /// Probes and metrics, `address:port`.
    pub admin_listen: String,
    /// Lets plaintext weights reach a swap device.
    pub insecure_allow_swap: bool,
    /// `[attester]`
    pub attester: AttesterSection,
    /// `[broker]`
    pub broker: BrokerSection,
    /// `[model]`
    pub model: ModelSection,
    /// `[expose]`
    pub expose: ExposeSection,
    /// `[upstream]`
    pub upstream: UpstreamSection,
    /// `[tls]`
    pub tls: TlsSection,
    /// `[clients]`
    pub clients: ClientsSection,
    /// `[limits]`
    pub limits: LimitsSection,
}

/// `[attester]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttesterSection {
    /// `auto`, `tsm`, `sev-guest`, `az-vtpm` or `coco`.
    pub kind: String,
    /// CoCo guest API.
    pub coco_url: String,
    /// configfs-tsm report folder.
    pub tsm_path: String,
    /// SNP guest device.
    pub sev_guest_path: String,
    /// vTPM of an Azure confidential VM.
    pub tpm_path: String,
}

/// `[broker]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerSection {
    /// `https://host:port`
    pub url: Option<String>,
    /// PEM file: the only roots trusted for the broker.
    pub ca_file: Option<String>,
    /// One exchange.
    pub request_timeout_seconds: u64,
    /// How long to retry what may be retried.
    pub retry_for_seconds: u64,
}

/// `[model]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// Where the sealed model lies: a folder, `https://…`, `s3://…`, `gs://…`, `az://…`,
    /// `oci://…@sha256:…`.
    pub source: Option<String>,
    /// `[model.store]`
    pub store: StoreSection,
    /// Memory-backed folder.
    pub target: Option<String>,
    /// Name that the manifest must carry.
    pub name: Option<String>,
    /// Lowest accepted version.
    pub minimum_version: u64,
    /// `kbs:///<repository>/<type>/<tag>`
    pub key: Option<String>,
    /// Opening threads; 0 is one per processor.
    pub threads: u64,
    /// Who in the guest may read the opened files: `owner`, `group` or `everyone`.
    pub readable_by: String,
}

/// `[model.store]`: how the place is reached, where it is no folder.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Region of an S3 bucket.
    pub region: String,
    /// Another endpoint than the provider's, `https://host:port`.
    pub endpoint: Option<String>,
    /// The endpoint has the bucket in its host's name (virtual-hosted style).
    pub bucket_in_host: bool,
    /// Storage account, at Azure.
    pub account: Option<String>,
    /// PEM file: the only roots trusted for the store. Not set: those of the image.
    pub ca_file: Option<String>,
    /// File of `name = value` lines.
    pub credentials_file: Option<String>,
    /// The same lines as a resource of the broker, `kbs:///<repository>/<type>/<tag>`.
    pub credentials_kid: Option<String>,
    /// Lets the store be asked without TLS beyond this machine.
    pub insecure_allow_http: bool,
    /// Lets an OCI tag stand without a digest.
    pub insecure_allow_tag: bool,
    /// Requests at once.
    pub max_requests: u64,
    /// TCP and TLS.
    pub connect_timeout_seconds: u64,
    /// To the head of a response.
    pub first_byte_timeout_seconds: u64,
    /// Without a byte in the middle of a response.
    pub stall_timeout_seconds: u64,
    /// Requests in all that bring nothing, before the store counts as not available.
    pub attempts: u64,
}

/// `[upstream]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSection {
    /// `http://127.0.0.1:port` or `unix:/path`
    pub address: Option<String>,
    /// Path that answers 2xx when the server can serve.
    pub health_path: String,
    /// Time between two looks.
    pub health_interval_seconds: u64,
    /// Time to connect.
    pub connect_timeout_seconds: u64,
    /// Time to the response's head.
    pub first_byte_timeout_seconds: u64,
}

/// `[tls]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// PEM file: roots of the clients. Required.
    pub client_ca_file: Option<String>,
    /// PEM chain; with `key_file`. Without both, key and certificate are born here.
    pub certificate_file: Option<String>,
    /// PEM key.
    pub key_file: Option<String>,
    /// Names in the certificate that is born here.
    pub server_names: Vec<String>,
    /// Validity of the certificate that is born here; at most 90.
    pub certificate_days: u64,
    /// Put Evidence into the certificate that is born here (RA-TLS); at most 6 days then.
    pub evidence_in_certificate: bool,
}

/// `[clients]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientsSection {
    /// Subject alternative names, `DNS:…` or `URI:…`, one of which a client must have. Not set:
    /// every client of the CA.
    pub allowed_sans: Option<Vec<String>>,
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Connections at once.
    pub max_connections: u64,
    /// Bytes of one request body.
    pub max_body_bytes: u64,
    /// Bytes of one request head.
    pub max_head_bytes: u64,
    /// Header fields of one request.
    pub max_headers: u64,
    /// HTTP/2 streams at once on one connection.
    pub max_concurrent_streams: u64,
    /// Attestation reports that may be waited for at once.
    pub max_pending_reports: u64,
    /// TLS handshake.
    pub handshake_timeout_seconds: u64,
    /// From a head's first byte to its last.
    pub header_read_timeout_seconds: u64,
    /// A client that sends or takes nothing in the middle of a message.
    pub stall_timeout_seconds: u64,
    /// A connection without a request.
    pub idle_timeout_seconds: u64,
    /// Running requests may take this long after SIGTERM.
    pub drain_timeout_seconds: u64,
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8443".into(),
            admin_listen: "127.0.0.1:9443".into(),
            insecure_allow_swap: false,
            attester: AttesterSection::default(),
            broker: BrokerSection::default(),
            model: ModelSection::default(),
            expose: ExposeSection::default(),
            upstream: UpstreamSection::default(),
            tls: TlsSection::default(),
            clients: ClientsSection::default(),
            limits: LimitsSection::default(),
        }
    }
}

impl Default for BrokerSection {
    fn default() -> Self {
        Self { url: None, ca_file: None, request_timeout_seconds: 30, retry_for_seconds: 300 }
    }
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            source: None,
            store: StoreSection::default(),
            target: None,
            name: None,
            minimum_version: 0,
            key: None,
            threads: 0,
            readable_by: "owner".into(),
        }
    }
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            endpoint: None,
            bucket_in_host: false,
            account: None,
            ca_file: None,
            credentials_file: None,
            credentials_kid: None,
            insecure_allow_http: false,
            insecure_allow_tag: false,
            max_requests: 16,
            connect_timeout_seconds: 10,
            first_byte_timeout_seconds: 30,
            stall_timeout_seconds: 20,
            attempts: 10,
        }
    }
}

impl Default for UpstreamSection {
    fn default() -> Self {
        Self {
            address: None,
            health_path: "/health".into(),
            health_interval_seconds: 2,
            connect_timeout_seconds: 5,
            first_byte_timeout_seconds: 600,
        }
    }
}

impl Default for TlsSection {
    fn default() -> Self {
        Self {
            client_ca_file: None,
            certificate_file: None,
            key_file: None,
            server_names: vec!["localhost".into(), "127.0.0.1".into()],
            certificate_days: 30,
            evidence_in_certificate: false,
        }
    }
}

impl Default for AttesterSection {
    fn default() -> Self {
        Self {
            kind: "auto".into(),
            coco_url: "http://127.0.0.1:8006".into(),
            tsm_path: "/sys/kernel/config/tsm/report".into(),
            sev_guest_path: "/dev/sev-guest".into(),
            tpm_path: "/dev/tpmrm0".into(),
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_body_bytes: 64 << 20,
            max_head_bytes: 32 << 10,
            max_headers: 100,
            max_concurrent_streams: 128,
            max_pending_reports: 8,
            handshake_timeout_seconds: 10,
            header_read_timeout_seconds: 5,
            stall_timeout_seconds: 30,
            idle_timeout_seconds: 75,
            drain_timeout_seconds: 25,
        }
    }
}

/// TOML text to a table.
pub(super) fn parse(text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| not_the_shape(&error))
}

impl ConfigFile {
    pub(super) fn from_table(table: Table) -> Result<Self, ConfigError> {
        table.try_into().map_err(|error: toml::de::Error| not_the_shape(&error))
    }
}

fn not_the_shape(error: &toml::de::Error) -> ConfigError {
    ConfigError::one(Problem {
        key: "(file)".into(),
        value: error.to_string().trim_end().replace('\n', " "),
        expected: "TOML with the sections and keys of the documentation".into(),
        remedy: "unknown keys are mistakes: look for a typing error or a key in the wrong \
                 section; `adyton-sidecar --help` shows an example"
            .into(),
    })
}
