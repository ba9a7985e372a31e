//! `adyton-sidecar`: gets a model key for this TEE, opens the sealed model, serves it over mTLS.
//!
//! A table of contents: [`startup`] is the way up and down, [`proxy`](adyton_sidecar::proxy) what
//! stands at its top.

use std::path::PathBuf;
use std::process::ExitCode;

use adyton_sidecar::config::{Config, ENVIRONMENT_PREFIX};
use adyton_sidecar::error::{SidecarError, report};
use adyton_sidecar::{hygiene, logging, startup};
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  adyton-sidecar --config /etc/adyton/sidecar.toml
  adyton-sidecar check-config --config /etc/adyton/sidecar.toml
  ADYTON_SIDECAR__BROKER__URL=https://broker:8080 adyton-sidecar --config sidecar.toml

A configuration:
  listen = \"0.0.0.0:8443\"
  admin_listen = \"127.0.0.1:9443\"
  [broker]
  url = \"https://broker.example:8443\"
  ca_file = \"/etc/adyton/broker-ca.pem\"
  [model]
  source = \"/models/kjv.sealed\"        # or https://, s3://, gs://, az://, oci://…@sha256:…
  target = \"/run/adyton\"               # tmpfs
  [expose]
  kind = \"s3\"                        # or tmpfs, the default: files in model.target
  client_folder = \"/run/adyton-s3\"   # credentials for the inference server
  [upstream]
  address = \"http://127.0.0.1:8000\"    # or unix:/run/server.sock
  [tls]
  client_ca_file = \"/etc/adyton/clients-ca.pem\"

Exit codes: 0 ended by SIGTERM, wiped; 1 internal; 2 configuration; 10 evidence rejected;
11 policy denied; 12 endorsements unavailable; 13 broker unreachable; 14 integrity failure;
20 unsupported machine; 30 malformed input. Logs go to stderr; ADYTON_LOG=debug shows more.";

/// Runs in the TEE: attests, opens the sealed model, serves it over mTLS.
#[derive(Parser)]
#[command(name = "adyton-sidecar", version, after_help = EXAMPLES)]
struct Arguments {
    /// TOML file; every key is also ADYTON_SIDECAR__SECTION__KEY in the environment.
    #[arg(long, env = "ADYTON_SIDECAR_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Written with the addresses of the admin and, once it is open, the mTLS port.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Checks the configuration against this machine, prints the effective one and its digest.
    CheckConfig,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::init();
    let path = arguments.config.unwrap_or_else(|| PathBuf::from("/etc/adyton/sidecar.toml"));
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
        .filter(|(name, _): &(String, String)| name.starts_with(ENVIRONMENT_PREFIX));

    let outcome = Config::load(&path, environment).map_err(SidecarError::from).and_then(|config| {
        match arguments.command {
            Some(Command::CheckConfig) => {
                print(&config);
                Ok(())
            }
            None => run(config, arguments.ready_file),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit() as u8)
        }
    }
}

fn run(config: Config, ready_file: Option<PathBuf>) -> Result<(), SidecarError> {
    // Before the first thread and the first secret.
    let hardened = hygiene::harden(config.swap)?;
    let runtime = tokio::runtime::Runtime::new().map_err(SidecarError::Process)?;
    let outcome = runtime.block_on(startup::run(config, hardened, ready_file));
    // Opening threads may still run after SIGTERM; what they hold ends with the process.
    runtime.shutdown_background();
    outcome
}

#[allow(clippy::print_stdout, reason = "the answer of check-config")]
fn print(config: &Config) {
    let shown = serde_json::json!({
        "config_digest": hex::encode(config.digest()),
        "effective": config.effective(),
        "insecure": config.insecure(),
    });
    println!("{shown:#}");
}
