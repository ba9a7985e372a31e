//! `adyton reference-values`: the measurements that the broker expects (role: Reference Value Provider).

use std::path::PathBuf;

use adyton_attestation::{ReferenceValueError, ReferenceValues};
use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Context;
use super::policy::{odd_reply, text_file};
use crate::admin_api::TOML;
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::https::block_on;
use crate::table::{Cell, Facts, Table, shortened};

mod from_rim;

/// Shown under the help of `adyton reference-values`.
pub const EXAMPLES: &str = "\
Examples:
  adyton reference-values add llama-pod.toml
  adyton reference-values list";

const ADD_EXAMPLES: &str = "\
Examples:
  adyton reference-values add llama-pod.toml
  adyton reference-values add measured.toml --name llama-pod-2026-11

A file is one named set:
  name = \"llama-pod\"
  tee = \"tdx\"
  mrtd = [\"91eb…\"]
  rtmr0 = [\"44c0…\"]";

const LIST_EXAMPLES: &str = "\
Examples:
  adyton reference-values list
  adyton reference-values list --output json";

/// The longest file of Reference Values.
pub(super) const REFERENCE_VALUES_LIMIT: u64 = 1024 * 1024;

/// What to do with Reference Values.
#[derive(Debug, Subcommand)]
pub enum ReferenceValuesCommand {
    /// Check a set of Reference Values and add it to the broker
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Convert NVIDIA's manifest of a GPU driver or VBIOS into a set
    #[command(after_help = from_rim::EXAMPLES)]
    FromRim(from_rim::FromRimArgs),
    /// List the broker's sets
    #[command(after_help = LIST_EXAMPLES)]
    List,
}

/// Arguments of `reference-values add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The set, TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the set, instead of the one in the file
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Added {
    name: String,
    digest: String,
}

#[derive(Debug, Deserialize)]
struct Listed {
    reference_values: Vec<ListedSet>,
}

#[derive(Debug, Deserialize)]
struct ListedSet {
    name: String,
    digest: String,
    #[serde(default)]
    toml: String,
}

/// Runs `adyton reference-values …`.
///
/// # Errors
/// [`Failure`] of the file, the settings, the transport or the broker.
pub fn run(command: ReferenceValuesCommand, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        ReferenceValuesCommand::Add(args) => add(&args, context),
        ReferenceValuesCommand::FromRim(args) => from_rim::run(&args, context),
        ReferenceValuesCommand::List => list(context),
    }
}

fn add(args: &AddArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let text = text_file("Reference Values file", &args.file, REFERENCE_VALUES_LIMIT)?;
    let text = match &args.name {
        Some(name) => renamed(&text, name).map_err(|error| syntax(&args.file.display(), &error))?,
        None => text,
    };
    ReferenceValues::parse_toml(&text).map_err(|error| unreadable(&args.file.display(), &error))?;
    let broker = context.broker()?;
    let added: Added = block_on(async {
        let body = (TOML, text.into_bytes());
        Ok(broker
            .send("add the Reference Values", Method::PUT, "/adyton/v1/reference-values", body)
            .await?)
    })?;
    let mut facts = Facts::new();
    facts.add("name", Cell::new(Tone::Strong, &added.name));
    facts.add("digest", &added.digest);
    let paint = context.console.paint();
    let text =
        format!("{} Reference Values added\n{}", paint.text(Tone::Good, "✓"), facts.render(paint));
    context.console.result(&text, &json!(added))?;
    context.console.note(
        Tone::Dim,
        "They count for a key once its release policy names them under appraisal.reference_values.",
    );
    Ok(())
}

fn list(context: &mut Context<'_>) -> Result<(), Failure> {
    let broker = context.broker()?;
    let reply: Value = block_on(async {
        let path = "/adyton/v1/reference-values";
        Ok(broker.get("list the Reference Values", path, &[]).await?)
    })?;
    let list = Listed::deserialize(&reply).map_err(|error| odd_reply(&error))?;
    let mut table = Table::new(["NAME", "TEE", "REGISTERS", "DIGEST"]);
    for set in &list.reference_values {
        let (tee, registers) = summary(&set.toml);
        table.row([
            Cell::new(Tone::Strong, &set.name),
            Cell::from(tee),
            Cell::from(registers),
            Cell::from(shortened(&set.digest)),
        ]);
    }
    let text = table.render(context.console.paint());
    context.console.result(&text, &reply)?;
    if list.reference_values.is_empty() {
        context.console.note(
            Tone::Dim,
            "The broker has no Reference Values, so it accepts no measurement. Add some: \
             adyton reference-values add FILE",
        );
    }
    Ok(())
}

/// TEE and the registers with the count of accepted values each: `mrtd 2, rtmr0 1`.
fn summary(text: &str) -> (String, String) {
    let table: toml::Table = text.parse().unwrap_or_default();
    let tee = table.get("tee").and_then(toml::Value::as_str).unwrap_or("–");
    let mut registers: Vec<String> = table
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value.as_array()?.len())))
        .collect();
    registers.sort();
    (tee.to_owned(), registers.join(", "))
}

fn renamed(text: &str, name: &str) -> Result<String, toml::de::Error> {
    let mut table: toml::Table = text.parse()?;
    table.insert("name".into(), toml::Value::String(name.to_owned()));
    Ok(table.to_string())
}

fn syntax(path: &dyn std::fmt::Display, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(
        Exit::Malformed,
        "reference-values.syntax",
        format!("the Reference Values {path} are not valid"),
    )
    .expected("name, tee, and lists of hex values under register names")
    .remedy("correct the line that is named; see adyton reference-values add --help")
    .caused_by(error)
}

/// A set that the parser refused, with the parser's line and column.
pub(super) fn unreadable(path: &dyn std::fmt::Display, error: &ReferenceValueError) -> Failure {
    syntax(path, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_the_values_of_each_register() {
        let text = "name = \"x\"\ntee = \"tdx\"\nrtmr0 = [\"00\"]\nmrtd = [\"00\", \"11\"]\n";
        assert_eq!(summary(text), ("tdx".to_owned(), "mrtd 2, rtmr0 1".to_owned()));
    }

    #[test]
    fn a_new_name_replaces_the_one_in_the_file() {
        let text = renamed("name = \"old\"\ntee = \"tdx\"\n", "new").expect("parses");
        let table: toml::Table = text.parse().expect("still TOML");
        assert_eq!(table.get("name").and_then(toml::Value::as_str), Some("new"));
        assert_eq!(table.get("tee").and_then(toml::Value::as_str), Some("tdx"));
    }
}
