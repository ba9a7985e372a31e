//! Ciphertext that is read before the key is there: what it is not, and what is left of it.

mod fixture;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use adyton_sealed_weights::{
    FolderStorage, Layer, NoProgress, ObjectError, OpenError, Progress, Requirements, SealedModel,
    Storage, StorageError, StoredObject, TargetError,
};
use fixture::{Model, contents, insecure, model_key};

/// What a test's storage does besides reading.
#[derive(Debug, Default)]
struct Behaviour {
    /// Object, first byte, bytes: every read there was.
    reads: Mutex<Vec<(String, u64, u64)>>,
    /// Reads of objects after which the storage shows other bytes; 0 is never.
    changes_after: u64,
    /// Reads of objects after which the storage is gone; 0 is never.
    fails_after: u64,
    concurrency: usize,
    count: AtomicU64,
}

#[derive(Debug)]
struct TestStorage {
    folder: FolderStorage,
    behaviour: Arc<Behaviour>,
}

#[derive(Debug)]
struct TestObject {
    name: String,
    object: Box<dyn StoredObject>,
    behaviour: Arc<Behaviour>,
}

impl TestStorage {
    fn of(model: &Model, behaviour: Behaviour) -> (Arc<Self>, Arc<Behaviour>) {
        let (folder, behaviour) = (FolderStorage::new(&model.path()).unwrap(), Arc::new(behaviour));
        (Arc::new(Self { folder, behaviour: Arc::clone(&behaviour) }), behaviour)
    }
}

impl Storage for TestStorage {
    fn location(&self) -> String {
        self.folder.location()
    }

    fn concurrency(&self) -> usize {
        self.behaviour.concurrency
    }

    fn read_small(&self, name: &str, limit: u64) -> Result<Vec<u8>, StorageError> {
        self.folder.read_small(name, limit)
    }

    fn open(&self, name: &str) -> Result<Box<dyn StoredObject>, StorageError> {
        let object = self.folder.open(name)?;
        let behaviour = Arc::clone(&self.behaviour);
        Ok(Box::new(TestObject { name: name.to_owned(), object, behaviour }))
    }
}

impl StoredObject for TestObject {
    fn len(&self) -> u64 {
        self.object.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let behaviour = &self.behaviour;
        let count = behaviour.count.fetch_add(1, Ordering::SeqCst) + 1;
        if behaviour.fails_after > 0 && count > behaviour.fails_after {
            return Err(StorageError::Unavailable { source: "the storage is gone".into() });
        }
        let read = (self.name.clone(), offset, buffer.len() as u64);
        behaviour.reads.lock().unwrap().push(read);
        self.object.read_exact_at(offset, buffer)?;
        if behaviour.changes_after > 0 && count > behaviour.changes_after {
            buffer.iter_mut().for_each(|byte| *byte ^= 0x40);
        }
        Ok(())
    }
}

fn large_and_small() -> Model {
    Model::seal(&[
        ("large", &contents(9_000_000)),
        ("small", &contents(70_000)),
        ("sub/empty", b""),
        ("sub/piece", &contents(2 << 20)),
    ])
}

fn left(target: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    fs::read_dir(target).unwrap().map(|entry| name(entry).to_string_lossy().into_owned()).collect()
}

#[test]
fn every_byte_of_a_sealed_model_is_read_once() {
    let model = large_and_small();
    for staged_first in [false, true] {
        let (storage, behaviour) = TestStorage::of(&model, Behaviour::default());
        let sealed = SealedModel::load_from(storage).unwrap();
        let unlocked = sealed.unlock(&model_key(), &Requirements::default()).unwrap();
        let target = tempfile::tempdir().unwrap();
        let opened = match staged_first {
            false => unlocked.open_with(target.path(), &insecure(), &NoProgress).unwrap(),
            true => {
                let staged =
                    sealed.stage(target.path(), &insecure(), Arc::new(NoProgress)).unwrap();
                unlocked.open_staged(staged, 2, &NoProgress).unwrap()
            }
        };
        assert!(fs::read(opened.path().join("large")).unwrap() == contents(9_000_000));
        let mut reads = behaviour.reads.lock().unwrap().clone();
        reads.sort();
        for pair in reads.windows(2) {
            let [(one, at, len), (two, next, _)] = pair else { unreachable!() };
            assert!(one != two || at + len <= *next, "read twice: {pair:?}, {staged_first}");
        }
        let read: u64 = reads.iter().map(|(_, _, len)| len).sum();
        let objects = ["large", "small", "sub/empty", "sub/piece"];
        let there = objects.map(|name| fs::metadata(model.object(name)).unwrap().len());
        assert_eq!(read, there.iter().sum::<u64>(), "{staged_first}");
    }
}

#[test]
fn what_storage_shows_after_it_was_staged_has_no_effect() {
    let model = large_and_small();
    let sealed = SealedModel::load(&model.path()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let staged = sealed.stage(target.path(), &insecure(), Arc::new(NoProgress)).unwrap();
    staged.wait();
    for name in ["large", "small", "sub/empty", "sub/piece"] {
        fs::write(model.object(name), b"exchanged").unwrap();
    }
    fs::remove_file(model.path().join("model.json")).unwrap();
    let unlocked = sealed.unlock(&model_key(), &Requirements::default()).unwrap();
    let opened = unlocked.open_staged(staged, 2, &NoProgress).unwrap();
    assert!(fs::read(opened.path().join("small")).unwrap() == contents(70_000));
}

#[test]
fn an_object_that_changes_while_it_is_read_is_refused_whenever_it_changes() {
    let model = large_and_small();
    for concurrency in [0, 3] {
        for changes_after in 1..12 {
            let behaviour = Behaviour { changes_after, concurrency, ..Behaviour::default() };
            let (storage, behaviour) = TestStorage::of(&model, behaviour);
            let sealed = SealedModel::load_from(storage).unwrap();
            let unlocked = sealed.unlock(&model_key(), &Requirements::default()).unwrap();
            let target = tempfile::tempdir().unwrap();
            let direct = unlocked.open_with(target.path(), &insecure(), &NoProgress).unwrap_err();
            assert_eq!(left(target.path()), [""; 0], "{changes_after}");
            behaviour.count.store(0, Ordering::SeqCst);
            let staged = sealed.stage(target.path(), &insecure(), Arc::new(NoProgress)).unwrap();
            let staged = unlocked.open_staged(staged, 2, &NoProgress).unwrap_err();
            for error in [direct, staged] {
                let layer = error.layer();
                assert!(
                    matches!(layer, Layer::Header | Layer::Binding | Layer::Chunk),
                    "{changes_after}: {error:?}"
                );
            }
            assert_eq!(left(target.path()), [""; 0], "{changes_after}");
        }
    }
}

#[test]
fn storage_that_goes_away_is_told_and_leaves_nothing() {
    let model = large_and_small();
    for (fails_after, concurrency) in (1..12).flat_map(|at| [(at, 0), (at, 4)]) {
        let behaviour = Behaviour { fails_after, concurrency, ..Behaviour::default() };
        let (storage, behaviour) = TestStorage::of(&model, behaviour);
        let sealed = SealedModel::load_from(storage).unwrap();
        let unlocked = sealed.unlock(&model_key(), &Requirements::default()).unwrap();
        let target = tempfile::tempdir().unwrap();
        let direct = unlocked.open_with(target.path(), &insecure(), &NoProgress);
        behaviour.count.store(0, Ordering::SeqCst);
        let staged = sealed.stage(target.path(), &insecure(), Arc::new(NoProgress)).unwrap();
        let staged = unlocked.open_staged(staged, 2, &NoProgress);
        for refused in [direct.map(drop), staged.map(drop)] {
            let error = refused.unwrap_err();
            let OpenError::Object { source: ObjectError::Storage(source), .. } = &error else {
                panic!("expected the storage's error, got {error:?}")
            };
            assert!(matches!(source, StorageError::Unavailable { .. }), "{source:?}");
        }
        assert_eq!(left(target.path()), [""; 0]);
    }
}

#[test]
fn a_manifest_that_claims_more_than_there_is_room_for_stages_nothing() {
    let model = Model::seal(&[("a", &contents(100_000))]);
    model.edit_manifest(|json| json["files"][0]["size"] = (1_u64 << 51).into());
    let (storage, behaviour) = TestStorage::of(&model, Behaviour::default());
    let sealed = SealedModel::load_from(storage).unwrap();
    let target = tempfile::tempdir().unwrap();
    let in_folder = sealed.stage(target.path(), &insecure(), Arc::new(NoProgress)).map(drop);
    let in_memory = sealed.stage_in_memory(&insecure(), Arc::new(NoProgress)).map(drop);
    for refused in [in_folder, in_memory] {
        assert!(matches!(refused, Err(OpenError::Target(TargetError::NoRoom { .. }))));
    }
    assert!(behaviour.reads.lock().unwrap().is_empty());
    assert_eq!(left(target.path()), [""; 0]);
}

#[test]
fn what_was_staged_by_an_edited_manifest_does_not_open() {
    let model = Model::seal(&[("a", &contents(100_000)), ("b", b"{}")]);
    let sound = model.unlock();
    model.edit_manifest(|json| {
        json["files"].as_array_mut().unwrap().swap(0, 1);
    });
    let edited = SealedModel::load(&model.path()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let staged = edited.stage(target.path(), &insecure(), Arc::new(NoProgress)).unwrap();
    let error = sound.open_staged(staged, 2, &NoProgress).unwrap_err();
    assert!(matches!(error, OpenError::StagedAnother { .. }), "{error:?}");
    assert_eq!(left(target.path()), [""; 0]);
}

/// Drops the staged model when so many bytes have been read, from the thread that reads them.
struct StepsAt {
    bytes: AtomicU64,
    at: u64,
    reached: std::sync::mpsc::Sender<()>,
}

impl Progress for StepsAt {
    fn total(&self, _: u64) {}
    fn advance(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        if before < self.at && before + bytes >= self.at {
            let _ = self.reached.send(());
        }
    }
}

#[test]
fn a_staged_model_that_is_dropped_at_any_step_leaves_the_target_empty() {
    let model = large_and_small();
    let sealed = SealedModel::load(&model.path()).unwrap();
    for step in 0..6_u64 {
        let target = tempfile::tempdir().unwrap();
        let (reached, wait) = std::sync::mpsc::channel();
        let progress = StepsAt { bytes: AtomicU64::new(0), at: step * 2_200_000, reached };
        let staged = sealed.stage(target.path(), &insecure(), Arc::new(progress)).unwrap();
        if step > 0 && step < 6 {
            // An error is that everything was read before: the sender is gone then.
            let _ = wait.recv();
        }
        assert!(!target.path().join("model").exists());
        match step % 2 {
            0 => drop(staged),
            _ => staged.discard().unwrap(),
        }
        assert_eq!(left(target.path()), [""; 0], "{step}");
    }
}

/// Panics in a thread that reads.
struct Panics;

impl Progress for Panics {
    fn total(&self, _: u64) {}
    fn advance(&self, _: u64) {
        panic!("a listener that panics");
    }
}

#[test]
fn a_panic_of_a_reading_thread_is_a_refusal() {
    let model = large_and_small();
    let sealed = SealedModel::load(&model.path()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let staged = sealed.stage(target.path(), &insecure(), Arc::new(Panics)).unwrap();
    let error = model.unlock().open_staged(staged, 2, &NoProgress).unwrap_err();
    assert!(matches!(error, OpenError::StagingEnded { .. }), "{error:?}");
    assert_eq!(left(target.path()), [""; 0]);
}

#[test]
fn a_target_that_is_being_staged_into_belongs_to_nobody_else() {
    let model = large_and_small();
    let sealed = SealedModel::load(&model.path()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let staged = sealed.stage(target.path(), &insecure(), Arc::new(NoProgress)).unwrap();
    let second = sealed.stage(target.path(), &insecure(), Arc::new(NoProgress)).map(drop);
    assert!(matches!(second, Err(OpenError::Target(TargetError::Busy { .. }))));
    drop(staged);
}
