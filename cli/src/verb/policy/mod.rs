//! `adyton policy`: release policies, the owner's rules for who gets a key.
//!
//! A policy is parsed here with the broker's own parser before it is sent, so that a slip is shown with its
//! line; the broker parses it again and decides.

mod recorded;

use std::path::PathBuf;

use adyton_attestation::{PolicyError, ReleasePolicy};
use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rules::parse_rego;
use super::{Context, key_uri};
use crate::admin_api::TOML;
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::https::block_on;
use crate::table::{Cell, Facts, Table, shortened};

/// Shown under the help of `adyton policy`.
pub const EXAMPLES: &str = "\
Examples:
  adyton policy template --kid kbs:///acme/model-key/llama > release.toml
  adyton policy apply release.toml
  adyton policy show kbs:///acme/model-key/llama
  adyton policy test recorded/ --policy release.toml --bundle collateral.json
  adyton policy diff release.toml stricter.toml recorded/ --bundle collateral.json";

const APPLY_EXAMPLES: &str = "\
Examples:
  adyton policy apply release.toml
  adyton policy apply release.toml --output json | jq -r .digest";

const SHOW_EXAMPLES: &str = "\
Examples:
  adyton policy show                                         one line a key
  adyton policy show kbs:///acme/model-key/llama > now.toml";

const TEMPLATE_EXAMPLES: &str = "\
Examples:
  adyton policy template --kid kbs:///acme/model-key/llama > release.toml";

/// The longest policy file.
pub(super) const POLICY_LIMIT: u64 = 256 * 1024;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy file and put it into force
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(ApplyArgs),
    /// Show the policy of one key, or list all
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Run a policy over a folder of recorded Evidence
    #[command(after_help = recorded::TEST_EXAMPLES)]
    Test(recorded::TestArgs),
    /// Say whose access would change under another policy, and why
    #[command(after_help = recorded::DIFF_EXAMPLES)]
    Diff(recorded::DiffArgs),
    /// Print a commented policy to start from
    #[command(after_help = TEMPLATE_EXAMPLES)]
    Template(TemplateArgs),
}

/// Arguments of `policy apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The policy, TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Arguments of `policy show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Name of the key, kbs:///REPOSITORY/TYPE/TAG
    #[arg(value_name = "KID")]
    kid: Option<String>,
}

/// Arguments of `policy template`.
#[derive(Debug, Args)]
pub struct TemplateArgs {
    /// Name of the key that the policy is for
    #[arg(long, value_name = "KID", default_value = "kbs:///acme/model-key/llama")]
    kid: String,
    /// Name of the set of Reference Values to compare with
    #[arg(long, value_name = "NAME", default_value = "llama-pod")]
    reference_values: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Applied {
    kid: String,
    digest: String,
}

#[derive(Debug, Deserialize)]
struct Shown {
    digest: String,
    toml: String,
}

#[derive(Debug, Deserialize)]
struct Listed {
    policies: Vec<Applied>,
}

/// Runs `adyton policy …`.
///
/// # Errors
/// [`Failure`] of the file, the settings, the transport or the broker.
pub fn run(command: PolicyCommand, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        PolicyCommand::Apply(args) => apply(&args, context),
        PolicyCommand::Show(args) => show(&args, context),
        PolicyCommand::Test(args) => recorded::test(&args, context),
        PolicyCommand::Diff(args) => recorded::diff(&args, context),
        PolicyCommand::Template(args) => {
            let kid = key_uri(&args.kid)?.to_uri();
            let text = template(&kid, &args.reference_values);
            // A name that the parser refuses would make a template that cannot be applied.
            ReleasePolicy::parse_toml(&text).map_err(|error| unreadable(&"template", &error))?;
            context.console.raw(text.as_bytes())
        }
    }
}

fn apply(args: &ApplyArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let text = text_file("release policy", &args.file, POLICY_LIMIT)?;
    let policy = ReleasePolicy::parse_toml(&text)
        .map_err(|error| unreadable(&args.file.display(), &error))?;
    parse_rego(policy.rego.as_ref(), &args.file)?;
    let broker = context.broker()?;
    let applied: Applied = block_on(async {
        let body = (TOML, text.into_bytes());
        Ok(broker
            .send("apply the release policy", Method::PUT, "/adyton/v1/policies", body)
            .await?)
    })?;
    let mut facts = Facts::new();
    facts.add("key", Cell::new(Tone::Strong, &applied.kid));
    facts.add("digest", &applied.digest);
    let paint = context.console.paint();
    let text =
        format!("{} release policy in force\n{}", paint.text(Tone::Good, "✓"), facts.render(paint));
    context.console.result(&text, &json!(applied))
}

fn show(args: &ShowArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let kid = args.kid.as_deref().map(key_uri).transpose()?.map(|path| path.to_uri());
    let broker = context.broker()?;
    let query: Vec<(&str, &str)> = kid.iter().map(|kid| ("kid", kid.as_str())).collect();
    let reply: Value = block_on(async {
        Ok(broker.get("show the release policy", "/adyton/v1/policies", &query).await?)
    })?;
    if kid.is_some() {
        let shown = Shown::deserialize(&reply).map_err(|error| odd_reply(&error))?;
        // The TOML itself, so that it can be piped into a file and applied again.
        context.console.result(&shown.toml, &reply)?;
        context.console.note(Tone::Dim, &format!("digest {}", shown.digest));
        return Ok(());
    }
    let list = Listed::deserialize(&reply).map_err(|error| odd_reply(&error))?;
    let mut table = Table::new(["KEY", "DIGEST"]);
    for policy in &list.policies {
        table.row([Cell::from(&policy.kid), Cell::from(shortened(&policy.digest))]);
    }
    let text = table.render(context.console.paint());
    context.console.result(&text, &reply)?;
    if list.policies.is_empty() {
        context.console.note(Tone::Dim, "No key has a release policy, so no key is ever released.");
    }
    Ok(())
}

/// A policy that the parser refused, with the parser's line and column.
pub(super) fn unreadable(path: &dyn std::fmt::Display, error: &PolicyError) -> Failure {
    Failure::new(
        Exit::Malformed,
        "policy.syntax",
        format!("the release policy {path} is not valid"),
    )
    .expected("a policy as printed by `adyton policy template`")
    .remedy("correct the line that is named")
    .caused_by(error)
}

pub(super) fn odd_reply(error: &serde_json::Error) -> Failure {
    Failure::new(Exit::Malformed, "broker.reply", "the broker's answer could not be read")
        .expected("an answer of the admin API, version 1")
        .remedy("check that both versions agree")
        .caused_by(error)
}

/// Reads a file that must be UTF-8 text.
pub(super) fn text_file(
    what: &'static str,
    path: &std::path::Path,
    limit: u64,
) -> Result<String, Failure> {
    let bytes = file::read(what, path, limit)?;
    String::from_utf8(bytes).map_err(|error| {
        Failure::new(
            Exit::Malformed,
            "file.encoding",
            format!("the {what} {} is not text", path.display()),
        )
        .got(format!("a byte that is not UTF-8 at offset {}", error.utf8_error().valid_up_to()))
        .expected("UTF-8 text")
        .remedy("check that this is the file you meant")
    })
}

fn template(kid: &str, reference_values: &str) -> String {
    let name = toml::Value::String(reference_values.to_owned());
    format!(
        "\
# Release policy: who gets this key. Everything not named here keeps its strict default.
# Put into force with: adyton policy apply FILE

# The key that this policy is for.
key = \"{kid}\"

# Sealed models below this version are not opened (rollback protection).
minimum_model_version = 1

[appraisal]
# Sets of Reference Values (adyton reference-values add); one of them must match as a whole.
reference_values = [{name}]

# TCB status words that are good enough. OutOfDate means known holes in the platform's firmware.
tcb_status = [\"UpToDate\"]

# Refuse Endorsements that the vendor issued longer ago than this.
max_collateral_age_days = 30
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_valid_policy_for_its_key() {
        let text = template("kbs:///acme/model-key/llama", "llama-pod");
        let policy = ReleasePolicy::parse_toml(&text).expect("the template parses");
        assert_eq!(policy.key, "kbs:///acme/model-key/llama");
        assert_eq!(policy.minimum_model_version, 1);
    }
}
