//! Sealed models in untrusted storage, from the manifest to the last chunk.
//!
//! Input: length of `model.json` as u32 little endian, `model.json`, and the one sealed object.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use adyton_sealed_weights::{
    KeyId, ModelKey, NoProgress, OpenOptions, Recipient, Requirements, SealJob, SealOptions,
    SealedModel, SwapPolicy, TargetPolicy,
};

/// The one file of the model, two chunks and a bit.
const FILE: &str = "notes.txt";
const NAME: &str = "acme/notes";
const VERSION: u64 = 7;

static PLAINTEXT: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..40_000_u32).flat_map(|n| (n % 251).to_le_bytes()).take(40_000).collect());

/// Opens by range and as a whole; what opens is what was sealed, and a refusal leaves nothing.
pub fn run(data: &[u8]) {
    opened(data);
}

/// Whether the whole model opened.
fn opened(data: &[u8]) -> bool {
    let Some((length, rest)) = data.split_first_chunk::<4>() else {
        return false;
    };
    let Some((manifest, object)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)
    else {
        return false;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sealed = folder.path().join("sealed");
    let target = folder.path().join("target");
    for path in [&sealed, &target] {
        fs::create_dir(path).expect("the temporary folder is writable");
    }
    write(&sealed.join("model.json"), manifest);
    write(&sealed.join(format!("{FILE}.sealed")), object);

    let Ok(model) = SealedModel::load(&sealed) else {
        return false;
    };
    let Ok(unlocked) = model.unlock(&model_key(), &Requirements::default()) else {
        return false;
    };
    assert_eq!(unlocked.manifest().name(), NAME, "a changed manifest is authentic");
    assert_eq!(unlocked.manifest().version(), VERSION, "a changed manifest is authentic");
    if let Ok(reader) = unlocked.reader(FILE) {
        let mut contents = vec![0; usize::try_from(reader.size()).expect("a small file")];
        if reader.read_at(0, &mut contents).is_ok() {
            assert!(contents == *PLAINTEXT, "a changed object was read");
        } else {
            assert!(contents.iter().all(|byte| *byte == 0), "plaintext after a refusal");
        }
    }
    let options = OpenOptions {
        threads: 1,
        filesystems: TargetPolicy::InsecureAnyFilesystem,
        swap: SwapPolicy::InsecureAllow,
        ..OpenOptions::default()
    };
    match unlocked.open_with(&target, &options, &NoProgress) {
        Ok(opened) => {
            let contents = fs::read(opened.path().join(FILE)).expect("an opened file");
            assert!(contents == *PLAINTEXT, "a changed object was opened");
            true
        }
        Err(_) => {
            let left = fs::read_dir(&target).expect("the target").count();
            assert_eq!(left, 0, "a refused model left something behind");
            false
        }
    }
}

fn write(path: &Path, contents: &[u8]) {
    fs::write(path, contents).expect("the temporary folder is writable");
}

/// A key that everybody knows, so that a corpus on disk stays valid.
fn model_key() -> ModelKey {
    let id = KeyId::new("kbs:///acme/model-key/notes", 1).expect("a key id");
    ModelKey::from_bytes(&mut [0x11; 32], id).expect("a key")
}

/// A sealed model, and the same with parts missing.
pub fn seeds() -> Vec<Vec<u8>> {
    let (manifest, object) = sealed();
    let pack = |manifest: &[u8], object: &[u8]| {
        [&(manifest.len() as u32).to_le_bytes()[..], manifest, object].concat()
    };
    let half = object.len() / 2;
    vec![
        pack(&manifest, &object),
        pack(&manifest, &object[..half]),
        pack(&manifest, &[]),
        pack(&manifest, &[&object[..], &[0]].concat()),
        pack(b"{}", &object),
        pack(&[], &object),
    ]
}

/// `model.json` and the object of a freshly sealed model.
pub(crate) fn sealed() -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source");
    let out = folder.path().join("sealed");
    fs::create_dir(&source).expect("the temporary folder is writable");
    write(&source.join(FILE), &PLAINTEXT);
    let options = SealOptions {
        name: NAME.to_owned(),
        version: VERSION,
        allow_formats: Vec::new(),
        threads: 1,
    };
    let job = SealJob::new(&source, &out, options).expect("a model that may be sealed");
    let recipient = Recipient::wrap(&model_key(), &job.model_id(), job.content_key())
        .expect("a recipient");
    job.run(vec![recipient], &NoProgress).expect("a sealed model");
    let read = |name: &str| fs::read(out.join(name)).expect("a sealed file");
    (read("model.json"), read(&format!("{FILE}.sealed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sound_seed_opens_so_that_forgeries_could() {
        let opens: Vec<bool> = seeds().iter().map(|seed| opened(seed)).collect();
        assert_eq!(opens, [true, false, false, false, false, false]);
    }
}
