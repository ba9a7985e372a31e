//! `adyton recipients`: who can open a sealed model. A change writes a new manifest, and no weights.
//!
//! Role: model owner. In: the folder of a sealed model, keys by name. With a broker that holds one of the model's
//! keys, the content key stays there; with a model key in a file it is unwrapped in protected memory here, and goes
//! to another broker as a JWE, as when the model was sealed. So one owner's model gets a second owner's key
//! without either seeing the other's.
//! Against: a removal that is believed to undo what the recipient already had; the output says what it does.

use std::path::PathBuf;

use adyton_sealed_weights::{KeyId, Manifest};
use clap::{Args, Subcommand};

use super::rewrap::{Change, ManifestFile, added_by_broker, added_by_key, changed, show};
use super::seal::file_key_id;
use super::{Context, key_uri};
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::https::block_on;
use crate::model_key_file;

/// Shown under the help of `adyton recipients`.
pub const EXAMPLES: &str = "\
Examples:
  adyton recipients list ./llama.sealed
  adyton recipients add ./llama.sealed kbs:///acme/model-key/llama-dr
  adyton recipients remove ./llama.sealed kbs:///acme/model-key/llama-dr";

const LIST_EXAMPLES: &str = "\
Examples:
  adyton recipients list ./llama.sealed --output json | jq -r .recipients[]";

const ADD_EXAMPLES: &str = "\
Examples:
  Another key of the broker that holds one of the model's keys:
    adyton recipients add ./llama.sealed kbs:///acme/model-key/llama-dr

  A key of another broker, by who has the model's key in a file:
    adyton recipients add ./llama.sealed kbs:///partner/model-key/llama --model-key-file llama.key \\
        --broker https://broker.partner:8444 --broker-ca partner-ca.pem --admin-token-file token";

const REMOVE_EXAMPLES: &str = "\
Examples:
  adyton recipients remove ./llama.sealed kbs:///acme/model-key/llama?epoch=1
  adyton recipients remove ./llama.sealed kbs:///partner/model-key/llama --model-key-file llama.key";

/// What to do with recipients.
#[derive(Debug, Subcommand)]
pub enum RecipientsCommand {
    /// List the keys that open a sealed model, as its manifest has them
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Let another key open a sealed model
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Take a key out of a sealed model
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove(RemoveArgs),
}

/// Arguments of `recipients list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Folder of the sealed model
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Arguments of `recipients add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Folder of the sealed model
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Key that is to open it, kbs:///REPOSITORY/TYPE/TAG
    #[arg(value_name = "KID")]
    kid: String,
    #[command(flatten)]
    with: WithKey,
    /// The key that is added is in this file (32 bytes, mode 0600), and in no broker
    #[arg(long, value_name = "FILE", requires = "model_key_file")]
    added_key_file: Option<PathBuf>,
}

/// Arguments of `recipients remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Folder of the sealed model
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Key to take out; without `?epoch=N` all its epochs
    #[arg(value_name = "KID")]
    kid: String,
    #[command(flatten)]
    with: WithKey,
}

/// Whose key opens the model now.
#[derive(Debug, Args)]
struct WithKey {
    /// Open the manifest with the model key in this file instead of in the broker (32 bytes, mode 0600)
    #[arg(long, value_name = "FILE")]
    model_key_file: Option<PathBuf>,
    /// Which recipient that key is [default: the only one]
    #[arg(long, value_name = "KID", requires = "model_key_file")]
    model_kid: Option<String>,
}

/// Runs `adyton recipients …`.
///
/// # Errors
/// [`Failure`] of the folder, the keys or the broker. The manifest is then as it was.
pub fn run(command: RecipientsCommand, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        RecipientsCommand::List(args) => {
            let file = ManifestFile::read(&args.folder)?;
            show(&file.manifest, file.bytes(), None, context)
        }
        RecipientsCommand::Add(args) => add(&args, context),
        RecipientsCommand::Remove(args) => remove(&args, context),
    }
}

fn add(args: &AddArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let file = ManifestFile::read(&args.folder)?;
    let changed = match (args.with.key(&file)?, &args.added_key_file) {
        (None, _) => {
            key_uri(args.kid.split('?').next().unwrap_or_default())?;
            let change = Change { add: vec![args.kid.clone()], remove: Vec::new() };
            let broker = context.broker()?;
            block_on(file.by_broker(&broker, &change))?
        }
        (Some(key), Some(path)) => {
            let unlocked = file.unlock(&key)?;
            let added = model_key_file::read(path, file_key_id(&args.kid)?)?;
            changed(&unlocked, vec![added_by_key(&unlocked, &added)?], &[])?
        }
        (Some(key), None) => {
            let unlocked = file.unlock(&key)?;
            let (broker, kids) = (context.broker()?, [args.kid.clone()]);
            let added = block_on(added_by_broker(&unlocked, &broker, &kids))?;
            changed(&unlocked, added, &[])?
        }
    };
    file.replace(&changed, context)
}

fn remove(args: &RemoveArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let file = ManifestFile::read(&args.folder)?;
    let remove = named(&file.manifest, &args.kid)?;
    let changed = match args.with.key(&file)? {
        Some(key) => changed(&file.unlock(&key)?, Vec::new(), &remove)?,
        None => {
            let broker = context.broker()?;
            block_on(file.by_broker(&broker, &Change { add: Vec::new(), remove }))?
        }
    };
    file.replace(&changed, context)?;
    context.console.note(
        Tone::Dim,
        "Who kept the old manifest can still open the model with that key: retire its epoch in the broker \
         (adyton key retire), or seal the model anew.",
    );
    Ok(())
}

/// The recipients of this name: one epoch, or all of them.
fn named(manifest: &Manifest, kid: &str) -> Result<Vec<KeyId>, Failure> {
    let listed = || manifest.recipients().iter().map(|recipient| recipient.kid());
    let found: Vec<KeyId> = listed()
        .filter(|listed| listed.to_string() == kid || listed.uri() == kid)
        .cloned()
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = listed().map(ToString::to_string).collect();
    Err(Failure::new(Exit::Usage, "recipients.unknown", "the model has no such recipient")
        .got(kid)
        .expected(format!("one of {}", names.join(", ")))
        .remedy("adyton recipients list shows them"))
}

impl WithKey {
    fn key(&self, file: &ManifestFile) -> Result<Option<adyton_sealed_weights::ModelKey>, Failure> {
        let Some(path) = &self.model_key_file else { return Ok(None) };
        let id = super::inspect::recipient(&file.manifest, self.model_kid.as_deref())?;
        model_key_file::read(path, id).map(Some)
    }
}
