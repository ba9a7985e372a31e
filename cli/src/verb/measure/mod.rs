//! `adyton measure`: the launch digests that a guest will have, computed before it runs (role: Reference
//! Value Provider, RFC 9334 §4.1).
//!
//! In: firmware, kernel, initrd and command line as files of the owner, or the event log of a boot that
//! the owner trusts. Out: a set of Reference Values, TOML. What depends on things that are not given is
//! refused, not guessed: a wrong value would only show when nothing starts any more, or, worse, be
//! replaced by whatever a machine reports.

use std::path::PathBuf;

use adyton_attestation::ReferenceValues;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Context;
use crate::console::{Format, Tone};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::table::{Cell, Facts};

pub mod boot_files;
pub mod firmware;
pub mod mrtd;
mod snp;
mod tdx;

use firmware::FirmwareError;

/// Shown under the help of `adyton measure`.
pub const EXAMPLES: &str = "\
Examples:
  adyton measure snp --ovmf OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img \\
   --append \"console=ttyS0\" --vcpus 4 --vcpu-type EPYC-v4 --name llama-snp --out llama-snp.toml
  adyton measure tdx --firmware OVMF.fd --event-log ccel.bin --name llama-tdx --out llama-tdx.toml
  adyton reference-values add llama-snp.toml";

/// The longest firmware image. QEMU maps at most 16 MiB below 4 GiB.
const FIRMWARE_LIMIT: u64 = 16 * 1024 * 1024;

/// For which TEE to measure.
#[derive(Debug, Subcommand)]
pub enum MeasureCommand {
    /// Compute the launch digest of an AMD SEV-SNP guest
    #[command(after_help = snp::EXAMPLES)]
    Snp(Box<snp::SnpArgs>),
    /// Compute the registers of an Intel TDX trust domain
    #[command(after_help = tdx::EXAMPLES)]
    Tdx(Box<tdx::TdxArgs>),
}

/// What becomes of the set.
#[derive(Debug, Args)]
struct SetArgs {
    /// Name of the set, which release policies refer to
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Write the set to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs `adyton measure …`.
///
/// # Errors
/// [`Failure`] of a file, an image, or a question that the given files do not answer.
pub fn run(command: MeasureCommand, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        MeasureCommand::Snp(args) => snp::run(&args, context),
        MeasureCommand::Tdx(args) => tdx::run(&args, context),
    }
}

/// What was computed, and what a reader has to know about it.
struct Measured {
    set: ReferenceValues,
    /// How the values came about: label and value, for the head of the file and for people.
    origin: Vec<(&'static str, String)>,
    /// What the values do not cover.
    gaps: Vec<(&'static str, &'static str)>,
}

/// Writes the set to its file, or prints it.
fn deliver(measured: &Measured, args: &SetArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut toml = String::from("# Computed by `adyton measure`.\n");
    for (label, value) in &measured.origin {
        toml.push_str(&format!("# {label}: {value}\n"));
    }
    toml.push_str(&measured.set.to_toml());
    // What is written must be what a broker reads.
    ReferenceValues::parse_toml(&toml).map_err(|error| {
        Failure::new(Exit::Usage, "measure.name", "no set of Reference Values can have this name")
            .got(&args.name)
            .expected("1 to 128 characters of A-Z a-z 0-9 . _ -")
            .remedy("choose another --name")
            .caused_by(&error)
    })?;
    let mut reply = Map::new();
    reply.insert("toml".into(), json!(toml));
    reply.insert("digest".into(), json!(measured.set.digest()));
    let origin = measured.origin.iter().map(|(label, value)| ((*label).to_owned(), json!(value)));
    reply.insert("origin".into(), Value::Object(origin.collect()));
    reply.insert("file".into(), json!(args.out));
    match &args.out {
        Some(path) => {
            file::write_atomically("set of Reference Values", path, toml.as_bytes())?;
            let mut facts = Facts::new();
            facts.add("name", Cell::new(Tone::Strong, measured.set.name()));
            for (label, value) in &measured.origin {
                facts.add(label, value.as_str());
            }
            facts.add("file", path.display().to_string());
            let paint = context.console.paint();
            let done = paint.text(Tone::Good, "✓");
            let text = format!("{done} Reference Values written\n{}", facts.render(paint));
            context.console.result(&text, &Value::Object(reply))?;
        }
        None => context.console.result(&toml, &Value::Object(reply))?,
    }
    for (code, text) in &measured.gaps {
        context.console.warn(code, text);
    }
    if context.console.format() == Format::Text {
        context.console.note(
            Tone::Dim,
            "Compare once with a guest that you started yourself (adyton verify), then: adyton \
             reference-values add FILE",
        );
    }
    Ok(())
}

/// The image was read and is not one that can be measured.
fn unmeasurable(path: &std::path::Path, error: &FirmwareError, remedy: &str) -> Failure {
    Failure::new(
        Exit::Malformed,
        "measure.firmware",
        format!("the firmware {} cannot be measured", path.display()),
    )
    .got(error.to_string())
    .expected("an image of OVMF with the metadata of its TEE")
    .remedy(remedy)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes))
}
