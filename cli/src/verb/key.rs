//! `adyton key`: model keys in the broker. Their bytes are made there and never come here.

use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

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
  adyton key list --output json";

const CREATE_EXAMPLES: &str = "\
Examples:
  adyton key create kbs:///acme/model-key/llama
  adyton key create kbs:///acme/model-key/llama --broker https://broker.acme:8444 \\
      --broker-ca ca.pem --admin-token-file admin-token";

const LIST_EXAMPLES: &str = "\
Examples:
  adyton key list
  adyton key list --output json | jq -r '.keys[] | select(.policy | not) | .kid'";

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a new model key in the broker
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List the broker's model keys
    #[command(after_help = LIST_EXAMPLES)]
    List,
}

/// Arguments of `key create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name of the key, kbs:///REPOSITORY/TYPE/TAG
    #[arg(value_name = "KID")]
    kid: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Created {
    kid: String,
    epoch: u32,
    created_at: String,
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
    }
}

fn create(args: &CreateArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let kid = key_uri(&args.kid)?.to_uri();
    let broker = context.broker()?;
    let body = json!({ "kid": kid }).to_string().into_bytes();
    let made: Created = block_on(async {
        Ok(broker.send("create the key", Method::POST, "/adyton/v1/keys", (JSON, body)).await?)
    })?;
    let mut facts = Facts::new();
    facts.add("key", Cell::new(Tone::Strong, &made.kid));
    facts.add("epoch", made.epoch.to_string());
    facts.add("created", &made.created_at);
    let paint = context.console.paint();
    let text = format!("{} key created\n{}", paint.text(Tone::Good, "✓"), facts.render(paint));
    context.console.result(&text, &json!(made))?;
    context.console.note(
        Tone::Dim,
        "No pod gets this key yet: give it a release policy (adyton policy template, adyton policy apply).",
    );
    Ok(())
}

fn list(context: &mut Context<'_>) -> Result<(), Failure> {
    let broker = context.broker()?;
    let list: KeyList =
        block_on(async { Ok(broker.get("list the keys", "/adyton/v1/keys", &[]).await?) })?;
    let mut table = Table::new(["KEY", "EPOCH", "CREATED", "RELEASE POLICY"]);
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
