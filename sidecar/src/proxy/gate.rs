//! Stands between TLS and hyper on HTTP/1.1 connections, and lets judged bytes through.
//!
//! In: the TLS stream. Out: the same stream, in which every request head has passed
//! [`framing`](super::framing). A refused head is replaced by a request for [`REFUSED_PATH`], so
//! that hyper answers earlier pipelined requests first, then asks the service, which finds the
//! [`Violation`] here and answers; after it nothing more is read.
//! Against: request smuggling; a client that sends its head byte by byte.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::framing::{HeadLimits, Position, Scanner, Violation};

/// Asked for by the gate in place of a refused request. A client that asks for it itself learns
/// nothing: without a violation it is an unknown path like any other of ours.
pub const REFUSED_PATH: &str = "/.well-known/adyton/refused";
const REFUSED_HEAD: &[u8] =
    b"GET /.well-known/adyton/refused HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// Read from TLS at once.
const READ_BYTES: usize = 16 * 1024;
/// After a refusal the rest of what the client sends is read and thrown away up to this many
/// bytes, so that a reset does not overtake our answer.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// Where the gate leaves the reason for the service to find.
#[derive(Debug, Clone, Default)]
pub struct Refused(Arc<OnceLock<Violation>>);

impl Refused {
    /// Why the connection's last request was refused, once one was.
    pub fn violation(&self) -> Option<Violation> {
        self.0.get().copied()
    }
}

/// The stream with the gate in it.
#[derive(Debug)]
pub struct Gate<S> {
    inner: S,
    scanner: Scanner,
    raw: BytesMut,
    clean: BytesMut,
    refused: Refused,
    broken: bool,
    header_read_timeout: Duration,
    stall_timeout: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: Waiting,
    lingered: Linger,
}

/// What the timer runs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nothing,
    HeadEnd,
    BodyBytes,
}

#[derive(Debug)]
enum Linger {
    NotYet,
    Since { deadline: Instant, bytes: usize },
    Done,
}

impl<S> Gate<S> {
    /// Puts a gate before `inner`.
    pub fn new(
        inner: S,
        limits: HeadLimits,
        header_read_timeout: Duration,
        stall_timeout: Duration,
    ) -> (Self, Refused) {
        let refused = Refused::default();
        let gate = Self {
            inner,
            scanner: Scanner::new(limits),
            raw: BytesMut::new(),
            clean: BytesMut::new(),
            refused: refused.clone(),
            broken: false,
            header_read_timeout,
            stall_timeout,
            timer: Box::pin(sleep(Duration::ZERO)),
            waiting: Waiting::Nothing,
            lingered: Linger::NotYet,
        };
        (gate, refused)
    }

    /// In a head the service answers; in a body hyper's reader learns it as an error, after what
    /// came before it.
    fn refuse(&mut self, violation: Violation, position: Position) {
        let first = self.refused.0.set(violation).is_ok();
        self.raw.clear();
        match position {
            Position::InBody => self.broken = true,
            Position::InHead | Position::BetweenRequests => {
                if first {
                    self.clean.extend_from_slice(REFUSED_HEAD);
                }
            }
        }
    }

    /// Starts the clock of what is being waited for; a head's clock runs on over many reads.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Waiting> {
        let (waiting, patience) = match self.scanner.position(&self.raw) {
            Position::BetweenRequests => (Waiting::Nothing, Duration::ZERO),
            Position::InHead => (Waiting::HeadEnd, self.header_read_timeout),
            Position::InBody => (Waiting::BodyBytes, self.stall_timeout),
        };
        if waiting != self.waiting {
            self.waiting = waiting;
            self.timer.as_mut().reset(Instant::now() + patience);
        }
        match waiting {
            Waiting::Nothing => Poll::Pending,
            Waiting::HeadEnd | Waiting::BodyBytes => self.timer.as_mut().poll(cx).map(|()| waiting),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.clean.is_empty() {
                let count = this.clean.len().min(out.remaining());
                out.put_slice(this.clean.get(..count).unwrap_or_default());
                this.clean.advance(count);
                return Poll::Ready(Ok(()));
            }
            if let Some(violation) = this.refused.violation() {
                if this.broken {
                    let error = io::Error::new(io::ErrorKind::InvalidData, violation);
                    return Poll::Ready(Err(error));
                }
                // Nothing a client sends after a refusal is a request.
                return Poll::Pending;
            }
            // What was read together with the last request is judged before more is read.
            if let Err(violation) = this.scanner.advance(&mut this.raw, &mut this.clean) {
                let position = this.scanner.position(&this.raw);
                this.refuse(violation, position);
                continue;
            }
            if !this.clean.is_empty() {
                continue;
            }
            let mut space = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut space);
            match Pin::new(&mut this.inner).poll_read(cx, &mut read) {
                Poll::Ready(result) => {
                    result?;
                    if read.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    if this.waiting == Waiting::BodyBytes {
                        this.waiting = Waiting::Nothing;
                    }
                    this.raw.extend_from_slice(read.filled());
                }
                Poll::Pending => match ready!(this.poll_patience(cx)) {
                    Waiting::Nothing => return Poll::Pending,
                    Waiting::HeadEnd => this.refuse(Violation::HeadTooSlow, Position::InHead),
                    Waiting::BodyBytes => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                },
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.lingered {
                Linger::NotYet => {
                    ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                    let unread = this.refused.violation().is_some()
                        || this.scanner.position(&this.raw) != Position::BetweenRequests;
                    let deadline = Instant::now() + LINGER;
                    this.timer.as_mut().reset(deadline);
                    this.lingered =
                        if unread { Linger::Since { deadline, bytes: 0 } } else { Linger::Done };
                }
                Linger::Since { deadline, bytes } => {
                    let mut space = [0; READ_BYTES];
                    let mut read = ReadBuf::new(&mut space);
                    match Pin::new(&mut this.inner).poll_read(cx, &mut read) {
                        Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                            let bytes = bytes + read.filled().len();
                            this.lingered = if bytes > LINGER_BYTES || Instant::now() >= deadline {
                                Linger::Done
                            } else {
                                Linger::Since { deadline, bytes }
                            };
                        }
                        Poll::Ready(_) => this.lingered = Linger::Done,
                        Poll::Pending => {
                            ready!(this.timer.as_mut().poll(cx));
                            this.lingered = Linger::Done;
                        }
                    }
                }
                Linger::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
