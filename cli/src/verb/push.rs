//! `adyton push`: takes a sealed model to where pods will read it.
//!
//! Role: model owner. In: a sealed folder, which may lie in public, and the address of a place. Out: the line for
//! the sidecar's configuration. `model.json` goes last, and what is there already is not sent again, so a push
//! that was broken off is repeated and nothing else.

use std::path::PathBuf;

use adyton_model_store::{PushError, PushReport, push};
use adyton_sealed_weights::Layer;
use clap::Args;
use serde_json::json;

use super::Context;
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::progress::Bar;
use crate::store::{self, StoreArgs};
use crate::table::{Cell, Facts, byte_count};

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  To a bucket:
    adyton push llama.sealed s3://models/llama/3 --region eu-central-1 --credentials-file s3.cred

  To a registry; the digest that it prints is what a sidecar should be given:
    adyton push llama.sealed oci://ghcr.io/acme/llama:v3 --credentials-file ghcr.cred

  To a web server that takes PUT, or another folder:
    adyton push llama.sealed https://models.example/llama
    adyton push llama.sealed /mnt/models/llama

  The line for the sidecar's configuration, for a program:
    adyton push llama.sealed oci://ghcr.io/acme/llama:v3 --output json | jq -r .source";

/// Arguments of `adyton push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Folder of the sealed model
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to: a folder, https://…, s3://…, gs://…, az://…, or oci://REGISTRY/NAME:TAG
    #[arg(value_name = "PLACE")]
    to: String,
    /// Put it in the place of another model
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs `adyton push`.
///
/// # Errors
/// [`Failure`] of the arguments, the folder or the place.
pub fn run(args: &PushArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let to = store::source(&args.to)?;
    let settings = args.store.settings()?;
    let bar = Bar::new(&context.console, "pushing");
    let pushed = push(&args.folder, &to, &settings, store::existing(args.replace), &bar);
    bar.finish();
    let report = pushed.map_err(|error| failure(&error))?;
    summary(&report, context)
}

fn summary(report: &PushReport, context: &mut Context<'_>) -> Result<(), Failure> {
    let digest = hex::encode(report.manifest_digest);
    let source = report.source.to_string();
    let line = format!("source = {}", toml::Value::from(source.as_str()));
    let mut facts = Facts::new();
    facts.add("place", &source);
    let sent = format!("{} objects, {}", report.sent, byte_count(report.sent_bytes));
    facts.add("sent", sent);
    facts.add("were there", format!("{} objects", report.skipped));
    facts.add("manifest", &digest);
    facts.add("[model]", Cell::new(Tone::Strong, line));
    let paint = context.console.paint();
    let text = format!("{} pushed\n{}", paint.text(Tone::Good, "✓"), facts.render(paint));
    let json = json!({
        "source": source,
        "sent": report.sent,
        "skipped": report.skipped,
        "sent_bytes": report.sent_bytes,
        "manifest_digest": digest,
    });
    context.console.result(&text, &json)
}

fn failure(error: &PushError) -> Failure {
    let (exit, code) = match error {
        PushError::Model(source) => match source.layer() {
            Layer::Storage => (Exit::Usage, "push.not-found"),
            _ => (Exit::Malformed, "push.model"),
        },
        PushError::Local { .. } => (Exit::Integrity, "push.object"),
        PushError::Store(source) => return store::failure(source),
        PushError::Occupied { .. } => (Exit::Usage, "push.occupied"),
        PushError::Fault { source, .. } if source.may_be_retried() => {
            (Exit::Internal, "push.unavailable")
        }
        PushError::Fault { .. } => (Exit::Usage, "push.refused"),
        PushError::Look { .. } => (Exit::Usage, "push.look"),
        PushError::TooManyObjects { .. } => (Exit::Unsupported, "push.too-many-objects"),
    };
    let expected = match error {
        PushError::Model(_) | PushError::Local { .. } => "a folder as `adyton seal` makes it",
        PushError::Occupied { .. } => "an empty place, or a part of the same sealed model",
        PushError::TooManyObjects { .. } => "an artifact that a registry can hold",
        _ => "a place that can be written with these settings and credentials",
    };
    Failure::because(exit, code, "the model was not pushed", error)
        .expected(expected)
        .remedy(error.remedy())
}
