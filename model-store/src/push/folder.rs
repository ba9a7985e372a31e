//! To another folder: copied beside their names, and renamed when they are whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Outcome;
use super::inventory::LocalObject;
use crate::fault::Fault;

pub(super) struct Target {
    folder: PathBuf,
}

impl Target {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Blocking.
    pub(super) fn put(&self, object: &LocalObject) -> Result<Outcome, Fault> {
        let path = self.folder.join(&object.name);
        if same(&path, object) {
            return Ok(Outcome::Skipped);
        }
        let partial = path.with_added_extension("partial");
        let write = || -> io::Result<()> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut from = File::open(&object.path)?;
            let mut to = File::create(&partial)?;
            let copied = io::copy(&mut from, &mut to)?;
            if copied != object.len {
                return Err(io::Error::other("the object changed while it was copied"));
            }
            to.flush()?;
            to.sync_all()?;
            fs::rename(&partial, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&partial);
            Fault::local(error)
        })?;
        Ok(Outcome::Sent)
    }
}

fn same(path: &Path, object: &LocalObject) -> bool {
    super::inventory::digest(path).is_ok_and(|found| found == (object.len, object.digest))
}
