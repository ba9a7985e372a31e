//! `adyton policy test` and `adyton policy diff`: policies over a folder of recorded Evidence.
//!
//! In: policies in files, a folder, Endorsements, a time. Out: a line for each file, every reason, an exit
//! code for CI. No broker is asked and nothing is changed. Files are verified as they would have been at
//! the given time; whether they were fresh then, nobody can tell from a file.

use std::path::{Path, PathBuf};

use adyton_attestation::{Evidence, Reason, UnixTime};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::console::{Paint, Tone, printable};
use crate::failure::{Exit, Failure, reasons_text};
use crate::file;
use crate::table::{Cell, Table};
use crate::verb::Context;
use crate::verb::rules::{Grounds, Rules, Verdict, references};
use crate::verb::trust::TrustArgs;
use crate::verb::verify::{EVIDENCE_LIMIT, now, time};

pub(super) const TEST_EXAMPLES: &str = "\
Examples:
  adyton policy test recorded/ --policy release.toml --reference-values llama-pod.toml \\
      --bundle collateral.json --at 2026-11-01T00:00:00Z
  adyton policy test recorded/ --policy attestation.rego --reference-values llama-pod.toml --bundle b.json
  adyton policy test must-fail/ --policy release.toml --bundle b.json --expect denied

Exit codes:
  0   every file is accepted (or denied, with --expect denied)
  10  a file is not genuine at that time       11  a policy decides otherwise than expected
  30  a file cannot be read as Evidence";

pub(super) const DIFF_EXAMPLES: &str = "\
Examples:
  adyton policy diff release.toml stricter.toml recorded/ --reference-values llama-pod.toml \\
      --bundle collateral.json
  adyton policy diff old.rego new.rego recorded/ --kid kbs:///acme/model-key/llama --bundle b.json

Exit codes:
  0   nobody's access would change             11  somebody's would; the table says whose and why";

/// Most files of one folder.
const MAX_FILES: usize = 10_000;

/// What `policy test` and `policy diff` share.
#[derive(Debug, Args)]
pub struct RecordedArgs {
    /// Reference Values that policies may name, TOML; may be repeated
    #[arg(long, value_name = "FILE")]
    reference_values: Vec<PathBuf>,
    /// When to verify for: RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UnixTime>,
    /// The key that is asked for, for resource policies in Rego
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What a test expects of every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// The policy accepts it
    Accepted,
    /// It is genuine and the policy denies it
    Denied,
}

/// Arguments of `policy test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Folder of recorded Evidence: raw quotes, hex, the KBS's JSON, saved attestation reports
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The policy: a release policy (TOML), or one policy in Rego (`.rego`)
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// What every file must come to
    #[arg(long, value_enum, default_value_t = Expect::Accepted)]
    expect: Expect,
    #[command(flatten)]
    recorded: RecordedArgs,
}

/// Arguments of `policy diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The policy in force
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The policy to come
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Folder of recorded Evidence
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    recorded: RecordedArgs,
}

/// One file of the folder.
struct Recorded {
    name: String,
    /// The Evidence, or why there is none.
    evidence: Result<Evidence, Vec<Reason>>,
}

/// Runs `adyton policy test`.
pub(super) fn test(args: &TestArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let rules = Rules::load(&args.policy, args.recorded.kid.as_deref())?;
    let grounds = grounds(&args.recorded, context)?;
    let files = recorded(&args.folder)?;
    let paint = context.console.paint();
    let mut table = Table::new(["FILE", "VERDICT", "REASONS"]);
    let mut details = String::new();
    let mut lines = Vec::new();
    let mut worst = Exit::Success;
    for file in &files {
        let (word, reasons, exit) = match &file.evidence {
            Err(reasons) => ("unreadable", reasons.clone(), Exit::Malformed),
            Ok(evidence) => {
                let verdict = rules.verdict(evidence, &grounds);
                let exit = match (&verdict, args.expect) {
                    (Verdict::Accepted { .. }, Expect::Accepted)
                    | (Verdict::Denied(_), Expect::Denied) => Exit::Success,
                    (Verdict::Accepted { .. }, Expect::Denied)
                    | (Verdict::Denied(_), Expect::Accepted) => Exit::PolicyDenied,
                    (Verdict::NotVerified(_), _) => Exit::EvidenceRejected,
                };
                (verdict.word(), verdict.reasons().to_vec(), exit)
            }
        };
        let tone = if exit == Exit::Success { Tone::Good } else { Tone::Bad };
        table.row([Cell::from(&file.name), Cell::new(tone, word), Cell::from(codes(&reasons))]);
        if exit != Exit::Success {
            details.push_str(&told(&file.name, &reasons, paint));
        }
        lines.push(json!({ "file": file.name, "verdict": word, "reasons": reasons }));
        worst = worse(worst, exit);
    }
    let as_expected = worst == Exit::Success;
    let text = format!("{}{details}", table.render(paint));
    let json = json!({ "as_expected": as_expected, "at": grounds.at, "files": lines });
    context.console.result(&text, &json)?;
    if as_expected {
        return Ok(());
    }
    let expected = match args.expect {
        Expect::Accepted => "every file accepted",
        Expect::Denied => "every file genuine and denied",
    };
    Err(Failure::new(worst, "policy.test", "the policy does not decide as expected")
        .expected(expected)
        .remedy(
            "correct the policy, the Reference Values or the Endorsements; the reasons are above",
        ))
}

/// Runs `adyton policy diff`.
pub(super) fn diff(args: &DiffArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let kid = args.recorded.kid.as_deref();
    let (old, new) = (Rules::load(&args.old, kid)?, Rules::load(&args.new, kid)?);
    let grounds = grounds(&args.recorded, context)?;
    let files = recorded(&args.folder)?;
    let paint = context.console.paint();
    let mut table = Table::new(["FILE", "OLD", "NEW", "ACCESS"]);
    let mut details = String::new();
    let (mut lines, mut changes) = (Vec::new(), 0_usize);
    for file in &files {
        let Ok(evidence) = &file.evidence else {
            table.row([
                Cell::from(&file.name),
                "unreadable".into(),
                "unreadable".into(),
                "none".into(),
            ]);
            lines.push(json!({ "file": file.name, "access": "unreadable" }));
            continue;
        };
        let (before, after) = (old.verdict(evidence, &grounds), new.verdict(evidence, &grounds));
        let had = matches!(before, Verdict::Accepted { .. });
        let has = matches!(after, Verdict::Accepted { .. });
        let (access, tone, why) = match (had, has) {
            (true, true) => ("kept", Tone::Plain, None),
            (false, false) => ("none", Tone::Dim, None),
            (true, false) => ("LOST", Tone::Bad, Some(after.reasons())),
            (false, true) => ("GAINED", Tone::Warn, Some(before.reasons())),
        };
        if let Some(reasons) = why {
            changes = changes.saturating_add(1);
            let side = if had { "new policy" } else { "old policy refused" };
            details.push_str(&told(&format!("{} ({side})", file.name), reasons, paint));
        }
        let access_cell = Cell::new(tone, access);
        table.row([Cell::from(&file.name), before.word().into(), after.word().into(), access_cell]);
        lines.push(json!({
            "file": file.name,
            "old": side(&before),
            "new": side(&after),
            "access": access.to_lowercase(),
        }));
    }
    let text = format!("{}{details}", table.render(paint));
    let json = json!({ "changes": changes, "at": grounds.at, "files": lines });
    context.console.result(&text, &json)?;
    if changes == 0 {
        return Ok(());
    }
    let message = format!("access would change for {changes} of {} files", files.len());
    Err(Failure::new(Exit::PolicyDenied, "policy.diff", message)
        .expected("no change")
        .remedy("apply the new policy if these changes are meant"))
}

fn side(verdict: &Verdict) -> Value {
    json!({ "verdict": verdict.word(), "reasons": verdict.reasons() })
}

fn grounds(args: &RecordedArgs, context: &mut Context<'_>) -> Result<Grounds, Failure> {
    Ok(Grounds {
        trust: args.trust.load(context)?,
        references: references(&args.reference_values)?,
        at: match args.at {
            Some(at) => at,
            None => now()?,
        },
    })
}

/// The files of a folder by name, without hidden ones and subfolders.
fn recorded(folder: &Path) -> Result<Vec<Recorded>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::Usage, "folder", format!("{} cannot be listed", folder.display()))
            .expected("a folder of recorded Evidence")
            .remedy("correct the path")
            .caused_by(&error)
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.path().is_file() {
            paths.push(entry.path());
        }
        if paths.len() > MAX_FILES {
            let message = format!("{} has more than {MAX_FILES} files", folder.display());
            return Err(Failure::new(Exit::Usage, "folder", message).remedy("take a smaller one"));
        }
    }
    if paths.is_empty() {
        // A test of nothing would pass whatever the policy says.
        let message = format!("{} has no files", folder.display());
        return Err(Failure::new(Exit::Usage, "folder", message)
            .expected("at least one file of recorded Evidence")
            .remedy("correct the path"));
    }
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = file::read("Evidence file", &path, EVIDENCE_LIMIT)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Recorded {
            name,
            evidence: Evidence::parse_file(&bytes).map_err(|error| error.reasons()),
        })
    };
    paths.into_iter().map(read).collect()
}

fn told(name: &str, reasons: &[Reason], paint: Paint) -> String {
    let head = paint.text(Tone::Strong, &printable(name));
    format!("\n{head}\n{}", reasons_text(reasons, paint))
}

fn codes(reasons: &[Reason]) -> String {
    let mut codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_ref()).collect();
    codes.dedup();
    codes.join(", ")
}

/// The exit code that tells most: what can't be read, then what isn't genuine, then what is denied.
fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Malformed => 3,
        Exit::EvidenceRejected => 2,
        Exit::PolicyDenied => 1,
        _ => 0,
    };
    if rank(b) > rank(a) { b } else { a }
}
