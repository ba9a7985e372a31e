//! The CLI of Adyton: what the model owner, the platform operator and the client type.
//!
//! Role: Reference Value Provider and owner towards the broker; Relying Party towards a sidecar (RFC 9334).
//! In: arguments, files, replies. Out: results on stdout, progress and errors on stderr, an exit code. Must
//! not: print or take a secret, or call anything verified that [`adyton_attestation`] did not verify.
//!
//! ```text
//! argv ─► arguments ─► verb::* ─┬─► admin_api ─► https ─► tls     the broker, pinned CA
//!                               ├─► verb::{verify,connect} ─► https ─► tls  a sidecar, trusted by its report only
//!                               └─► file, sealed-weights          this machine
//!         console ◄─ table ◄─ results            failure ◄─ every error
//! ```

pub mod admin_api;
pub mod arguments;
pub mod console;
pub mod endorsement_service;
pub mod failure;
pub mod file;
pub mod https;
pub mod model_key_file;
pub mod progress;
pub mod settings;
pub mod store;
pub mod table;
pub mod tls;
pub mod verb;

use std::ffi::OsString;
use std::io::Write;

use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};

use crate::arguments::{Cli, Verb};
use crate::console::{Console, Format, Paint, Stream};
use crate::failure::{Exit, Failure};
use crate::verb::Context;

/// Parses `argv` (program name first), runs the verb, writes to the given streams.
pub fn run(
    argv: impl IntoIterator<Item = OsString>,
    (out, out_stream): (&mut (dyn Write + Send), Stream),
    (err, err_stream): (&mut (dyn Write + Send), Stream),
) -> Exit {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let cli = match Cli::try_parse_from(&argv) {
        Ok(cli) => cli,
        Err(error) => {
            let format = wanted(&argv, "--output", Some("ADYTON_OUTPUT"));
            let color = wanted(&argv, "--color", None);
            let mut console = Console::new(out, out_stream, err, err_stream, format, color);
            return command_line_error(&error, &mut console);
        }
    };
    let console =
        Console::new(out, out_stream, err, err_stream, cli.globals.output, cli.globals.color);
    let mut context = Context { globals: cli.globals, console };
    match dispatch(cli.verb, &mut context) {
        Ok(()) => Exit::Success,
        Err(failure) => {
            context.console.failure(&failure);
            failure.exit()
        }
    }
}

fn dispatch(verb: Verb, context: &mut Context<'_>) -> Result<(), Failure> {
    match verb {
        Verb::Key(command) => verb::key::run(command, context),
        Verb::Seal(args) => verb::seal::run(&args, context),
        Verb::Push(args) => verb::push::run(&args, context),
        Verb::Recipients(command) => verb::recipients::run(command, context),
        Verb::Sign(args) => verb::signature::run_sign(&args, context),
        Verb::VerifySignature(args) => verb::signature::run_verify(&args, context),
        Verb::Inspect(args) => verb::inspect::run(&args, context),
        Verb::Policy(command) => verb::policy::run(command, context),
        Verb::Measure(command) => verb::measure::run(command, context),
        Verb::ReferenceValues(command) => verb::reference_values::run(command, context),
        Verb::Endorsements(command) => verb::endorsements::run(&command, context),
        Verb::Verify(args) => verb::verify::run(&args, context),
        Verb::Connect(args) => verb::connect::run(&args, context),
        Verb::Token(command) => verb::token::run(command, context),
        Verb::Explain(args) => verb::explain::run(&args, context),
        Verb::Doctor(args) => verb::doctor::run(&args, context),
        Verb::Completions(args) => verb::completions::run(&args, context),
    }
}

/// Help and version are results; everything else clap says is a usage error.
fn command_line_error(error: &clap::Error, console: &mut Console<'_>) -> Exit {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked_for {
        return match console.raw(rendered(error, console.paint()).as_bytes()) {
            Ok(()) => Exit::Success,
            Err(failure) => failure.exit(),
        };
    }
    match console.format() {
        Format::Text => console.usage(&rendered(error, console.error_paint())),
        Format::Json => {
            let text = rendered(error, Paint::Plain);
            let first = text.lines().next().unwrap_or_default();
            let message = first.strip_prefix("error: ").unwrap_or(first);
            console.failure(
                &Failure::new(Exit::Usage, "usage", message)
                    .expected("a command line as in `adyton --help`")
                    .remedy("adyton --help, or adyton VERB --help"),
            );
        }
    }
    Exit::Usage
}

fn rendered(error: &clap::Error, paint: Paint) -> String {
    let mut text = match paint {
        Paint::Colored => error.render().ansi().to_string(),
        Paint::Plain => error.render().to_string(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A flag's value as far as a command line that did not parse can tell, else the default.
fn wanted<T: ValueEnum + Default>(argv: &[OsString], flag: &str, variable: Option<&str>) -> T {
    let mut words = argv.iter().filter_map(|word| word.to_str());
    let mut found = variable.and_then(|name| std::env::var(name).ok());
    while let Some(word) = words.next() {
        match word.strip_prefix(flag) {
            Some("") => found = words.next().map(str::to_owned),
            Some(rest) if rest.starts_with('=') => found = rest.get(1..).map(str::to_owned),
            _ => {}
        }
    }
    found.and_then(|value| T::from_str(&value, false).ok()).unwrap_or_default()
}
