//! Connections to the inference server, kept open between requests.
//!
//! A connection serves one request at a time. A [`Lease`] that ends with its response completely
//! read gives the connection back; dropped earlier it closes it, and so tells the server that
//! nobody wants the rest of a generation.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::UpstreamAddress;
use crate::proxy::forward::BoundedBody;
use crate::proxy::limits::MAX_IDLE_UPSTREAM;

/// How long a connection may take to become usable again after its response.
const SETTLE: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, no such socket, and the like.
    #[error("cannot connect to {address}")]
    Refused {
        /// Where to.
        address: UpstreamAddress,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("{address} does not accept connections in time")]
    Timeout {
        /// Where to.
        address: UpstreamAddress,
    },
    /// The connection broke at once.
    #[error("the connection to {address} broke")]
    Broke {
        /// Where to.
        address: UpstreamAddress,
        /// The cause.
        #[source]
        source: hyper::Error,
    },
}

/// Idle connections to one address.
#[derive(Clone)]
pub struct Pool {
    address: UpstreamAddress,
    connect_timeout: Duration,
    idle: Arc<Mutex<Vec<SendRequest<BoundedBody>>>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(address: UpstreamAddress, connect_timeout: Duration) -> Self {
        Self { address, connect_timeout, idle: Arc::default() }
    }

    /// An idle connection that still looks alive.
    pub fn take_idle(&self) -> Option<Lease> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.is_ready() && !connection.is_closed() {
                return Some(Lease { connection, pool: self.clone() });
            }
        }
        None
    }

    /// A new connection for forwarding.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn open(&self) -> Result<Lease, ConnectError> {
        Ok(Lease { connection: self.connect().await?, pool: self.clone() })
    }

    /// A new connection that never joins the idle ones.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn connect<B>(&self) -> Result<SendRequest<B>, ConnectError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let refused = |source| ConnectError::Refused { address: self.address.clone(), source };
        let connecting = async {
            match &self.address {
                UpstreamAddress::Loopback(address) => {
                    let stream = TcpStream::connect(address).await.map_err(refused)?;
                    // Tokens are small; waiting to fill a segment would be felt.
                    stream.set_nodelay(true).map_err(refused)?;
                    self.speak(stream).await
                }
                UpstreamAddress::UnixSocket(path) => {
                    self.speak(UnixStream::connect(path).await.map_err(refused)?).await
                }
            }
        };
        tokio::time::timeout(self.connect_timeout, connecting)
            .await
            .map_err(|_| ConnectError::Timeout { address: self.address.clone() })?
    }

    async fn speak<B, S>(&self, stream: S) -> Result<SendRequest<B>, ConnectError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectError::Broke { address: self.address.clone(), source })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = crate::error::chain(&error), "upstream connection ended");
            }
        });
        Ok(sender)
    }
}

/// One connection, for one request.
pub struct Lease {
    connection: SendRequest<BoundedBody>,
    pool: Pool,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl Lease {
    /// The connection to send on.
    pub fn connection(&mut self) -> &mut SendRequest<BoundedBody> {
        &mut self.connection
    }

    /// Gives the connection back. Call it only when the response was read to its end.
    pub fn give_back(self) {
        let Self { mut connection, pool } = self;
        tokio::spawn(async move {
            if !matches!(tokio::time::timeout(SETTLE, connection.ready()).await, Ok(Ok(()))) {
                return;
            }
            let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MAX_IDLE_UPSTREAM {
                idle.push(connection);
            }
        });
    }
}
