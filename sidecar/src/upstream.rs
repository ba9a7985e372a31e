//! The inference server: how to reach it, whether it is up, whether it can be reached past us.
//!
//! In: its address, on loopback or a Unix socket. Out: connections (kept for reuse), and a
//! [`Standing`] for probes. It sends nothing of a client's; [`forward`](crate::proxy::forward)
//! does. Against: serving in front of a server that listens on the pod's address too, so that
//! anybody can go around the sidecar.

mod bypass;
mod pool;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use tokio::sync::watch;

pub use bypass::{Exposure, PROC_NET_TCP};
pub use pool::{ConnectError, Lease, Pool};

use crate::config::UpstreamConfig;

/// A health answer longer than this is not read further.
const MAX_HEALTH_BODY: usize = 64 * 1024;
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause between two looks at a server that is down.
const LOOK_AGAIN_WHEN_DOWN: Duration = Duration::from_millis(250);

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A loopback address.
    Loopback(SocketAddr),
    /// A Unix socket.
    UnixSocket(PathBuf),
}

impl UpstreamAddress {
    /// Reads `http://127.0.0.1:8000`, `http://[::1]:8000`, `http://localhost:8000` or
    /// `unix:/path`. Nothing for every other text, addresses beyond loopback included.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return path.starts_with('/').then(|| Self::UnixSocket(PathBuf::from(path)));
        }
        let rest = text.strip_prefix("http://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let address = match authority.strip_prefix("localhost:") {
            Some(port) => SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)),
            None => authority.parse().ok()?,
        };
        (address.ip().is_loopback() && address.port() != 0).then_some(Self::Loopback(address))
    }

    /// What the server gets as Host.
    pub fn host(&self) -> HeaderValue {
        match self {
            Self::Loopback(address) => HeaderValue::from_str(&address.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("localhost")),
            Self::UnixSocket(_) => HeaderValue::from_static("localhost"),
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(address) => write!(f, "http://{address}"),
            Self::UnixSocket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether the server can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It answered its health path with 2xx.
    Up,
    /// It did not, or nobody has looked yet.
    Down {
        /// What was seen.
        reason: String,
    },
    /// It also listens where everybody can reach it without us.
    Exposed {
        /// The addresses.
        listeners: String,
    },
}

impl Standing {
    /// Why it cannot be used; nothing when it can.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Up => None,
            Self::Down { reason } => Some(format!("the inference server is down: {reason}")),
            Self::Exposed { listeners } => Some(format!(
                "the inference server listens on {listeners}, where clients can go around the \
                 sidecar; let it listen on 127.0.0.1"
            )),
        }
    }
}

/// The server.
#[derive(Debug, Clone)]
pub struct Upstream {
    config: Arc<UpstreamConfig>,
    pool: Pool,
    standing: Arc<watch::Sender<Standing>>,
}

impl Upstream {
    /// Knows where the server is; connects to nothing.
    pub fn new(config: UpstreamConfig) -> Self {
        let pool = Pool::new(config.address.clone(), config.connect_timeout);
        let unseen = Standing::Down { reason: "not asked yet".into() };
        Self { config: Arc::new(config), pool, standing: Arc::new(watch::Sender::new(unseen)) }
    }

    /// How it was configured.
    pub fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    /// Its connections.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What the last look found.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Looks at the server again and again; never returns.
    pub async fn watch(self) {
        loop {
            let standing = self.look().await;
            let pause = match standing {
                Standing::Up => self.config.health_interval,
                // Who waits for a server to come up should not wait for us as well.
                Standing::Down { .. } | Standing::Exposed { .. } => {
                    self.config.health_interval.min(LOOK_AGAIN_WHEN_DOWN)
                }
            };
            self.standing.send_if_modified(|last| {
                if *last == standing {
                    return false;
                }
                match standing.trouble() {
                    Some(trouble) => tracing::warn!(trouble, "upstream"),
                    None => tracing::info!(address = %self.config.address, "upstream is up"),
                }
                *last = standing;
                true
            });
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&self) -> Standing {
        if let UpstreamAddress::Loopback(address) = &self.config.address {
            let exposure = bypass::listeners_beyond_loopback(address.port());
            match exposure {
                Exposure::None => {}
                Exposure::Listeners(listeners) => {
                    let listeners: Vec<String> =
                        listeners.iter().map(ToString::to_string).collect();
                    return Standing::Exposed { listeners: listeners.join(", ") };
                }
                Exposure::Unknown(error) => {
                    return Standing::Down { reason: format!("{PROC_NET_TCP}: {error}") };
                }
            }
        }
        match tokio::time::timeout(HEALTH_TIMEOUT, self.ask_health()).await {
            Ok(Ok(status)) if status.is_success() => Standing::Up,
            Ok(Ok(status)) => {
                Standing::Down { reason: format!("{} answered {status}", self.config.health_path) }
            }
            Ok(Err(reason)) => Standing::Down { reason },
            Err(_) => Standing::Down {
                reason: format!("{} did not answer in time", self.config.health_path),
            },
        }
    }

    async fn ask_health(&self) -> Result<StatusCode, String> {
        let told = |error: &(dyn std::error::Error + 'static)| crate::error::chain(error);
        let mut connection =
            self.pool.connect::<Empty<bytes::Bytes>>().await.map_err(|error| told(&error))?;
        let request = Request::get(self.config.health_path.as_str())
            .header(HOST, self.config.address.host())
            .body(Empty::new())
            .map_err(|error| told(&error))?;
        let response = connection.send_request(request).await.map_err(|error| told(&error))?;
        let status = response.status();
        // Read to its end, so that the server does not see a broken connection in its log.
        let _ = Limited::new(response.into_body(), MAX_HEALTH_BODY).collect().await;
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_unix_sockets_are_addresses() {
        for (text, shown) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://localhost:80", "http://127.0.0.1:80"),
            ("unix:/run/server.sock", "unix:/run/server.sock"),
        ] {
            let address = UpstreamAddress::parse(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Some(shown), "{text}");
        }
    }

    #[test]
    fn what_leaves_the_pod_in_clear_is_no_address() {
        for text in [
            "http://10.0.0.1:80",
            "http://0.0.0.0:80",
            "http://example.org:80",
            "https://127.0.0.1:80",
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "http://127.0.0.1:80/path",
            "http://user@127.0.0.1:80",
            "unix:relative",
            "",
        ] {
            assert_eq!(UpstreamAddress::parse(text), None, "{text}");
        }
    }
}
