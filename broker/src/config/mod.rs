//! The broker's configuration: one TOML file, environment variables over it, flags over both.
//!
//! In: the file's text and the environment. Out: a [`BrokerConfig`] that needs no further checks, or
//! *every* mistake at once, each with key, value, expected and remedy; no port is bound before.
//! Files that the configuration names (certificates, roots, Endorsements) are opened here as well,
//! so that a broken one is reported with the rest. Secrets are paths, never values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_attestation::{AmdRevocation, ParavisorTds, VerifyOptions};
use rustls_pki_types::ServerName;

use crate::ear::TokenKeySource;
use crate::error::Finding;

mod endorsement;
mod layers;
mod setting;

pub use endorsement::FetchConfig;
pub use setting::{Kind, SETTINGS, Setting};

use layers::{Layers, Value};

/// Start of every environment variable that configures the broker.
pub const ENVIRONMENT_PREFIX: &str = "ADYTON_BROKER__";

/// A configuration that was parsed and checked.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where KBCs connect.
    pub listen: SocketAddr,
    /// Where the owner's CLI connects; `None` when it was switched off.
    pub admin_listen: Option<SocketAddr>,
    /// Folder of the store, its root key, the audit log and self-made certificates.
    pub state_dir: PathBuf,
    /// Names and addresses in the self-made server certificate.
    pub server_names: Vec<String>,
    /// Where the server certificate comes from.
    pub tls: TlsSource,
    /// Where the key that signs tokens comes from.
    pub token_key: TokenKeySource,
    /// How administrators prove who they are.
    pub admin: AdminAuthentication,
    /// Files with the vendors' Endorsements.
    pub endorsement_bundle_files: Vec<PathBuf>,
    /// Where Endorsements are fetched from.
    pub fetch: FetchConfig,
    /// Roots that are trusted beside the vendors'. Their holders can forge any Evidence.
    pub insecure_extra_roots: Vec<PathBuf>,
    /// What the Verifier lets through that it would refuse, by keys that begin with `insecure_`.
    pub verify_options: VerifyOptions,
    /// Bounds on RCAR sessions.
    pub session: SessionLimits,
    /// Bounds on connections and requests.
    pub limits: HttpLimits,
    /// How many decisions the store keeps before the oldest go.
    pub decisions_kept: u64,
    /// Form of the log lines.
    pub log_format: LogFormat,
    /// Least severity that is logged.
    pub log_level: tracing::Level,
    effective: BTreeMap<&'static str, String>,
}

/// Where the server certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// A CA of our own in the state folder, made on first start.
    SelfMade,
    /// PEM files of an operator's PKI.
    Files {
        /// The chain, leaf first.
        certificate_file: PathBuf,
        /// The leaf's private key, mode 0600.
        key_file: PathBuf,
    },
}

/// How administrators prove who they are. Neither: the admin listener is not bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAuthentication {
    /// Bearer token from a file.
    pub token: TokenAuthentication,
    /// Client certificates.
    pub client_certificates: ClientCertificates,
}

/// Whether a bearer token opens the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenAuthentication {
    /// It does not.
    Off,
    /// The token in this file does; the broker makes it on first start.
    File(PathBuf),
}

/// Whether a client certificate opens the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It does not.
    Off,
    /// One that leads to a CA in this PEM file does.
    IssuedBy(PathBuf),
}

impl AdminAuthentication {
    /// Whether nobody can authenticate.
    pub fn is_off(&self) -> bool {
        self.token == TokenAuthentication::Off
            && self.client_certificates == ClientCertificates::Off
    }
}

/// Bounds on RCAR sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// From Challenge to the end of the session.
    pub timeout: Duration,
    /// Most Challenges that wait for an answer; then the oldest goes.
    pub max_challenges: usize,
    /// Most attested sessions; then the oldest goes.
    pub max_attested: usize,
}

/// Bounds on connections and requests.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Most connections at a time on one listener.
    pub connections: usize,
    /// From the first byte of a request to the last of its reply.
    pub request_timeout: Duration,
    /// How long requests in flight may take after SIGTERM.
    pub drain: Duration,
    /// Most verifications of Evidence at a time.
    pub concurrent_verifications: usize,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl BrokerConfig {
    /// Puts the layers together and checks everything.
    ///
    /// `file` is the path and text of the TOML file, `environment` all variables of the process,
    /// `flags` pairs of key and text from the command line.
    ///
    /// # Errors
    /// Every mistake, in the order file, environment, flags, then by key.
    pub fn load(
        file: Option<(&Path, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut layers = Layers::default();
        if let Some((path, text)) = file {
            layers.add_file(path, text, &mut findings);
        }
        layers.add_environment(environment, &mut findings);
        layers.add_flags(flags, &mut findings);

        let config = Reader { layers: &layers, findings: &mut findings }.read();
        match config {
            Some(mut config) if findings.is_empty() => {
                config.effective = layers.effective();
                Ok(config)
            }
            _ => Err(findings),
        }
    }

    /// Every key with the text of its value, for the log and `--check-config`.
    pub fn effective(&self) -> &BTreeMap<&'static str, String> {
        &self.effective
    }
}

/// Turns raw values into typed ones and collects what can't be.
struct Reader<'a> {
    layers: &'a Layers,
    findings: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    /// `None` when something was wrong; `findings` then says what.
    fn read(&mut self) -> Option<BrokerConfig> {
        let listen = self.address("listen");
        let admin_listen = match self.text("admin_listen").as_str() {
            "off" => Some(None),
            _ => self.address("admin_listen").map(Some),
        };
        let state_dir = PathBuf::from(self.text("state_dir"));
        let server_names = self.server_names();
        let tls = self.tls();
        let token_key = self.token_key();
        let admin = self.admin(&state_dir);
        let endorsement_bundle_files = self.files("endorsements.bundle_files");
        let fetch = self.fetch(&state_dir);
        let insecure_extra_roots = self.files("verifier.insecure_extra_roots");
        let verify_options = self.verify_options();
        let session = SessionLimits {
            timeout: Duration::from_secs(self.number("session.timeout_seconds")),
            max_challenges: self.count("session.max_challenges"),
            max_attested: self.count("session.max_attested"),
        };
        let limits = HttpLimits {
            connections: self.count("limits.connections"),
            request_timeout: Duration::from_secs(self.number("limits.request_timeout_seconds")),
            drain: Duration::from_secs(self.number("limits.drain_seconds")),
            concurrent_verifications: self.count("limits.concurrent_verifications"),
        };
        let decisions_kept = self.number("decisions.kept");
        let log_format = match self.text("log.format").as_str() {
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            _ => LogFormat::Auto,
        };
        let log_level = match self.text("log.level").as_str() {
            "error" => tracing::Level::ERROR,
            "warn" => tracing::Level::WARN,
            "debug" => tracing::Level::DEBUG,
            _ => tracing::Level::INFO,
        };
        Some(BrokerConfig {
            listen: listen?,
            admin_listen: admin_listen?,
            state_dir,
            server_names,
            tls: tls?,
            token_key: token_key?,
            admin: admin?,
            endorsement_bundle_files,
            fetch,
            insecure_extra_roots,
            verify_options,
            session,
            limits,
            decisions_kept,
            log_format,
            log_level,
            effective: BTreeMap::new(),
        })
    }

    /// What the operator loosened. A word that is not of its setting was refused with its layer.
    fn verify_options(&self) -> VerifyOptions {
        VerifyOptions {
            paravisor_tds: match self.text("verifier.insecure_paravisor_tds").as_str() {
                "accept" => ParavisorTds::InsecureAccept,
                _ => ParavisorTds::Refuse,
            },
            amd_revocation: match self.text("verifier.insecure_amd_revocation").as_str() {
                "waive" => AmdRevocation::InsecureWaive,
                _ => AmdRevocation::Require,
            },
            ..VerifyOptions::default()
        }
    }

    fn server_names(&mut self) -> Vec<String> {
        let names = self.list("server_names");
        for name in &names {
            if ServerName::try_from(name.as_str()).is_err() {
                self.refuse(
                    "server_names",
                    name,
                    "a DNS name or an IP address",
                    "correct the name; it goes into the server certificate",
                );
            }
        }
        if names.is_empty() {
            let remedy = "name the host that clients connect to";
            self.refuse("server_names", "[]", "at least one name", remedy);
        }
        names
    }

    fn tls(&mut self) -> Option<TlsSource> {
        let certificate = self.optional_file("tls.certificate_file");
        let key = self.optional_file("tls.key_file");
        match (certificate, key) {
            (None, None) => Some(TlsSource::SelfMade),
            (Some(certificate_file), Some(key_file)) => {
                Some(TlsSource::Files { certificate_file, key_file })
            }
            (Some(_), None) => {
                let expected = "the key of `tls.certificate_file`";
                let remedy = "set both, or neither for a self-made CA";
                self.refuse("tls.key_file", "(not set)", expected, remedy);
                None
            }
            (None, Some(_)) => {
                let expected = "the certificate of `tls.key_file`";
                let remedy = "set both, or neither for a self-made CA";
                self.refuse("tls.certificate_file", "(not set)", expected, remedy);
                None
            }
        }
    }

    fn token_key(&mut self) -> Option<TokenKeySource> {
        let key = self.optional_file("token.key_file");
        let certificate = self.optional_file("token.certificate_file");
        let (missing, other) = match (key, certificate) {
            (None, None) => return Some(TokenKeySource::Ephemeral),
            (Some(key_file), Some(certificate_file)) => {
                return Some(TokenKeySource::Files { key_file, certificate_file });
            }
            (Some(_), None) => ("token.certificate_file", "the certificates of `token.key_file`"),
            (None, Some(_)) => ("token.key_file", "the key of `token.certificate_file`"),
        };
        let remedy = "set both, or neither for a key that is made at each start";
        self.refuse(missing, "(not set)", other, remedy);
        None
    }

    fn admin(&mut self, state_dir: &Path) -> Option<AdminAuthentication> {
        let ca_file = self.optional_file("admin.client_ca_file");
        let token_file = match self.text("admin.token_file").as_str() {
            "" => state_dir.join("admin-token"),
            path => PathBuf::from(path),
        };
        let methods = match self.layers.given("admin.authentication") {
            Some(_) => self.list("admin.authentication"),
            None if ca_file.is_some() => vec!["token".into(), "client-certificate".into()],
            None => vec!["token".into()],
        };
        let mut admin = AdminAuthentication {
            token: TokenAuthentication::Off,
            client_certificates: ClientCertificates::Off,
        };
        for method in &methods {
            match (method.as_str(), &ca_file) {
                ("token", _) => admin.token = TokenAuthentication::File(token_file.clone()),
                ("client-certificate", Some(file)) => {
                    admin.client_certificates = ClientCertificates::IssuedBy(file.clone());
                }
                ("client-certificate", None) => {
                    let expected = "the CA of the administrators' certificates";
                    let remedy = "set the key, or take client-certificate from the methods";
                    self.refuse("admin.client_ca_file", "(not set)", expected, remedy);
                    return None;
                }
                (other, _) => {
                    let expected = "token or client-certificate";
                    let remedy = "correct the method, or remove it; [] switches the API off";
                    self.refuse("admin.authentication", other, expected, remedy);
                    return None;
                }
            }
        }
        Some(admin)
    }

    fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        let text = self.text(key);
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let expected = "an IP address with a port, such as 0.0.0.0:8443 or [::]:8443";
                self.refuse(key, &text, expected, "write the address as numbers");
                None
            }
        }
    }

    fn optional_file(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key);
        if text.is_empty() {
            return None;
        }
        let path = PathBuf::from(text);
        self.readable(key, &path);
        Some(path)
    }

    fn files(&mut self, key: &'static str) -> Vec<PathBuf> {
        let paths: Vec<PathBuf> = self.list(key).into_iter().map(PathBuf::from).collect();
        for path in &paths {
            self.readable(key, path);
        }
        paths
    }

    fn readable(&mut self, key: &'static str, path: &Path) {
        let opened = std::fs::File::open(path).and_then(|file| file.metadata());
        let problem = match opened {
            Ok(metadata) if metadata.is_file() => return,
            Ok(_) => "it is not a file".to_owned(),
            Err(error) => error.to_string(),
        };
        self.refuse(
            key,
            &path.display().to_string(),
            &format!("a readable file ({problem})"),
            "correct the path or the permissions of the file and its folders",
        );
    }

    fn text(&self, key: &'static str) -> String {
        match self.layers.value(key) {
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
            Value::List(list) => list.join(","),
        }
    }

    /// Ranges were checked with the kind of the setting, when its layer was read.
    fn number(&self, key: &'static str) -> u64 {
        match self.layers.value(key) {
            Value::Number(number) => number,
            Value::Text(_) | Value::List(_) => 0,
        }
    }

    fn count(&self, key: &'static str) -> usize {
        usize::try_from(self.number(key)).unwrap_or(usize::MAX)
    }

    fn list(&self, key: &'static str) -> Vec<String> {
        match self.layers.value(key) {
            Value::List(list) => list,
            Value::Text(_) | Value::Number(_) => Vec::new(),
        }
    }

    fn refuse(&mut self, key: &str, value: &str, expected: &str, remedy: &str) {
        let origin = self.layers.origin(key);
        self.findings.push(Finding::new(
            format!("configuration key `{key}`{origin}"),
            value,
            expected,
            remedy,
        ));
    }
}

#[cfg(test)]
mod tests;
