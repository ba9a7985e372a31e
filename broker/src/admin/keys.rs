//! Model keys: made, listed, and used to wrap content keys. Never returned.

use std::sync::Arc;

use adyton_attestation::rcar::{JweResponse, ResourceBinding, ResourcePath};
use adyton_sealed_weights::{ContentKey, KeyId, ModelId, Recipient};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::authentication::Administrator;
use super::{blocking, json_body, malformed};
use crate::broker::Broker;
use crate::keystore::{KeyStoreError, WhichEpoch};
use crate::respond::{AdminRefusal, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyToCreate {
    kid: String,
}

#[derive(Serialize)]
struct CreatedKey {
    kid: String,
    epoch: u32,
    created_at: String,
}

#[derive(Serialize)]
struct ListedKey {
    kid: String,
    epoch: u32,
    created_at: String,
    policy: bool,
}

#[derive(Serialize)]
struct KeyList {
    keys: Vec<ListedKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContentKeyToWrap {
    kid: String,
    model_id: ModelId,
    content_key: JweResponse,
}

#[derive(Serialize)]
struct WrappedContentKey {
    recipient: Recipient,
}

/// `POST /adyton/v1/keys`
pub(super) async fn create(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, AdminRefusal> {
    let asked: KeyToCreate = json_body(body).await?;
    let resource = resource(&asked.kid)?;
    let record = blocking(move || {
        broker.keys.create(&resource, administrator.as_str()).map_err(|error| refusal(&error))
    })
    .await?;
    let reply = CreatedKey {
        kid: record.id.uri().to_owned(),
        epoch: record.id.epoch(),
        created_at: record.created_at,
    };
    Ok(json(StatusCode::CREATED, &reply))
}

/// `GET /adyton/v1/keys`
pub(super) async fn list(State(broker): State<Arc<Broker>>) -> Result<Response, AdminRefusal> {
    let keys = blocking(move || {
        let mut keys = Vec::new();
        for record in broker.keys.list().map_err(|error| refusal(&error))? {
            let policy = broker.policies.for_key(&resource(record.id.uri())?);
            let policy = policy.map_err(|error| AdminRefusal::internal(&error))?.is_some();
            keys.push(ListedKey {
                kid: record.id.uri().to_owned(),
                epoch: record.id.epoch(),
                created_at: record.created_at,
                policy,
            });
        }
        Ok(keys)
    })
    .await?;
    Ok(json(StatusCode::OK, &KeyList { keys }))
}

/// `GET /adyton/v1/wrapping-key`
pub(super) async fn wrapping_key(State(broker): State<Arc<Broker>>) -> Response {
    json(StatusCode::OK, &broker.wrapping_key.public())
}

/// `POST /adyton/v1/recipients`: wraps a content key under a model key, so that the model key need
/// not leave for a model to be sealed.
pub(super) async fn wrap_content_key(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, AdminRefusal> {
    let asked: ContentKeyToWrap = json_body(body).await?;
    let recipient = blocking(move || {
        let id = key_id(&broker, &asked.kid)?;
        let resource = resource(id.uri())?;
        let unwrapped = broker.wrapping_key.decrypt(&asked.content_key, &resource);
        // The cause is not told: this is a decryption oracle otherwise.
        let mut unwrapped = unwrapped.map_err(|_| not_for_us())?;
        if unwrapped.resource != ResourceBinding::Confirmed {
            return Err(not_for_us());
        }
        let content_key =
            ContentKey::from_bytes(&mut unwrapped.plaintext).map_err(|_| not_for_us())?;
        broker
            .keys
            .wrap_content_key(&id, &asked.model_id, &content_key, administrator.as_str())
            .map_err(|error| refusal(&error))
    })
    .await?;
    Ok(json(StatusCode::OK, &WrappedContentKey { recipient }))
}

/// `kbs:///a/b/c?epoch=n`, or without an epoch the newest one.
fn key_id(broker: &Broker, kid: &str) -> Result<KeyId, AdminRefusal> {
    if kid.contains('?') {
        return kid.parse().map_err(|_| bad_kid());
    }
    let current =
        broker.keys.find(&resource(kid)?, WhichEpoch::Newest).map_err(|error| refusal(&error))?;
    current.ok_or_else(|| refusal(&KeyStoreError::Unknown { kid: kid.to_owned() }))
}

fn resource(kid: &str) -> Result<ResourcePath, AdminRefusal> {
    ResourcePath::from_uri(kid).map_err(|_| bad_kid())
}

fn bad_kid() -> AdminRefusal {
    AdminRefusal::new(
        StatusCode::BAD_REQUEST,
        "kid.malformed",
        "`kid` is not kbs:///<repository>/<type>/<tag>",
        "use three segments of letters, digits, `_`, `-` and `.`, none starting with a dot",
    )
}

fn not_for_us() -> AdminRefusal {
    malformed(
        "`content_key` is not 32 bytes encrypted to this broker's wrapping key for this kid",
        "fetch /adyton/v1/wrapping-key again (it changes with each start) and encrypt anew",
    )
}

fn refusal(error: &KeyStoreError) -> AdminRefusal {
    match error {
        KeyStoreError::Exists { .. } => AdminRefusal::new(
            StatusCode::CONFLICT,
            "key.exists",
            error.to_string(),
            "use the key as it is, or choose another name",
        ),
        KeyStoreError::Unknown { .. } => AdminRefusal::new(
            StatusCode::NOT_FOUND,
            "key.unknown",
            error.to_string(),
            "create it with POST /adyton/v1/keys",
        ),
        KeyStoreError::PermitEnded { .. }
        | KeyStoreError::Key(_)
        | KeyStoreError::Recipient(_)
        | KeyStoreError::Encrypt(_)
        | KeyStoreError::Journal(_)
        | KeyStoreError::Store(_) => AdminRefusal::internal(error),
    }
}
