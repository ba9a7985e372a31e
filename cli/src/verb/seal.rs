//! Being written.
use crate::failure::Failure;
use crate::verb::Context;
use clap::Args;
use std::path::PathBuf;
/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  Under a key that the broker holds:
    adyton key create kbs:///acme/model-key/llama
    adyton seal ./llama ./llama.sealed --name llama --version 1 --kid kbs:///acme/model-key/llama

  So that two brokers' keys can open it, and with a file format that runs code when loaded:
    adyton seal ./llama ./llama.sealed --name llama --version 2 --kid kbs:///acme/model-key/llama \\
        --kid kbs:///acme/model-key/llama-dr --allow-format pickle

  Without a broker, under a 32-byte key in a file of mode 0600:
    (umask 077; head -c 32 /dev/urandom > llama.key)
    adyton seal ./llama ./llama.sealed --name llama --version 1 --kid kbs:///acme/model-key/llama \\
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
    /// File format that runs code when loaded and is accepted all the same; may be repeated
    #[arg(long = "allow-format", value_name = "FORMAT")]
    allow_formats: Vec<String>,
    /// Seal without a broker, under the model key in this file (32 bytes, mode 0600)
    #[arg(long, value_name = "FILE")]
    model_key_file: Option<PathBuf>,
    /// Threads [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

/// x
pub fn run(_a: &SealArgs, _c: &mut Context<'_>) -> Result<(), Failure> {
    Ok(())
}
