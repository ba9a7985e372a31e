//! What there is to push: exactly the objects that the manifest names, and the two that may lie beside it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use adyton_sealed_weights::SealedModel;
use adyton_sealed_weights::header::Layout;
use ring::digest::{Context, SHA256};

use super::{MANIFEST, PushError};
use crate::fault::Fault;
use crate::oci::Digest;

/// What may lie beside the manifest.
const BESIDE: [&str; 2] = ["model.sig", "aibom.cdx.json"];
const READ_AT_ONCE: usize = 1024 * 1024;

/// A sealed model in a folder.
pub(crate) struct Inventory {
    /// The bytes of `model.json`.
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_digest: [u8; 32],
    /// `model.json` is the last one.
    objects: Vec<LocalObject>,
}

/// One file of it.
#[derive(Debug, Clone)]
pub(crate) struct LocalObject {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    pub(crate) digest: Digest,
}

impl Inventory {
    /// Looks at the folder and digests every object of the model. Blocking.
    pub(crate) fn take(folder: &Path) -> Result<Self, PushError> {
        let sealed = SealedModel::load(folder).map_err(PushError::Model)?;
        let mut objects = Vec::new();
        for file in sealed.unverified_manifest().files() {
            let object = LocalObject::take(folder, file.path().object_name())?;
            let expected = Layout::of(file.size()).map(|layout| layout.object_len);
            if expected != Some(object.len) {
                let text = format!("{} bytes; expected {expected:?}", object.len);
                let source = io::Error::new(io::ErrorKind::InvalidData, text);
                return Err(PushError::Local { name: object.name, source });
            }
            objects.push(object);
        }
        for name in BESIDE {
            if folder.join(name).is_file() {
                objects.push(LocalObject::take(folder, name.to_owned())?);
            }
        }
        let manifest = std::fs::read(folder.join(MANIFEST))
            .map_err(|source| PushError::Local { name: MANIFEST.to_owned(), source })?;
        objects.push(LocalObject::take(folder, MANIFEST.to_owned())?);
        Ok(Self { manifest, manifest_digest: sealed.manifest_digest(), objects })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.len).sum()
    }

    pub(crate) fn objects(&self) -> &[LocalObject] {
        &self.objects
    }

    /// `model.json`, and everything before it.
    pub(crate) fn manifest_last(&self) -> (&LocalObject, &[LocalObject]) {
        match self.objects.split_last() {
            Some((manifest, objects)) => (manifest, objects),
            None => unreachable!("`take` ends with the manifest"),
        }
    }
}

impl LocalObject {
    fn take(folder: &Path, name: String) -> Result<Self, PushError> {
        let path = folder.join(&name);
        match digest(&path) {
            Ok((len, digest)) => Ok(Self { name, path, len, digest }),
            Err(source) => Err(PushError::Local { name, source }),
        }
    }

    pub(crate) fn open(&self) -> Result<File, Fault> {
        File::open(&self.path).map_err(Fault::local)
    }
}

pub(super) fn digest(path: &Path) -> io::Result<(u64, Digest)> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; READ_AT_ONCE];
    let mut len = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((len, Digest::finished(context)));
        }
        context.update(buffer.get(..count).unwrap_or_default());
        len += count as u64;
    }
}
