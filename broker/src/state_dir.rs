//! The state folder: made 0700, refused when others may write to it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::Finding;

/// Makes the folder if it is not there, and looks at who may write to it.
///
/// # Errors
/// A [`Finding`] about the configuration key `state_dir`.
pub fn prepare(path: &Path) -> Result<(), Finding> {
    let finding = |expected: String, remedy: String| {
        let step = "configuration key `state_dir`";
        Finding::new(step, path.display().to_string(), expected, remedy)
    };
    create_private(path).map_err(|error| {
        finding(
            format!("a folder that can be made ({error})"),
            "choose a folder that the broker's user may write to".to_owned(),
        )
    })?;
    let metadata = fs::metadata(path).map_err(|error| {
        finding(format!("a readable folder ({error})"), "check its permissions".to_owned())
    })?;
    if !metadata.is_dir() {
        return Err(finding("a folder".to_owned(), "choose another path".to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(finding(
            format!("a folder that only its owner may write to; its mode is {mode:04o}"),
            format!("run: chmod 700 {}", path.display()),
        ));
    }
    Ok(())
}

/// Makes a folder 0700 with its parents, if it is not there.
///
/// # Errors
/// What the system says.
pub fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that appears under its name only when it is complete and on disk. It is no secret:
/// mode 0644.
///
/// # Errors
/// What the system says.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut suffix = [0_u8; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let unfinished = path.with_extension(format!("{}.new", hex::encode(suffix)));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    })();
    if written.is_err() {
        // Best effort: the cause is what is reported.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
