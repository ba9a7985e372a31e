//! The vectors of the format: each makes one fault in a sound model and says which check must catch
//! it, and how much plaintext may be out by then. `vectors/README.md` says how to read them.
//!
//! They are made by this file from the reference implementation. To write them again after a
//! change: `ADYTON_REGENERATE_VECTORS=1 cargo test -p adyton-sealed-weights --test vectors`.

mod fixture;
mod reference;
mod vector_cases;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use adyton_sealed_weights::{
    ModelKey, NoProgress, OpenError, Requirements, SealedModel, UnlockedModel,
};
use fixture::insecure;
use serde_json::Value;

type Folder = BTreeMap<String, Vec<u8>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Every file below `folder`, by its path with `/`.
fn read_folder(folder: &Path) -> Folder {
    let mut files = Folder::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

fn write_folder(folder: &Path, files: &Folder) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn the_vectors_are_what_the_generator_makes() {
    for (name, made) in [("models", vector_cases::models()), ("cases", vector_cases::cases())] {
        let folder = root().join(name);
        if std::env::var_os("ADYTON_REGENERATE_VECTORS").is_some() {
            let _ = fs::remove_dir_all(&folder);
            write_folder(&folder, &made);
        }
        let found = read_folder(&folder);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            made.keys().collect::<Vec<_>>(),
            "files of {name}"
        );
        for (file, bytes) in made {
            assert!(found[&file] == bytes, "{name}/{file} differs from what the generator makes");
        }
    }
}

/// Makes the fault.
fn apply(edit: &Value, folder: &Path) {
    let text = |member: &str| edit[member].as_str().unwrap();
    let number = |member: &str| usize::try_from(edit[member].as_u64().unwrap()).unwrap();
    let bytes = |member: &str| hex::decode(text(member)).unwrap();
    let path = folder.join(text("file"));
    let mut contents = fs::read(&path).unwrap_or_default();
    match text("op") {
        "xor" => contents[number("at")] ^= bytes("mask")[0],
        "write" => {
            let new = bytes("hex");
            contents[number("at")..][..new.len()].copy_from_slice(&new);
        }
        "copy" => {
            contents.copy_within(number("from")..number("from") + number("len"), number("to"))
        }
        "truncate" => contents.truncate(number("len")),
        "append" => contents.extend(bytes("hex")),
        "replace" => contents = text("text").into(),
        "text" => {
            let old = String::from_utf8(contents).unwrap();
            assert_eq!(old.matches(text("find")).count(), 1, "{edit}");
            contents = old.replace(text("find"), text("with")).into();
        }
        "take" => {
            let from = root().join("models").join(text("from_model")).join(text("from_file"));
            contents = fs::read(from).unwrap();
        }
        "remove" => return fs::remove_file(path).unwrap(),
        "symlink" => {
            fs::remove_file(&path).unwrap();
            return std::os::unix::fs::symlink(text("to"), path).unwrap();
        }
        other => panic!("an edit that the README does not describe: {other}"),
    }
    fs::write(path, contents).unwrap();
}

fn unlock(case: &Value, folder: &Path) -> Result<UnlockedModel, OpenError> {
    let text = |member: &str| case["reader"][member].as_str().unwrap();
    let mut key = hex::decode(text("model_key")).unwrap();
    let key = ModelKey::from_bytes(&mut key, text("kid").parse().unwrap()).unwrap();
    let requirements = Requirements {
        name: case["reader"]["name"].as_str().map(str::to_owned),
        minimum_version: case["reader"]["minimum_version"].as_u64().unwrap(),
        model_id: None,
    };
    SealedModel::load(folder)?.unlock(&key, &requirements)
}

/// Leading bytes of a file that a reader of ranges hands out, chunk by chunk.
fn plaintext_out(case: &Value, folder: &Path, path: &str) -> u64 {
    let Ok(reader) = unlock(case, folder).and_then(|unlocked| unlocked.reader(path)) else {
        return 0;
    };
    let mut at = 0;
    while at < reader.size() {
        let mut chunk = vec![0; usize::try_from((reader.size() - at).min(16_384)).unwrap()];
        if reader.read_at(at, &mut chunk).is_err() {
            assert!(chunk.iter().all(|byte| *byte == 0), "a refused range is zero");
            break;
        }
        at += chunk.len() as u64;
    }
    at
}

#[test]
fn every_vector_is_caught_where_it_says() {
    let cases = read_folder(&root().join("cases"));
    assert_eq!(cases.len(), 142, "added a vector? change this number in the same commit");
    for (name, bytes) in cases {
        let case: Value = serde_json::from_slice(&bytes).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = root().join("models").join(case["model"].as_str().unwrap());
        write_folder(folder.path(), &read_folder(&model));
        for edit in case["edits"].as_array().unwrap() {
            apply(edit, folder.path());
        }
        let target = tempfile::tempdir().unwrap();
        let opened = unlock(&case, folder.path())
            .and_then(|unlocked| unlocked.open_with(target.path(), &insecure(), &NoProgress));
        let layer = match &opened {
            Ok(_) => "opens",
            Err(error) => error.layer().as_str(),
        };
        let expected = case["expect"]["layer"].as_str().unwrap();
        assert_eq!(layer, expected, "{name}: {:?}", opened.as_ref().err());
        if opened.is_err() {
            assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0, "{name}: left behind");
        }
        if let Some(path) = case["expect"]["file"].as_str() {
            let out = case["expect"]["plaintext_out"].as_u64().unwrap();
            let got = plaintext_out(&case, folder.path(), path);
            // An upper bound for a refusal: this reader looks at the last 64 KiB of a file for a zip
            // directory before it hands out the first byte, and so often catches a fault earlier.
            assert!(got <= out, "{name}: {got} bytes of plaintext out; at most {out} may be");
            assert!(opened.is_err() || got == out, "{name}: {got} bytes out of {out}");
        }
    }
}
