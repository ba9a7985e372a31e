//! Sockets that nobody beyond this guest reaches: loopback TCP, or a Unix socket.
//!
//! In: an address, or a path and who may connect. Out: a listener, and connections with a bound on how long
//! anything waits. Every other address is refused: this hop is not encrypted.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Timespec, sendfile};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_nodelay};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recv, send, shutdown, socket_with,
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Bytes that one call hands to the kernel, so that a stop is noticed in between.
const MAX_SENDFILE: u64 = 64 << 20;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A loopback address; port 0 lets the kernel choose.
    Loopback(SocketAddr),
    /// A Unix socket.
    UnixSocket {
        /// Where it will be.
        path: PathBuf,
        /// Who may connect.
        access: Access,
    },
}

/// Who may connect to a Unix socket, or read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Our own user.
    Owner,
    /// Our user and group.
    Group,
}

impl Access {
    /// Permission bits of a file that is read.
    pub fn file_mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
        }
    }

    fn socket_mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o660,
        }
    }
}

/// Why nobody listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address that others reach.
    #[error(
        "{0} is no loopback address; plaintext weights never go over a network: use 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// Somebody listens there.
    #[error("another process listens on {0}; give each sidecar a socket of its own")]
    InUse(PathBuf),
    /// Something that is no socket.
    #[error("{0} is there and is no socket; it is left alone, remove it or choose another path")]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("cannot listen on {endpoint}")]
    Io {
        /// Where.
        endpoint: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(address) => write!(f, "http://{address}"),
            Self::UnixSocket { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket; a Unix socket's file goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    endpoint: Endpoint,
}

impl Listener {
    /// # Errors
    /// [`ListenError`]
    pub fn bind(endpoint: Endpoint) -> Result<Self, ListenError> {
        let shown = endpoint.to_string();
        let failed = |source| ListenError::Io { endpoint: shown.clone(), source };
        match endpoint {
            Endpoint::Loopback(address) if !address.ip().is_loopback() => {
                Err(ListenError::NotLoopback(address))
            }
            Endpoint::Loopback(address) => {
                let listener = TcpListener::bind(address).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let endpoint = Endpoint::Loopback(listener.local_addr().map_err(failed)?);
                Ok(Self { socket: listener.into(), endpoint })
            }
            Endpoint::UnixSocket { path, access } => {
                remove_stale(&path)?;
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let unix = || -> io::Result<OwnedFd> {
                    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                    bind(&socket, &SocketAddrUnix::new(&path)?)?;
                    // Nobody can connect before `listen`, so the mode is right for the first who does.
                    let mode = std::fs::Permissions::from_mode(access.socket_mode());
                    std::fs::set_permissions(&path, mode)?;
                    listen(&socket, BACKLOG)?;
                    Ok(socket)
                };
                let socket = unix().map_err(failed)?;
                Ok(Self { socket, endpoint: Endpoint::UnixSocket { path, access } })
            }
        }
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Waits up to `patience` for a connection.
    pub(crate) fn accept(&self, patience: Duration) -> io::Result<Option<Socket>> {
        let mut wanted = [PollFd::new(&self.socket, PollFlags::IN)];
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut wanted, Some(&patience)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(accepted) => {
                if matches!(self.endpoint, Endpoint::Loopback(_)) {
                    set_tcp_nodelay(&accepted, true)?;
                }
                Ok(Some(Socket { fd: accepted, sent: AtomicU64::new(0) }))
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Endpoint::UnixSocket { path, .. } = &self.endpoint {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket that an earlier start left behind is removed; anything else is an error.
fn remove_stale(path: &PathBuf) -> Result<(), ListenError> {
    let failed = |source| ListenError::Io { endpoint: format!("unix:{}", path.display()), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(facts) if !facts.file_type().is_socket() => Err(ListenError::NotASocket(path.clone())),
        Ok(_) => {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let try_it = || -> Result<(), Errno> {
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                connect(&socket, &SocketAddrUnix::new(path)?)
            };
            match try_it() {
                Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed),
                Ok(()) | Err(Errno::AGAIN) => Err(ListenError::InUse(path.clone())),
                Err(error) => Err(failed(error.into())),
            }
        }
    }
}

/// A connection. Blocking; reads and writes end with an error after their time.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sent: AtomicU64,
}

/// Whether more follows at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Following {
    /// A body: the kernel may wait for it.
    More,
    /// Nothing.
    End,
}

impl Socket {
    /// How long a write may wait.
    pub(crate) fn set_stall(&self, patience: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.fd, Timeout::Send, Some(patience))?)
    }

    /// Bytes that went out so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Reads what is there, waiting up to `patience`; 0 at the end.
    pub(crate) fn receive(&self, buffer: &mut [u8], patience: Duration) -> io::Result<usize> {
        set_socket_timeout(&self.fd, Timeout::Recv, Some(patience.max(Duration::from_millis(1))))?;
        loop {
            match recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((_, len)) => return Ok(len),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends all bytes.
    ///
    /// # Errors
    /// When the client is gone or takes nothing for too long.
    pub fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_with(bytes, Following::End)
    }

    pub(crate) fn send_with(&self, mut bytes: &[u8], following: Following) -> io::Result<()> {
        let flags = match following {
            Following::More => SendFlags::NOSIGNAL | SendFlags::MORE,
            Following::End => SendFlags::NOSIGNAL,
        };
        while !bytes.is_empty() {
            match send(&self.fd, bytes, flags) {
                Ok(len) => {
                    self.sent.fetch_add(len as u64, Ordering::Relaxed);
                    bytes = bytes.get(len..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends the beginning of a range of a file, without a copy through this process. 0 at the file's end.
    ///
    /// # Errors
    /// As [`send_all`](Self::send_all).
    pub fn send_file(&self, file: impl AsFd, range: &Range<u64>) -> io::Result<u64> {
        let mut offset = range.start;
        let count = (range.end - range.start).min(MAX_SENDFILE);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        loop {
            match sendfile(&self.fd, &file, Some(&mut offset), count) {
                Ok(len) => {
                    self.sent.fetch_add(len as u64, Ordering::Relaxed);
                    return Ok(len as u64);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends the connection both ways, for whoever waits on it too.
    pub(crate) fn end(&self) {
        let _ = shutdown(&self.fd, Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_beyond_loopback_is_refused() {
        for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:9000"] {
            let endpoint = Endpoint::Loopback(address.parse().unwrap());
            assert!(matches!(Listener::bind(endpoint), Err(ListenError::NotLoopback(_))));
        }
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        for (access, mode) in [(Access::Owner, 0o600), (Access::Group, 0o660)] {
            let path = folder.path().join("s3.sock");
            let endpoint = Endpoint::UnixSocket { path: path.clone(), access };
            let listener = Listener::bind(endpoint).unwrap();
            let facts = std::fs::symlink_metadata(&path).unwrap();
            assert_eq!(facts.permissions().mode() & 0o777, mode);
            drop(listener);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_socket_in_use_and_a_file_are_left_alone_and_a_stale_socket_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s3.sock");
        let endpoint = Endpoint::UnixSocket { path: path.clone(), access: Access::Owner };
        let first = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(endpoint.clone()), Err(ListenError::InUse(_))));
        drop(first);
        Listener::bind(endpoint.clone()).unwrap();
        std::fs::write(&path, b"mine").unwrap();
        assert!(matches!(Listener::bind(endpoint), Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
