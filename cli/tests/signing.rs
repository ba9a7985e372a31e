//! Signing the files of a model, and verifying who did.

mod stand;

use std::fs;
use std::path::Path;

use stand::Stand;

fn model(stand: &Stand) {
    let folder = stand.path("llama");
    fs::create_dir_all(folder.join("sub")).expect("folder");
    fs::write(folder.join("config.json"), b"{}").expect("write");
    fs::write(folder.join("sub/weights.dat"), vec![7; 3_000_000]).expect("write");
    fs::write(folder.join("empty.txt"), b"").expect("write");
}

/// A key pair, as PEM files `team.key` and `team.pem`.
fn key(stand: &Stand, name: &str) {
    let pair = rcgen::KeyPair::generate().expect("a P-256 key");
    stand.write_secret(&format!("{name}.key"), pair.serialize_pem().as_bytes());
    stand.write(&format!("{name}.pem"), pair.public_key_pem().as_bytes());
}

fn signed() -> Stand {
    let stand = Stand::new();
    model(&stand);
    key(&stand, "team");
    let ran = stand.run(&["sign", "llama", "--sign-key", "team.key", "--output", "json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!((&ran.json()["files"], &ran.json()["model"]), (&3.into(), &"llama".into()));
    stand
}

const VERIFY: [&str; 4] = ["verify-signature", "llama", "--key", "team.pem"];

fn refused(stand: &Stand, words: &[&str]) -> String {
    let ran = stand.run(&[words, &["--output", "json"]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (14, ""), "{ran:?}");
    ran.error()["code"].as_str().expect("a code").to_owned()
}

#[test]
fn what_was_signed_verifies_with_the_signers_key_and_says_whose_it_is() {
    let stand = signed();
    let ran = stand.run(&VERIFY);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("✓ signature is good\n"), "{}", ran.out);
    let json = stand.run(&[&VERIFY[..], &["--output", "json"]].concat()).json();
    assert_eq!(json["signer"]["kind"], "key");
    assert_eq!(json["signer"]["spki_sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn another_key_is_refused() {
    let stand = signed();
    key(&stand, "other");
    let words = ["verify-signature", "llama", "--key", "other.pem"];
    assert_eq!(refused(&stand, &words), "signature.invalid");
}

#[test]
fn a_file_that_is_changed_added_or_removed_is_refused() {
    for change in [
        |folder: &Path| fs::write(folder.join("config.json"), b"{ }"),
        |folder: &Path| fs::write(folder.join("sub/new.json"), b"{}"),
        |folder: &Path| fs::remove_file(folder.join("empty.txt")),
    ] {
        let stand = signed();
        change(&stand.path("llama")).expect("changed");
        assert_eq!(refused(&stand, &VERIFY), "signature.other-model");
    }
}

#[test]
fn a_bundle_that_is_cut_is_refused() {
    let stand = signed();
    let bundle = fs::read(stand.path("llama/model.sig")).expect("bundle");
    stand.write("cut.sig", &bundle[..bundle.len() / 2]);
    let words = [&VERIFY[..], &["--signature", "cut.sig"]].concat();
    assert_eq!(refused(&stand, &words), "signature.bundle");
}

#[test]
fn a_key_that_others_can_read_and_a_link_in_the_model_sign_nothing() {
    let stand = Stand::new();
    model(&stand);
    key(&stand, "team");
    let pem = fs::read(stand.path("team.key")).expect("key");
    stand.write("exposed.key", &pem);
    let ran = stand.run(&["sign", "llama", "--sign-key", "exposed.key", "--output", "json"]);
    assert_eq!((ran.code, &ran.error()["code"]), (2, &"file.permissions".into()), "{ran:?}");
    std::os::unix::fs::symlink("config.json", stand.path("llama/link")).expect("link");
    let ran = stand.run(&["sign", "llama", "--sign-key", "team.key", "--output", "json"]);
    assert_eq!((ran.code, &ran.error()["code"]), (2, &"signature.not-a-file".into()), "{ran:?}");
    assert!(!stand.path("llama/model.sig").exists());
}

#[test]
fn nobody_to_trust_is_a_usage_error() {
    let stand = signed();
    assert_eq!(stand.run(&["verify-signature", "llama"]).code, 2);
    let both = [&VERIFY[..], &["--roots", "team.pem"]].concat();
    assert_eq!(stand.run(&both).code, 2);
}
