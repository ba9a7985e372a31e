//! Keeps a simulated machine in a folder, so that several processes can be the same machine.
//!
//! `machine.json` (mode 0600) holds the seed and the moment of birth; it is created once, atomically,
//! by whoever comes first. The other files follow from it and may be written again at any time:
//! `root.pem`, `endorsements.json`, `reference-values.toml`. In: a folder, the time. Out:
//! [`FakeTee`]. This is the crate's only file access.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::fault::Fault;
use crate::profile::TdProfile;
use crate::{AzureProfile, FakeAzure, FakeSnp, FakeTee, SnpFault, SnpProfile, reference_values};

const MACHINE: &str = "machine.json";
const READ_BY_ALL: u32 = 0o644;

/// Why a state folder could not be read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// The operating system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// `machine.json` is not ours.
    #[error("{} does not describe a fake TEE; use another folder or delete it", path.display())]
    Machine {
        /// The file.
        path: PathBuf,
        /// Where it departs from the format.
        #[source]
        source: serde_json::Error,
    },
}

/// Where the files of a state folder are.
#[derive(Clone, Debug, Serialize)]
pub struct StateFiles {
    /// Root certificate, PEM.
    pub root: PathBuf,
    /// Endorsement bundle, JSON.
    pub bundle: PathBuf,
    /// Reference values of the profile, TOML.
    pub reference_values: PathBuf,
}

/// The whole machine: everything else follows from these two.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    /// 32 bytes.
    #[serde(with = "hex::serde")]
    seed: [u8; 32],
    /// Seconds since the Unix epoch.
    born: u64,
}

impl FakeTee {
    /// The machine of a state folder; a new one, born at `now`, when the folder has none yet.
    ///
    /// Any number of processes may call this at once: one machine is born, all get it. Writes
    /// `root.pem`, sound endorsements as of `now`, and the reference values of the default TD.
    ///
    /// # Errors
    /// [`StateError::Io`] when the folder cannot be made, read or written, [`StateError::Machine`]
    /// when its `machine.json` is something else.
    pub fn create(dir: &Path, now: u64) -> Result<Self, StateError> {
        fs::create_dir_all(dir).map_err(failed("create the folder", dir))?;
        let path = dir.join(MACHINE);
        if !path.exists() {
            let newborn = Self::new(now);
            let machine = Machine { seed: newborn.seed, born: now };
            let text = serde_json::to_string_pretty(&machine).expect("hex and a number serialise");
            // The temporary file has mode 0600, and becomes the machine unless another did.
            match temporary(dir, &path, text.as_bytes())?.persist_noclobber(&path) {
                Ok(_) => {}
                Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(refused) => return Err(failed("create", &path)(refused.error)),
            }
        }
        let tee = Self::load(dir)?;
        tee.write_files(dir, &TdProfile::default(), now, &[])?;
        Ok(tee)
    }

    /// The machine of a state folder that has one. Writes nothing.
    ///
    /// # Errors
    /// [`StateError::Io`] when there is none, [`StateError::Machine`] when it is something else.
    pub fn load(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(MACHINE);
        let text = fs::read(&path).map_err(failed("read", &path))?;
        let machine: Machine =
            serde_json::from_slice(&text).map_err(|source| StateError::Machine { path, source })?;
        Ok(Self::from_seed(machine.seed, machine.born))
    }

    /// Writes root, endorsements and reference values into `dir`, each file whole or not at all.
    ///
    /// `faults` are those of the endorsements; a sound `endorsements.json` that other processes
    /// read is thereby replaced, so give such faults a folder of their own.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write_files(
        &self,
        dir: &Path,
        profile: &TdProfile,
        now: u64,
        faults: &[Fault],
    ) -> Result<StateFiles, StateError> {
        let files = StateFiles::inside(dir);
        let bundle = serde_json::to_string_pretty(&self.endorsement_bundle(now, faults))
            .expect("strings serialise");
        write_whole(&files.root, self.root_pem().as_bytes())?;
        write_whole(&files.bundle, bundle.as_bytes())?;
        write_whole(&files.reference_values, reference_values::to_toml(profile).as_bytes())?;
        Ok(files)
    }
}

impl FakeSnp {
    /// Writes root, endorsements and reference values into `dir`, which is made when absent. Nothing
    /// secret is kept: the root's key is in this crate, and a processor's key lasts for one process.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write_files(
        &self,
        dir: &Path,
        profile: &SnpProfile,
        now: u64,
        fault: Option<SnpFault>,
    ) -> Result<StateFiles, StateError> {
        fs::create_dir_all(dir).map_err(failed("create the folder", dir))?;
        let files = StateFiles::inside(dir);
        let bundle = serde_json::to_string_pretty(&self.endorsement_bundle(now, fault))
            .expect("strings serialise");
        write_whole(&files.root, self.root_pem().as_bytes())?;
        write_whole(&files.bundle, bundle.as_bytes())?;
        write_whole(&files.reference_values, profile.reference_values().as_bytes())?;
        Ok(files)
    }
}

impl FakeAzure {
    /// Writes the hardware's root and endorsements and the VM's reference values into `dir`, which is made
    /// when absent. The vTPM's key is in this crate.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write_files(
        &self,
        dir: &Path,
        profile: &AzureProfile,
        now: u64,
    ) -> Result<StateFiles, StateError> {
        fs::create_dir_all(dir).map_err(failed("create the folder", dir))?;
        let files = StateFiles::inside(dir);
        let bundle =
            serde_json::to_string_pretty(&self.endorsement_bundle(now)).expect("strings serialise");
        write_whole(&files.root, self.root_pem().as_bytes())?;
        write_whole(&files.bundle, bundle.as_bytes())?;
        write_whole(&files.reference_values, self.reference_values(profile).as_bytes())?;
        Ok(files)
    }
}

impl StateFiles {
    fn inside(dir: &Path) -> Self {
        Self {
            root: dir.join("root.pem"),
            bundle: dir.join("endorsements.json"),
            reference_values: dir.join("reference-values.toml"),
        }
    }
}

/// Replaces `path`, so that a reader sees the old content or the new, never a part.
///
/// # Errors
/// [`StateError::Io`].
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = temporary(dir, path, content)?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(READ_BY_ALL))
        .map_err(failed("set the mode of", path))?;
    file.persist(path).map_err(|refused| failed("replace", path)(refused.error))?;
    Ok(())
}

/// A file of mode 0600 in `dir` that is meant to become `path`.
fn temporary(dir: &Path, path: &Path, content: &[u8]) -> Result<NamedTempFile, StateError> {
    let mut file = NamedTempFile::new_in(dir).map_err(failed("create a file in", dir))?;
    file.write_all(content).map_err(failed("write", path))?;
    Ok(file)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn processes_that_share_a_folder_are_one_machine() {
        let dir = tempfile::tempdir().unwrap();
        let roots: Vec<String> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| FakeTee::create(dir.path(), NOW).unwrap().root_pem()))
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let later = FakeTee::create(dir.path(), NOW + 1000).unwrap().root_pem();
        let on_disk = fs::read_to_string(dir.path().join("root.pem")).unwrap();
        assert!(roots.iter().all(|root| *root == later && *root == on_disk));
    }

    #[test]
    fn the_seed_is_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        FakeTee::create(dir.path(), NOW).unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode(MACHINE) & 0o777, 0o600);
        assert_eq!(mode("root.pem") & 0o777, 0o644);
    }

    #[test]
    fn a_foreign_machine_file_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MACHINE), "{}").unwrap();
        let refused = FakeTee::create(dir.path(), NOW).err();
        assert!(matches!(refused, Some(StateError::Machine { .. })), "{refused:?}");
        assert_eq!(fs::read(dir.path().join(MACHINE)).unwrap(), b"{}");
    }

    #[test]
    fn loading_an_empty_folder_fails() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(FakeTee::load(dir.path()).err(), Some(StateError::Io { .. })));
    }
}
