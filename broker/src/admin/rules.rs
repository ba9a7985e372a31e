//! Release policies and Reference Values: set and shown as the TOML that the owner wrote.

use std::sync::Arc;

use adyton_attestation::rcar::ResourcePath;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::authentication::Administrator;
use super::{blocking, text};
use crate::broker::Broker;
use crate::policy::{PolicyStoreError, StoredPolicy};
use crate::reference_values::{ReferenceValueStoreError, StoredReferenceValues};
use crate::respond::{AdminRefusal, Chain, json};

#[derive(Deserialize)]
pub(super) struct WhichKey {
    kid: Option<String>,
}

#[derive(Serialize)]
struct PolicySet {
    kid: String,
    digest: String,
}

#[derive(Serialize)]
struct ShownPolicy {
    kid: String,
    digest: String,
    toml: String,
}

#[derive(Serialize)]
struct PolicyList {
    policies: Vec<ShownPolicy>,
}

#[derive(Serialize)]
struct ReferenceValuesSet {
    name: String,
    digest: String,
}

#[derive(Serialize)]
struct ShownReferenceValues {
    name: String,
    digest: String,
    toml: String,
}

#[derive(Serialize)]
struct ReferenceValuesList {
    reference_values: Vec<ShownReferenceValues>,
}

/// `PUT /adyton/v1/policies`
pub(super) async fn set_policy(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, AdminRefusal> {
    let toml = text(body).await?;
    let policy = blocking(move || {
        let set = broker.policies.set(&toml, administrator.as_str());
        set.map_err(|error| policy_refusal(&error))
    })
    .await?;
    let digest = policy.digest();
    Ok(json(StatusCode::OK, &PolicySet { kid: policy.key, digest }))
}

/// `GET /adyton/v1/policies[?kid=…]`
pub(super) async fn policies(
    State(broker): State<Arc<Broker>>,
    Query(which): Query<WhichKey>,
) -> Result<Response, AdminRefusal> {
    let internal = |error: PolicyStoreError| AdminRefusal::internal(&error);
    let Some(kid) = which.kid else {
        let all = blocking(move || broker.policies.all().map_err(internal)).await?;
        let policies = all.into_iter().map(shown_policy).collect();
        return Ok(json(StatusCode::OK, &PolicyList { policies }));
    };
    let resource = ResourcePath::from_uri(&kid)
        .map_err(|error| policy_refusal(&PolicyStoreError::Key(error)))?;
    let found = blocking(move || broker.policies.for_key(&resource).map_err(internal)).await?;
    let stored = found.ok_or_else(|| {
        AdminRefusal::new(
            StatusCode::NOT_FOUND,
            "policy.unknown",
            "the key has no release policy, so nobody gets it",
            "set one with PUT /adyton/v1/policies",
        )
    })?;
    Ok(json(StatusCode::OK, &shown_policy(stored)))
}

/// `PUT /adyton/v1/reference-values`
pub(super) async fn set_reference_values(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, AdminRefusal> {
    let toml = text(body).await?;
    let values = blocking(move || {
        let set = broker.references.set(&toml, administrator.as_str());
        set.map_err(|error| reference_refusal(&error))
    })
    .await?;
    let digest = values.digest();
    Ok(json(StatusCode::OK, &ReferenceValuesSet { name: values.name().to_owned(), digest }))
}

/// `GET /adyton/v1/reference-values`
pub(super) async fn reference_values(
    State(broker): State<Arc<Broker>>,
) -> Result<Response, AdminRefusal> {
    let all =
        blocking(move || broker.references.all().map_err(|error| AdminRefusal::internal(&error)))
            .await?;
    let shown = |stored: StoredReferenceValues| ShownReferenceValues {
        digest: stored.values.digest(),
        name: stored.values.name().to_owned(),
        toml: stored.toml,
    };
    let reference_values = all.into_iter().map(shown).collect();
    Ok(json(StatusCode::OK, &ReferenceValuesList { reference_values }))
}

fn shown_policy(stored: StoredPolicy) -> ShownPolicy {
    ShownPolicy { digest: stored.policy.digest(), kid: stored.policy.key, toml: stored.toml }
}

fn policy_refusal(error: &PolicyStoreError) -> AdminRefusal {
    let refused = |code, remedy| {
        AdminRefusal::new(StatusCode::BAD_REQUEST, code, Chain(error).to_string(), remedy)
    };
    match error {
        PolicyStoreError::Malformed(_) => {
            refused("policy.malformed", "correct the TOML; unknown keys are errors")
        }
        PolicyStoreError::Key(_) => {
            refused("policy.key", "write key = \"kbs:///<repository>/<type>/<tag>\"")
        }
        PolicyStoreError::DebugNotOffered => {
            refused("policy.debug-not-offered", "take insecure_allow_debug from the policy")
        }
        PolicyStoreError::Rego(_) => refused(
            "policy.rego",
            "correct the policy; `adyton policy test` runs it over recorded evidence",
        ),
        PolicyStoreError::Journal(_)
        | PolicyStoreError::Shared(_)
        | PolicyStoreError::Store(_)
        | PolicyStoreError::ReferenceValues(_) => AdminRefusal::internal(error),
    }
}

fn reference_refusal(error: &ReferenceValueStoreError) -> AdminRefusal {
    match error {
        ReferenceValueStoreError::Malformed(_) => AdminRefusal::new(
            StatusCode::BAD_REQUEST,
            "reference-values.malformed",
            Chain(error).to_string(),
            "correct the TOML; registers are 96 hex digits, unknown keys are errors",
        ),
        ReferenceValueStoreError::Journal(_) | ReferenceValueStoreError::Store(_) => {
            AdminRefusal::internal(error)
        }
    }
}
