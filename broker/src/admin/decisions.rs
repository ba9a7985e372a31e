//! The decision log, with the full reasons that guests don't get.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::blocking;
use crate::broker::Broker;
use crate::journal::DecisionRecord;
use crate::respond::{AdminRefusal, json};

/// Decisions in a reply, when the request doesn't say, and at most.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;

#[derive(Deserialize)]
pub(super) struct HowMany {
    limit: Option<usize>,
}

#[derive(Serialize)]
struct DecisionList {
    decisions: Vec<DecisionRecord>,
}

/// `GET /adyton/v1/decisions[?limit=n]`, newest first.
pub(super) async fn list(
    State(broker): State<Arc<Broker>>,
    Query(how_many): Query<HowMany>,
) -> Result<Response, AdminRefusal> {
    let limit = how_many.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let decisions = blocking(move || {
        broker.journal.decisions(limit).map_err(|error| AdminRefusal::internal(&error))
    })
    .await?;
    Ok(json(StatusCode::OK, &DecisionList { decisions }))
}

/// `GET /adyton/v1/decisions/{id}`
pub(super) async fn one(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
) -> Result<Response, AdminRefusal> {
    let found = blocking(move || {
        broker.journal.decision(&id).map_err(|error| AdminRefusal::internal(&error))
    })
    .await?;
    let record = found.ok_or_else(|| {
        AdminRefusal::new(
            StatusCode::NOT_FOUND,
            "decision.unknown",
            "there is no decision of this id, or it is no longer kept",
            "list the newest with GET /adyton/v1/decisions; the audit log has all of them",
        )
    })?;
    Ok(json(StatusCode::OK, &record))
}
