//! `adyton-example-server`: reads the command line, starts the log, serves, and tells why it ended.

use std::error::Error;
use std::io::IsTerminal as _;

use adyton_example_server::options::Options;
use adyton_example_server::serve::serve;
use clap::Parser as _;

#[tokio::main]
async fn main() {
    let options = Options::parse();
    start_log();
    match serve(options).await {
        // Threads that still compute an abandoned answer are not waited for.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            tracing::error!("{}", with_causes(&error));
            std::process::exit(error.exit_code().into())
        }
    }
}

fn start_log() {
    let log =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO);
    if std::io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().init();
    }
}

/// Each error's text has its own level only; together they are one line.
fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line = format!("{line}: {next}");
        cause = next.source();
    }
    line
}
