//! Model keys: made, listed, and used to wrap content keys. Never returned.

use std::sync::Arc;

use adyton_attestation::rcar::{JweResponse, ResourceBinding, ResourcePath};
use adyton_sealed_weights::limits::MAX_MANIFEST_BYTES;
use adyton_sealed_weights::{ContentKey, KeyId, Manifest, ModelId, OpenError, Recipient};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::authentication::Administrator;
use super::{blocking, json_body, json_body_up_to, malformed};
use crate::broker::Broker;
use crate::keystore::{KeyRecord, KeyStoreError, RecipientChange, WhichEpoch};
use crate::respond::{AdminRefusal, Chain, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedKey {
    kid: String,
}

#[derive(Serialize)]
struct OneKey {
    kid: String,
    epoch: u32,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_at: Option<String>,
}

impl From<KeyRecord> for OneKey {
    fn from(record: KeyRecord) -> Self {
        Self {
            kid: record.id.uri().to_owned(),
            epoch: record.id.epoch(),
            created_at: record.created_at,
            retired_at: record.retired_at,
        }
    }
}

#[derive(Serialize)]
struct ListedKey {
    #[serde(flatten)]
    key: OneKey,
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

/// A manifest as the text that it is, and what is to change in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestToRewrap {
    manifest: String,
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<KeyId>,
}

#[derive(Serialize)]
struct RewrappedManifest {
    manifest: String,
}

/// A text in JSON is longer than itself: line ends and quotation marks take two bytes.
const MAX_REWRAP_BYTES: usize = 2 * MAX_MANIFEST_BYTES as usize + 64 * 1024;

/// `POST /adyton/v1/keys`
pub(super) async fn create(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, AdminRefusal> {
    let asked: NamedKey = json_body(body).await?;
    let resource = resource(&asked.kid)?;
    changed(StatusCode::CREATED, move || broker.keys.create(&resource, administrator.as_str()))
        .await
}

/// `POST /adyton/v1/keys/rotate`: the next epoch of a key. Older ones stay in force until they are retired.
pub(super) async fn rotate(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, AdminRefusal> {
    let asked: NamedKey = json_body(body).await?;
    let resource = resource(&asked.kid)?;
    changed(StatusCode::CREATED, move || broker.keys.rotate(&resource, administrator.as_str()))
        .await
}

/// `POST /adyton/v1/keys/retire`: ends one epoch, which is named in the kid.
pub(super) async fn retire(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, AdminRefusal> {
    let asked: NamedKey = json_body(body).await?;
    let key: KeyId = asked.kid.parse().map_err(|_| {
        malformed("`kid` names no epoch", "use kbs:///<repository>/<type>/<tag>?epoch=<n>")
    })?;
    changed(StatusCode::OK, move || broker.keys.retire(&key, administrator.as_str())).await
}

/// Makes a change in the key store, and answers with what it made of the key.
async fn changed(
    status: StatusCode,
    change: impl FnOnce() -> Result<KeyRecord, KeyStoreError> + Send + 'static,
) -> Result<Response, AdminRefusal> {
    let record = blocking(move || change().map_err(|error| refusal(&error))).await?;
    Ok(json(status, &OneKey::from(record)))
}

/// `GET /adyton/v1/keys`
pub(super) async fn list(State(broker): State<Arc<Broker>>) -> Result<Response, AdminRefusal> {
    let keys = blocking(move || {
        let mut keys = Vec::new();
        for record in broker.keys.list().map_err(|error| refusal(&error))? {
            let policy = broker.policies.for_key(&resource(record.id.uri())?);
            let policy = policy.map_err(|error| AdminRefusal::internal(&error))?.is_some();
            keys.push(ListedKey { key: record.into(), policy });
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

/// `POST /adyton/v1/manifests`: the same model with other recipients. The content key is unwrapped and
/// wrapped again in here, and does not leave.
pub(super) async fn rewrap(
    State(broker): State<Arc<Broker>>,
    Extension(administrator): Extension<Administrator>,
    body: Body,
) -> Result<Response, AdminRefusal> {
    let asked: ManifestToRewrap = json_body_up_to(body, MAX_REWRAP_BYTES).await?;
    let manifest = blocking(move || {
        let manifest = Manifest::parse(asked.manifest.as_bytes()).map_err(|error| {
            malformed(&format!("`manifest` was refused: {error}"), error.remedy())
        })?;
        let add = asked.add.iter().map(|kid| key_id(&broker, kid)).collect::<Result<_, _>>()?;
        let change = RecipientChange { add, remove: asked.remove };
        let changed = broker.keys.rewrap(manifest, &change, administrator.as_str());
        let changed = changed.map_err(|error| refusal(&error))?;
        let json = changed.to_json().map_err(|error| AdminRefusal::internal(&error))?;
        String::from_utf8(json).map_err(|error| AdminRefusal::internal(&error))
    })
    .await?;
    Ok(json(StatusCode::OK, &RewrappedManifest { manifest }))
}

/// `kbs:///a/b/c?epoch=n`, or without an epoch the newest one.
fn key_id(broker: &Broker, kid: &str) -> Result<KeyId, AdminRefusal> {
    if kid.contains('?') {
        return kid.parse().map_err(|_| bad_kid());
    }
    let current =
        broker.keys.find(&resource(kid)?, WhichEpoch::Newest).map_err(|error| refusal(&error))?;
    current
        .map(|record| record.id)
        .ok_or_else(|| refusal(&KeyStoreError::Unknown { kid: kid.to_owned() }))
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
    let because = |status, code, remedy: &'static str| {
        AdminRefusal::new(status, code, Chain(error).to_string(), remedy)
    };
    match error {
        KeyStoreError::Exists { .. } => because(
            StatusCode::CONFLICT,
            "key.exists",
            "use the key as it is, or choose another name",
        ),
        KeyStoreError::Unknown { .. } => {
            because(StatusCode::NOT_FOUND, "key.unknown", "create it with POST /adyton/v1/keys")
        }
        KeyStoreError::Retired { .. } => because(
            StatusCode::CONFLICT,
            "key.retired",
            "use the newest epoch: leave `?epoch=…` out",
        ),
        KeyStoreError::Newest { .. } => because(
            StatusCode::CONFLICT,
            "key.newest",
            "rotate the key first; to release no epoch of it at all, remove its release policy",
        ),
        KeyStoreError::NoEpochLeft { .. } => {
            because(StatusCode::CONFLICT, "key.no-epoch-left", "create a key of another name")
        }
        KeyStoreError::NoKeyFor { .. } => because(
            StatusCode::UNPROCESSABLE_ENTITY,
            "manifest.no-key",
            "ask the broker that holds one of the model's keys, or use the key's file",
        ),
        KeyStoreError::Manifest(cause) => because(
            StatusCode::UNPROCESSABLE_ENTITY,
            match cause {
                OpenError::Mac(_) => "manifest.mac",
                _ => "manifest.recipient",
            },
            cause.remedy(),
        ),
        KeyStoreError::Rewrap(_) => because(
            StatusCode::CONFLICT,
            "manifest.recipients",
            "see the model's recipients with `adyton inspect`; at least one must be left",
        ),
        KeyStoreError::PermitEnded { .. }
        | KeyStoreError::Key(_)
        | KeyStoreError::Recipient(_)
        | KeyStoreError::Encrypt(_)
        | KeyStoreError::Journal(_)
        | KeyStoreError::Store(_) => AdminRefusal::internal(error),
    }
}
