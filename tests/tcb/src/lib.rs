//! What the checks of this crate share: the workspace as cargo sees it, and its sources as text.
//!
//! Nothing here runs in the product. The checks themselves stand in `tests/`: the dependency
//! arrows, the size of what runs inside the TEE, and the places where a proof may be born.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace exists")
}

/// A source file below a crate's `src/`, cut at its tests.
#[derive(Debug)]
pub struct Source {
    /// Path relative to the workspace root.
    pub path: String,
    /// The text before the first `#[cfg(test)]`.
    pub product: String,
}

impl Source {
    /// Lines that are neither empty nor comments.
    pub fn code_lines(&self) -> usize {
        self.product
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count()
    }
}

/// Every source file of the crate in `folder`, relative to the workspace root, in a fixed order.
pub fn sources(folder: &str) -> Vec<Source> {
    let root = workspace_root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder).join("src")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a crate has a src folder") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                // `src/x/tests/` holds unit tests that were too many for their file.
                if path.file_name().is_some_and(|name| name == "tests") {
                    continue;
                }
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let product = text.split("\n#[cfg(test)]").next().unwrap_or_default().to_owned();
                let path = path.strip_prefix(&root).expect("below the root").display().to_string();
                if !path.ends_with("/tests.rs") {
                    found.push(Source { path, product });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The packages that end up in `package` (normal dependencies, this target), `name` per line, sorted.
pub fn packages_of(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "--format",
            "{p}",
        ])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .current_dir(workspace_root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let mut names: Vec<String> =
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}
