//! Builds the programs that the quickstart starts, with the cargo that runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Package and program.
const PROGRAMS: [(&str, &str); 5] = [
    ("adyton-fake-tee", "adyton-fake-tee"),
    ("adyton-broker", "adyton-broker"),
    ("adyton-sidecar", "adyton-sidecar"),
    ("adyton-cli", "adyton"),
    ("adyton-example-server", "adyton-example-server"),
];

/// How the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Optimised, for people.
    Release,
    /// As tests are built.
    Dev,
}

/// Builds all programs and returns the folder they lie in.
///
/// # Errors
/// When cargo can't be run, fails, or does not say where it put a program.
pub fn build(profile: Profile) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace_root()).args([
        "build",
        "--message-format",
        "json-render-diagnostics",
    ]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    for (package, program) in PROGRAMS {
        cargo.args(["-p", package, "--bin", program]);
    }
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("run cargo")?;
    if !output.status.success() {
        bail!("cargo build failed; its messages stand above");
    }
    let mut folder = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).unwrap_or(Value::Null);
        if let Some(path) = message["executable"].as_str() {
            folder = Path::new(path).parent().map(Path::to_path_buf);
        }
    }
    let folder = folder.context("cargo did not say where it put the programs")?;
    for (_, program) in PROGRAMS {
        if !folder.join(program).is_file() {
            bail!("{program} is not in {}", folder.display());
        }
    }
    Ok(folder)
}

/// The root of the checkout this program was built from.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
