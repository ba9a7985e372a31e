//! The mTLS port: opened with a [`Ready`], closed by a drain.
//!
//! ```text
//! TcpStream ─ tls ─► TlsStream ─ client_identity ─► AuthenticatedClient
//!     HTTP/1.1: gate (framing) ─┐
//!     HTTP/2:   control_frames ─┴─ hyper ─► Request ─ authorise ─► Permitted
//!         ├─ /.well-known/adyton/attestation ─► report
//!         └─ forward ─► inference server ─► response, streamed
//! every error ─ respond ─► one JSON shape
//! ```
//! The listening socket is bound inside [`serve`] and nowhere else: no [`Ready`], no port.

pub mod authorise;
pub mod client_identity;
mod connection;
mod control_frames;
pub mod forward;
pub mod framing;
pub mod gate;
pub mod limits;
mod patience;
pub mod respond;
mod service;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::TlsConfig;
use crate::error::{Exit, Refusal};
use crate::metrics::Metrics;
use crate::phase::Phase;
use crate::ready::{Drained, Ready};
use crate::report::Reporter;
use crate::shutdown::Shutdown;
use crate::upstream::Upstream;
use authorise::ClientPolicy;
use limits::Limits;
use service::Service;
use tls::ServingTls;

/// Why the port could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else has the port, or we may not have it.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Key, certificate or roots do not work together.
    #[error("{key} cannot be used: {reason}")]
    Certificate {
        /// The configuration key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl ServeError {
    fn certificate(key: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Certificate { key, reason: reason.to_string() }
    }

    /// For the person who must mend it.
    pub fn refusal(&self) -> Refusal {
        let (code, value, expected, remedy) = match self {
            Self::Bind { address, source } => (
                "serve.bind",
                format!("listen = {address}: {source}"),
                "a free port that this user may bind",
                "choose another port, or stop what listens there",
            ),
            Self::Certificate { key, reason } => (
                "serve.certificate",
                format!("{key}: {reason}"),
                "a key, its certificate and the clients' CA",
                "check that key_file belongs to certificate_file",
            ),
        };
        Refusal {
            code,
            step: "serve",
            value,
            expected: expected.to_owned(),
            remedy: remedy.to_owned(),
            decision: None,
            codes: Vec::new(),
            exit: Exit::Usage,
        }
    }
}

/// Whose connections are accepted, and how much they may take.
#[derive(Debug)]
pub struct Terms {
    /// Certificate and roots.
    pub tls: TlsConfig,
    /// Which authenticated clients may use the model.
    pub clients: ClientPolicy,
    /// Bounds.
    pub limits: Limits,
}

/// Opens the mTLS port and serves until `shutdown`; then drains.
///
/// `bound` is told the address once the port is open. [`Drained`] comes back when no connection
/// is left, or when the drain took too long and the rest was cut off.
///
/// # Errors
/// [`ServeError::Certificate`], then [`ServeError::Bind`]; the model comes back with the error, so
/// that its caller can wipe it.
pub async fn serve(
    bind: SocketAddr,
    ready: Ready,
    upstream: Upstream,
    terms: Terms,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    bound: impl FnOnce(SocketAddr),
) -> Result<Drained, (ServeError, Drained)> {
    let open = async {
        let (config, attester) = (terms.tls.clone(), ready.attester());
        let made = tokio::task::spawn_blocking(move || ServingTls::new(&config, &*attester));
        let tls = made.await.map_err(|error| ServeError::certificate("tls", error))??;
        let refused = |source| ServeError::Bind { address: bind, source };
        let listener = TcpListener::bind(bind).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok((tls, listener, address))
    };
    let (tls, listener, address) = match open.await {
        Ok(open) => open,
        Err(error) => return Err((error, ready.drained())),
    };
    let reporter = Reporter::new(&ready, tls.spki_sha256(), terms.limits.max_pending_reports);
    let limits = Arc::new(terms.limits);
    let service = Arc::new(Service::new(
        upstream,
        reporter,
        terms.clients,
        Arc::clone(&limits),
        Arc::clone(&metrics),
    ));
    tracing::info!(%address, spki_sha256 = hex::encode(tls.spki_sha256()), "serving");
    ready.board().enter(Phase::Ready);
    bound(address);

    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let mut connections = JoinSet::new();
    loop {
        // 1. A slot, then a connection: who finds none waits in the kernel's backlog.
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        // 2. Everything else about it happens in its own task.
        match accepted {
            Ok((stream, slot)) => {
                let acceptor = tls.acceptor().clone();
                let service = Arc::clone(&service);
                let limits = Arc::clone(&limits);
                let shutdown = shutdown.clone();
                connections.spawn(async move {
                    connection::run(stream, acceptor, service, &limits, shutdown).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, or a connection that was gone already.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }

    drop(listener);
    ready.board().enter(Phase::Draining);
    let left = connections.len();
    tracing::info!(connections = left, "draining");
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "drain timeout: connections cut off");
        connections.shutdown().await;
    }
    Ok(ready.drained())
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}
