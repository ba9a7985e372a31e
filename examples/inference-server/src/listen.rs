//! Binds the socket: loopback or a Unix socket, unless the caller insists.
//!
//! Against: a model that listens beyond the pod's loopback and so bypasses the sidecar's mTLS.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::options::Endpoint;

/// Whether addresses beyond loopback may be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Loopback and Unix sockets only.
    Loopback,
    /// Any address.
    Anywhere,
}

/// A bound socket.
#[derive(Debug)]
pub enum Bound {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket and its path.
    Unix(UnixListener, PathBuf),
}

/// Why nothing was bound.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address would be reachable from outside.
    #[error(
        "{0} is not loopback, and this server speaks plain HTTP to anybody; listen on 127.0.0.1, [::1] or \
         unix:PATH, or add --allow-non-loopback"
    )]
    NotLoopback(std::net::SocketAddr),
    /// The system refused.
    #[error("cannot listen on {endpoint}")]
    Bind {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is a file at the socket's path, or a server that answers on it.
    #[error("{} is in use; stop the other server, or choose another path", .0.display())]
    InUse(PathBuf),
}

impl Bound {
    /// Binds `endpoint`. A socket left behind by a server that is gone is replaced.
    ///
    /// # Errors
    /// [`ListenError::NotLoopback`], then [`InUse`](ListenError::InUse), then [`Bind`](ListenError::Bind).
    pub async fn to(endpoint: &Endpoint, reach: Reach) -> Result<Self, ListenError> {
        match endpoint {
            Endpoint::Tcp(address) if !address.ip().is_loopback() && reach == Reach::Loopback => {
                Err(ListenError::NotLoopback(*address))
            }
            Endpoint::Tcp(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(|source| ListenError::Bind { endpoint: address.to_string(), source }),
            Endpoint::Unix(path) => {
                remove_stale(path).await?;
                let refused = |source| ListenError::Bind {
                    endpoint: format!("unix:{}", path.display()),
                    source,
                };
                let listener = UnixListener::bind(path).map_err(refused)?;
                // Owner and group: the sidecar may run as another user of the same group.
                fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(refused)?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    /// Where clients find it: `http://127.0.0.1:8000` or `unix:/path`.
    pub fn url(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            Self::Unix(_, path) => Ok(format!("unix:{}", path.display())),
        }
    }
}

async fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() || UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::InUse(path.to_owned()));
    }
    fs::remove_file(path).map_err(|source| ListenError::Bind {
        endpoint: format!("unix:{}", path.display()),
        source,
    })
}
