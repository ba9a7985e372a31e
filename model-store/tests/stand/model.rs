//! A small sealed model, and the key that opens it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adyton_sealed_weights::{
    KeyId, ModelKey, NoProgress, OpenOptions, Recipient, Requirements, SealJob, SealOptions,
    SealedModel, Storage, SwapPolicy,
};
use tempfile::TempDir;

use super::pattern;

pub struct Model {
    pub folder: TempDir,
    key: ModelKey,
}

impl Model {
    /// One file of many parts, one of one, one of none.
    pub fn seal() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let plain = folder.path().join("plain");
        std::fs::create_dir_all(plain.join("sub dir")).expect("folder");
        std::fs::write(plain.join("weights.dat"), pattern(9 << 20)).expect("file");
        std::fs::write(plain.join("sub dir/config.json"), b"{}").expect("file");
        std::fs::write(plain.join("empty.txt"), b"").expect("file");
        let id = KeyId::new("kbs:///acme/model-key/x", 1).expect("id");
        let key = ModelKey::generate(id).expect("key");
        let options =
            SealOptions { name: "x".into(), version: 1, allow_formats: vec![], threads: 1 };
        let job = SealJob::new(&plain, &folder.path().join("sealed"), options).expect("job");
        let recipient =
            Recipient::wrap(&key, &job.model_id(), job.content_key()).expect("recipient");
        job.run(vec![recipient], &NoProgress).expect("sealed");
        Self { folder, key }
    }

    pub fn sealed(&self) -> PathBuf {
        self.folder.path().join("sealed")
    }

    /// Names of its objects, `model.json` among them.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec!["model.json".to_owned()];
        let sealed = SealedModel::load(&self.sealed()).expect("sealed");
        names.extend(sealed.unverified_manifest().files().iter().map(|f| f.path().object_name()));
        names
    }

    /// Opens what `storage` has into memory, and compares it with what was sealed.
    pub fn opens_from(&self, storage: Arc<dyn Storage>) {
        let sealed = SealedModel::load_from(storage).expect("a sealed model");
        let unlocked = sealed.unlock(&self.key, &Requirements::default()).expect("unlocked");
        let options = OpenOptions { swap: SwapPolicy::InsecureAllow, ..OpenOptions::default() };
        let opened =
            unlocked.open_in_memory(&options, &NoProgress).expect("every chunk is authentic");
        for path in ["weights.dat", "sub dir/config.json", "empty.txt"] {
            let plain = std::fs::read(self.folder.path().join("plain").join(path)).expect("plain");
            assert!(opened.file(path).expect("there") == plain, "{path}");
        }
    }
}

/// Every file below a folder, by name.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}
