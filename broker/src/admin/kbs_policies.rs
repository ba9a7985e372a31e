//! The KBS protocol's own routes for policies, as Trustee's clients use them. They stand on the admin
//! listener, behind the same authentication as everything of the owner's.
//!
//! In: `{"type":"rego","policy_id":…,"policy":"<base64url>"}`. Out: 200 with an empty body, or the
//! protocol's `ErrorInformation`. A policy is compiled before it is stored, and counts from the next
//! decision on.

use std::sync::Arc;

use adyton_attestation::limits::MAX_REGO_LEN;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::authentication::Administrator;
use crate::broker::Broker;
use crate::http::{BodyError, whole_body};
use crate::respond::{Chain, KbsRefusal, json};
use crate::shared_policies::{SharedPolicy, SharedPolicyError};

/// Largest body, in bytes: the longest policy in base64 and what stands around it.
const MAX_BODY_BYTES: usize = MAX_REGO_LEN / 3 * 4 + 4096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttestationPolicy {
    #[serde(rename = "type")]
    kind: String,
    policy_id: String,
    policy: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourcePolicy {
    policy: String,
}

/// `POST /kbs/v0/attestation-policy`
pub(super) async fn set_attestation_policy(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, KbsRefusal> {
    let sent: AttestationPolicy = parsed(body).await?;
    store_attestation_policy(broker, administrator, sent).await
}

/// `POST /kbs/v0/attestation-policy/{id}`: the id in the path must be the one in the body.
pub(super) async fn set_named_attestation_policy(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, KbsRefusal> {
    let sent: AttestationPolicy = parsed(body).await?;
    if SharedPolicy::attestation(&id) != SharedPolicy::attestation(&sent.policy_id) {
        return Err(KbsRefusal::Policy(
            "the policy_id in the body is another one than the path's".to_owned(),
        ));
    }
    store_attestation_policy(broker, administrator, sent).await
}

/// `GET /kbs/v0/attestation-policy/{id}`: what was sent, as it was sent.
pub(super) async fn attestation_policy(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
) -> Result<Response, KbsRefusal> {
    let which = known(&id)?;
    let text = in_background(move || broker.shared.text(which)).await?;
    let text = text.ok_or(KbsRefusal::ResourcePath)?;
    let shown = AttestationPolicy {
        kind: "rego".to_owned(),
        policy_id: which.id().to_owned(),
        policy: URL_SAFE_NO_PAD.encode(text),
    };
    Ok(json(StatusCode::OK, &shown))
}

/// `DELETE /kbs/v0/attestation-policy/{id}`
pub(super) async fn remove_attestation_policy(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    Path(id): Path<String>,
) -> Result<Response, KbsRefusal> {
    let which = known(&id)?;
    remove(broker, administrator, which).await
}

/// `POST /kbs/v0/resource-policy`
pub(super) async fn set_resource_policy(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, KbsRefusal> {
    let sent: ResourcePolicy = parsed(body).await?;
    store(broker, administrator, SharedPolicy::Resource, &sent.policy).await
}

/// `GET /kbs/v0/resource-policy`: the ids of the policies that there are.
pub(super) async fn resource_policies(
    State(broker): State<Arc<Broker>>,
) -> Result<Response, KbsRefusal> {
    let text = in_background(move || broker.shared.text(SharedPolicy::Resource)).await?;
    let ids: Vec<&str> = text.iter().map(|_| SharedPolicy::Resource.id()).collect();
    Ok(json(StatusCode::OK, &ids))
}

/// `DELETE /kbs/v0/resource-policy`
pub(super) async fn remove_resource_policy(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
) -> Result<Response, KbsRefusal> {
    remove(broker, administrator, SharedPolicy::Resource).await
}

async fn store_attestation_policy(
    broker: Arc<Broker>,
    administrator: Administrator,
    sent: AttestationPolicy,
) -> Result<Response, KbsRefusal> {
    if sent.kind != "rego" {
        return Err(KbsRefusal::Policy("the type of the policy is not `rego`".to_owned()));
    }
    let which = known(&sent.policy_id)?;
    store(broker, administrator, which, &sent.policy).await
}

/// A policy that nobody asks would only seem to protect something.
fn known(id: &str) -> Result<SharedPolicy, KbsRefusal> {
    SharedPolicy::attestation(id).ok_or_else(|| {
        KbsRefusal::Policy(
            "this broker asks the attestation policies `default_cpu` and `default_gpu` and no other; \
             policies of one key stand in its release policy"
                .to_owned(),
        )
    })
}

async fn store(
    broker: Arc<Broker>,
    administrator: Administrator,
    which: SharedPolicy,
    encoded: &str,
) -> Result<Response, KbsRefusal> {
    let bytes = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| KbsRefusal::Policy("`policy` is not base64url without padding".to_owned()))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| KbsRefusal::Policy("`policy` is not UTF-8 text".to_owned()))?;
    in_background(move || broker.shared.set(which, &text, administrator.as_str())).await?;
    Ok(StatusCode::OK.into_response())
}

async fn remove(
    broker: Arc<Broker>,
    administrator: Administrator,
    which: SharedPolicy,
) -> Result<Response, KbsRefusal> {
    in_background(move || broker.shared.remove(which, administrator.as_str())).await?;
    Ok(StatusCode::OK.into_response())
}

async fn parsed<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, KbsRefusal> {
    let bytes = whole_body(body, MAX_BODY_BYTES).await.map_err(|error| match error {
        BodyError::TooLarge => KbsRefusal::TooLarge { limit: MAX_BODY_BYTES },
        BodyError::Broken => KbsRefusal::Body,
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| KbsRefusal::Policy(format!("the body is not the expected JSON: {error}")))
}

/// Runs work that waits for the disk, or compiles, off the async threads.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SharedPolicyError> + Send + 'static,
) -> Result<T, KbsRefusal> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| KbsRefusal::Unavailable)?;
    done.map_err(|error| match &error {
        SharedPolicyError::Rego(refusal) => KbsRefusal::Policy(refusal.to_string()),
        SharedPolicyError::Journal(_) | SharedPolicyError::Store(_) => {
            tracing::error!(error = %Chain(&error), "a policy request failed");
            KbsRefusal::Unavailable
        }
    })
}
