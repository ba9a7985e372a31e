//! `<target>/.opening-<random>/`: where a model grows before anybody may see it.
//!
//! In: a target that is ours alone. Out: files without names for ciphertext and unauthenticated plaintext, and a
//! folder that becomes the model by one rename. Whatever happens before that rename, a panic or a kill
//! included, nothing in here has a name that a reader looks for; dropped, it is wiped.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::path::ModelPath;
use crate::target::{MODEL_NAME, STAGING_PREFIX, Target, TargetError, failure};
use crate::wipe::wipe;

const PARTS_NAME: &CStr = c"parts";

/// A folder of the model and its path in it; files mostly follow one another in the same one.
type LastFolder = Option<(String, Arc<OwnedFd>)>;

/// Parts without names, and the files that are already authenticated.
#[derive(Debug)]
pub(crate) struct StagingFolder {
    target: Arc<Target>,
    name: CString,
    path: PathBuf,
    folder: OwnedFd,
    parts: OwnedFd,
    model: Arc<OwnedFd>,
    folder_mode: u32,
    last: Mutex<LastFolder>,
    /// Published, or wiped by its owner, who wants to know how it went.
    done: AtomicBool,
}

impl StagingFolder {
    /// A private folder for one opening.
    //= sealed-weights/SPEC.md#7.4
    //# What is staged MUST NOT have a name under which a model is looked for, and a reader MUST remove it when the model is refused.
    pub(crate) fn create(target: Arc<Target>, folder_mode: u32) -> Result<Self, TargetError> {
        let io = |action, source| TargetError::Io { action, path: target.path.clone(), source };
        let random: [u8; 8] = crate::key::random()
            .map_err(|error| io("choose a name in", io::Error::other(error)))?;
        let name = CString::new(format!("{STAGING_PREFIX}{}", hex::encode(random)))
            .map_err(|error| io("choose a name in", error.into()))?;
        let path = target.path.join(name.to_string_lossy().as_ref());
        // Private until it is published: nobody else sees plaintext before it is authenticated.
        let folder = make_folder(&target.folder, &name, 0o700, &path)?;
        let parts = make_folder(&folder, PARTS_NAME, 0o700, &path)?;
        let model = Arc::new(make_folder(&folder, MODEL_NAME, folder_mode, &path)?);
        let (last, done) = (Mutex::new(None), AtomicBool::new(false));
        Ok(Self { target, name, path, folder, parts, model, folder_mode, last, done })
    }

    pub(crate) fn target(&self) -> Arc<Target> {
        Arc::clone(&self.target)
    }

    /// A new file of `len` bytes for what is not yet all authentic.
    pub(crate) fn create_part(&self, index: usize, len: u64) -> Result<File, TargetError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = self.open_part(index, flags, "create a file in")?;
        file.set_len(len).map_err(|source| self.part_failure("make room in", source))?;
        Ok(file)
    }

    /// A part that was made before.
    pub(crate) fn reopen_part(&self, index: usize) -> Result<File, TargetError> {
        self.open_part(index, OFlags::RDWR, "open a file in")
    }

    fn open_part(
        &self,
        index: usize,
        flags: OFlags,
        action: &'static str,
    ) -> Result<File, TargetError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parts, index.to_string(), flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| failure(action, &self.path, error))
    }

    pub(crate) fn part_failure(&self, action: &'static str, source: io::Error) -> TargetError {
        TargetError::Io { action, path: self.path.clone(), source }
    }

    /// Gives an authenticated part its name in the model.
    pub(crate) fn name_part(
        &self,
        index: usize,
        part: &File,
        path: &ModelPath,
        file_mode: u32,
    ) -> Result<(), TargetError> {
        rustix::fs::fchmod(part, Mode::from_raw_mode(file_mode))
            .map_err(self.naming("set the mode of", path))?;
        let (folder, name) = self.place_of(path)?;
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.parts, index.to_string(), &folder, name, flags)
            .map_err(self.naming("name", path))
    }

    /// Writes a small file whose every byte is authentic already; no part, no rename.
    pub(crate) fn write_named(
        &self,
        path: &ModelPath,
        bytes: &[u8],
        file_mode: u32,
    ) -> Result<(), TargetError> {
        let (folder, name) = self.place_of(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(self.naming("create", path))?;
        let written = file.write_all(bytes).map_err(|source| TargetError::Io {
            action: "write the plaintext of",
            path: path.as_str().into(),
            source,
        });
        written.and_then(|()| {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(file_mode))
                .map_err(self.naming("set the mode of", path))
        })
    }

    fn naming(&self, action: &'static str, path: &ModelPath) -> impl FnOnce(Errno) -> TargetError {
        let path = self.target.model_path().join(path.as_str());
        move |error| TargetError::Io { action, path, source: error.into() }
    }

    /// The folder of a file in the model, made if it is not there, and the file's name in it.
    fn place_of<'p>(&self, path: &'p ModelPath) -> Result<(Arc<OwnedFd>, &'p str), TargetError> {
        let Some((parent, name)) = path.as_str().rsplit_once('/') else {
            return Ok((Arc::clone(&self.model), path.as_str()));
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, folder)) = &*last
            && known == parent
        {
            return Ok((Arc::clone(folder), name));
        }
        let mut folder = Arc::clone(&self.model);
        for component in parent.split('/') {
            let component =
                CString::new(component).map_err(|_| self.naming("name", path)(Errno::INVAL))?;
            folder = Arc::new(make_folder(&folder, &component, self.folder_mode, &self.path)?);
        }
        *last = Some((parent.to_owned(), Arc::clone(&folder)));
        Ok((folder, name))
    }

    /// Makes the model appear under its name, as a whole.
    pub(crate) fn publish(&self) -> Result<(), TargetError> {
        let failed = |action| move |error| failure(action, &self.path, error);
        let (target, flags) = (&self.target.folder, RenameFlags::NOREPLACE);
        rustix::fs::renameat_with(&self.folder, MODEL_NAME, target, MODEL_NAME, flags)
            .map_err(failed("publish the model from"))?;
        let emptied =
            rustix::fs::unlinkat(&self.folder, PARTS_NAME, AtFlags::REMOVEDIR).and_then(|()| {
                rustix::fs::unlinkat(&self.target.folder, &self.name, AtFlags::REMOVEDIR)
            });
        match emptied {
            Ok(()) => {
                self.done.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                // Refused, so nothing may stay; the first failure is the one to tell of.
                let _ = wipe(&self.target.folder, MODEL_NAME, &self.path);
                Err(failed("remove")(error))
            }
        }
    }

    /// Wipes everything that was written so far, and says when that fails.
    pub(crate) fn wipe(&self) -> Result<(), TargetError> {
        self.done.store(true, Ordering::Release);
        wipe(&self.target.folder, &self.name, &self.path)
    }
}

impl Drop for StagingFolder {
    fn drop(&mut self) {
        if !self.done.load(Ordering::Acquire) {
            // While a panic unwinds, or for a caller who lost interest: nobody is left to tell.
            let _ = wipe(&self.target.folder, &self.name, &self.path);
        }
    }
}

/// Makes a folder, or opens the one that is there; never through a link.
fn make_folder(
    parent: &OwnedFd,
    name: &CStr,
    mode: u32,
    path: &Path,
) -> Result<OwnedFd, TargetError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(failure("create a folder in", path, error)),
    };
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())
        .map_err(|error| failure("open a folder in", path, error))?;
    if made {
        // After opening, so that the process's umask has no say.
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode))
            .map_err(|error| failure("set the mode of a folder in", path, error))?;
    }
    Ok(folder)
}
