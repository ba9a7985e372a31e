//! Runs one job on a thread of its own and answers with what comes out.
//!
//! A client that goes away drops the receiver; the model notices at its next piece of text and stops.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::response::{IntoResponse, Json, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Api;
use super::answer::Heading;
use super::error::ApiError;
use super::request::{Delivery, Wanted};
use super::stream;
use crate::engine::Engine;
use crate::job::{Event, Finish, Job};
use crate::limits::STREAM_DEPTH;

/// Computes `wanted` and answers under `heading`.
pub(super) async fn run(
    api: &Api,
    engine: &Arc<Engine>,
    wanted: Wanted,
    heading: Heading,
) -> Result<Response, ApiError> {
    // A place first, then a turn: those who wait are counted, and they are served in order.
    let place =
        Arc::clone(&api.0.places).try_acquire_owned().map_err(|_| ApiError::overloaded())?;
    let slot = Arc::clone(&api.0.slots).acquire_owned().await.map_err(|_| ApiError::internal())?;
    let mut events = start(Arc::clone(engine), wanted.job, [place, slot]);

    // The status depends on whether the prompt fits, so the head waits for the first event.
    match events.recv().await {
        Some(Event::Started) => {}
        Some(Event::Refused(refusal)) => return Err(refusal.into()),
        other => return Err(failure(other)),
    }
    match wanted.delivery {
        Delivery::Whole => {
            let (text, finish) = collect(events).await?;
            Ok(Json(heading.whole(&text, finish)).into_response())
        }
        Delivery::Stream | Delivery::StreamWithUsage => {
            Ok(stream::response(events, heading, wanted.delivery == Delivery::StreamWithUsage))
        }
    }
}

fn start(
    engine: Arc<Engine>,
    job: Job,
    permits: [OwnedSemaphorePermit; 2],
) -> mpsc::Receiver<Event> {
    let (sender, events) = mpsc::channel(STREAM_DEPTH);
    tokio::task::spawn_blocking(move || {
        let _permits = permits; // given back when the computation ends, not when the answer does
        engine.run(&job, &mut |event| match sender.blocking_send(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
    });
    events
}

async fn collect(mut events: mpsc::Receiver<Event>) -> Result<(String, Finish), ApiError> {
    let mut text = String::new();
    loop {
        match events.recv().await {
            Some(Event::Text(piece)) => text.push_str(&piece),
            Some(Event::Finished(finish)) => return Ok((text, finish)),
            other => return Err(failure(other)),
        }
    }
}

/// An event out of order, or the end of events before the end of the text, is a fault of ours.
pub(super) fn failure(event: Option<Event>) -> ApiError {
    match event {
        Some(Event::Failed(cause)) => tracing::error!(cause, "a completion failed"),
        event => tracing::error!(?event, "a completion broke off"),
    }
    ApiError::internal()
}
