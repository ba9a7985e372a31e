//! Digests that are taken while a model is opened, and who judges them before it appears.

mod fixture;

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::{Arc, Mutex};

use adyton_sealed_weights::{
    Hashing, Layer, MeasuredFile, Measurement, NoProgress, NotAccepted, OpenError, OpenOptions,
    OpenedModel, SealedModel,
};
use fixture::{Model, WAYS, Way, contents, insecure};

/// Lengths around a chunk, a piece and a shard.
const LENGTHS: [usize; 6] = [0, 1, 16_384, 2_097_152, 2_097_153, 9_000_001];

fn model() -> (Vec<(String, Vec<u8>)>, Model) {
    let files = LENGTHS.map(|len| (format!("{len}.dat"), contents(len)));
    let listed: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let sealed = Model::seal(&listed);
    (files.to_vec(), sealed)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap()
}

fn open(
    way: Way,
    model: &Model,
    target: &Path,
    options: &OpenOptions,
    measurement: &Measurement<'_>,
) -> Result<OpenedModel, OpenError> {
    let unlocked = model.unlock();
    if way == Way::Direct {
        return unlocked.open_measured(target, options, measurement, &NoProgress);
    }
    let staged = SealedModel::load(&model.path())?.stage(target, options, Arc::new(NoProgress))?;
    if way == Way::StagedFirst {
        staged.wait();
    }
    unlocked.open_staged_measured(staged, options.threads, measurement, &NoProgress)
}

#[test]
fn digests_are_those_of_the_files_in_every_way_and_with_any_number_of_threads() {
    let (files, model) = model();
    for hashing in [Hashing::Files, Hashing::Shards(NonZeroU64::new(1_000_000).unwrap())] {
        let expected = files.iter().map(|(_, bytes)| match hashing {
            Hashing::Files => vec![sha256(bytes)],
            Hashing::Shards(_) => bytes.chunks(1_000_000).map(sha256).collect(),
        });
        let mut expected: Vec<_> =
            files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).zip(expected).collect();
        expected.sort();
        for (way, placement) in WAYS {
            for threads in [1, 3] {
                let target = tempfile::tempdir().unwrap();
                let seen = Mutex::new(Vec::new());
                let accept = |measured: &[MeasuredFile]| {
                    assert!(!target.path().join("model").exists(), "judged before it appears");
                    seen.lock().unwrap().extend_from_slice(measured);
                    Ok(())
                };
                let options = OpenOptions { placement, threads, ..insecure() };
                let measurement = Measurement { hashing, accept: &accept };
                let opened = open(way, &model, target.path(), &options, &measurement).unwrap();
                let mut seen: Vec<_> = seen
                    .into_inner()
                    .unwrap()
                    .into_iter()
                    .map(|file| ((file.path.to_string(), file.size as usize), file.sha256))
                    .collect();
                seen.sort();
                assert_eq!(seen, expected, "{way:?} {placement:?} {threads}");
                for (name, bytes) in &files {
                    assert!(fs::read(opened.path().join(name)).unwrap() == *bytes, "{name}");
                }
            }
        }
    }
}

#[test]
fn a_model_whose_digests_are_not_accepted_leaves_nothing() {
    let (_, model) = model();
    for (way, placement) in WAYS {
        let target = tempfile::tempdir().unwrap();
        let accept = |_: &[MeasuredFile]| Err(NotAccepted::from("not what was signed"));
        let measurement = Measurement { hashing: Hashing::Files, accept: &accept };
        let options = OpenOptions { placement, ..insecure() };
        let error = open(way, &model, target.path(), &options, &measurement)
            .map(|opened| format!("{} opened", opened.path().display()))
            .expect_err("refused");
        assert!(matches!(error, OpenError::NotAccepted { .. }), "{error:?}");
        assert_eq!(error.layer(), Layer::Acceptance);
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0, "{way:?} {placement:?}");
    }
}

#[test]
fn nobody_is_asked_about_a_model_with_a_chunk_that_is_not_authentic() {
    let (_, model) = model();
    model.edit("9000001.dat", |bytes| bytes[9_000_000] ^= 1);
    let target = tempfile::tempdir().unwrap();
    let accept = |_: &[MeasuredFile]| panic!("asked about plaintext that is not authentic");
    let measurement = Measurement { hashing: Hashing::Files, accept: &accept };
    let error = open(Way::Direct, &model, target.path(), &insecure(), &measurement)
        .map(|opened| format!("{} opened", opened.path().display()))
        .expect_err("refused");
    assert_eq!(error.layer(), Layer::Chunk);
}
