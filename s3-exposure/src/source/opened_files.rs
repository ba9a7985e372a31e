//! Files that are open already, in memory: the kernel sends their pages, and nothing is copied here.
//!
//! In: the folder of an [`OpenedModel`](adyton_sealed_weights::OpenedModel), and the manifest's paths and sizes.
//! Out: bytes of those files on sockets. Every chunk was authenticated when the model was opened.
//! Against: links that somebody puts in the place of a file; files that were cut or exchanged for others.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use super::{ObjectSource, SendError, Sending, SourceError, Usage};
use crate::socket::Socket;

/// A model whose files lie opened in a folder.
#[derive(Debug)]
pub struct OpenedFiles {
    folder: OwnedFd,
    /// Paths and sizes, in the order of the manifest.
    files: Vec<(String, u64)>,
}

impl OpenedFiles {
    /// # Errors
    /// When the folder cannot be opened.
    pub fn new(folder: &Path, files: Vec<(String, u64)>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = openat(CWD, folder, flags, Mode::empty())?;
        Ok(Self { folder, files })
    }
}

impl ObjectSource for OpenedFiles {
    fn open(&self, object: usize, range: Range<u64>) -> Result<Box<dyn Sending + '_>, SourceError> {
        let (path, expected) = self.files.get(object).ok_or(SourceError::Number(object))?;
        let failed = |source: io::Error| SourceError::File { path: path.clone(), source };
        let file = openat2(
            &self.folder,
            path.as_str(),
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|error| failed(error.into()))?;
        let facts = fstat(&file).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        let (got, expected) = (u64::try_from(facts.st_size).unwrap_or(0), *expected);
        if got != expected {
            return Err(SourceError::Changed { path: path.clone(), expected, got });
        }
        Ok(Box::new(Ready { path, file, range }))
    }

    fn rest(&self) {}

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

struct Ready<'a> {
    path: &'a str,
    file: OwnedFd,
    range: Range<u64>,
}

impl Sending for Ready<'_> {
    fn send(&mut self, socket: &Socket) -> Result<(), SendError> {
        while !self.range.is_empty() {
            let sent = socket.send_file(&self.file, &self.range).map_err(SendError::Socket)?;
            if sent == 0 {
                // It was longer when it was opened.
                let (path, expected) = (self.path.to_owned(), self.range.end);
                let got = self.range.start;
                return Err(SourceError::Changed { path, expected, got }.into());
            }
            self.range.start += sent;
        }
        Ok(())
    }
}
