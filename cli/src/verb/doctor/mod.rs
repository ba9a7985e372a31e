//! `adyton doctor`: is this machine fit to serve a sealed model, and what would make it faster?
//!
//! Role: platform operator, in the guest before the sidecar starts. In: what the kernel says (`machine`).
//! Out: one line a fact, each good, a warning or a fault, with what to do. Must not: change anything, or call a
//! source of Evidence genuine; it only says which ones answer.

mod checks;
mod machine;

use std::path::PathBuf;

use adyton_sealed_weights::SealedModel;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::Context;
use crate::console::{Paint, Tone};
use crate::failure::{Exit, Failure};
use crate::table::{Cell, Table};

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  In the guest, for the folder that the sidecar will open models into:
    adyton doctor --target /models

  Will this model have room there?
    adyton doctor --target /models --model ./llama.sealed

  For a script; the exit code is 20 when something must be mended:
    adyton doctor --target /models --output json | jq '.findings[] | select(.standing != \"good\")'";

/// Arguments of `adyton doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Folder that models are opened into, the sidecar's `model.target`
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    target: PathBuf,
    /// Sealed model whose size is compared with the room in the target
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    /// As it should be.
    Good,
    /// It works, but slower or with less protection than it could.
    Warning,
    /// The sidecar would refuse to start.
    Fault,
}

/// One fact about the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    name: &'static str,
    standing: Standing,
    /// What is so.
    found: String,
    /// What to do; nothing when it is good.
    remedy: Option<String>,
}

impl Finding {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, standing: Standing::Good, found: found.into(), remedy: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self { name, standing: Standing::Warning, found, remedy }
    }

    fn fault(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self { name, standing: Standing::Fault, found, remedy }
    }
}

/// Runs `adyton doctor`.
///
/// # Errors
/// [`Failure`] when a fault was found, after everything was told, or the model cannot be read.
pub fn run(args: &DoctorArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let required = match &args.model {
        None => None,
        Some(folder) => {
            let sealed = SealedModel::load(folder);
            Some(sealed.map_err(|error| super::inspect::open_failure(&error))?.required_bytes())
        }
    };
    let machine = machine::Machine::read(&args.target);
    let findings = checks::examine(&machine, required);
    let faults = findings.iter().filter(|finding| finding.standing == Standing::Fault).count();
    let text = page(&findings, context.console.paint());
    context.console.result(&text, &json!({"fit": faults == 0, "findings": findings}))?;
    if faults == 0 {
        return Ok(());
    }
    let what = if faults == 1 { "1 fault was found" } else { "faults were found" };
    Err(Failure::new(Exit::Unsupported, "doctor.unfit", format!("this machine is not fit: {what}"))
        .got(format!("{faults} of {} facts", findings.len()))
        .expected("no fault; warnings cost speed, not safety")
        .remedy("do what stands behind each ✗, and run `adyton doctor` again"))
}

fn page(findings: &[Finding], paint: Paint) -> String {
    let mut table = Table::headless();
    for finding in findings {
        let (sign, tone) = match finding.standing {
            Standing::Good => ("✓", Tone::Good),
            Standing::Warning => ("!", Tone::Warn),
            Standing::Fault => ("✗", Tone::Bad),
        };
        let name = Cell::new(Tone::Strong, finding.name);
        table.row([Cell::new(tone, sign), name, Cell::new(Tone::Plain, &finding.found)]);
        if let Some(remedy) = &finding.remedy {
            table.row(["".into(), "".into(), Cell::new(Tone::Dim, format!("→ {remedy}"))]);
        }
    }
    table.render(paint)
}
