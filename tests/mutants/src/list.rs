//! The list of cargo-mutants.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// What a mutant changes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// One change.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Mutant {
    /// Its number, from 1.
    #[serde(default)]
    pub n: usize,
    pub file: String,
    pub genre: Genre,
    /// What people read.
    pub name: String,
    pub replacement: String,
    pub span: Extent,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Extent {
    pub start: Place,
}

/// Both from 1.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// Asks cargo-mutants for the mutants of these files.
pub fn of(root: &Path, package: &str, globs: &[&str]) -> anyhow::Result<Vec<Mutant>> {
    let mut command = Command::new("cargo");
    command.args(["mutants", "--list", "--json", "-p", package]).current_dir(root);
    for glob in globs {
        command.args(["-f", glob]);
    }
    let output =
        command.output().context("cargo-mutants runs (cargo install --locked cargo-mutants)")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    read(&output.stdout)
}

/// Reads such a list, and numbers it.
pub fn read(json: &[u8]) -> anyhow::Result<Vec<Mutant>> {
    let mut all: Vec<Mutant> = serde_json::from_slice(json)?;
    for (n, mutant) in (1..).zip(&mut all) {
        mutant.n = n;
    }
    Ok(all)
}
