//! Everybody who takes part, each round in another order, so that a noisy minute hurts all alike.
//!
//! Settings: `rounds=N`, `huge=DIR`, `small=DIR` (two tmpfs), and `rival=NAME|BYTES|COMMAND` for each rival, a
//! shell command that writes plaintext into `$OUT`.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adyton_sealed_weights::{NoProgress, OpenOptions, SealedModel, SwapPolicy, UnlockedModel};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

use crate::{Outcome, prepare};

const CHUNK: usize = 16 * 1024;
/// 256 KiB: stays in the second-level cache.
const HOT: usize = 16;

struct Contender {
    name: String,
    place: &'static str,
    threads: usize,
    bytes: u64,
    run: Box<dyn Fn() -> Outcome<Took>>,
    seconds: Vec<f64>,
    /// CPU seconds of the same stretch, or of a rival's whole process: what a neighbour cannot take away.
    cpu_seconds: Vec<f64>,
}

/// One run.
struct Took {
    wall: Duration,
    cpu: f64,
}

/// A stretch that is being timed.
struct Clock {
    wall: Instant,
    cpu: f64,
}

impl Clock {
    fn start() -> Outcome<Self> {
        Ok(Self { cpu: cpu_seconds()?, wall: Instant::now() })
    }

    fn stop(&self) -> Outcome<Took> {
        let wall = self.wall.elapsed();
        Ok(Took { wall, cpu: cpu_seconds()? - self.cpu })
    }
}

/// CPU seconds of this process and of the children it has waited for; a hundredth is the kernel's grain.
fn cpu_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // utime, stime, cutime and cstime are the 14th to 17th word; the 2nd, in parentheses, may have blanks.
    let (_, after) = stat.rsplit_once(')').ok_or("/proc/self/stat has no name")?;
    let ticks: Result<u64, _> =
        after.split_whitespace().skip(11).take(4).map(str::parse::<u64>).sum();
    Ok(ticks? as f64 / 100.0)
}

struct Settings {
    rounds: usize,
    huge: PathBuf,
    small: PathBuf,
    rivals: Vec<(String, u64, String)>,
}

impl Settings {
    fn parse(words: &[&str]) -> Outcome<Self> {
        let find = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
        let rivals = words.iter().filter_map(|word| word.strip_prefix("rival=")).map(|rival| {
            let (name, rest) = rival.split_once('|').ok_or("rival=NAME|BYTES|COMMAND")?;
            let (bytes, command) = rest.split_once('|').ok_or("rival=NAME|BYTES|COMMAND")?;
            Ok((name.to_owned(), bytes.parse()?, command.to_owned()))
        });
        Ok(Self {
            rounds: find("rounds=").ok_or("rounds= is missing")?.parse()?,
            huge: find("huge=").ok_or("huge= is missing")?.into(),
            small: find("small=").ok_or("small= is missing")?.into(),
            rivals: rivals.collect::<Outcome<_>>()?,
        })
    }
}

pub fn run(folder: &Path, settings: &[&str]) -> Outcome {
    let settings = Settings::parse(settings)?;
    let sealed = Arc::new(prepare::load(folder)?);
    let unlocked = Arc::new(prepare::unlock(&sealed)?);
    let bytes = unlocked.manifest().total_bytes();
    let mut all = Vec::new();
    for threads in [1, 2] {
        let raw: Box<dyn Fn() -> Outcome<Took>> = Box::new(move || raw_ring(threads, bytes));
        add(&mut all, "raw ring, hot chunks", "cache", threads, bytes, raw);
        for (place, dir) in [("huge", &settings.huge), ("small", &settings.small)] {
            ours_in_folder(&mut all, (place, dir), threads, &sealed, &unlocked);
        }
        ours_in_memory(&mut all, threads, &sealed, &unlocked);
    }
    for (place, dir) in [("huge", &settings.huge), ("small", &settings.small)] {
        let command = format!("cp {}/plain/* \"$OUT\"/", folder.display());
        rival(&mut all, "cp of the plain files", place, bytes, &command, dir);
    }
    for (name, bytes, command) in &settings.rivals {
        rival(&mut all, name, "small", *bytes, command, &settings.small);
    }
    for round in 0..settings.rounds {
        let len = all.len();
        compact_memory();
        for step in 0..len {
            // A stride without a common divisor visits everybody, in another order each round.
            let stride = [1, 7, 5, 11, 13][round % 5];
            let stride = if len % stride == 0 { 1 } else { stride };
            let contender = &mut all[(step * stride + round) % len];
            let took = (contender.run)()?;
            contender.seconds.push(took.wall.as_secs_f64());
            contender.cpu_seconds.push(took.cpu);
        }
        eprintln!("round {} of {} done", round + 1, settings.rounds);
    }
    for contender in &mut all {
        contender.seconds.sort_by(f64::total_cmp);
        contender.cpu_seconds.sort_by(f64::total_cmp);
        let rate = |seconds: f64| contender.bytes as f64 / seconds / 1e9;
        let seconds = &contender.seconds;
        let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else { continue };
        println!(
            "{}",
            serde_json::json!({
                "kind": "open", "name": contender.name, "place": contender.place,
                "threads": contender.threads, "bytes": contender.bytes,
                "gb_per_second": rate(seconds[seconds.len() / 2]),
                "slowest": rate(*last), "fastest": rate(*first),
                "gb_per_cpu_second": rate(contender.cpu_seconds[seconds.len() / 2]),
            })
        );
    }
    Ok(())
}

/// Huge pages need whole blocks of free memory, and a machine that compiles all day has few: the kernel would make
/// them while the clock runs. A guest that has just started has them.
fn compact_memory() {
    if fs::write("/proc/sys/vm/compact_memory", "1").is_err() {
        eprintln!("the kernel was not asked to compact memory: that takes root");
    }
}

fn add(
    all: &mut Vec<Contender>,
    name: &str,
    place: &'static str,
    threads: usize,
    bytes: u64,
    run: Box<dyn Fn() -> Outcome<Took>>,
) {
    let name = name.to_owned();
    let (seconds, cpu_seconds) = (Vec::new(), Vec::new());
    all.push(Contender { name, place, threads, bytes, run, seconds, cpu_seconds });
}

fn options(threads: usize) -> OpenOptions {
    OpenOptions { threads, swap: SwapPolicy::InsecureAllow, ..OpenOptions::default() }
}

fn ours_in_folder(
    all: &mut Vec<Contender>,
    (place, dir): (&'static str, &Path),
    threads: usize,
    sealed: &Arc<SealedModel>,
    unlocked: &Arc<UnlockedModel>,
) {
    let bytes = unlocked.manifest().total_bytes();
    let (target, sealed_model) = (dir.to_owned(), Arc::clone(sealed));
    add(
        all,
        "copy instead of the cipher (staging alone)",
        place,
        threads,
        bytes,
        Box::new(move || {
            let clock = Clock::start()?;
            let staged = sealed_model.stage(&target, &options(threads), Arc::new(NoProgress))?;
            staged.wait();
            let took = clock.stop()?;
            staged.discard()?;
            Ok(took)
        }),
    );
    let (target, model) = (dir.to_owned(), Arc::clone(unlocked));
    add(
        all,
        "adyton, all included",
        place,
        threads,
        bytes,
        Box::new(move || {
            let clock = Clock::start()?;
            let opened = model.open_with(&target, &options(threads), &NoProgress)?;
            let took = clock.stop()?;
            opened.wipe()?;
            Ok(took)
        }),
    );
    let (target, sealed_model) = (dir.to_owned(), Arc::clone(sealed));
    add(
        all,
        "adyton, key to ready",
        place,
        threads,
        bytes,
        Box::new(move || {
            let staged = sealed_model.stage(&target, &options(threads), Arc::new(NoProgress))?;
            staged.wait();
            let clock = Clock::start()?;
            let unlocked = prepare::unlock(&sealed_model)?;
            let opened = unlocked.open_staged(staged, threads, &NoProgress)?;
            let took = clock.stop()?;
            opened.wipe()?;
            Ok(took)
        }),
    );
}

fn ours_in_memory(
    all: &mut Vec<Contender>,
    threads: usize,
    sealed: &Arc<SealedModel>,
    unlocked: &Arc<UnlockedModel>,
) {
    let bytes = unlocked.manifest().total_bytes();
    let model = Arc::clone(unlocked);
    add(
        all,
        "adyton, all included",
        "anonymous",
        threads,
        bytes,
        Box::new(move || {
            let clock = Clock::start()?;
            let opened = model.open_in_memory(&options(threads), &NoProgress)?;
            let took = clock.stop()?;
            drop(opened);
            Ok(took)
        }),
    );
    let sealed = Arc::clone(sealed);
    add(
        all,
        "adyton, key to ready",
        "anonymous",
        threads,
        bytes,
        Box::new(move || {
            let staged = sealed.stage_in_memory(&options(threads), Arc::new(NoProgress))?;
            staged.wait();
            let clock = Clock::start()?;
            let unlocked = prepare::unlock(&sealed)?;
            let opened = unlocked.open_staged_in_memory(staged, threads, &NoProgress)?;
            let took = clock.stop()?;
            drop(opened);
            Ok(took)
        }),
    );
}

/// A program of somebody else's. If it prints `SECONDS x`, that is its own time without its start-up.
fn rival(
    all: &mut Vec<Contender>,
    name: &str,
    place: &'static str,
    bytes: u64,
    command: &str,
    target: &Path,
) {
    let (command, out, shown) = (command.to_owned(), target.join("rival"), name.to_owned());
    add(
        all,
        name,
        place,
        1,
        bytes,
        Box::new(move || {
            fs::create_dir_all(&out)?;
            let clock = Clock::start()?;
            let ran = Command::new("sh")
                .args(["-ec", &command])
                .env("OUT", &out)
                .stdin(Stdio::null())
                .output()?;
            let took = clock.stop()?;
            fs::remove_dir_all(&out)?;
            if !ran.status.success() {
                let said = String::from_utf8_lossy(&ran.stderr).into_owned();
                return Err(format!("{shown} failed: {said}").into());
            }
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            let own = said.lines().find_map(|line| line.strip_prefix("SECONDS "));
            let own = own.map(|own| own.trim().parse().map(Duration::from_secs_f64)).transpose()?;
            Ok(Took { wall: own.unwrap_or(took.wall), cpu: took.cpu })
        }),
    );
}

/// Opens and seals again chunks that never leave the cache, until `bytes` went through the cipher.
fn raw_ring(threads: usize, bytes: u64) -> Outcome<Took> {
    let clock = Clock::start()?;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(move || {
                let Ok(key) = UnboundKey::new(&AES_256_GCM, &[7; 32]) else { return };
                let key = LessSafeKey::new(key);
                let nonce = || Nonce::assume_unique_for_key([1; 12]);
                let mut chunks = vec![vec![0; CHUNK]; HOT];
                let mut tags: Vec<Tag> = Vec::new();
                for _ in 0..bytes / threads as u64 / (CHUNK * HOT) as u64 {
                    if tags.is_empty() {
                        tags.extend(chunks.iter_mut().filter_map(|chunk| {
                            key.seal_in_place_separate_tag(nonce(), Aad::empty(), chunk).ok()
                        }));
                    } else {
                        for (chunk, tag) in chunks.iter_mut().zip(tags.drain(..)) {
                            let opened = key.open_in_place_separate_tag(
                                nonce(),
                                Aad::empty(),
                                tag,
                                chunk,
                                0..,
                            );
                            assert!(opened.is_ok(), "its own chunk");
                        }
                    }
                    black_box(&mut chunks);
                }
            });
        }
    });
    clock.stop()
}
