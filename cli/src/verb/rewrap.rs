//! `model.json` with other recipients, written in the place of the old one.
//!
//! Job: what `adyton key rewrap` and `adyton recipients` have in common. In: the folder of a sealed model; which
//! recipients are added and removed; a broker, or a model key in a file. Out: the folder with a new manifest;
//! objects are not touched. The content key stays in the broker, or in protected memory here.
//! Against: a broker (or somebody in its place) that answers with another model's manifest.

use std::path::{Path, PathBuf};

use adyton_attestation::rcar::TeePublicKey;
use adyton_sealed_weights::limits::MAX_MANIFEST_BYTES;
use adyton_sealed_weights::path::MANIFEST_NAME;
use adyton_sealed_weights::{KeyId, Manifest, ModelKey, Recipient, UnlockedManifest};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::inspect::open_failure;
use super::key_uri;
use super::seal::{from_broker, wrap_failure};
use crate::admin_api::{AdminApi, JSON};
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::table::{Cell, Facts};
use crate::verb::Context;

/// The manifest of a sealed model in a folder. Not authenticated.
pub(super) struct ManifestFile {
    path: PathBuf,
    text: String,
    pub(super) manifest: Manifest,
}

/// Which recipients come and which go.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Keys of the broker, with an epoch, or the newest one.
    pub(super) add: Vec<String>,
    pub(super) remove: Vec<KeyId>,
}

/// Recipients that the broker makes of a content key which was unlocked here.
pub(super) async fn added_by_broker(
    unlocked: &UnlockedManifest,
    broker: &AdminApi,
    kids: &[String],
) -> Result<Vec<Recipient>, Failure> {
    let wrapping_key: TeePublicKey =
        broker.get("show its wrapping key", "/adyton/v1/wrapping-key", &[]).await?;
    let model_id = unlocked.manifest().model_id();
    let mut added = Vec::with_capacity(kids.len());
    for kid in kids {
        let content_key = unlocked.content_key().content_key_for_wrapping();
        let kid = key_uri(kid)?;
        added.push(from_broker(broker, &wrapping_key, &kid, &model_id, &content_key).await?);
    }
    Ok(added)
}

/// A recipient for another key in a file.
pub(super) fn added_by_key(
    unlocked: &UnlockedManifest,
    key: &ModelKey,
) -> Result<Recipient, Failure> {
    Recipient::wrap(key, &unlocked.manifest().model_id(), unlocked.content_key())
        .map_err(|error| wrap_failure(&error))
}

/// The manifest with the changed recipients and a new MAC.
pub(super) fn changed(
    unlocked: &UnlockedManifest,
    added: Vec<Recipient>,
    remove: &[KeyId],
) -> Result<Manifest, Failure> {
    unlocked.with_recipients(added, remove).map_err(|error| {
        Failure::new(Exit::Usage, "recipients.change", "the recipients were not changed")
            .expected(
                "recipients to add that are new, to remove that are there, and one that stays",
            )
            .remedy("adyton recipients list shows them")
            .caused_by(&error)
    })
}

#[derive(Deserialize)]
struct Rewrapped {
    manifest: String,
}

impl ManifestFile {
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(MANIFEST_NAME);
        let bytes = file::read("manifest", &path, MAX_MANIFEST_BYTES)?;
        let manifest = Manifest::parse(&bytes).map_err(|error| malformed(&path, &error))?;
        // A manifest that parsed is UTF-8.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { path, text, manifest })
    }

    /// Has the broker change the recipients: it holds one of the model's keys, and those that are added.
    pub(super) async fn by_broker(
        &self,
        broker: &AdminApi,
        change: &Change,
    ) -> Result<Manifest, Failure> {
        let body = json!({
            "manifest": self.text,
            "add": change.add,
            "remove": change.remove,
        });
        let body = (JSON, body.to_string().into_bytes());
        let reply: Rewrapped = broker
            .send("change the model's recipients", Method::POST, "/adyton/v1/manifests", body)
            .await?;
        let changed = Manifest::parse(reply.manifest.as_bytes());
        self.expect_same_model(changed.map_err(|error| malformed(&self.path, &error))?)
    }

    /// The content key, for who has a model key of the model in a file.
    pub(super) fn unlock(&self, key: &ModelKey) -> Result<UnlockedManifest, Failure> {
        self.manifest.clone().unlock(key).map_err(|error| open_failure(&error))
    }

    /// The broker's word is not taken for it: only recipients and the MAC may differ.
    fn expect_same_model(&self, changed: Manifest) -> Result<Manifest, Failure> {
        let (old, new) = (&self.manifest, &changed);
        let same = old.name() == new.name()
            && old.version() == new.version()
            && old.model_id() == new.model_id()
            && old.allowed_formats() == new.allowed_formats()
            && old.files() == new.files();
        if same {
            return Ok(changed);
        }
        Err(Failure::new(
            Exit::Malformed,
            "broker.manifest",
            "the broker answered with the manifest of another model",
        )
        .got(format!("{} version {}", new.name(), new.version()))
        .expected(format!("{} version {} with other recipients", old.name(), old.version()))
        .remedy("look at the broker's log; do not use this broker until it is understood"))
    }

    /// Writes the changed manifest, whole or not at all, and says what it has become.
    pub(super) fn replace(
        &self,
        changed: &Manifest,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let json = changed.to_json().map_err(|error| malformed(&self.path, &error))?;
        file::write_atomically("manifest", &self.path, &json)?;
        show(changed, &json, Some("recipients changed"), context)
    }

    /// The bytes as they lie there.
    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// Those who can open a model, as its manifest has it, after something was `done`.
pub(super) fn show(
    manifest: &Manifest,
    bytes: &[u8],
    done: Option<&str>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let digest = hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes));
    let kids: Vec<&KeyId> = manifest.recipients().iter().map(Recipient::kid).collect();
    let mut facts = Facts::new();
    let model = format!("{} version {}", manifest.name(), manifest.version());
    facts.add("model", Cell::new(Tone::Strong, model));
    facts.add("manifest", &digest);
    for kid in &kids {
        facts.add("opens with", kid.to_string());
    }
    let paint = context.console.paint();
    let head = match done {
        Some(done) => format!("{} {done}\n", paint.text(Tone::Good, "✓")),
        None => String::new(),
    };
    let text = format!("{head}{}", facts.render(paint));
    let json = json!({
        "name": manifest.name(),
        "version": manifest.version(),
        "model_id": manifest.model_id(),
        "manifest_digest": digest,
        "recipients": kids,
    });
    context.console.result(&text, &json)
}

fn malformed(path: &Path, error: &adyton_sealed_weights::ManifestError) -> Failure {
    Failure::new(
        Exit::Malformed,
        "sealed-model.manifest",
        format!("the manifest {} was refused", path.display()),
    )
    .expected("a manifest of a sealed model, version 1")
    .remedy(error.remedy())
    .caused_by(error)
}
