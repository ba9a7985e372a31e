//! Every bit, every boundary, every exchange: what an attacker with the storage can do, tried one by one.
//!
//! `ADYTON_EVERY_BIT=1` flips each bit instead of a sample, opens a file beyond 4 GiB, and makes a million random
//! flips in a gigabyte; it takes minutes and 10 GiB of disk.

mod fixture;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use adyton_sealed_weights::chunked::ChunkError;
use adyton_sealed_weights::{
    Layer, NoProgress, ObjectError, OpenError, RangeReader, Requirements, SealedModel,
};
use fixture::{Model, contents, insecure, model_key, open_by};

const CHUNK: u64 = 16_384;
/// Ciphertext begins after one page of header.
const BODY: u64 = 4096;

fn thorough() -> bool {
    std::env::var_os("ADYTON_EVERY_BIT").is_some()
}

fn refused_chunk(error: &OpenError) -> Option<u64> {
    match error {
        OpenError::Object {
            source: ObjectError::Chunk(ChunkError::NotAuthentic { index }),
            ..
        } => Some(*index),
        _ => None,
    }
}

/// Flips one bit of an open object, reads its chunk, and puts the bit back.
fn flip_and_read(file: &File, reader: &RangeReader, at: u64, bit: u32, size: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, BODY + at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], BODY + at).unwrap();
    let chunk = at / CHUNK;
    let start = chunk * CHUNK;
    let mut bytes = vec![0xAA; usize::try_from(CHUNK.min(size - start)).unwrap()];
    let error = reader.read_at(start, &mut bytes).unwrap_err();
    assert_eq!(refused_chunk(&error), Some(chunk), "bit {bit} of byte {at}: {error:?}");
    assert!(bytes.iter().all(|byte| *byte == 0), "plaintext of a refused chunk, byte {at}");
    file.write_all_at(&byte, BODY + at).unwrap();
}

#[test]
fn every_bit_of_the_first_a_middle_the_last_and_a_short_chunk_is_authenticated() {
    let size = 3 * 1024 * 1024 + 100;
    let model = Model::seal(&[("a", &contents(size))]);
    let size = size as u64;
    let unlocked = model.unlock();
    let reader = unlocked.reader("a").unwrap();
    let file = File::options().read(true).write(true).open(model.object("a")).unwrap();
    let chunks = size / CHUNK;
    // A prime step visits every bit of a byte and every place of a chunk over the whole test.
    let step = if thorough() { 1 } else { 1013 };
    for (chunk, len) in [(0, CHUNK), (chunks / 2, CHUNK), (chunks - 1, CHUNK), (chunks, 100)] {
        let step = if len < CHUNK { 1 } else { step };
        for bit in (0..len * 8).step_by(step) {
            flip_and_read(&file, &reader, chunk * CHUNK + bit / 8, (bit % 8) as u32, size);
        }
    }
}

#[test]
fn every_bit_of_a_manifest_is_authenticated() {
    let model = Model::seal(&[("a", b"{}")]);
    let path = model.path().join("model.json");
    let original = fs::read(&path).unwrap();
    // Before an object is looked at.
    fs::remove_file(model.object("a")).unwrap();
    for at in 0..original.len() {
        for bit in 0..8 {
            let mut edited = original.clone();
            edited[at] ^= 1 << bit;
            fs::write(&path, edited).unwrap();
            let layer = SealedModel::load(&model.path())
                .and_then(|sealed| sealed.unlock(&model_key(), &Requirements::default()))
                .expect_err("an edited manifest must be refused")
                .layer();
            assert!(
                matches!(layer, Layer::Manifest | Layer::Recipient | Layer::Mac),
                "bit {bit} of byte {at}: {layer}"
            );
        }
    }
}

#[test]
fn an_object_cut_at_any_boundary_is_refused_in_every_way() {
    let size = 2 * 1024 * 1024 + 16_384 + 7;
    let model = Model::seal(&[("a", &contents(size)), ("b", b"{}")]);
    let whole = fs::read(model.object("a")).unwrap();
    let table = (BODY + size as u64).next_multiple_of(4096);
    let piece = BODY + 2 * 1024 * 1024;
    let end = whole.len() as u64;
    for at in [0, 80, BODY, BODY + CHUNK, piece, piece + CHUNK, BODY + size as u64, table, end] {
        for cut in [at.saturating_sub(1), at, at + 1] {
            if cut == end {
                continue;
            }
            let mut bytes = whole.clone();
            bytes.resize(usize::try_from(cut).unwrap(), 0);
            fs::write(model.object("a"), bytes).unwrap();
            let error = model.refusal();
            let OpenError::Object { source: ObjectError::Length { expected, got }, .. } = &error
            else {
                panic!("cut at {cut}: {error:?}")
            };
            assert_eq!((*expected, *got), (end, cut));
        }
    }
}

/// Copies a chunk, and its tag if `with_tag`, from one object over a chunk of another.
fn copy_chunk(from: &[u8], source: u64, to: &mut [u8], place: u64, size: u64, with_tag: bool) {
    let table = (BODY + size).next_multiple_of(4096);
    let mut copy = |from_at: u64, to_at: u64, len: u64| {
        let [from_at, to_at, len] = [from_at, to_at, len].map(|at| usize::try_from(at).unwrap());
        to[to_at..to_at + len].copy_from_slice(&from[from_at..from_at + len]);
    };
    copy(BODY + source * CHUNK, BODY + place * CHUNK, CHUNK);
    if with_tag {
        copy(table + source * 16, table + place * 16, 16);
    }
}

#[test]
fn chunks_moved_doubled_or_taken_from_elsewhere_are_refused_in_every_way() {
    let bytes = contents(2 * 1024 * 1024 + 40_000);
    let size = bytes.len() as u64;
    let seal = || Model::seal(&[("a", &bytes), ("b", &bytes)]);
    let (model, other) = (seal(), seal());
    let (a, b) = (fs::read(model.object("a")).unwrap(), fs::read(model.object("b")).unwrap());
    let foreign = fs::read(other.object("a")).unwrap();
    for with_tag in [false, true] {
        // The tag table has its digest in the manifest; a chunk alone does not fit its tag.
        let expected = if with_tag { Layer::Binding } else { Layer::Chunk };
        for (what, from, source, place) in [
            ("doubled", &a, 0, 1),
            ("moved within a piece", &a, 5, 4),
            ("moved between pieces", &a, 128, 0),
            ("of another file", &b, 3, 3),
            ("of another sealing", &foreign, 3, 3),
        ] {
            let mut edited = a.clone();
            copy_chunk(from, source, &mut edited, place, size, with_tag);
            fs::write(model.object("a"), edited).unwrap();
            assert_eq!(model.refusal().layer(), expected, "{what}, with its tag: {with_tag}");
        }
    }
    for (what, bytes) in [("another file", &b), ("another sealing", &foreign)] {
        fs::write(model.object("a"), bytes).unwrap();
        assert_eq!(model.refusal().layer(), Layer::Commitment, "the object of {what}");
    }
    fs::write(model.object("a"), &a).unwrap();
    let target = tempfile::tempdir().unwrap();
    drop(model.unlock().open_with(target.path(), &insecure(), &NoProgress).unwrap());
}

#[test]
fn ten_thousand_files_open_in_every_way() {
    let names: Vec<String> = (0..10_000).map(|n| format!("{:02}/{n}", n % 100)).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let model = Model::seal_many(&files);
    let sealed = SealedModel::load(&model.path()).unwrap();
    for (way, placement) in [fixture::WAYS[0], fixture::WAYS[4]] {
        let target = tempfile::tempdir().unwrap();
        let options = adyton_sealed_weights::OpenOptions { placement, ..insecure() };
        let required = Requirements::default();
        let opened =
            open_by(way, &sealed, target.path(), &model_key(), &required, &options, &NoProgress)
                .unwrap();
        assert_eq!(opened.files(), 10_000);
        for name in [&names[0], &names[4_711], &names[9_999]] {
            assert_eq!(fs::read(opened.path().join(name)).unwrap(), name.as_bytes());
        }
    }
}

/// A sparse file: its holes are read as zeros and sealed like any bytes.
fn seal_sparse(size: u64) -> Model {
    Model::seal_file("a", |file| {
        file.set_len(size).unwrap();
        file.write_all_at(b"first", 0).unwrap();
        file.write_all_at(b"last", size - 4).unwrap();
    })
}

#[test]
fn random_flips_in_a_large_object_are_refused_each_in_its_chunk() {
    let (size, flips) = if thorough() { (1 << 30, 1_000_000) } else { (9_000_001, 1000) };
    let model = seal_sparse(size);
    let unlocked = model.unlock();
    let reader = unlocked.reader("a").unwrap();
    let file = File::options().read(true).write(true).open(model.object("a")).unwrap();
    for _ in 0..flips {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let random = u64::from_le_bytes(random);
        flip_and_read(&file, &reader, (random >> 3) % size, (random & 7) as u32, size);
    }
}

#[test]
fn a_file_beyond_4_gib_is_opened_and_authenticated_at_its_end() {
    if !thorough() {
        eprintln!("skipped: set ADYTON_EVERY_BIT=1; it takes 9 GiB of disk");
        return;
    }
    let size = (1 << 32) + 16_385;
    let model = seal_sparse(size);
    let unlocked = model.unlock();
    let target = tempfile::tempdir().unwrap();
    let opened = unlocked.open_with(target.path(), &insecure(), &NoProgress).unwrap();
    let file = File::open(opened.path().join("a")).unwrap();
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, size - 4).unwrap();
    assert_eq!((&bytes, file.metadata().unwrap().len()), (b"last", size));
    drop(opened);
    let reader = unlocked.reader("a").unwrap();
    let object = File::options().read(true).write(true).open(model.object("a")).unwrap();
    for at in [(1 << 32) - 1, 1 << 32, size - 1] {
        flip_and_read(&object, &reader, at, 3, size);
    }
}
