//! `adyton-broker`: command line, exit codes, signals. The way of the data begins in the library.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use adyton_broker::audit::{ChainError, verify_chain};
use adyton_broker::config::{BrokerConfig, SETTINGS};
use adyton_broker::error::{Finding, StartupError};
use adyton_broker::serve::{CheckedConfig, RunningBroker, report, write_ready_file};
use adyton_broker::{hardening, logging};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const EXAMPLES: &str = "\
Examples:
  adyton-broker --config /etc/adyton/broker.toml
  adyton-broker --config broker.toml --check-config
  ADYTON_BROKER__LISTEN=127.0.0.1:8443 adyton-broker --state-dir ./state
  adyton-broker audit verify /var/lib/adyton-broker/audit.jsonl

Configuration (TOML; each key also as environment variable ADYTON_BROKER__<TABLE>__<KEY>):";

/// Verifies evidence of confidential guests and releases model keys to the accepted ones.
#[derive(Parser)]
#[command(name = "adyton-broker", version)]
struct Arguments {
    /// Configuration file (TOML); without it, defaults and environment count
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and all files it names, print it, and exit
    #[arg(long)]
    check_config: bool,
    /// Write addresses and paths to FILE as JSON when both listeners are bound
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Address of the KBS (key `listen`)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address of the admin API, or off (key `admin_listen`)
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Folder of store, keys and audit log (key `state_dir`)
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Work with audit logs
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Verify the hash chain of an audit log; exit code 14 when it is broken
    Verify {
        /// The log, such as /var/lib/adyton-broker/audit.jsonl
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let command = Arguments::command().after_help(format!("{EXAMPLES}\n{}", settings_help()));
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    if let Some(Command::Audit { command: AuditCommand::Verify { file } }) = &arguments.command {
        return verify_audit_log(file);
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let json = !io::stderr().is_terminal();
            if !json {
                eprintln!("adyton-broker: {error}");
            }
            eprintln!("{}", report(&error.findings(), json));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<(), StartupError> {
    hardening::apply()?;
    let config = load_config(&arguments)?;
    logging::install(&config);
    let checked = CheckedConfig::check(config)?;
    if arguments.check_config {
        for (key, value) in checked.config().effective() {
            println!("{key} = {value}");
        }
        return Ok(());
    }
    tracing::info!(config = ?checked.config().effective(), "effective configuration");
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|source| StartupError::Process { what: "make a runtime", source })?;
    runtime.block_on(serve_until_signal(checked, arguments.ready_file.as_deref()))
}

async fn serve_until_signal(
    checked: CheckedConfig,
    ready_file: Option<&Path>,
) -> Result<(), StartupError> {
    let failed = |source| StartupError::Process { what: "wait for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let running = RunningBroker::start(checked).await?;
    let endpoints = running.endpoints().clone();
    tracing::info!(kbs = endpoints.kbs, admin = endpoints.admin, "listening");
    if let Some(path) = ready_file {
        write_ready_file(path, &endpoints)?;
    }
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(running.run(stopped));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: no new connections, requests in flight may finish");
    // No receiver means that serving has ended already.
    let _ = stop.send(true);
    serving.await.map_err(|error| StartupError::Process {
        what: "serve to the end",
        source: io::Error::other(error),
    })
}

fn load_config(arguments: &Arguments) -> Result<BrokerConfig, StartupError> {
    let text = match &arguments.config {
        Some(path) => Some((path.as_path(), read_config(path)?)),
        None => None,
    };
    let flags = [
        ("listen", &arguments.listen),
        ("admin_listen", &arguments.admin_listen),
        ("state_dir", &arguments.state_dir),
    ];
    let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    let file = text.as_ref().map(|(path, text)| (*path, text.as_str()));
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    BrokerConfig::load(file, environment, flags).map_err(StartupError::Configuration)
}

fn read_config(path: &Path) -> Result<String, StartupError> {
    std::fs::read_to_string(path).map_err(|error| {
        StartupError::Configuration(vec![Finding::new(
            "--config",
            path.display().to_string(),
            format!("a readable TOML file ({error})"),
            "correct the path or its permissions",
        )])
    })
}

fn verify_audit_log(path: &Path) -> ExitCode {
    let verified = File::open(path).map_err(ChainError::Io).and_then(|file| verify_chain(file, 0));
    match verified {
        Ok(summary) => {
            println!("{}: chain of {} records is unbroken", path.display(), summary.head.seq);
            println!("head {}", hex::encode(summary.head.hash));
            if summary.torn_bytes > 0 {
                println!("{} bytes after the last record: an unfinished write", summary.torn_bytes);
            }
            ExitCode::SUCCESS
        }
        Err(ChainError::Io(error)) => {
            eprintln!("adyton-broker: {} can't be read: {error}", path.display());
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("adyton-broker: {}, line {}: {error}", path.display(), error.line());
            ExitCode::from(14)
        }
    }
}

fn settings_help() -> String {
    let line = |setting: &adyton_broker::config::Setting| {
        let default = if setting.default.is_empty() { "(not set)" } else { setting.default };
        format!("  {:<34} {} [{default}]", setting.key, setting.meaning)
    };
    SETTINGS.iter().map(line).collect::<Vec<_>>().join("\n")
}
