//! Overwrites plaintext and removes it.
//!
//! In: an open folder and a name in it. Out: nothing is left of that name, and its bytes are zero,
//! also where somebody holds the file open or has a hard link to it. It follows no symbolic links
//! and never leaves the folder. A failure does not stop it: everything else is still wiped, and
//! the first failure is returned.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::limits::MAX_PATH_DEPTH;
use crate::target::TargetError;

/// Deeper than any model of ours: a folder that goes on is somebody else's, and refused.
const MAX_DEPTH: usize = MAX_PATH_DEPTH + 4;

static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// Wipes and removes `name` in `folder`; `path` is for messages. Nothing there is no error.
pub(crate) fn wipe(folder: &OwnedFd, name: &CStr, path: &Path) -> Result<(), TargetError> {
    let mut first = None;
    entry(folder, name, path, 0, &mut first);
    first.map_or(Ok(()), Err)
}

fn entry(
    folder: &OwnedFd,
    name: &CStr,
    path: &Path,
    depth: usize,
    first: &mut Option<TargetError>,
) {
    let kind = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return,
        Err(error) => return keep(first, "look at", path, error.into()),
    };
    let removal = match kind {
        FileType::Directory => {
            if let Err(error) = children(folder, name, path, depth, first) {
                keep(first, "read the folder", path, error);
            }
            AtFlags::REMOVEDIR
        }
        FileType::RegularFile => {
            if let Err(error) = overwrite(folder, name) {
                keep(first, "overwrite", path, error);
            }
            AtFlags::empty()
        }
        // Links, pipes and sockets hold no plaintext of ours; they are removed, not followed.
        _ => AtFlags::empty(),
    };
    if let Err(error) = rustix::fs::unlinkat(folder, name, removal) {
        keep(first, "remove", path, error.into());
    }
}

fn children(
    parent: &OwnedFd,
    name: &CStr,
    path: &Path,
    depth: usize,
    first: &mut Option<TargetError>,
) -> io::Result<()> {
    if depth >= MAX_DEPTH {
        return Err(io::Error::other("folders are nested deeper than in any model"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // A folder that was published read-only must be writable to be emptied.
    let _ = rustix::fs::fchmod(&folder, Mode::RWXU);
    let mut names = Vec::new();
    for child in Dir::read_from(&folder)? {
        let child = child?;
        if !matches!(child.file_name().to_bytes(), b"." | b"..") {
            names.push(child.file_name().to_owned());
        }
    }
    for child in names {
        let child_path: PathBuf = path.join(child.to_string_lossy().as_ref());
        entry(&folder, &child, &child_path, depth + 1, first);
    }
    Ok(())
}

fn overwrite(folder: &OwnedFd, name: &CStr) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = |access| rustix::fs::openat(folder, name, access | flags, Mode::empty());
    let file = match open(OFlags::RDWR) {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(open(OFlags::RDONLY)?, Mode::RUSR | Mode::WUSR)?;
            open(OFlags::RDWR)?
        }
        other => other?,
    };
    zero(&File::from(file))
}

/// Overwrites the bytes that a file has; holes have none, and filling them would need new memory.
pub(crate) fn zero(file: &File) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data after `at`.
            Err(Errno::NXIO) => break,
            // A file system that cannot tell data from holes: all of it is data.
            Err(Errno::INVAL) => at,
            Err(error) => return Err(error.into()),
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(len),
            Err(Errno::INVAL) => len,
            Err(error) => return Err(error.into()),
        };
        at = start;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_all_at(&ZEROS[..left], at)?;
            at += left as u64;
        }
    }
    Ok(())
}

fn keep(first: &mut Option<TargetError>, action: &'static str, path: &Path, source: io::Error) {
    if first.is_none() {
        *first = Some(TargetError::Io { action, path: path.to_owned(), source });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn a_tree_is_gone_and_what_others_still_hold_of_it_is_zero() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(outside.path().join("tree/a/b")).unwrap();
        let secret = outside.path().join("tree/a/b/secret");
        std::fs::write(&secret, b"plaintext").unwrap();
        std::fs::hard_link(&secret, outside.path().join("link")).unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o400)).unwrap();
        wipe(&folder(outside.path()), c"tree", Path::new("tree")).unwrap();
        assert!(!outside.path().join("tree").exists());
        assert_eq!(std::fs::read(outside.path().join("link")).unwrap(), [0; 9]);
    }

    #[test]
    fn symbolic_links_are_removed_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(outside.path().join("tree")).unwrap();
        std::fs::create_dir(outside.path().join("other")).unwrap();
        std::fs::write(outside.path().join("other/kept"), b"kept").unwrap();
        symlink("../other", outside.path().join("tree/folder")).unwrap();
        symlink("../other/kept", outside.path().join("tree/file")).unwrap();
        wipe(&folder(outside.path()), c"tree", Path::new("tree")).unwrap();
        assert!(!outside.path().join("tree").exists());
        assert_eq!(std::fs::read(outside.path().join("other/kept")).unwrap(), b"kept");
    }

    #[test]
    fn nothing_there_is_no_error() {
        let outside = tempfile::tempdir().unwrap();
        wipe(&folder(outside.path()), c"tree", Path::new("tree")).unwrap();
    }

    #[test]
    fn holes_stay_holes() {
        let outside = tempfile::tempdir().unwrap();
        let file = File::create_new(outside.path().join("sparse")).unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(b"plaintext", 1 << 39).unwrap();
        let file =
            File::options().read(true).write(true).open(outside.path().join("sparse")).unwrap();
        zero(&file).unwrap();
        let mut bytes = [1; 9];
        file.read_exact_at(&mut bytes, 1 << 39).unwrap();
        assert_eq!(bytes, [0; 9]);
    }
}
