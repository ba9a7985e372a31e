//! No bytes from outside make a parser panic, loop or take memory without end.

mod fixture;

use adyton_sealed_weights::c2sp::{from_c2sp, to_c2sp};
use adyton_sealed_weights::formats::{FormatError, inspect};
use adyton_sealed_weights::header::Header;
use adyton_sealed_weights::{FileFormat, KeyId, Manifest, ManifestError, ModelPath};
use fixture::Model;
use proptest::prelude::*;

fn path(text: &str) -> ModelPath {
    ModelPath::parse(text).unwrap()
}

/// A sound file, some bytes of which are exchanged.
fn edited(sound: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (edits, any::<prop::sample::Index>(), any::<bool>()).prop_map(move |(edits, cut, whole)| {
        let mut bytes = sound.clone();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

fn manifest() -> Vec<u8> {
    let model = Model::seal(&[("a", b"{}"), ("sub/b", b"{}")]);
    std::fs::read(model.path().join("model.json")).unwrap()
}

fn safetensors() -> Vec<u8> {
    let header = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    [&(header.len() as u64).to_le_bytes()[..], header, &[0; 16]].concat()
}

fn gguf() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
    bytes.extend([text("name"), vec![8, 0, 0, 0], text("llama")].concat());
    bytes.extend([text("tokens"), vec![9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat());
    bytes.extend([text("a"), text("tensor"), vec![1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]].concat());
    bytes.extend([0; 12]);
    bytes.resize(bytes.len().next_multiple_of(32) + 64, 0);
    bytes
}

#[test]
fn the_sound_files_of_these_tests_are_accepted() {
    Manifest::parse(&manifest()).unwrap();
    let formats = [("a.safetensors", safetensors()), ("a.gguf", gguf())]
        .map(|(name, bytes)| inspect(&path(name), bytes.as_slice(), &[]).unwrap());
    assert_eq!(formats, [FileFormat::Safetensors, FileFormat::Gguf]);
}

#[test]
fn a_manifest_over_the_bound_is_refused_before_it_is_parsed() {
    let mut bytes = manifest();
    bytes.resize(16 * 1024 * 1024 + 1, b' ');
    assert!(matches!(Manifest::parse(&bytes), Err(ManifestError::TooLarge { .. })));
    bytes.truncate(16 * 1024 * 1024);
    Manifest::parse(&bytes).unwrap();
}

#[test]
fn deeply_nested_json_is_refused() {
    let deep = "[".repeat(1_000_000);
    assert!(matches!(Manifest::parse(deep.as_bytes()), Err(ManifestError::Json(_))));
    let marked = format!(r#"{{"adyton":"sealed-model/1","files":{deep}"#);
    assert!(matches!(Manifest::parse(marked.as_bytes()), Err(ManifestError::Json(_))));
    let header = [&(deep.len() as u64 + 5).to_le_bytes()[..], b"{\"a\":", deep.as_bytes()].concat();
    assert!(matches!(
        inspect(&path("a.safetensors"), header.as_slice(), &[]),
        Err(FormatError::Safetensors(_))
    ));
}

proptest! {
    #[test]
    fn edited_manifests_are_parsed_or_refused(bytes in edited(manifest())) {
        // What is parsed writes itself again.
        if let Ok(parsed) = Manifest::parse(&bytes) {
            prop_assert_eq!(Manifest::parse(&parsed.to_json().unwrap()).unwrap(), parsed);
        }
    }

    #[test]
    fn edited_weights_are_parsed_or_refused(
        safetensors in edited(safetensors()),
        gguf in edited(gguf()),
        noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        for bytes in [&safetensors, &gguf, &noise] {
            for name in ["a.safetensors", "a.gguf", "a.dat"] {
                let _ = inspect(&path(name), bytes.as_slice(), &[]);
            }
        }
    }

    #[test]
    fn headers_and_messages_are_parsed_or_refused(
        start in prop::collection::vec(any::<u8>(), 0..200),
        sound in any::<bool>(),
    ) {
        let mut bytes = [0; 4096];
        if sound {
            bytes[..16].copy_from_slice(b"\x89ADY\r\n\x1a\n\x01\0\0\0\0\x40\0\0");
            bytes[16..80].iter_mut().zip(&start).for_each(|(to, from)| *to = *from);
        } else {
            bytes.iter_mut().zip(&start).for_each(|(to, from)| *to = *from);
        }
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert_eq!(header.to_bytes(), bytes);
        }
        let _ = to_c2sp(&bytes[..], &mut Vec::new());
        let _ = from_c2sp(start.as_slice(), &mut Vec::new());
    }

    #[test]
    fn paths_and_key_names_that_are_accepted_keep_their_text(text in "\\PC{0,40}") {
        if let Ok(path) = ModelPath::parse(&text) {
            prop_assert_eq!(path.as_str(), &text);
            prop_assert!(!text.split('/').any(|c| matches!(c, "" | "." | "..")));
        }
        if let Ok(id) = text.parse::<KeyId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
