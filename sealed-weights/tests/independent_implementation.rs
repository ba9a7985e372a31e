//! Two implementations of SPEC.md agree, both ways, and with a third on the primitive.

mod fixture;
mod reference;

use adyton_sealed_weights::c2sp::{RearrangeError, from_c2sp, to_c2sp};
use adyton_sealed_weights::{NoProgress, Requirements, SealedModel};
use fixture::{KID, Model, contents, insecure, model_key};
use proptest::prelude::*;
use reference::{Draft, c2sp_open, c2sp_seal, file_context, salt};
use serde_json::Value;

const SIZES: [usize; 8] = [0, 1, 16_383, 16_384, 16_385, 32_768, 40_000, (2 << 20) + 1];

fn named() -> Vec<(String, Vec<u8>)> {
    SIZES.iter().map(|size| (format!("sub/{size}.dat"), contents(*size))).collect()
}

#[test]
fn the_reference_opens_what_we_seal() {
    let files = named();
    let files: Vec<_> = files.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
    let model = Model::seal(&files);
    for (path, expected) in files {
        let opened = reference::open(&model.path(), &[0x4B; 32], KID, path);
        assert!(opened.as_deref() == Ok(expected), "{path}");
    }
}

#[test]
fn we_open_what_the_reference_seals() {
    let draft = Draft {
        content_key: [7; 32],
        model_id: [9; 16],
        name: "acme/reference".into(),
        version: 3,
        allowed_formats: vec![],
        files: named().into_iter().map(|(path, bytes)| (path, "other", bytes)).collect(),
        recipients: vec![([0x4B; 32], KID.into()), ([1; 32], "kbs:///a/b/c?epoch=9".into())],
    };
    let folder = tempfile::tempdir().unwrap();
    let target = tempfile::tempdir().unwrap();
    for (name, bytes) in draft.seal() {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let requirements = Requirements {
        name: Some("acme/reference".into()),
        minimum_version: 3,
        model_id: Some(adyton_sealed_weights::ModelId([9; 16])),
    };
    let sealed = SealedModel::load(folder.path()).unwrap();
    let unlocked = sealed.unlock(&model_key(), &requirements).unwrap();
    let opened = unlocked.open_with(target.path(), &insecure(), &NoProgress).unwrap();
    for (path, expected) in named() {
        assert!(std::fs::read(opened.path().join(&path)).unwrap() == expected, "{path}");
    }
}

#[test]
fn the_reference_makes_the_messages_of_a_published_implementation() {
    let text = include_str!("vectors/c2sp/known-answers.json");
    let known: Value = serde_json::from_str(text).unwrap();
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let key: [u8; 32] = bytes(&known["key"]).try_into().unwrap();
    let messages = known["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 6);
    for expected in messages {
        let len = expected["plaintext_bytes"].as_u64().unwrap();
        let plaintext: Vec<u8> = (0..len).map(|i| (i * 7 + 3) as u8).collect();
        let salt = bytes(&expected["salt"]).try_into().unwrap();
        let message = c2sp_seal(&key, &salt, &bytes(&known["context"]), &plaintext);
        assert_eq!(message[24..56], bytes(&expected["commitment"]));
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&message);
        assert_eq!(digest[..], bytes(&expected["message_sha256"]), "{len}");
    }
}

#[test]
fn an_exported_object_is_a_message_of_the_standard_and_comes_back() {
    let files = named();
    let files: Vec<_> = files.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
    let model = Model::seal(&files);
    let unlocked = model.unlock();
    let content_key = unlocked.content_key().content_key_for_wrapping();
    for (path, expected) in files {
        let object = std::fs::read(model.object(path)).unwrap();
        let mut message = Vec::new();
        let written = to_c2sp(object.as_slice(), &mut message).unwrap();
        assert_eq!(written, message.len() as u64);
        let context = file_context(&unlocked.manifest().model_id().0, path);
        assert!(c2sp_open(&content_key, &context, &message).as_deref() == Ok(expected), "{path}");
        let mut again = Vec::new();
        let written = from_c2sp(message.as_slice(), &mut again).unwrap();
        assert_eq!(written, again.len() as u64);
        assert!(again == object, "{path}");
    }
}

#[test]
fn a_message_cut_at_a_chunk_or_inside_a_tag_is_not_imported() {
    let message = c2sp_seal(&[1; 32], &salt("a"), b"", &contents(40_000));
    for len in [0, 55, 56, 56 + 15, 56 + 16_400, 56 + 16_400 + 15, 56 + 32_800] {
        assert!(
            matches!(
                from_c2sp(&message[..len], &mut Vec::new()),
                Err(RearrangeError::Truncated { got }) if got == len as u64
            ),
            "{len}"
        );
    }
}

#[test]
fn an_object_of_another_length_than_its_header_says_is_not_exported() {
    let object = reference::object(&[1; 32], &salt("a"), b"", &contents(100));
    for bytes in [&object[..object.len() - 1], &[&object[..], &[0]].concat()] {
        assert!(matches!(
            to_c2sp(bytes, &mut Vec::new()),
            Err(RearrangeError::Length { expected: 8208, .. })
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_implementations_make_the_same_objects(
        len in 0..70_000_usize,
        start in 0..70_000_usize,
        end in 0..70_000_usize,
    ) {
        let plaintext = contents(len);
        let model = Model::seal(&[("a", &plaintext)]);
        let object = std::fs::read(model.object("a")).unwrap();
        let unlocked = model.unlock();
        let content_key = unlocked.content_key().content_key_for_wrapping();
        let context = file_context(&unlocked.manifest().model_id().0, "a");
        let salt = object[24..48].try_into().unwrap();
        prop_assert!(object == reference::object(&content_key, &salt, &context, &plaintext));

        let (start, end) = (start.min(end).min(len), start.max(end).min(len));
        let mut range = vec![0; end - start];
        unlocked.reader("a").unwrap().read_at(start as u64, &mut range).unwrap();
        prop_assert!(range == plaintext[start..end]);
    }
}
