//! What is sealed opens again, byte for byte, whole or by range.

mod fixture;

use std::sync::Arc;

use adyton_sealed_weights::{NoProgress, OpenOptions, Requirements, SealedModel, TargetPolicy};
use fixture::{Model, WAYS, contents, insecure, open_by};

/// Around every boundary: empty, one chunk, several, a piece of 2 MiB and beyond.
const SIZES: [usize; 11] = [
    0,
    1,
    16_383,
    16_384,
    16_385,
    32_768,
    (2 << 20) - 1,
    2 << 20,
    (2 << 20) + 1,
    (2 << 20) + 16_384,
    5_000_003,
];

fn model() -> Model {
    let names: Vec<_> = SIZES.iter().map(|size| format!("sub/{size}.dat")).collect();
    let contents: Vec<_> = SIZES.iter().map(|size| contents(*size)).collect();
    let files: Vec<_> =
        names.iter().zip(&contents).map(|(n, c)| (n.as_str(), c.as_slice())).collect();
    Model::seal(&files)
}

#[test]
fn every_size_around_a_boundary_opens_to_the_same_bytes() {
    let model = model();
    for threads in [1, 2, 3] {
        let target = tempfile::tempdir().unwrap();
        let opened = model
            .unlock()
            .open_with(target.path(), &OpenOptions { threads, ..insecure() }, &NoProgress)
            .unwrap();
        assert_eq!(opened.files(), SIZES.len());
        assert_eq!(opened.bytes(), SIZES.iter().sum::<usize>() as u64);
        for size in SIZES {
            let bytes = std::fs::read(opened.path().join(format!("sub/{size}.dat"))).unwrap();
            assert!(bytes == contents(size), "{size}");
        }
        opened.wipe().unwrap();
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
    }
}

#[test]
fn every_way_and_every_placement_opens_to_the_same_bytes() {
    let model = model();
    let sealed = SealedModel::load(&model.path()).unwrap();
    let requirements = Requirements::default();
    // On a disk and in memory: a file system may round holes and mappings in its own way.
    for root in [std::env::temp_dir(), "/dev/shm".into()] {
        let Ok(target) = tempfile::tempdir_in(&root) else { continue };
        for (way, placement) in WAYS {
            let options = OpenOptions { placement, ..insecure() };
            let key = fixture::model_key();
            let opened =
                open_by(way, &sealed, target.path(), &key, &requirements, &options, &NoProgress)
                    .unwrap();
            for size in SIZES {
                let bytes = std::fs::read(opened.path().join(format!("sub/{size}.dat"))).unwrap();
                assert!(bytes == contents(size), "{way:?} {placement:?} {size}");
            }
            opened.wipe().unwrap();
            assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_model_in_memory_has_the_same_bytes() {
    let model = model();
    let unlocked = model.unlock();
    let sealed = SealedModel::load(&model.path()).unwrap();
    let staged = sealed.stage_in_memory(&insecure(), Arc::new(NoProgress)).unwrap();
    for opened in [
        unlocked.open_in_memory(&insecure(), &NoProgress).unwrap(),
        unlocked.open_staged_in_memory(staged, 2, &NoProgress).unwrap(),
    ] {
        assert_eq!(opened.paths().count(), SIZES.len());
        assert_eq!(opened.bytes(), SIZES.iter().sum::<usize>() as u64);
        for size in SIZES {
            assert!(opened.file(&format!("sub/{size}.dat")) == Some(&contents(size)[..]), "{size}");
        }
        assert_eq!(opened.file("sub/none"), None);
    }
}

#[test]
fn ranges_are_exact_at_every_boundary() {
    let model = model();
    let unlocked = model.unlock();
    for size in SIZES {
        let reader = unlocked.reader(&format!("sub/{size}.dat")).unwrap();
        let expected = contents(size);
        assert_eq!(reader.size(), size as u64);
        let near = [0, 1, 16_383, 16_384, 16_385, 2 << 20, size.saturating_sub(1), size];
        for start in near {
            for end in near {
                if start <= end && end <= size {
                    let mut bytes = vec![0xAA; end - start];
                    reader.read_at(start as u64, &mut bytes).unwrap();
                    assert!(bytes == expected[start..end], "{size}: {start}..{end}");
                }
            }
        }
    }
}

#[test]
fn a_dropped_model_is_wiped_and_a_memory_backed_target_needs_no_policy() {
    let model = Model::seal(&[("config.json", b"{}")]);
    let Ok(target) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: this machine has no /dev/shm");
        return;
    };
    let options = OpenOptions { filesystems: TargetPolicy::MemoryBackedOnly, ..insecure() };
    let sealed = SealedModel::load(&model.path()).unwrap();
    let unlocked = sealed.unlock(&fixture::model_key(), &Requirements::default()).unwrap();
    let opened = unlocked.open_with(target.path(), &options, &NoProgress).unwrap();
    assert_eq!(std::fs::read(opened.path().join("config.json")).unwrap(), b"{}");
    drop(opened);
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}
