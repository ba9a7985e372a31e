//! A response's body that may be slow, but not stand still.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::fault::Fault;

/// A body, and how long it may stand still.
pub(crate) struct PacedBody {
    inner: Incoming,
    patience: Duration,
    alarm: Pin<Box<Sleep>>,
}

impl PacedBody {
    pub(super) fn new(inner: Incoming, patience: Duration) -> Self {
        Self { inner, patience, alarm: Box::pin(tokio::time::sleep(patience)) }
    }

    /// The next bytes.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        while let Some(frame) = self.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// All of it, or the first `limit` bytes.
    pub(crate) async fn beginning(mut self, limit: usize) -> Result<Vec<u8>, Fault> {
        let mut beginning = Vec::new();
        while beginning.len() < limit
            && let Some(bytes) = self.chunk().await?
        {
            let take = bytes.len().min(limit - beginning.len());
            beginning.extend_from_slice(bytes.get(..take).unwrap_or_default());
        }
        Ok(beginning)
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.alarm.as_mut().reset(Instant::now() + this.patience);
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|error| Fault::Broke(Arc::new(error)))),
            );
        }
        ready!(this.alarm.as_mut().poll(context));
        Poll::Ready(Some(Err(Fault::Stalled { seconds: this.patience.as_secs() })))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
