//! `adyton inspect`: what a sealed model says about itself.
//!
//! Without a key nothing here is authenticated, and the page says so before anything else: whoever could write
//! to the storage could have written it. With the model key the manifest's MAC is verified; the objects are
//! authenticated only when they are opened.

use std::path::PathBuf;

use adyton_sealed_weights::{KeyId, Layer, Manifest, OpenError, Requirements, SealedModel};
use clap::Args;
use serde_json::json;

use super::Context;
use super::seal::file_key_id;
use crate::console::{Paint, Tone};
use crate::failure::{Exit, Failure};
use crate::model_key_file;
use crate::store::{self, StoreArgs};
use crate::table::{Cell, Facts, Table, byte_count};

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  What it says (anybody could have written it):
    adyton inspect ./llama.sealed

  What is authentic, for who holds the model key in a file:
    adyton inspect ./llama.sealed --model-key-file llama.key

  What lies in a registry:
    adyton inspect oci://ghcr.io/acme/llama@sha256:… --credentials-file ghcr.cred

  The digest that attestation reports carry:
    adyton inspect ./llama.sealed --output json | jq -r .manifest_digest";

/// Arguments of `adyton inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The sealed model: a folder, https://…, s3://…, gs://…, az://…, or oci://…@sha256:…
    #[arg(value_name = "PLACE")]
    place: String,
    /// Authenticate the manifest with the model key in this file (32 bytes, mode 0600)
    #[arg(long, value_name = "FILE")]
    model_key_file: Option<PathBuf>,
    /// Which recipient that key is [default: the only one]
    #[arg(long, value_name = "KID", requires = "model_key_file")]
    kid: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Whether the manifest may be believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Claimed,
    Authentic,
}

/// Runs `adyton inspect`.
///
/// # Errors
/// [`Failure`] of the folder, the key file, or the manifest's authenticity.
pub fn run(args: &InspectArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let sealed = load(args)?;
    let standing = match &args.model_key_file {
        None => Standing::Claimed,
        Some(path) => {
            let id = recipient(sealed.unverified_manifest(), args.kid.as_deref())?;
            let key = model_key_file::read(path, id)?;
            sealed.unlock(&key, &Requirements::default()).map_err(|error| open_failure(&error))?;
            Standing::Authentic
        }
    };
    let manifest = sealed.unverified_manifest();
    let digest = hex::encode(sealed.manifest_digest());
    let text = page(manifest, &digest, standing, context.console.paint());
    let files: Vec<_> = manifest
        .files()
        .iter()
        .map(|file| json!({"path": file.path(), "size": file.size(), "format": file.format()}))
        .collect();
    let recipients: Vec<&KeyId> = manifest.recipients().iter().map(|r| r.kid()).collect();
    let json = json!({
        "authenticated": standing == Standing::Authentic,
        "name": manifest.name(),
        "version": manifest.version(),
        "model_id": manifest.model_id(),
        "manifest_digest": digest,
        "recipients": recipients,
        "allowed_formats": manifest.allowed_formats(),
        "total_bytes": manifest.total_bytes(),
        "files": files,
    });
    context.console.result(&text, &json)
}

fn load(args: &InspectArgs) -> Result<SealedModel, Failure> {
    let source = store::source(&args.place)?;
    let storage = match source.folder() {
        // A folder that is not there is told by the same refusal as one without a manifest.
        Some(folder) => return SealedModel::load(folder).map_err(|error| open_failure(&error)),
        None => source.storage(&args.store.settings()?).map_err(|error| store::failure(&error))?,
    };
    SealedModel::load_from(storage).map_err(|error| open_failure(&error))
}

/// The recipient that the key file is for.
pub(super) fn recipient(manifest: &Manifest, kid: Option<&str>) -> Result<KeyId, Failure> {
    if let Some(kid) = kid {
        return file_key_id(kid);
    }
    match manifest.recipients() {
        [only] => Ok(only.kid().clone()),
        several => {
            let names: Vec<String> = several.iter().map(|r| r.kid().to_string()).collect();
            Err(Failure::new(
                Exit::Usage,
                "inspect.kid",
                "the model opens with several keys, and the file does not say which it is",
            )
            .got(format!("--model-key-file without --kid, {} recipients", several.len()))
            .expected(format!("--kid with one of {}", names.join(", ")))
            .remedy("name the key with --kid"))
        }
    }
}

fn page(manifest: &Manifest, digest: &str, standing: Standing, paint: Paint) -> String {
    let mut text = match standing {
        Standing::Claimed => format!(
            "{} Nothing below is authenticated: this is what the folder says of itself.\n",
            paint.text(Tone::Warn, "!")
        ),
        Standing::Authentic => format!(
            "{} The manifest is authentic. Objects are authenticated when they are opened.\n",
            paint.text(Tone::Good, "✓")
        ),
    };
    let mut facts = Facts::new();
    let model = format!("{} version {}", manifest.name(), manifest.version());
    facts.add("model", Cell::new(Tone::Strong, model));
    facts.add("model id", manifest.model_id().to_string());
    facts.add("manifest", digest);
    for recipient in manifest.recipients() {
        facts.add("opens with", recipient.kid().to_string());
    }
    for format in manifest.allowed_formats() {
        let warning = format!("{format}: runs code in whoever loads it");
        facts.add("allowed", Cell::new(Tone::Warn, warning));
    }
    let count = manifest.files().len();
    let plural = if count == 1 { "file" } else { "files" };
    facts.add("content", format!("{count} {plural}, {}", byte_count(manifest.total_bytes())));
    text.push('\n');
    text.push_str(&facts.render(paint));
    let mut table = Table::new(["FILE", "SIZE", "FORMAT"]);
    for file in manifest.files() {
        let tone = match file.format().risk() {
            Some(_) => Tone::Warn,
            None => Tone::Plain,
        };
        table.row([
            Cell::from(file.path().to_string()),
            Cell::from(byte_count(file.size())),
            Cell::new(tone, file.format().as_str()),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render(paint));
    text
}

pub(super) fn open_failure(error: &OpenError) -> Failure {
    let exit = match error.layer() {
        Layer::Storage => Exit::Usage,
        Layer::Manifest => Exit::Malformed,
        Layer::Recipient if matches!(error, OpenError::NoRecipient { .. }) => Exit::Usage,
        Layer::Recipient
        | Layer::Mac
        | Layer::Object
        | Layer::Header
        | Layer::Commitment
        | Layer::Binding
        | Layer::Chunk => Exit::Integrity,
        Layer::Format => Exit::Unsupported,
        Layer::Acceptance => Exit::Integrity,
        Layer::Requirement | Layer::Request => Exit::Usage,
        Layer::Target | Layer::Key => Exit::Internal,
    };
    let expected = match error.layer() {
        Layer::Storage => "a readable folder with `model.json`",
        Layer::Manifest => "a manifest of a sealed model, version 1",
        Layer::Recipient => "the model key that the model was sealed to",
        Layer::Mac => "the manifest as it was written when the model was sealed",
        _ => "a sealed model as it was written",
    };
    let code = format!("sealed-model.{}", error.layer());
    Failure::because(exit, code, "the sealed model was refused", error)
        .expected(expected)
        .remedy(error.remedy())
}
