//! The model owner's part, done with the `adyton` program as an owner would do it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::stage::Stage;

/// The owner's access to the broker.
#[derive(Debug)]
pub struct Owner {
    /// URL of the admin listener.
    pub admin_url: String,
    /// The broker's certificate authority.
    pub ca_file: PathBuf,
    /// File with the admin token.
    pub token_file: PathBuf,
}

impl Owner {
    /// Runs `adyton WORDS` and returns its JSON.
    ///
    /// # Errors
    /// When the program fails; the error carries what it printed.
    pub fn adyton(&self, stage: &Stage, words: &[&str]) -> Result<Value> {
        let output = stage
            .command("adyton")
            .args(words)
            .args(["--output", "json"])
            .env("ADYTON_BROKER", &self.admin_url)
            .env("ADYTON_BROKER_CA", &self.ca_file)
            .env("ADYTON_ADMIN_TOKEN_FILE", &self.token_file)
            .output()
            .context("start adyton")?;
        if !output.status.success() {
            bail!(
                "adyton {} failed: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("adyton {} printed something else than JSON", words.join(" ")))
    }

    /// The full reasons of one decision, as lines for a person.
    ///
    /// # Errors
    /// When the broker does not know the decision.
    pub fn reasons(&self, stage: &Stage, decision: &str) -> Result<Vec<Reason>> {
        let explained = self.adyton(stage, &["explain", decision])?;
        let reasons = explained["reasons"].as_array().context("the decision has no reasons")?;
        reasons.iter().map(|reason| Ok(serde_json::from_value(reason.clone())?)).collect()
    }
}

/// One reason of a refusal, as the owner sees it.
#[derive(Debug, serde::Deserialize)]
pub struct Reason {
    /// Stable code.
    pub code: String,
    /// The claim that was wrong.
    pub claim: String,
    /// What the policy or the format wanted.
    pub expected: String,
    /// What came.
    pub got: String,
    /// What to do.
    pub remedy: String,
}

impl Reason {
    /// Three lines a person can act on.
    pub fn lines(&self) -> Vec<String> {
        vec![
            format!("{}: {}", self.code, self.claim),
            format!("expected {}, got {}", shortened(&self.expected), shortened(&self.got)),
            format!("remedy: {}", self.remedy),
        ]
    }
}

/// Long hexadecimal words shown by their ends.
pub fn shortened(text: &str) -> String {
    text.split(' ')
        .map(|word| {
            let long_hex = word.len() > 24 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            if long_hex {
                format!("{}…{}", &word[..12], &word[word.len() - 4..])
            } else {
                word.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The release policy of the quickstart: one image, nothing but up-to-date machines.
pub fn release_policy(kid: &str, reference_values: &str) -> String {
    format!(
        "# Who may have this key. Anything not named here is refused.\n\
         key = \"{kid}\"\n\
         minimum_model_version = 1\n\
         \n\
         [appraisal]\n\
         reference_values = [\"{reference_values}\"]\n\
         tcb_status = [\"UpToDate\"]\n"
    )
}

/// Bytes of all files below `folder`.
///
/// # Errors
/// When the folder can't be read.
pub fn bytes_below(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        sum += if kind.is_dir() { bytes_below(&entry.path())? } else { kind.len() };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_digests_are_shown_by_their_ends() {
        assert_eq!(shortened(&format!("one of {}", "ab".repeat(48))), "one of abababababab…abab");
        assert_eq!(shortened("UpToDate"), "UpToDate");
    }
}
