//! `adyton seal`: makes a sealed model that may lie in public.
//!
//! Role: model owner. In: a plain model folder; keys by name in the broker, or one in a file. Out: a folder of
//! sealed objects, complete or not there at all. The content key is made here and leaves this process only as
//! a JWE to the broker's wrapping key (or under the model key of the file).
//! Against: a half-written model that looks whole; a content key in argv, environment, output or clear text.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use adyton_attestation::rcar::{JweExtras, ResourcePath, TeePublicKey, jwe};
use adyton_sealed_weights::formats::FormatError;
use adyton_sealed_weights::{
    KeyId, ModelId, ModelKey, Recipient, RecipientError, RiskyFormat, SealError, SealJob,
    SealOptions, SealReport,
};
use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Context, key_uri};
use crate::admin_api::{AdminApi, JSON};
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::https::block_on;
use crate::model_key_file;
use crate::progress::Bar;
use crate::table::{Cell, Facts, byte_count};

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  Under a key that the broker holds:
    adyton key create kbs:///acme/model-key/llama
    adyton seal llama sealed --name llama --version 1 --kid kbs:///acme/model-key/llama

  So that two keys can open it, with a file format that runs code when loaded:
    adyton seal llama sealed --name llama --version 2 --kid kbs:///acme/model-key/llama \\
        --kid kbs:///acme/model-key/llama-dr --allow-format pickle

  Without a broker, under a 32-byte key in a file of mode 0600:
    (umask 077; head -c 32 /dev/urandom > llama.key)
    adyton seal llama sealed --name llama --version 1 --kid kbs:///acme/model-key/llama \\
        --model-key-file llama.key";

/// Arguments of `adyton seal`.
#[derive(Debug, Args)]
pub struct SealArgs {
    /// Folder of the plain model
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Folder to make; must not exist yet
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Name of the model, as sidecars are configured to expect it
    #[arg(long)]
    name: String,
    /// Version, counted upwards; sidecars and brokers refuse less than their minimum
    #[arg(long, value_name = "N")]
    version: u64,
    /// Model key that may open it, kbs:///REPOSITORY/TYPE/TAG; may be repeated
    #[arg(long = "kid", value_name = "KID", required = true)]
    kids: Vec<String>,
    /// Format that runs code when loaded and is accepted all the same: native-code, pickle, python
    /// or zip; may be repeated
    #[arg(long = "allow-format", value_name = "FORMAT")]
    allow_formats: Vec<RiskyFormat>,
    /// Seal without a broker, under the model key in this file (32 bytes, mode 0600)
    #[arg(long, value_name = "FILE")]
    model_key_file: Option<PathBuf>,
    /// Threads [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, Deserialize)]
struct Wrapped {
    recipient: Recipient,
}

/// Runs `adyton seal`.
///
/// # Errors
/// [`Failure`] of the arguments, the source, the broker or the target. Nothing is left in the target folder.
pub fn run(args: &SealArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    // 1. Everything that can be wrong before the first byte is read.
    let keys = Keys::plan(args, context)?;
    let options = SealOptions {
        name: args.name.clone(),
        version: args.version,
        allow_formats: args.allow_formats.clone(),
        threads: args.threads.map_or(0, NonZeroUsize::get),
    };
    let job =
        SealJob::new(&args.source, &args.out, options).map_err(|error| seal_failure(&error))?;

    // 2. The content key, sealed to each model key. A broker that is down costs no sealing time.
    let recipients = keys.recipients(&job)?;
    let kids: Vec<KeyId> = recipients.iter().map(|recipient| recipient.kid().clone()).collect();

    // 3. The model.
    let bar = Bar::new(&context.console, "sealing");
    let sealed = job.run(recipients, &bar);
    bar.finish();
    let report = sealed.map_err(|error| seal_failure(&error))?;
    summary(args, &kids, &report, context)
}

/// Where the model keys are.
enum Keys {
    /// In a file on this machine.
    File(Box<ModelKey>),
    /// In the broker, by name.
    Broker(Box<AdminApi>, Vec<ResourcePath>),
}

impl Keys {
    fn plan(args: &SealArgs, context: &Context<'_>) -> Result<Self, Failure> {
        let Some(path) = &args.model_key_file else {
            let mut kids = Vec::new();
            for kid in &args.kids {
                let path = key_uri(kid)?;
                if kids.contains(&path) {
                    return Err(Failure::new(
                        Exit::Usage,
                        "key.twice",
                        "the same key was named twice",
                    )
                    .got(kid)
                    .expected("each --kid once")
                    .remedy("leave one of them out"));
                }
                kids.push(path);
            }
            return Ok(Self::Broker(Box::new(context.broker()?), kids));
        };
        let [kid] = args.kids.as_slice() else {
            return Err(Failure::new(
                Exit::Usage,
                "key.count",
                "a model key file is the key of one name, and several were given",
            )
            .got(format!("{} times --kid", args.kids.len()))
            .expected("--kid once")
            .remedy("leave the others out, or seal with a broker"));
        };
        let id = file_key_id(kid)?;
        Ok(Self::File(Box::new(model_key_file::read(path, id)?)))
    }

    fn recipients(&self, job: &SealJob) -> Result<Vec<Recipient>, Failure> {
        match self {
            Self::File(key) => {
                let recipient = Recipient::wrap(key, &job.model_id(), job.content_key())
                    .map_err(|error| wrap_failure(&error))?;
                Ok(vec![recipient])
            }
            Self::Broker(broker, kids) => block_on(async {
                let wrapping_key: TeePublicKey =
                    broker.get("show its wrapping key", "/adyton/v1/wrapping-key", &[]).await?;
                let mut recipients = Vec::with_capacity(kids.len());
                for kid in kids {
                    let (id, content_key) = (job.model_id(), job.content_key_for_wrapping());
                    let made = from_broker(broker, &wrapping_key, kid, &id, &content_key).await?;
                    recipients.push(made);
                }
                Ok(recipients)
            }),
        }
    }
}

/// One recipient made by the broker: the model key stays there, the content key goes there encrypted.
pub(super) async fn from_broker(
    broker: &AdminApi,
    wrapping_key: &TeePublicKey,
    kid: &ResourcePath,
    model_id: &ModelId,
    content_key: &[u8; 32],
) -> Result<Recipient, Failure> {
    let extras = JweExtras { resource: Some(kid.clone()), minimum_model_version: None };
    let wrapped = jwe::encrypt(wrapping_key, content_key, &extras).map_err(|error| {
        Failure::new(
            Exit::Internal,
            "seal.wrap",
            "the content key could not be wrapped for the broker",
        )
        .remedy("try again; restart the broker if it stays so")
        .caused_by(&error)
    })?;
    let uri = kid.to_uri();
    let body = json!({
        "kid": uri,
        "model_id": model_id.to_string(),
        "content_key": wrapped,
    });
    let body = (JSON, body.to_string().into_bytes());
    let reply: Wrapped = broker
        .send("make a recipient of the model", Method::POST, "/adyton/v1/recipients", body)
        .await?;
    // The broker's word is not taken for it: a recipient for another key would lock the owner out.
    if reply.recipient.kid().uri() != uri {
        return Err(Failure::new(
            Exit::Malformed,
            "broker.recipient",
            "the broker answered with a recipient for another key",
        )
        .got(reply.recipient.kid().to_string())
        .expected(uri)
        .remedy("look at the broker's log; do not use this broker until it is understood"));
    }
    Ok(reply.recipient)
}

/// A file's key has epoch 1 unless its name says otherwise.
pub(super) fn file_key_id(kid: &str) -> Result<KeyId, Failure> {
    let parsed = if kid.contains('?') { kid.parse() } else { KeyId::new(kid, 1) };
    parsed.map_err(|error| {
        Failure::new(Exit::Usage, "key.uri", "the key's name is not a key URI")
            .got(kid)
            .expected("kbs:///REPOSITORY/TYPE/TAG, or that with ?epoch=N")
            .remedy(error.remedy())
            .caused_by(&error)
    })
}

pub(super) fn wrap_failure(error: &RecipientError) -> Failure {
    Failure::new(
        Exit::Internal,
        "seal.recipient",
        "the content key could not be sealed to the model key",
    )
    .remedy("free memory or raise the limit on locked memory (ulimit -l)")
    .caused_by(error)
}

fn summary(
    args: &SealArgs,
    kids: &[KeyId],
    report: &SealReport,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let digest = hex::encode(report.manifest_digest);
    let mut facts = Facts::new();
    let model = format!("{} version {}", args.name, args.version);
    facts.add("model", Cell::new(Tone::Strong, model));
    facts.add("model id", report.model_id.to_string());
    facts.add("folder", args.out.display().to_string());
    facts.add("content", format!("{} files, {}", report.files, byte_count(report.plaintext_bytes)));
    facts.add("sealed", byte_count(report.sealed_bytes));
    facts.add("manifest", &digest);
    for kid in kids {
        facts.add("opens with", kid.to_string());
    }
    for format in &args.allow_formats {
        let warning = format!("{format}: runs code in whoever loads it");
        facts.add("allowed", Cell::new(Tone::Warn, warning));
    }
    let paint = context.console.paint();
    let text = format!("{} sealed\n{}", paint.text(Tone::Good, "✓"), facts.render(paint));
    let json = json!({
        "name": args.name,
        "version": args.version,
        "model_id": report.model_id,
        "folder": args.out.display().to_string(),
        "files": report.files,
        "plaintext_bytes": report.plaintext_bytes,
        "sealed_bytes": report.sealed_bytes,
        "manifest_digest": digest,
        "recipients": kids,
        "allowed_formats": args.allow_formats,
    });
    context.console.result(&text, &json)
}

fn seal_failure(error: &SealError) -> Failure {
    let (exit, code) = match error {
        SealError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (Exit::Usage, "seal.not-found")
        }
        SealError::Io { .. } => (Exit::Internal, "seal.io"),
        SealError::NotAFile { .. } => (Exit::Usage, "seal.not-a-file"),
        SealError::Empty { .. } => (Exit::Usage, "seal.empty"),
        SealError::Path(_) => (Exit::Usage, "seal.path"),
        SealError::Format { source, .. } => match source {
            FormatError::NotAllowed { .. } => (Exit::Unsupported, "seal.format-not-allowed"),
            _ => (Exit::Malformed, "seal.format"),
        },
        SealError::SourceChanged { .. } => (Exit::Integrity, "seal.source-changed"),
        SealError::OutputExists { .. } => (Exit::Usage, "seal.output-exists"),
        SealError::Overlap { .. } => (Exit::Usage, "seal.overlap"),
        SealError::Manifest(_) => (Exit::Usage, "seal.manifest"),
        SealError::NoRecipients => (Exit::Usage, "seal.no-recipients"),
        SealError::Chunk { .. } => (Exit::Unsupported, "seal.chunk"),
        SealError::Key(_) => (Exit::Internal, "seal.key"),
    };
    let failure = Failure::because(exit, code, "the model was not sealed", error);
    match error {
        SealError::Format {
            source: FormatError::NotAllowed { format, .. },
            path,
        } => failure
            .got(format!("{path} is {format}"))
            .expected("weights in safetensors or GGUF, and files that are not code")
            .remedy(format!(
                "convert the file to safetensors, or leave it out; if you trust it: --allow-format {format}"
            )),
        SealError::Io { .. } => failure
            .expected("a readable source, and a writable folder with room for the output")
            .remedy(error.remedy()),
        SealError::Manifest(_) => failure
            .expected("a name, a version and keys that the format allows")
            .remedy(error.remedy()),
        SealError::Key(_) => failure.remedy(error.remedy()),
        _ => failure
            .expected("a folder of plain files, and an output beside it that does not exist yet")
            .remedy(error.remedy()),
    }
}
