//! `adyton key`: model keys in the broker. Their bytes are made there and never come here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use adyton_sealed_weights::KeyId;
use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rewrap::{Change, ManifestFile, show};
use super::{Context, key_uri};
use crate::admin_api::JSON;
use crate::console::Tone;
use crate::failure::Failure;
use crate::https::block_on;
use crate::table::{Cell, Facts, Table};

/// Shown under the help of `adyton key`.
pub const EXAMPLES: &str = "\
Examples:
  adyton key create kbs:///acme/model-key/llama
  adyton key list --output json

  A new epoch, and the end of the old one, without sealing again and without an outage:
    adyton key rotate kbs:///acme/model-key/llama
    adyton key rewrap ./llama.sealed --keep-old
    (roll the pods out)
    adyton key rewrap ./llama.sealed
    adyton key retire kbs:///acme/model-key/llama --epoch 1";

const CREATE_EXAMPLES: &str = "\
Examples:
  adyton key create kbs:///acme/model-key/llama
  adyton key create kbs:///acme/model-key/llama --broker https://broker.acme:8444 \\
      --broker-ca ca.pem --admin-token-file admin-token";

const LIST_EXAMPLES: &str = "\
Examples:
  adyton key list
  adyton key list --output json | jq -r '.keys[] | select(.policy | not) | .kid'";

const ROTATE_EXAMPLES: &str = "\
Examples:
  adyton key rotate kbs:///acme/model-key/llama";

const REWRAP_EXAMPLES: &str = "\
Examples:
  Once the pods use the newest epoch:
    adyton key rewrap ./llama.sealed

  While some still ask for the old one:
    adyton key rewrap ./llama.sealed --keep-old";

const RETIRE_EXAMPLES: &str = "\
Examples:
  adyton key retire kbs:///acme/model-key/llama --epoch 1";

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a new model key in the broker
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List the broker's model keys
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Make a new epoch of a model key; older ones stay in force until they are retired
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(CreateArgs),
    /// Seal the content key of a sealed model to the newest epoch of its keys; weights are not touched
    #[command(after_help = REWRAP_EXAMPLES)]
    Rewrap(RewrapArgs),
    /// End an epoch of a model key for good: the broker releases it to nobody any more
    #[command(after_help = RETIRE_EXAMPLES)]
    Retire(RetireArgs),
}

/// Arguments of `key create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name of the key, kbs:///REPOSITORY/TYPE/TAG
    #[arg(value_name = "KID")]
    kid: String,
}

/// Arguments of `key rewrap`.
#[derive(Debug, Args)]
pub struct RewrapArgs {
    /// Folder of the sealed model
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Leave the recipients of older epochs in, for pods that still hold them
    #[arg(long)]
    keep_old: bool,
}

/// Arguments of `key retire`.
#[derive(Debug, Args)]
pub struct RetireArgs {
    /// Name of the key, kbs:///REPOSITORY/TYPE/TAG
    #[arg(value_name = "KID")]
    kid: String,
    /// The epoch to end; not the newest one
    #[arg(long, value_name = "N")]
    epoch: u32,
}

#[derive(Debug, Deserialize, Serialize)]
struct Created {
    kid: String,
    epoch: u32,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_at: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct KeyList {
    keys: Vec<Listed>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Listed {
    kid: String,
    epoch: u32,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_at: Option<String>,
    policy: bool,
}

/// Runs `adyton key …`.
///
/// # Errors
/// [`Failure`] of the settings, the transport or the broker.
pub fn run(command: KeyCommand, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => create(&args, context),
        KeyCommand::List => list(context),
        KeyCommand::Rotate(args) => rotate(&args, context),
        KeyCommand::Rewrap(args) => rewrap(&args, context),
        KeyCommand::Retire(args) => retire(&args, context),
    }
}

fn create(args: &CreateArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let kid = key_uri(&args.kid)?.to_uri();
    let broker = context.broker()?;
    let body = json!({ "kid": kid }).to_string().into_bytes();
    let made: Created = block_on(async {
        Ok(broker.send("create the key", Method::POST, "/adyton/v1/keys", (JSON, body)).await?)
    })?;
    told("key created", &made, context)?;
    context.console.note(
        Tone::Dim,
        "No pod gets this key yet: give it a release policy (adyton policy template, adyton policy apply).",
    );
    Ok(())
}

fn told(done: &str, key: &Created, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut facts = Facts::new();
    facts.add("key", Cell::new(Tone::Strong, &key.kid));
    facts.add("epoch", key.epoch.to_string());
    facts.add("created", &key.created_at);
    if let Some(at) = &key.retired_at {
        facts.add("retired", at);
    }
    let paint = context.console.paint();
    let text = format!("{} {done}\n{}", paint.text(Tone::Good, "✓"), facts.render(paint));
    context.console.result(&text, &json!(key))
}

fn rotate(args: &CreateArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let kid = key_uri(&args.kid)?.to_uri();
    let broker = context.broker()?;
    let body = json!({ "kid": kid }).to_string().into_bytes();
    let made: Created = block_on(async {
        Ok(broker
            .send("rotate the key", Method::POST, "/adyton/v1/keys/rotate", (JSON, body))
            .await?)
    })?;
    told("key rotated", &made, context)?;
    context.console.note(
        Tone::Dim,
        "Models are still sealed to older epochs, and those are in force: adyton key rewrap DIR, then adyton key retire.",
    );
    Ok(())
}

fn retire(args: &RetireArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let kid = key_uri(&args.kid)?.to_uri();
    let broker = context.broker()?;
    let body = json!({ "kid": format!("{kid}?epoch={}", args.epoch) }).to_string().into_bytes();
    let retired: Created = block_on(async {
        Ok(broker
            .send("retire the epoch", Method::POST, "/adyton/v1/keys/retire", (JSON, body))
            .await?)
    })?;
    told("epoch retired", &retired, context)
}

/// 1. Which epochs there are. 2. For each key of the model that the broker has: the newest one in, older ones out.
fn rewrap(args: &RewrapArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let file = ManifestFile::read(&args.folder)?;
    let broker = context.broker()?;
    let changed = block_on(async {
        let list: KeyList = broker.get("list the keys", "/adyton/v1/keys", &[]).await?;
        let change = to_newest(&file, &list.keys, args.keep_old);
        if change.add.is_empty() && change.remove.is_empty() {
            return Ok(None);
        }
        file.by_broker(&broker, &change).await.map(Some)
    })?;
    match changed {
        Some(changed) => file.replace(&changed, context),
        None => {
            show(&file.manifest, file.bytes(), None, context)?;
            context.console.note(Tone::Dim, "Nothing to do: these are the newest epochs.");
            Ok(())
        }
    }
}

fn to_newest(file: &ManifestFile, keys: &[Listed], keep_old: bool) -> Change {
    let listed: Vec<&KeyId> = file.manifest.recipients().iter().map(|r| r.kid()).collect();
    let mut change = Change::default();
    let mut seen = BTreeSet::new();
    for kid in listed.iter().filter(|kid| seen.insert(kid.uri())) {
        let epochs = keys.iter().filter(|key| key.kid == kid.uri()).map(|key| key.epoch);
        let Some(newest) = epochs.max() else { continue };
        let same = || listed.iter().filter(|other| other.uri() == kid.uri());
        if same().all(|other| other.epoch() != newest) {
            change.add.push(format!("{}?epoch={newest}", kid.uri()));
        }
        if !keep_old {
            let old = same().filter(|other| other.epoch() < newest);
            change.remove.extend(old.map(|kid| (*kid).clone()));
        }
    }
    change
}

fn list(context: &mut Context<'_>) -> Result<(), Failure> {
    let broker = context.broker()?;
    let list: KeyList =
        block_on(async { Ok(broker.get("list the keys", "/adyton/v1/keys", &[]).await?) })?;
    let mut table = Table::new(["KEY", "EPOCH", "CREATED", "STATE", "RELEASE POLICY"]);
    for key in &list.keys {
        let policy = if key.policy {
            Cell::new(Tone::Good, "yes")
        } else {
            Cell::new(Tone::Warn, "none: never released")
        };
        table.row([
            Cell::from(&key.kid),
            Cell::from(key.epoch.to_string()),
            Cell::from(&key.created_at),
            match &key.retired_at {
                None => Cell::from("in force"),
                Some(at) => Cell::new(Tone::Warn, format!("retired {at}")),
            },
            policy,
        ]);
    }
    let text = table.render(context.console.paint());
    context.console.result(&text, &json!(list))?;
    if list.keys.is_empty() {
        context.console.note(Tone::Dim, "The broker has no keys. Make one: adyton key create KID");
    }
    Ok(())
}
