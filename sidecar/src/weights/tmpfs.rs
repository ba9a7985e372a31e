//! Clears the target folder: before an opening, and after one that was broken off.
//!
//! [`remove_leftovers`] is the orderly way, for when nobody opens. [`sweep`] works while opening
//! threads still run, because SIGTERM does not wait for them: it removes the folders under which
//! they could make new files, and what they still hold open ends with the process.
//! It follows no links: who else can write to the target must not choose what we overwrite.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use adyton_sealed_weights::{OpenError, TargetError, wipe_target};
use rustix::fs::OFlags;

use super::WeightsError;

/// The names under which an opening keeps plaintext, by the contract of the sealed-weights crate.
const OPENED: &str = "model";
const OPENING: &str = ".opening-";
/// Opening threads can add a file between our look and our removal; each pass leaves fewer places.
const PASSES: usize = 64;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Removes what an earlier start left in `target`. Blocking.
///
/// # Errors
/// [`WeightsError::Wipe`]; [`TargetError::Busy`] inside when another sidecar uses the target.
pub fn remove_leftovers(target: &Path) -> Result<(), WeightsError> {
    wipe_target(target).map_err(WeightsError::Wipe)
}

/// Overwrites and removes every opened and half-opened model in `target`. Blocking.
///
/// # Errors
/// [`WeightsError::Sweep`] when something is still there after the last pass.
pub fn sweep(target: &Path) -> Result<(), WeightsError> {
    let mut last = None;
    for _ in 0..PASSES {
        match pass(target) {
            Ok(Found::Nothing) => return Ok(()),
            Ok(Found::Something) => last = None,
            Err(error) => last = Some(error),
        }
    }
    Err(WeightsError::Sweep(last.unwrap_or_else(|| io::Error::other("files keep appearing"))))
}

#[derive(PartialEq, Eq)]
enum Found {
    Nothing,
    Something,
}

fn pass(target: &Path) -> io::Result<Found> {
    let mut found = Found::Nothing;
    for entry in std::fs::read_dir(target)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == OPENED || name.starts_with(OPENING) {
            found = Found::Something;
            remove(&entry.path())?;
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) => return gone_is_fine(error),
    };
    if kind.is_dir() {
        for entry in std::fs::read_dir(path)? {
            remove(&entry?.path())?;
        }
        return std::fs::remove_dir(path).or_else(gone_is_fine);
    }
    if kind.is_file() {
        // Best effort: the kernel clears pages before it gives them to anybody else.
        let _ = overwrite(path);
    }
    std::fs::remove_file(path).or_else(gone_is_fine)
}

fn overwrite(path: &Path) -> io::Result<()> {
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let open = || OpenOptions::new().write(true).custom_flags(no_follow).open(path);
    let mut file: File = match open() {
        Ok(file) => file,
        Err(_) => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            open()?
        }
    };
    let mut left = file.metadata()?.len();
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all(ZEROS.get(..count).unwrap_or(&ZEROS))?;
        left -= count as u64;
    }
    Ok(())
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Is the target held by an opening that still runs?
pub(crate) fn is_busy(error: &WeightsError) -> bool {
    matches!(
        error,
        WeightsError::Wipe(TargetError::Busy { .. })
            | WeightsError::Open(OpenError::Target(TargetError::Busy { .. }))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_opening_left_is_gone_and_the_rest_stays() {
        let target = tempfile::tempdir().expect("folder");
        let path = target.path();
        std::fs::create_dir_all(path.join(".opening-1a/deep")).expect("folder");
        std::fs::write(path.join(".opening-1a/deep/weights"), b"secret").expect("file");
        std::fs::create_dir_all(path.join("model")).expect("folder");
        std::fs::write(path.join("model/config.json"), b"secret").expect("file");
        std::fs::write(path.join("server.sock"), b"").expect("file");
        sweep(path).expect("swept");
        let left: Vec<_> = std::fs::read_dir(path)
            .expect("folder")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(left, ["server.sock"]);
    }

    #[test]
    fn a_link_in_the_target_is_removed_and_not_followed() {
        let target = tempfile::tempdir().expect("folder");
        let victim = target.path().join("victim");
        std::fs::write(&victim, b"keep me").expect("file");
        std::fs::create_dir(target.path().join("model")).expect("folder");
        std::os::unix::fs::symlink(&victim, target.path().join("model/link")).expect("link");
        sweep(target.path()).expect("swept");
        assert_eq!(std::fs::read(&victim).expect("still there"), b"keep me");
    }

    #[test]
    fn a_writer_that_goes_on_does_not_keep_anything() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let target = tempfile::tempdir().expect("folder");
        let opening = target.path().join(".opening-x");
        std::fs::create_dir(&opening).expect("folder");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let _ = std::fs::write(opening.join(number.to_string()), b"secret");
                    number += 1;
                }
            });
            let swept = sweep(target.path());
            stop.store(true, Ordering::Relaxed);
            swept.expect("swept");
        });
        assert!(!opening.exists());
    }
}
