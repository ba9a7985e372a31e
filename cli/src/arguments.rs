//! The command line as a type: global flags and one verb.
//!
//! Job: names, help and examples of everything that can be typed. In: argv and environment. Out: [`Cli`].
//! Must not: take a secret; every secret is the path of a file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::console::{ColorChoice, Format};
use crate::verb::completions::CompletionsArgs;
use crate::verb::connect::ConnectArgs;
use crate::verb::doctor::DoctorArgs;
use crate::verb::endorsements::EndorsementsCommand;
use crate::verb::explain::ExplainArgs;
use crate::verb::inspect::InspectArgs;
use crate::verb::key::KeyCommand;
use crate::verb::measure::MeasureCommand;
use crate::verb::policy::PolicyCommand;
use crate::verb::push::PushArgs;
use crate::verb::recipients::RecipientsCommand;
use crate::verb::reference_values::ReferenceValuesCommand;
use crate::verb::seal::SealArgs;
use crate::verb::signature::{SignArgs, VerifySignatureArgs};
use crate::verb::token::TokenCommand;
use crate::verb::verify::VerifyArgs;

/// Heading under which the flags for the broker's admin listener are listed.
const BROKER: &str = "Broker (admin listener)";

const EXAMPLES: &str = "\
Examples:
  adyton key create kbs:///acme/model-key/llama
  adyton seal llama sealed --name llama --version 1 --kid kbs:///acme/model-key/llama
  adyton policy apply release.toml
  adyton verify https://models.example --client-cert me.pem --client-key me.key --bundle intel.json
  adyton connect https://models.example --client-cert me.pem --client-key me.key \
      --bundle intel.json --reference-values llama-pod.toml --listen 127.0.0.1:8080

Exit codes:
  0 done       10 evidence rejected           13 broker or sidecar not reached   20 unsupported
  1 internal   11 denied by policy             14 integrity failure               30 malformed input
  2 usage      12 endorsements unavailable";

/// Seals models, manages keys and policies in a broker, and verifies what serves them.
#[derive(Debug, Parser)]
#[command(name = "adyton", version, after_help = EXAMPLES, subcommand_required = true,
          arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Flags that every verb takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags that every verb takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Globals {
    /// URL of the broker's admin listener, https://HOST:PORT
    #[arg(long, global = true, value_name = "URL", env = "ADYTON_BROKER", hide_env_values = true,
          help_heading = BROKER)]
    pub broker: Option<String>,
    /// PEM file of the CA that issued the broker's certificate; no other CA is trusted
    #[arg(long, global = true, value_name = "FILE", env = "ADYTON_BROKER_CA", hide_env_values = true,
          help_heading = BROKER)]
    pub broker_ca: Option<PathBuf>,
    /// File with the admin token (mode 0600)
    #[arg(long, global = true, value_name = "FILE", env = "ADYTON_ADMIN_TOKEN_FILE",
          hide_env_values = true, help_heading = BROKER)]
    pub admin_token_file: Option<PathBuf>,
    /// PEM certificate of the broker's admin CA, instead of a token
    #[arg(long, global = true, value_name = "FILE", env = "ADYTON_ADMIN_CERT_FILE",
          hide_env_values = true, help_heading = BROKER)]
    pub admin_cert_file: Option<PathBuf>,
    /// PEM key of that certificate (mode 0600)
    #[arg(long, global = true, value_name = "FILE", env = "ADYTON_ADMIN_KEY_FILE",
          hide_env_values = true, help_heading = BROKER)]
    pub admin_key_file: Option<PathBuf>,
    /// Configuration file [default: ~/.config/adyton/config.toml, if it exists]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ADYTON_CONFIG",
        hide_env_values = true,
        help_heading = "Output and configuration"
    )]
    pub config: Option<PathBuf>,
    /// Tables for people, or one JSON document for programs
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Text,
          env = "ADYTON_OUTPUT", hide_env_values = true, help_heading = "Output and configuration")]
    pub output: Format,
    /// When to colour; auto honours NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto,
          help_heading = "Output and configuration")]
    pub color: ColorChoice,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create, list, rotate and retire model keys in the broker
    #[command(subcommand, after_help = crate::verb::key::EXAMPLES)]
    Key(KeyCommand),
    /// Seal a model folder, so that only attested pods can open it
    #[command(after_help = crate::verb::seal::EXAMPLES)]
    Seal(SealArgs),
    /// Sign the files of a model (OpenSSF Model Signing)
    #[command(after_help = crate::verb::signature::SIGN_EXAMPLES)]
    Sign(SignArgs),
    /// Verify who signed the files of a model
    #[command(after_help = crate::verb::signature::VERIFY_EXAMPLES)]
    VerifySignature(VerifySignatureArgs),
    /// Push a sealed model to a bucket, a registry, a web server or a folder
    #[command(after_help = crate::verb::push::EXAMPLES)]
    Push(PushArgs),
    /// List, add and remove the keys that open a sealed model
    #[command(subcommand, after_help = crate::verb::recipients::EXAMPLES)]
    Recipients(RecipientsCommand),
    /// Show what a sealed model says about itself
    #[command(after_help = crate::verb::inspect::EXAMPLES)]
    Inspect(InspectArgs),
    /// Apply, show and draft release policies
    #[command(subcommand, after_help = crate::verb::policy::EXAMPLES)]
    Policy(PolicyCommand),
    /// Add and list Reference Values, the measurements that the broker expects
    #[command(subcommand, after_help = crate::verb::reference_values::EXAMPLES)]
    ReferenceValues(ReferenceValuesCommand),
    /// Compute the launch digests of a guest before it runs, as Reference Values
    #[command(subcommand, after_help = crate::verb::measure::EXAMPLES)]
    Measure(MeasureCommand),
    /// Fetch, show and merge Endorsements, the vendors' statements about hardware
    #[command(subcommand, after_help = crate::verb::endorsements::EXAMPLES)]
    Endorsements(EndorsementsCommand),
    /// Verify a running sidecar, or Evidence in a file
    #[command(after_help = crate::verb::verify::EXAMPLES)]
    Verify(VerifyArgs),
    /// Give ordinary OpenAI clients a way into an attested sidecar
    #[command(after_help = crate::verb::connect::EXAMPLES)]
    Connect(ConnectArgs),
    /// Verify Attestation Results that travel as tokens (EAR)
    #[command(subcommand, after_help = crate::verb::token::EXAMPLES)]
    Token(TokenCommand),
    /// Explain a decision of the broker, with every reason
    #[command(after_help = crate::verb::explain::EXAMPLES)]
    Explain(ExplainArgs),
    /// Look whether this machine is fit to serve a sealed model, and fast
    #[command(after_help = crate::verb::doctor::EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    #[command(after_help = crate::verb::completions::EXAMPLES)]
    Completions(CompletionsArgs),
}
