//! How long the proxy waits for a client, on both protocols.
//!
//! Two watches: [`Patient`] wraps the TLS stream and ends a write that the client does not take;
//! [`Activity`] counts the requests of one connection, so that its task can close an idle one and
//! cut off one whose streams the client has stopped reading.
//! Against: slow readers and idle connections that hold memory and connection slots (SECURITY.md
//! D4).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream whose writes fail when the peer takes nothing for too long.
#[derive(Debug)]
pub struct Patient<S> {
    inner: S,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    running: bool,
}

impl<S> Patient<S> {
    /// Waits up to `patience` for the peer to take the next bytes.
    pub fn new(inner: S, patience: Duration) -> Self {
        Self { inner, patience, timer: Box::pin(sleep(patience)), running: false }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.running = false;
            return result;
        }
        if !self.running {
            self.running = true;
            self.timer.as_mut().reset(Instant::now() + self.patience);
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.watch(cx, result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_flush(cx);
        this.watch(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.watch(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// The requests of one connection.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    born: Instant,
    in_flight: AtomicUsize,
    on_upstream: AtomicUsize,
    last_milliseconds: AtomicU64,
}

/// What the connection's task should think of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Something moves, or the inference server is being waited for.
    Busy,
    /// No request for too long.
    Idle,
    /// Responses are there and the client takes none of them.
    Stalled,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Counts {
            born: Instant::now(),
            in_flight: AtomicUsize::new(0),
            on_upstream: AtomicUsize::new(0),
            last_milliseconds: AtomicU64::new(0),
        }))
    }
}

impl Activity {
    /// Counts a request until the returned value is dropped.
    pub fn begin(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        self.0.on_upstream.fetch_add(1, Ordering::Relaxed);
        self.touch();
        InFlight { activity: self.clone(), on_upstream: true }
    }

    /// Judges the time since anything moved.
    pub fn verdict(&self, idle: Duration, stall: Duration) -> Verdict {
        let last = Duration::from_millis(self.0.last_milliseconds.load(Ordering::Relaxed));
        let quiet = self.0.born.elapsed().saturating_sub(last);
        if self.0.in_flight.load(Ordering::Relaxed) == 0 {
            return if quiet > idle { Verdict::Idle } else { Verdict::Busy };
        }
        if self.0.on_upstream.load(Ordering::Relaxed) == 0 && quiet > stall {
            return Verdict::Stalled;
        }
        Verdict::Busy
    }

    fn touch(&self) {
        let now = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_milliseconds.store(now, Ordering::Relaxed);
    }
}

/// One request being answered; kept by its response body.
#[derive(Debug)]
pub struct InFlight {
    activity: Activity,
    on_upstream: bool,
}

impl InFlight {
    /// The response's next bytes are not there yet: the client is not to blame.
    pub fn waits_for_upstream(&mut self) {
        self.turn(true);
    }

    /// Bytes are on their way to the client.
    pub fn moved(&mut self) {
        self.turn(false);
        self.activity.touch();
    }

    fn turn(&mut self, on_upstream: bool) {
        if self.on_upstream != on_upstream {
            self.on_upstream = on_upstream;
            if on_upstream {
                self.activity.0.on_upstream.fetch_add(1, Ordering::Relaxed);
            } else {
                self.activity.0.on_upstream.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.turn(false);
        self.activity.touch();
        self.activity.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);
    const STALL: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_becomes_idle() {
        let activity = Activity::default();
        assert_eq!(activity.verdict(IDLE, STALL), Verdict::Busy);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(activity.verdict(IDLE, STALL), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_server_is_not_the_clients_fault() {
        let activity = Activity::default();
        let _request = activity.begin();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(activity.verdict(IDLE, STALL), Verdict::Busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_stalled() {
        let activity = Activity::default();
        let mut request = activity.begin();
        request.moved();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(activity.verdict(IDLE, STALL), Verdict::Stalled);
        drop(request);
        assert_eq!(activity.verdict(IDLE, STALL), Verdict::Busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_times_out() {
        use tokio::io::AsyncWriteExt;
        let (ours, _theirs) = tokio::io::duplex(8);
        let mut stream = Patient::new(ours, STALL);
        let error = stream.write_all(&[0; 64]).await.expect_err("the pipe holds 8 bytes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
