//! How near does opening come to the raw cipher?
//!
//! The same bytes with the same number of threads, in one run: ring on 16 KiB chunks that stay hot
//! in the cache (the limit), a plain copy of the files into the same memory-backed folder (what
//! everybody pays who puts a model there), and a sealed model opened into it.
//!
//! `ADYTON_BENCH_MIB` sets the model's size (256), `ADYTON_BENCH_DIR` the folder (`/dev/shm`).

use std::fs::{self, File};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_sealed_weights::{
    KeyId, ModelKey, NoProgress, OpenOptions, Recipient, Requirements, SealJob, SealOptions,
    SealedModel, SwapPolicy, TargetPolicy, UnlockedModel,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

const CHUNK: usize = 16 * 1024;
const HOT: usize = 16;

fn mebibytes() -> u64 {
    std::env::var("ADYTON_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}

fn folder() -> PathBuf {
    std::env::var_os("ADYTON_BENCH_DIR").map_or_else(|| "/dev/shm".into(), PathBuf::from)
}

/// Opens and seals again chunks that never leave the cache, until `bytes` went through the cipher.
fn raw_ring(threads: usize, bytes: u64) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(move || {
                let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
                let nonce = || Nonce::assume_unique_for_key([1; 12]);
                let mut chunks = vec![vec![0; CHUNK]; HOT];
                let mut rounds = bytes / threads as u64 / (CHUNK * HOT) as u64;
                let mut tags: Vec<Tag> = Vec::new();
                while rounds > 0 {
                    if tags.is_empty() {
                        for chunk in &mut chunks {
                            let tag = key
                                .seal_in_place_separate_tag(nonce(), Aad::empty(), chunk)
                                .unwrap();
                            tags.push(tag);
                        }
                    } else {
                        for (chunk, tag) in chunks.iter_mut().zip(tags.drain(..)) {
                            key.open_in_place_separate_tag(nonce(), Aad::empty(), tag, chunk, 0..)
                                .unwrap();
                        }
                    }
                    black_box(&mut chunks);
                    rounds -= 1;
                }
            });
        }
    });
}

struct Bench {
    root: tempfile::TempDir,
    unlocked: UnlockedModel,
    files: Vec<String>,
}

/// A model of four files, sealed on the same file system, so that its objects are in memory too.
fn sealed(bytes: u64) -> Bench {
    let root = tempfile::tempdir_in(folder()).unwrap();
    let source = root.path().join("source");
    fs::create_dir(&source).unwrap();
    let files: Vec<_> = (0..4).map(|index| format!("part-{index}.dat")).collect();
    let piece: Vec<u8> =
        (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for name in &files {
        let mut file = File::create(source.join(name)).unwrap();
        for _ in 0..(bytes / 4) >> 20 {
            std::io::Write::write_all(&mut file, &piece).unwrap();
        }
    }
    let options =
        SealOptions { name: "bench".into(), version: 1, allow_formats: vec![], threads: 0 };
    let out = root.path().join("sealed");
    let job = SealJob::new(&source, &out, options).unwrap();
    let key = ModelKey::generate(KeyId::new("kbs:///a/b/c", 1).unwrap()).unwrap();
    let recipient = Recipient::wrap(&key, &job.model_id(), job.content_key()).unwrap();
    job.run(vec![recipient], &NoProgress).unwrap();
    let unlocked = SealedModel::load(&out).unwrap().unlock(&key, &Requirements::default()).unwrap();
    Bench { root, unlocked, files }
}

fn copy(from: &Path, to: &Path, files: &[String], threads: usize) {
    std::thread::scope(|scope| {
        for names in files.chunks(files.len().div_ceil(threads)) {
            scope.spawn(move || {
                for name in names {
                    // Through a buffer, as `cp` does between file systems; `fs::copy` would ask the
                    // kernel to share or splice.
                    let mut from = File::open(from.join(name)).unwrap();
                    let mut to = File::create(to.join(name)).unwrap();
                    let mut buffer = vec![0; 2 << 20];
                    loop {
                        let len = std::io::Read::read(&mut from, &mut buffer).unwrap();
                        if len == 0 {
                            break;
                        }
                        std::io::Write::write_all(&mut to, &buffer[..len]).unwrap();
                    }
                }
            });
        }
    });
}

fn open(criterion: &mut Criterion) {
    let bytes = mebibytes() << 20;
    let bench = sealed(bytes);
    let target = bench.root.path().join("target");
    fs::create_dir(&target).unwrap();
    let mut group = criterion.benchmark_group("open");
    group
        .throughput(Throughput::Bytes(bytes))
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(6));
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("raw_ring_hot_chunks", threads), |bencher| {
            bencher.iter(|| raw_ring(threads, bytes));
        });
        group.bench_function(BenchmarkId::new("copy_plain_files", threads), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(
                    iterations,
                    || {
                        copy(&bench.root.path().join("source"), &target, &bench.files, threads);
                    },
                    || {
                        for name in &bench.files {
                            fs::remove_file(target.join(name)).unwrap();
                        }
                    },
                )
            });
        });
        let options = OpenOptions {
            threads,
            filesystems: TargetPolicy::InsecureAnyFilesystem,
            swap: SwapPolicy::InsecureAllow,
            ..OpenOptions::default()
        };
        group.bench_function(BenchmarkId::new("open_sealed_model", threads), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut opened = None;
                let opened = std::cell::RefCell::new(&mut opened);
                timed(
                    iterations,
                    || {
                        let model =
                            bench.unlocked.open_with(&target, &options, &NoProgress).unwrap();
                        **opened.borrow_mut() = Some(model);
                    },
                    || {
                        if let Some(model) = opened.borrow_mut().take() {
                            model.wipe().unwrap();
                        }
                    },
                )
            });
        });
    }
    group.finish();
}

/// The time of `work` alone; `clean` gives the memory back between two rounds.
fn timed(iterations: u64, mut work: impl FnMut(), mut clean: impl FnMut()) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let start = std::time::Instant::now();
        work();
        total += start.elapsed();
        clean();
    }
    total
}

criterion_group!(benches, open);
criterion_main!(benches);
