//! Builds the programs that the quickstart starts, with the cargo that runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    cargo.current_dir(workspace_root());
    // Set by the cargo that runs us. Build scripts that look at them (ring's does) would take this for
    // another build, and everything above them would be compiled anew, there and back again.
    for (name, _) in std::env::vars_os() {
        let about_us = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|p| name.starts_with(p))
                || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&name)
        });
        if about_us {
            cargo.env_remove(name);
        }
    }
    // Both select what the caller was built with, so that cargo chooses the same features and finds
    // almost everything done.
    match profile {
        Profile::Release => {
            cargo.args(["build", "--release", "-p", "quickstart", "--lib"]);
            for (package, program) in PROGRAMS {
                cargo.args(["-p", package, "--bin", program]);
            }
        }
        Profile::Dev => {
            cargo.args(["test", "--workspace", "--no-run"]);
        }
    }
    let output = cargo
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    if !output.status.success() {
        bail!("cargo could not build the programs; its messages stand above");
    }
    let folder = String::from_utf8_lossy(&output.stdout).lines().find_map(folder_of_a_program);
    let folder = folder.context("cargo did not say where it put the programs")?;
    for (_, program) in PROGRAMS {
        if !folder.join(program).is_file() {
            bail!("{program} is not in {}", folder.display());
        }
    }
    Ok(folder)
}

/// Where cargo put a program, if `line` is its message about one.
fn folder_of_a_program(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_program = message["target"]["kind"][0] == "bin" && message["profile"]["test"] == false;
    let path = Path::new(message["executable"].as_str().filter(|_| is_program)?);
    path.parent().map(Path::to_path_buf)
}

/// The root of the checkout this program was built from.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
