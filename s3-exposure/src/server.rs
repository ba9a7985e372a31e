//! The endpoint as a value: it answers while it lives, and has wiped everything when it is stopped.
//!
//! In: a bound [`Listener`], a [`Catalogue`], an [`ObjectSource`], [`Credentials`]. Out: an [`Exposure`]. One
//! thread accepts, one serves each connection; their number is bounded. No async: answers are system calls
//! and cipher work, and both keep a thread busy.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::catalogue::Catalogue;
use crate::connection;
use crate::limits::{MAX_CONNECTIONS, MAX_READS};
use crate::operation::Names;
use crate::signature::Credentials;
use crate::socket::{Endpoint, Listener, Socket};
use crate::source::{ObjectSource, SourceError, Usage};

/// How long the accepting thread waits before it looks around.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// How long a stop waits for threads that were told to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const STACK_BYTES: usize = 512 * 1024;

/// One answer, for metrics and logs.
#[derive(Debug)]
pub struct Answered {
    /// S3's name of the operation; `unknown` when it was refused before that was known.
    pub operation: &'static str,
    /// Status code.
    pub status: u16,
    /// S3's code, when it was refused.
    pub code: Option<&'static str>,
    /// Bytes that went out.
    pub bytes: u64,
    /// Why an object could not be read; the client is not told.
    pub fault: Option<SourceError>,
}

/// Who is told what happens. Called by many threads.
pub trait Observer: Send + Sync {
    /// A request was answered.
    fn answered(&self, answered: &Answered);
}

/// What the threads share.
pub(crate) struct Shared {
    pub(crate) catalogue: Catalogue,
    pub(crate) names: Names,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) source: Box<dyn ObjectSource>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) turns: Turns,
    connections: Mutex<HashMap<u64, Arc<Socket>>>,
    ended: Condvar,
    stopping: AtomicBool,
    numbers: AtomicU64,
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn next_request_id(&self) -> String {
        format!("{:016X}", self.numbers.fetch_add(1, Ordering::Relaxed))
    }
}

/// An endpoint that answers. Dropping it stops it.
pub struct Exposure {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    endpoint: Endpoint,
}

impl std::fmt::Debug for Exposure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposure").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Exposure {
    /// Begins to answer.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        listener: Listener,
        catalogue: Catalogue,
        source: Box<dyn ObjectSource>,
        credentials: Arc<Credentials>,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Self> {
        let endpoint = listener.endpoint().clone();
        let shared = Arc::new(Shared {
            catalogue,
            names: names(&endpoint),
            credentials,
            source,
            observer,
            turns: Turns::new(MAX_READS),
            connections: Mutex::default(),
            ended: Condvar::new(),
            stopping: AtomicBool::new(false),
            numbers: AtomicU64::new(1),
        });
        let ours = Arc::clone(&shared);
        let accepting = std::thread::Builder::new()
            .name("s3-accept".into())
            .stack_size(STACK_BYTES)
            .spawn(move || accept(&listener, &ours))?;
        Ok(Self { shared, accepting: Some(accepting), endpoint })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the source holds and has done.
    pub fn usage(&self) -> Usage {
        self.shared.source.usage()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// Stops answering: closes the listener, ends every connection, waits for their threads. What the source
    /// holds is wiped when this returns, unless a thread is still waiting for storage.
    pub fn stop(mut self) -> Stopped {
        self.end()
    }

    fn end(&mut self) -> Stopped {
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let mut connections = lock(&self.shared.connections);
        for socket in connections.values() {
            socket.end();
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !connections.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Stopped::StillReading { connections: connections.len() };
            }
            let waited = self.shared.ended.wait_timeout(connections, left);
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Stopped::Wiped
    }
}

impl Drop for Exposure {
    fn drop(&mut self) {
        self.end();
    }
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// No thread is left, and no plaintext with it.
    Wiped,
    /// Storage keeps threads waiting; the blocks they hold are wiped when it lets go of them.
    StillReading {
        /// How many.
        connections: usize,
    },
}

/// The hosts by which clients reach an endpoint.
fn names(endpoint: &Endpoint) -> Names {
    match endpoint {
        Endpoint::Loopback(address) => {
            let port = address.port();
            let mut names = vec![address.to_string(), format!("localhost:{port}")];
            if port == 80 {
                names.extend([address.ip().to_string(), "localhost".to_owned()]);
            }
            Names(names)
        }
        Endpoint::UnixSocket { .. } => Names(vec!["localhost".to_owned()]),
    }
}

fn accept(listener: &Listener, shared: &Arc<Shared>) {
    let mut looked = Instant::now();
    while !shared.is_stopping() {
        match listener.accept(LOOK_AROUND) {
            Ok(Some(socket)) => begin(Arc::new(socket), shared),
            Ok(None) => {}
            // Out of descriptors or memory: others must end first.
            Err(_) => std::thread::sleep(LOOK_AROUND),
        }
        if looked.elapsed() >= LOOK_AROUND {
            shared.source.rest();
            looked = Instant::now();
        }
    }
}

fn begin(socket: Arc<Socket>, shared: &Arc<Shared>) {
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    {
        let mut connections = lock(&shared.connections);
        if connections.len() >= MAX_CONNECTIONS {
            drop(connections);
            return connection::turn_away(&socket, shared);
        }
        connections.insert(number, Arc::clone(&socket));
    }
    // Whatever way the thread ends, the connection is not counted any more.
    let counted = Counted { shared: Arc::clone(shared), number };
    let serve = move || {
        connection::serve(&socket, &counted.shared);
        socket.end();
        drop(socket);
        drop(counted);
    };
    let builder = std::thread::Builder::new().name("s3-connection".into());
    // Without a thread, the closure is dropped: the connection closes.
    let _ = builder.stack_size(STACK_BYTES).spawn(serve);
}

struct Counted {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        lock(&self.shared.connections).remove(&self.number);
        self.shared.ended.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many at once; others wait for their turn.
pub(crate) struct Turns {
    left: Mutex<usize>,
    given_back: Condvar,
}

impl Turns {
    pub(crate) fn new(count: usize) -> Self {
        Self { left: Mutex::new(count), given_back: Condvar::new() }
    }

    /// A turn, or nothing after `patience`.
    pub(crate) fn take(&self, patience: Duration) -> Option<Turn<'_>> {
        let waited =
            self.given_back.wait_timeout_while(lock(&self.left), patience, |left| *left == 0);
        let (mut left, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *left = left.checked_sub(1)?;
        Some(Turn(self))
    }
}

/// Given back when it is dropped.
pub(crate) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.left) += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_too_many_waits_and_a_turn_that_ends_is_given_on() {
        let turns = Turns::new(1);
        let first = turns.take(Duration::ZERO).unwrap();
        assert!(turns.take(Duration::ZERO).is_none());
        drop(first);
        assert!(turns.take(Duration::ZERO).is_some());
    }
}
