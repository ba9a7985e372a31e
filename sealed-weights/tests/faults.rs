//! What happens when something goes wrong: which check refuses, and that nothing is left behind.

mod fixture;
mod reference;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adyton_sealed_weights::{
    KeyId, Layer, ModelKey, NoProgress, ObjectError, OpenError, OpenOptions, Placement, Progress,
    Recipient, Requirements, SealedModel, SwapPolicy, TargetError, TargetPolicy, wipe_target,
};
use fixture::{Model, contents, insecure, model_key, open_refused};
use proptest::prelude::*;

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn object(error: &OpenError) -> &ObjectError {
    match error {
        OpenError::Object { source, .. } => source,
        other => panic!("expected a refused object, got {other:?}"),
    }
}

#[test]
fn every_edited_byte_of_a_header_is_refused_before_any_chunk() {
    let model = Model::seal(&[("a", &contents(100))]);
    let unlocked = model.unlock();
    let file = File::options().read(true).write(true).open(model.object("a")).unwrap();
    let mut original = [0; 4096];
    file.read_exact_at(&mut original, 0).unwrap();
    for (at, byte) in original.iter().enumerate() {
        // Every bit of the fields, one of each reserved byte.
        for bit in 0..if at < 80 { 8 } else { 1 } {
            file.write_all_at(&[byte ^ (1 << bit)], at as u64).unwrap();
            let layer = unlocked.reader("a").unwrap_err().layer();
            let expected = if (24..80).contains(&at) { Layer::Commitment } else { Layer::Header };
            assert_eq!(layer, expected, "bit {bit} of byte {at}");
        }
        file.write_all_at(&[*byte], at as u64).unwrap();
    }
    unlocked.reader("a").unwrap();
}

#[test]
fn every_flipped_bit_of_ciphertext_padding_and_tags_is_refused() {
    let model = Model::seal(&[("a", &contents(100))]);
    let unlocked = model.unlock();
    let file = File::options().read(true).write(true).open(model.object("a")).unwrap();
    let len = file.metadata().unwrap().len();
    for at in 4096..len {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        let in_padding = (4196..8192).contains(&at);
        for bit in 0..if in_padding { 1 } else { 8 } {
            file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
            let layer = unlocked.reader("a").unwrap_err().layer();
            // The format is verified when the reader is made, which opens the first chunk.
            let expected = match at {
                ..4196 => Layer::Chunk,
                4196..8192 => Layer::Header,
                _ => Layer::Binding,
            };
            assert_eq!(layer, expected, "bit {bit} of byte {at}");
        }
        file.write_all_at(&byte, at).unwrap();
    }
}

#[test]
fn an_object_cut_anywhere_is_refused_by_its_length() {
    let model = Model::seal(&[("a", &contents(100))]);
    let unlocked = model.unlock();
    let file = File::options().write(true).open(model.object("a")).unwrap();
    let len = file.metadata().unwrap().len();
    for cut in (0..len).rev() {
        file.set_len(cut).unwrap();
        let error = unlocked.reader("a").unwrap_err();
        assert!(
            matches!(object(&error), ObjectError::Length { expected, got } if (*expected, *got) == (len, cut))
        );
    }
}

#[test]
fn the_wrong_key_is_refused_before_an_object_is_looked_at() {
    let model = Model::seal(&[("a", b"{}")]);
    fs::remove_file(model.object("a")).unwrap();
    let wrong = ModelKey::from_bytes(&mut [0x11; 32], fixture::KID.parse().unwrap()).unwrap();
    let error = open_refused(&model.path(), &wrong, &Requirements::default());
    assert_eq!(error.layer(), Layer::Recipient);
}

#[test]
fn the_commitment_is_compared_before_any_chunk_is_opened() {
    let model = Model::seal(&[("a", &contents(100_000))]);
    model.edit("a", |bytes| {
        bytes[48] ^= 1;
        bytes[4096] ^= 1;
    });
    assert!(matches!(object(&model.refusal()), ObjectError::Commitment(_)));
}

#[test]
fn a_fault_in_the_last_chunk_shows_no_file_and_leaves_the_target_empty() {
    let bytes = contents(5_000_000);
    let model = Model::seal(&[("a", b"sound"), ("b", &bytes), ("sub/c", b"sound")]);
    model.edit("b", |object| object[4096 + 4_999_999] ^= 1);
    let error = model.refusal();
    assert!(matches!(
        object(&error),
        ObjectError::Chunk(adyton_sealed_weights::chunked::ChunkError::NotAuthentic { index: 305 })
    ));
}

#[test]
fn a_reader_of_ranges_hands_out_what_lies_before_a_fault_and_nothing_of_its_chunk() {
    let bytes = contents(5_000_000);
    let model = Model::seal(&[("a", &bytes)]);
    model.edit("a", |object| object[4096 + 200 * 16_384 + 7] ^= 1);
    let unlocked = model.unlock();
    let reader = unlocked.reader("a").unwrap();
    let mut before = vec![0; 200 * 16_384];
    reader.read_at(0, &mut before).unwrap();
    assert!(before == bytes[..before.len()]);
    let mut across = vec![0xAA; 10];
    let error = reader.read_at(200 * 16_384 - 5, &mut across).unwrap_err();
    assert_eq!((error.layer(), across), (Layer::Chunk, vec![0; 10]));
    let mut after = vec![0; 10];
    reader.read_at(201 * 16_384, &mut after).unwrap();
    assert!(after == bytes[201 * 16_384..][..10]);
}

#[test]
fn a_range_outside_the_file_is_refused() {
    let model = Model::seal(&[("a", &contents(100))]);
    let unlocked = model.unlock();
    let reader = unlocked.reader("a").unwrap();
    for (offset, len) in [(100, 1), (0, 101), (u64::MAX, 1), (101, 0)] {
        let mut bytes = vec![1; len];
        let error = reader.read_at(offset, &mut bytes).unwrap_err();
        assert!(matches!(error, OpenError::Range { size: 100, .. }), "{offset}+{len}");
    }
    reader.read_at(100, &mut []).unwrap();
    assert!(matches!(unlocked.reader("b"), Err(OpenError::NoSuchFile { .. })));
}

#[test]
fn objects_of_two_sealings_of_one_model_cannot_be_mixed() {
    let files: [(&str, &[u8]); 2] = [("a", b"one"), ("b", b"two")];
    let (one, two) = (Model::seal(&files), Model::seal(&files));
    fs::copy(two.object("a"), one.object("a")).unwrap();
    assert!(matches!(object(&one.refusal()), ObjectError::Commitment(_)));
}

#[test]
fn two_sealings_share_nothing() {
    let (one, two) = (Model::seal(&[("a", &[0; 64])]), Model::seal(&[("a", &[0; 64])]));
    let (one_object, two_object) =
        (fs::read(one.object("a")).unwrap(), fs::read(two.object("a")).unwrap());
    assert_ne!(one.unlock().manifest().model_id(), two.unlock().manifest().model_id());
    assert_ne!(
        one.unlock().content_key().content_key_for_wrapping(),
        two.unlock().content_key().content_key_for_wrapping()
    );
    assert_ne!(one_object[24..48], two_object[24..48]);
    assert_ne!(one_object[4096..4160], two_object[4096..4160]);
}

#[test]
fn a_ciphertext_made_to_open_under_two_keys_opens_under_neither_others_commitment() {
    let context = reference::file_context(&[1; 16], "a");
    let salt = reference::salt("two keys");
    let one = reference::Message::derive(&[1; 32], &salt, &context);
    let two = reference::Message::derive(&[2; 32], &salt, &context);
    let (chunk, tag) = reference::salamander::two_key_chunk(&one, &two);
    let (mut as_one, mut as_two) = (chunk.clone(), chunk.clone());
    // AES-256-GCM alone accepts it twice, with two different plaintexts …
    assert_eq!((one.open(0, &mut as_one, &tag), two.open(0, &mut as_two, &tag)), (Ok(()), Ok(())));
    assert_ne!(as_one, as_two);
    // … and the message is accepted under the key that it commits to, only.
    let message = [&salt[..], &one.commitment, &chunk, &tag].concat();
    assert!(reference::c2sp_open(&[1; 32], &context, &message).is_ok());
    assert!(reference::c2sp_open(&[2; 32], &context, &message).is_err());
    // Our reader's refusal is the vector `object-opens-under-two-keys`.
}

#[test]
fn a_key_is_rotated_by_a_new_manifest_alone() {
    let model = Model::seal(&[("a", b"weights")]);
    let manifest = SealedModel::load(&model.path()).unwrap().unverified_manifest().clone();
    let unlocked = manifest.unlock(&model_key()).unwrap();
    let next = ModelKey::generate(KeyId::new("kbs:///acme/model-key/test", 2).unwrap()).unwrap();
    let recipient =
        Recipient::wrap(&next, &unlocked.manifest().model_id(), unlocked.content_key()).unwrap();
    let old = [model_key().id().clone()];
    let changed = unlocked.with_recipients(vec![recipient], &old).unwrap();
    fs::write(model.path().join("model.json"), changed.to_json().unwrap()).unwrap();
    let sealed = SealedModel::load(&model.path()).unwrap();
    let again = sealed.unlock(&next, &Requirements::default()).unwrap();
    let mut bytes = [0; 7];
    again.reader("a").unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"weights");
    assert!(matches!(
        sealed.unlock(&model_key(), &Requirements::default()),
        Err(OpenError::NoRecipient { .. })
    ));
}

#[test]
fn a_target_on_a_disk_is_refused_before_anything_is_written() {
    let model = Model::seal(&[("a", b"weights")]);
    let target = tempfile::tempdir().unwrap();
    let check = adyton_sealed_weights::TargetCheck::probe(target.path()).unwrap();
    if check.memory_backed {
        eprintln!("skipped: the temporary folder of this machine is memory-backed");
        return;
    }
    let options = OpenOptions { swap: SwapPolicy::InsecureAllow, ..OpenOptions::default() };
    let error = model.unlock().open_with(target.path(), &options, &NoProgress).unwrap_err();
    assert!(matches!(error, OpenError::Target(TargetError::NotMemoryBacked { .. })));
    assert_eq!(entries(target.path()), 0);
}

#[test]
fn a_target_that_is_missing_in_use_or_has_a_model_is_refused() {
    let model = Model::seal(&[("a", b"weights")]);
    let unlocked = model.unlock();
    let target = tempfile::tempdir().unwrap();
    let open = |path: &Path| unlocked.open_with(path, &insecure(), &NoProgress);
    assert!(matches!(
        open(&target.path().join("missing")),
        Err(OpenError::Target(TargetError::Io { .. }))
    ));
    let opened = open(target.path()).unwrap();
    assert!(matches!(open(target.path()), Err(OpenError::Target(TargetError::Busy { .. }))));
    assert!(matches!(wipe_target(target.path()), Err(TargetError::Busy { .. })));
    assert!(opened.path().join("a").exists());
    opened.wipe().unwrap();
    fs::create_dir(target.path().join("model")).unwrap();
    assert!(matches!(
        open(target.path()),
        Err(OpenError::Target(TargetError::ModelPresent { .. }))
    ));
}

#[test]
fn what_a_crash_left_behind_is_wiped_at_the_next_start() {
    let model = Model::seal(&[("a", b"weights")]);
    let target = tempfile::tempdir().unwrap();
    let left = target.path().join(".opening-0123456789abcdef/parts");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("0"), b"plaintext").unwrap();
    fs::hard_link(left.join("0"), target.path().join("witness")).unwrap();
    let opened = model.unlock().open_with(target.path(), &insecure(), &NoProgress).unwrap();
    assert_eq!(fs::read(target.path().join("witness")).unwrap(), [0; 9]);
    opened.wipe().unwrap();
    assert_eq!(entries(target.path()), 1);
}

#[test]
fn a_model_left_by_an_earlier_start_is_wiped_on_demand() {
    let target = tempfile::tempdir().unwrap();
    fs::create_dir(target.path().join("model")).unwrap();
    fs::write(target.path().join("model/a"), b"plaintext").unwrap();
    fs::hard_link(target.path().join("model/a"), target.path().join("witness")).unwrap();
    wipe_target(target.path()).unwrap();
    assert!(!target.path().join("model").exists());
    assert_eq!(fs::read(target.path().join("witness")).unwrap(), [0; 9]);
}

#[test]
fn opened_files_and_folders_have_the_modes_that_were_asked_for() {
    let model = Model::seal(&[("sub/a", b"weights")]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (options, expected) in [
        (insecure(), (0o700, 0o700, 0o600)),
        (OpenOptions { file_mode: 0o444, folder_mode: 0o755, ..insecure() }, (0o755, 0o755, 0o444)),
    ] {
        let target = tempfile::tempdir().unwrap();
        let opened = model.unlock().open_with(target.path(), &options, &NoProgress).unwrap();
        let (top, sub) = (opened.path().to_owned(), opened.path().join("sub"));
        assert_eq!((mode(&top), mode(&sub), mode(&sub.join("a"))), expected);
        opened.wipe().unwrap();
        assert_eq!(entries(target.path()), 0);
    }
}

/// Panics in the middle of the work.
struct Panics;

impl Progress for Panics {
    fn total(&self, _: u64) {}
    fn advance(&self, _: u64) {
        panic!("a listener that panics");
    }
}

#[test]
fn a_panic_while_opening_leaves_the_target_empty() {
    let model = Model::seal(&[("a", &contents(9_000_000)), ("b", b"small")]);
    let unlocked = model.unlock();
    let target = tempfile::tempdir().unwrap();
    let open = || unlocked.open_with(target.path(), &insecure(), &Panics).map(drop);
    assert!(catch_unwind(AssertUnwindSafe(open)).is_err());
    assert_eq!(entries(target.path()), 0);
}

/// Fills the file system that the target is on when the first piece has been written.
struct Fills {
    target: PathBuf,
    filled: AtomicBool,
}

impl Progress for Fills {
    fn total(&self, _: u64) {}
    fn advance(&self, _: u64) {
        if !self.filled.swap(true, Ordering::SeqCst) {
            let file = File::create(self.target.join("filler")).unwrap();
            let mut at = 0;
            while file.write_all_at(&[1; 4096], at).is_ok() {
                at += 4096;
            }
        }
    }
}

/// Runs itself once more in a mount namespace of its own, with a tmpfs of 24 MiB.
#[test]
fn a_target_that_fills_up_while_opening_is_left_without_plaintext() {
    const INSIDE: &str = "ADYTON_TEST_SMALL_TMPFS";
    const NAME: &str = "a_target_that_fills_up_while_opening_is_left_without_plaintext";
    if let Some(target) = std::env::var_os(INSIDE) {
        let target = Path::new(&target);
        let model = Model::seal(&[("a", &contents(16_000_000))]);
        for placement in [Placement::Buffered, Placement::Mapped] {
            let options = OpenOptions { threads: 1, placement, ..insecure() };
            let fills = || Fills { target: target.to_owned(), filled: AtomicBool::new(false) };
            let full = |error: OpenError| {
                let OpenError::Target(TargetError::Io { source, .. }) = &error else {
                    panic!("expected a failed write, got {error:?}")
                };
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                assert_eq!(entries(target), 1, "only the filler is left");
                let tight = model.unlock().open_with(target, &options, &NoProgress).unwrap_err();
                assert!(
                    matches!(tight, OpenError::Target(TargetError::NoRoom { .. })),
                    "{tight:?}"
                );
                fs::remove_file(target.join("filler")).unwrap();
            };
            let unlocked = model.unlock();
            full(unlocked.open_with(target, &options, &fills()).unwrap_err());
            let sealed = SealedModel::load(&model.path()).unwrap();
            let staged = sealed.stage(target, &options, Arc::new(fills())).unwrap();
            full(unlocked.open_staged(staged, 1, &NoProgress).unwrap_err());
        }
        println!("ran in a namespace of its own");
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=24m tmpfs \"$1\" && exec \"$2\" --exact --nocapture \"$3\"")
        .arg("sh")
        .arg(target.path())
        .arg(std::env::current_exe().unwrap())
        .arg(NAME)
        .env(INSIDE, target.path())
        .output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        Ok(output)
            if String::from_utf8_lossy(&output.stdout).contains("panicked")
                || String::from_utf8_lossy(&output.stderr).contains("panicked") =>
        {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
        _ => {
            eprintln!("skipped: this machine allows no mount namespaces");
            return;
        }
    };
    assert!(String::from_utf8_lossy(&output.stdout).contains("ran in a namespace of its own"));
}

#[test]
fn the_default_policy_is_memory_backed_only_and_without_swap() {
    let options = OpenOptions::default();
    assert_eq!(options.filesystems, TargetPolicy::MemoryBackedOnly);
    assert_eq!(options.swap, SwapPolicy::Refuse);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_flipped_bit_anywhere_in_a_large_object_is_refused(at in 0..3_006_000_usize, bit in 0..8_u8) {
        let model = Model::seal(&[("a", &contents(3_000_000))]);
        let mut inside = false;
        model.edit("a", |object| {
            inside = at < object.len();
            if inside {
                object[at] ^= 1 << bit;
            }
        });
        prop_assume!(inside);
        let layer = model.refusal_by(at).layer();
        prop_assert!(
            matches!(layer, Layer::Header | Layer::Commitment | Layer::Binding | Layer::Chunk),
            "{layer}"
        );
    }
}
