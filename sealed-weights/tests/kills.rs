//! Processes that are killed while they seal or open: what is left, and that the next start succeeds.
//!
//! `ADYTON_KILLS` sets how many of each (10). The moments are random; a failure prints its own.

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adyton_sealed_weights::{
    NoProgress, OpenOptions, OpenedModel, Recipient, Requirements, SealJob, SealedModel,
    wipe_target,
};
use fixture::{WAYS, contents, insecure, model_key, open_by, options};

/// Stands in every file of the plain model, in its first and its last piece.
const CANARY: &[u8] = b"canary-1d0c9b5e7a";
const INSIDE: &str = "ADYTON_TEST_KILLED";

fn kills() -> usize {
    std::env::var("ADYTON_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// A moment between 0 and a little after `whole`.
fn moment(number: usize, whole: Duration) -> Duration {
    let mut byte = [0; 2];
    getrandom::fill(&mut byte).unwrap();
    // Stratified: with few kills, too, some come early and some late.
    let part = (number % 10) as f64 + f64::from(u16::from_le_bytes(byte)) / 65_536.0;
    whole.mul_f64(part / 9.0)
}

/// This test binary once more, to do one thing and be killed at it.
fn child(test: &str, folder: &Path, target: &Path, number: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(INSIDE, folder)
        .env("ADYTON_TEST_TARGET", target)
        .env("ADYTON_TEST_NUMBER", number.to_string())
        .env("TMPDIR", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn inside() -> Option<(PathBuf, PathBuf, usize)> {
    let folder = std::env::var_os(INSIDE)?;
    let target = std::env::var_os("ADYTON_TEST_TARGET")?;
    let number = std::env::var("ADYTON_TEST_NUMBER").ok()?.parse().ok()?;
    Some((folder.into(), target.into(), number))
}

fn write_plain(folder: &Path) {
    for (name, len) in [("a.dat", 9_000_000), ("sub/b.dat", 30_000_000), ("c.json", 1000)] {
        let mut bytes = contents(len);
        let end = bytes.len() - CANARY.len();
        bytes[..CANARY.len()].copy_from_slice(CANARY);
        bytes[end..].copy_from_slice(CANARY);
        let path = folder.join("plain").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn seal(folder: &Path) {
    let job = SealJob::new(&folder.join("plain"), &folder.join("sealed"), options()).unwrap();
    let recipient = Recipient::wrap(&model_key(), &job.model_id(), job.content_key()).unwrap();
    job.run(vec![recipient], &NoProgress).unwrap();
}

fn open(folder: &Path, target: &Path, number: usize) -> OpenedModel {
    let (way, placement) = WAYS[number % WAYS.len()];
    let sealed = SealedModel::load(&folder.join("sealed")).unwrap();
    let options = OpenOptions { placement, ..insecure() };
    let required = Requirements::default();
    open_by(way, &sealed, target, &model_key(), &required, &options, &NoProgress).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Files below `folder` that hold the canary.
fn with_canary(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path)
                && bytes.windows(CANARY.len()).any(|window| window == CANARY)
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_killed_sealing_shows_nothing_and_the_next_one_succeeds() {
    const NAME: &str = "a_killed_sealing_shows_nothing_and_the_next_one_succeeds";
    if let Some((folder, _, _)) = inside() {
        seal(&folder);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_plain(root);
    let begun = Instant::now();
    assert!(child(NAME, root, root, 0).wait().unwrap().success());
    let whole = begun.elapsed();
    let mut killed = 0;
    for number in 0..kills() {
        fs::remove_dir_all(root.join("sealed")).unwrap();
        let at = moment(number, whole);
        let mut child = child(NAME, root, root, number);
        std::thread::sleep(at);
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        if root.join("sealed").exists() {
            // It was faster; then it is whole.
            assert!(SealedModel::load(&root.join("sealed")).is_ok(), "killed after {at:?}");
            continue;
        }
        seal(root);
        assert_eq!(names(root), ["plain", "sealed"], "killed after {at:?}");
    }
    assert!(killed > 0, "every sealing was faster than its kill");
    fs::remove_dir_all(root.join("plain")).unwrap();
    assert_eq!(with_canary(root), Vec::<PathBuf>::new());
    let target = tempfile::tempdir().unwrap();
    open(root, target.path(), 0).wipe().unwrap();
}

#[test]
fn a_killed_opening_leaves_plaintext_in_its_target_only_and_the_next_start_succeeds() {
    const NAME: &str =
        "a_killed_opening_leaves_plaintext_in_its_target_only_and_the_next_start_succeeds";
    if let Some((folder, target, number)) = inside() {
        // Killed, or ended, before anybody wipes it, as a sidecar that serves is.
        std::mem::forget(open(&folder, &target, number));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_plain(root);
    seal(root);
    let plain: Vec<_> = ["a.dat", "sub/b.dat", "c.json"]
        .map(|name| (name, fs::read(root.join("plain").join(name)).unwrap()))
        .into();
    fs::remove_dir_all(root.join("plain")).unwrap();
    let there = names(&root.join("sealed"));
    let target = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let begun = Instant::now();
    assert!(child(NAME, root, target.path(), 0).wait().unwrap().success());
    let whole = begun.elapsed();
    let mut killed = 0;
    for number in 0..kills() {
        // What a sidecar does first.
        wipe_target(target.path()).unwrap();
        assert_eq!(names(target.path()), [""; 0]);
        let at = moment(number, whole);
        let mut child = child(NAME, root, target.path(), number);
        std::thread::sleep(at);
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let left = names(target.path());
        assert!(
            left.iter().all(|name| name == "model" || name.starts_with(".opening-")),
            "killed after {at:?}: {left:?}"
        );
        if target.path().join("model").exists() {
            // What has the name that readers look for is whole.
            for (name, bytes) in &plain {
                let opened = fs::read(target.path().join("model").join(name)).unwrap();
                assert!(opened == *bytes, "killed after {at:?}: {name}");
            }
        }
        assert_eq!(names(root), ["sealed"], "killed after {at:?}");
        assert_eq!(names(&root.join("sealed")), there, "killed after {at:?}");
    }
    assert!(killed > 0, "every opening was faster than its kill");
    wipe_target(target.path()).unwrap();
    open(root, target.path(), 0).wipe().unwrap();
    // The list of files is what it was, so looking into them once is enough.
    assert_eq!(with_canary(root), Vec::<PathBuf>::new());
}

#[test]
fn a_sealing_that_still_runs_is_not_taken_for_a_left_over() {
    let folder = tempfile::tempdir().unwrap();
    write_plain(folder.path());
    let beside = folder.path().join(".sealed.sealing-0123456789abcdef");
    let other = folder.path().join(".sealed.sealing-fedcba9876543210");
    let foreign = folder.path().join(".sealed.sealing-notes");
    for path in [&beside, &other, &foreign] {
        fs::create_dir(path).unwrap();
    }
    let held = fs::File::open(&beside).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    seal(folder.path());
    assert!(beside.exists() && foreign.exists() && !other.exists());
}
