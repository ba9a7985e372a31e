//! The folder an owner wants to seal, looked through before anything is written.
//!
//! In: a path. Out: its regular files, sorted by name, each with a lawful path and a known format. It
//! refuses links, devices and names that could not be opened again; it changes nothing.
//!
//! Against: sealing what was not meant (a link to a home folder), or what nobody can open.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::SealError;
use crate::formats::{self, FileFormat, OpenFile, RiskyFormat};
use crate::limits::{MAX_FILE_BYTES, MAX_FILES, MAX_PATH_DEPTH};
use crate::manifest::ManifestError;
use crate::path::{ModelPath, PathError, PathRule};

/// One file of the source, as it was when the source was looked through.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: ModelPath,
    pub(crate) size: u64,
    pub(crate) format: FileFormat,
    on_disk: PathBuf,
    identity: Identity,
}

/// What changes when a file is written to or exchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl SourceFile {
    /// Opens the file that was looked at, and no other.
    pub(crate) fn open(&self) -> Result<File, SealError> {
        let file = open(&self.on_disk)?;
        self.verify_unchanged(&file)?;
        Ok(file)
    }

    /// Refuses a file that was written to or exchanged since the source was looked through.
    pub(crate) fn verify_unchanged(&self, file: &File) -> Result<(), SealError> {
        let metadata = file.metadata().map_err(failure("look at", &self.on_disk))?;
        if Identity::of(&metadata) != self.identity {
            return Err(SealError::SourceChanged { path: self.path.clone() });
        }
        Ok(())
    }
}

/// Looks through a folder.
pub(crate) fn scan(folder: &Path, allowed: &[RiskyFormat]) -> Result<Vec<SourceFile>, SealError> {
    let mut names = Vec::new();
    collect(folder, "", 0, &mut names)?;
    if names.is_empty() {
        return Err(SealError::Empty { path: folder.to_owned() });
    }
    // By bytes: the same source makes the same order of files on every machine.
    names.sort();
    names.into_iter().map(|(path, on_disk)| inspect(path, on_disk, allowed)).collect()
}

fn collect(
    folder: &Path,
    prefix: &str,
    depth: usize,
    names: &mut Vec<(ModelPath, PathBuf)>,
) -> Result<(), SealError> {
    if depth >= MAX_PATH_DEPTH {
        return Err(PathError { path: crate::key::excerpt(prefix), rule: PathRule::TooLong }.into());
    }
    for entry in std::fs::read_dir(folder).map_err(failure("read the folder", folder))? {
        let entry = entry.map_err(failure("read the folder", folder))?;
        let on_disk = entry.path();
        let kind = entry.file_type().map_err(failure("look at", &on_disk))?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| PathError {
            path: crate::key::excerpt(&on_disk.to_string_lossy()),
            rule: PathRule::NotUtf8,
        })?;
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            collect(&on_disk, &format!("{path}/"), depth + 1, names)?;
        } else if kind.is_file() {
            names.push((ModelPath::parse(&path)?, on_disk));
            if names.len() > MAX_FILES {
                let (field, expected) = ("files", format!("1 to {MAX_FILES} entries"));
                let got = names.len() as u64;
                return Err(ManifestError::Bound { field, expected, got }.into());
            }
        } else {
            let kind = match kind {
                kind if kind.is_symlink() => "a symbolic link",
                kind if kind.is_fifo() => "a pipe",
                kind if kind.is_socket() => "a socket",
                _ => "a device",
            };
            return Err(SealError::NotAFile { path: on_disk, kind });
        }
    }
    Ok(())
}

fn inspect(
    path: ModelPath,
    on_disk: PathBuf,
    allowed: &[RiskyFormat],
) -> Result<SourceFile, SealError> {
    let file = open(&on_disk)?;
    let metadata = file.metadata().map_err(failure("look at", &on_disk))?;
    let size = metadata.len();
    if size > MAX_FILE_BYTES {
        let (field, expected) = ("size", format!("at most {MAX_FILE_BYTES}"));
        return Err(ManifestError::Bound { field, expected, got: size }.into());
    }
    let format = formats::inspect(&path, &OpenFile { file: &file, len: size }, allowed)
        .map_err(|source| SealError::Format { path: path.clone(), source })?;
    Ok(SourceFile { path, size, format, on_disk, identity: Identity::of(&metadata) })
}

fn open(path: &Path) -> Result<File, SealError> {
    // The folder was looked at before: what is a link or a pipe now was exchanged meanwhile.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    File::options().read(true).custom_flags(flags).open(path).map_err(failure("open", path))
}

pub(crate) fn failure(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> SealError {
    let path = path.to_owned();
    move |source| SealError::Io { action, path, source }
}
