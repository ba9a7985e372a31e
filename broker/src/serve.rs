//! The life of the broker: check everything, open everything, bind, serve, drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::admin::{self, Administrators};
use crate::broker::{Broker, TrustedInputs};
use crate::config::{BrokerConfig, TlsSource, TokenAuthentication};
use crate::error::{Finding, StartupError};
use crate::http::{Listener, serve};
use crate::kbs;
use crate::state_dir;
use crate::tls::{ServerIdentity, TlsError};

/// A configuration whose files were read and found good.
#[derive(Debug)]
pub struct CheckedConfig {
    config: BrokerConfig,
    trusted: TrustedInputs,
}

impl CheckedConfig {
    /// Reads every file that the configuration names and changes nothing.
    ///
    /// # Errors
    /// [`StartupError::Configuration`] with everything that is wrong.
    pub fn check(config: BrokerConfig) -> Result<Self, StartupError> {
        let mut findings = Vec::new();
        if matches!(config.tls, TlsSource::Files { .. }) {
            let identity = ServerIdentity::load(&config.tls, &[], Path::new(""));
            findings.extend(identity.err().map(|error: TlsError| error.finding()));
        }
        if let TokenAuthentication::File(path) = &config.admin.token {
            // A missing file is made later; one that is there must be good now.
            if path.exists() {
                let loaded = Administrators::load(&config.admin);
                findings.extend(loaded.err().map(|error| error.finding()));
            }
        }
        let trusted = match TrustedInputs::load(&config) {
            Ok(trusted) if findings.is_empty() => trusted,
            Ok(_) => return Err(StartupError::Configuration(findings)),
            Err(more) => {
                findings.extend(more);
                return Err(StartupError::Configuration(findings));
            }
        };
        Ok(Self { config, trusted })
    }

    /// The checked configuration.
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }
}

/// Where a running broker can be reached; the content of the ready file.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoints {
    /// URL of the KBS.
    pub kbs: String,
    /// URL of the admin API, unless it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// What clients should trust.
    pub ca_file: PathBuf,
    /// The admin token, unless tokens are off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// A broker whose ports are bound.
#[derive(Debug)]
pub struct RunningBroker {
    broker: Arc<Broker>,
    listeners: Vec<Listener>,
    endpoints: Endpoints,
}

impl RunningBroker {
    /// Opens everything, then binds. Steps: 1. the state folder; 2. store, audit log, keys; 3. TLS;
    /// 4. administrators; 5. the ports.
    ///
    /// # Errors
    /// [`StartupError`] from the first step that fails.
    pub async fn start(checked: CheckedConfig) -> Result<Self, StartupError> {
        let CheckedConfig { config, trusted } = checked;
        // 1.
        let state_dir = &config.state_dir;
        state_dir::prepare(state_dir)
            .map_err(|finding| StartupError::Configuration(vec![finding]))?;
        // 2.
        let broker = Arc::new(Broker::open(&config, trusted)?);
        // 3.
        let identity = ServerIdentity::load(&config.tls, &config.server_names, state_dir)?;
        let kbs_tls = TlsAcceptor::from(Arc::new(identity.kbs_config()?));
        // 4.
        let admin_address = config.admin_listen.filter(|_| !config.admin.is_off());
        let administrators = Administrators::load(&config.admin)
            .map_err(|error| StartupError::Configuration(vec![error.finding()]))?;
        // 5.
        let socket = bind("listen", config.listen).await?;
        let mut endpoints = Endpoints {
            kbs: url(&socket, config.listen),
            admin: None,
            ca_file: identity.trust_file.clone(),
            token_file: None,
        };
        let timeout = config.limits.request_timeout;
        let router = kbs::routes::router(Arc::clone(&broker), timeout);
        let limits = config.limits;
        let mut listeners = vec![Listener { name: "kbs", socket, tls: kbs_tls, router, limits }];
        match admin_address {
            Some(address) => {
                let socket = bind("admin_listen", address).await?;
                endpoints.admin = Some(url(&socket, address));
                if let TokenAuthentication::File(path) = &config.admin.token {
                    endpoints.token_file = Some(path.clone());
                }
                let tls = TlsAcceptor::from(Arc::new(identity.admin_config(&config.admin)?));
                let administrators = Arc::new(administrators);
                let router = admin::router(Arc::clone(&broker), administrators, timeout);
                listeners.push(Listener { name: "admin", socket, tls, router, limits });
            }
            None => tracing::warn!("the admin API is off: no listener is bound for it"),
        }
        Ok(Self { broker, listeners, endpoints })
    }

    /// Where the broker can be reached.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The broker behind the listeners.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Serves until `stop` becomes true, drains, and records the end.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let tasks: Vec<_> = self
            .listeners
            .into_iter()
            .map(|listener| tokio::spawn(serve(listener, Arc::clone(&self.broker), stop.clone())))
            .collect();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a listener ended in a panic");
            }
        }
        let broker = self.broker;
        // The last record is written off the async threads like every other.
        if let Err(error) = tokio::task::spawn_blocking(move || broker.close()).await {
            tracing::error!(%error, "closing ended in a panic");
        }
    }
}

/// Writes where the broker can be reached, whole or not at all.
///
/// # Errors
/// [`StartupError::ReadyFile`].
pub fn write_ready_file(path: &Path, endpoints: &Endpoints) -> Result<(), StartupError> {
    let error = |source| StartupError::ReadyFile { path: path.to_owned(), source };
    let json = serde_json::to_vec(endpoints).map_err(|e| error(std::io::Error::other(e)))?;
    state_dir::write_whole(path, &json).map_err(error)
}

/// Findings as one JSON line each for a log, or as text for a terminal.
pub fn report(findings: &[Finding], as_json: bool) -> String {
    let one = |finding: &Finding| match as_json {
        true => serde_json::to_string(finding).unwrap_or_else(|_| finding.to_string()),
        false => finding.to_string(),
    };
    findings.iter().map(one).collect::<Vec<_>>().join("\n")
}

async fn bind(listener: &'static str, address: SocketAddr) -> Result<TcpListener, StartupError> {
    let failed = |source| StartupError::Listen { listener, address, source };
    TcpListener::bind(address).await.map_err(failed)
}

fn url(socket: &TcpListener, asked: SocketAddr) -> String {
    let bound = socket.local_addr().unwrap_or(asked);
    format!("https://{bound}")
}
