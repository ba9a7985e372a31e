//! Server-sent events: one `data:` line a piece of text, as soon as it is there.
//!
//! In: the events of a job. Out: a response body. The model is not ahead of the reader by more than
//! [`STREAM_DEPTH`](crate::limits::STREAM_DEPTH) pieces.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::Heading;
use super::run::failure;
use crate::job::Event;

/// The answer to a request with `"stream": true`.
pub(super) fn response(
    events: mpsc::Receiver<Event>,
    heading: Heading,
    with_usage: bool,
) -> Response {
    let first = heading.first_chunk().iter().map(data).collect();
    let events = EventStream { events: Some(events), heading, with_usage, ready: first };
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A body that turns events into lines as they come.
struct EventStream {
    /// `None` when the last event was seen.
    events: Option<mpsc::Receiver<Event>>,
    heading: Heading,
    with_usage: bool,
    /// Lines that are ready to be sent.
    ready: VecDeque<Bytes>,
}

impl EventStream {
    fn take_in(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Text(text)) => self.ready.push_back(data(&self.heading.text_chunk(&text))),
            Some(Event::Finished(finish)) => {
                self.events = None;
                self.ready.push_back(data(&self.heading.last_chunk(finish.reason)));
                if self.with_usage {
                    self.ready.push_back(data(&self.heading.usage_chunk(finish)));
                }
                self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
            }
            // The status is sent already, so an error is an event, and [DONE] does not follow it.
            other => {
                self.events = None;
                self.ready.push_back(data(&failure(other).body()));
            }
        }
    }
}

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(line))));
            }
            let Some(events) = self.events.as_mut() else {
                return Poll::Ready(None);
            };
            match events.poll_recv(context) {
                Poll::Ready(event) => self.take_in(event),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// JSON has no line break outside a string, and inside one it is escaped, so one line holds it.
fn data(document: &Value) -> Bytes {
    Bytes::from(format!("data: {document}\n\n"))
}
