//! Bundle files: Endorsements of an operator, read again when they change.
//!
//! Role: supplies the Verifier. In: paths. Out: one merged [`EndorsementBundle`]. Files are looked at
//! before each verification; when one has changed, all are read again, and if that fails the last
//! good state stays in use (its documents carry their own end, which the Verifier enforces).
//! It fetches nothing from the network and believes no document: signatures are the Verifier's work.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use adyton_attestation::{EndorsementBundle, EndorsementError};

use crate::error::Finding;

/// Largest bundle file that is read, in bytes.
const MAX_BUNDLE_BYTES: u64 = 16 * 1024 * 1024;

/// Why a bundle file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleFileError {
    /// It can't be read.
    #[error("{} could not be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is larger than any bundle.
    #[error("{} has {got} bytes, more than {MAX_BUNDLE_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        got: u64,
    },
    /// It is not a bundle.
    #[error("{} is not a bundle of endorsements", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: EndorsementError,
    },
}

impl BundleFileError {
    /// What is wrong and what to do, for the operator.
    pub fn finding(&self) -> Finding {
        let key = "configuration key `endorsements.bundle_files`";
        match self {
            Self::Io { path, source } => Finding::new(
                key,
                path.display().to_string(),
                format!("a readable file ({source})"),
                "correct the path or its permissions",
            ),
            Self::TooLarge { path, got } => Finding::new(
                key,
                format!("{} ({got} bytes)", path.display()),
                format!("at most {MAX_BUNDLE_BYTES} bytes"),
                "split the bundle",
            ),
            Self::Bundle { path, source } => Finding::new(
                key,
                path.display().to_string(),
                format!("a bundle of endorsements ({source})"),
                source.remedy(),
            ),
        }
    }
}

/// Files with Endorsements and what they said last.
#[derive(Debug)]
pub struct BundleFiles {
    paths: Vec<PathBuf>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    seen: Vec<Stamp>,
    bundle: Arc<EndorsementBundle>,
}

/// What tells one version of a file from the next: length and time of change.
type Stamp = Option<(u64, SystemTime)>;

impl BundleFiles {
    /// Reads all files. Without files, the bundle is empty and every verification fails.
    ///
    /// # Errors
    /// One [`BundleFileError`] for each file that can't be used.
    pub fn load(paths: Vec<PathBuf>) -> Result<Self, Vec<BundleFileError>> {
        let seen = stamps(&paths);
        let bundle = Arc::new(read_all(&paths)?);
        Ok(Self { paths, current: Mutex::new(Current { seen, bundle }) })
    }

    /// The Endorsements now.
    pub fn current(&self) -> Arc<EndorsementBundle> {
        let seen = stamps(&self.paths);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.seen != seen {
            match read_all(&self.paths) {
                Ok(bundle) => {
                    tracing::info!(entries = bundle.len(), "endorsements were read again");
                    current.bundle = Arc::new(bundle);
                }
                Err(errors) => {
                    for error in errors {
                        let finding = error.finding();
                        tracing::error!(
                            step = finding.step,
                            value = finding.value,
                            expected = finding.expected,
                            remedy = finding.remedy,
                            "changed endorsements were refused; the last good ones stay in use"
                        );
                    }
                }
            }
            // Noted in either case: a broken file is reported once, not at each verification.
            current.seen = seen;
        }
        Arc::clone(&current.bundle)
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    paths.iter().map(stamp).collect()
}

fn read_all(paths: &[PathBuf]) -> Result<EndorsementBundle, Vec<BundleFileError>> {
    let mut errors = Vec::new();
    let mut all = EndorsementBundle::empty();
    for path in paths {
        match read(path).and_then(|bundle| {
            let merged = all.clone().merge(bundle);
            merged.map_err(|source| BundleFileError::Bundle { path: path.clone(), source })
        }) {
            Ok(merged) => all = merged,
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

fn read(path: &PathBuf) -> Result<EndorsementBundle, BundleFileError> {
    let io_error = |source| BundleFileError::Io { path: path.clone(), source };
    let got = fs::metadata(path).map_err(io_error)?.len();
    if got > MAX_BUNDLE_BYTES {
        return Err(BundleFileError::TooLarge { path: path.clone(), got });
    }
    let bytes = fs::read(path).map_err(io_error)?;
    EndorsementBundle::parse(&bytes)
        .map_err(|source| BundleFileError::Bundle { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use adyton_fake_tee::FakeTee;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bundle.json");
        let bundle = FakeTee::new(NOW).endorsement_bundle(NOW, &[]).to_string();
        fs::write(&path, r#"{"version":1,"tdx":[]}"#).expect("written");
        let endorsements = BundleFiles::load(vec![path.clone()]).expect("empty bundle");
        assert_eq!(endorsements.current().len(), 0);
        fs::write(&path, &bundle).expect("written");
        assert_eq!(endorsements.current().len(), 1);
        fs::write(&path, "{").expect("written");
        assert_eq!(endorsements.current().len(), 1);
        fs::remove_file(&path).expect("removed");
        assert_eq!(endorsements.current().len(), 1);
    }

    #[test]
    fn every_broken_file_is_reported() {
        let folder = tempfile::tempdir().expect("folder");
        let broken = folder.path().join("broken.json");
        fs::write(&broken, "{").expect("written");
        let missing = folder.path().join("missing.json");
        let errors = BundleFiles::load(vec![broken, missing]).expect_err("two broken files");
        assert!(matches!(errors[0], BundleFileError::Bundle { .. }), "{errors:?}");
        assert!(matches!(errors[1], BundleFileError::Io { .. }), "{errors:?}");
    }
}
