//! Mutation testing of a package in one build.
//!
//! cargo-mutants builds the package anew for every mutant: a minute each, and there are a thousand. This takes
//! its list, writes all mutants into one copy of the sources, each behind `crate::mutant(n)`, builds the tests
//! once, and runs them with `ADYTON_MUTANT=n` for every `n`. A mutant is caught when a test fails.
//!
//! * `build WORKSPACE FOLDER PACKAGE TESTS FILES…` makes FOLDER/bin: the unit tests and the integration tests in
//!   TESTS (separated by commas), with the mutants of FILES (globs).
//! * `ask FOLDER SKIPPED…` asks them about every mutant, without the tests that have a word of SKIPPED in their
//!   names. What was caught is remembered in FOLDER/caught, and not asked again; FOLDER/survivors has the rest.
//!
//! The copy needs a target folder of its own: to Cargo it is the same package.

mod list;
mod place;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use list::Mutant;
use serde_json::Value;

/// How often what does not compile is taken out.
const MAX_ROUNDS: usize = 40;

/// In the copy's `lib.rs`.
const SWITCH: &str = r#"
/// Whether this mutant is on.
#[doc(hidden)]
pub fn mutant(n: usize) -> bool {
    static ON: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    let on = || std::env::var("ADYTON_MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    *ON.get_or_init(on) == n
}
"#;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["build", workspace, folder, package, tests, globs @ ..] => {
            let workspace = fs::canonicalize(workspace)?;
            fs::create_dir_all(folder)?;
            let folder = fs::canonicalize(folder)?;
            let mutants = list::of(&workspace, package, globs)?;
            fs::write(folder.join("list.json"), serde_json::to_vec(&mutants)?)?;
            println!("{} mutants", mutants.len());
            let run = Run { tree: folder.join("tree"), folder, mutants };
            run.copy(&workspace)?;
            run.place(package)?;
            run.build(
                package,
                &tests.split(',').filter(|test| !test.is_empty()).collect::<Vec<_>>(),
            )
        }
        ["ask", folder, skipped @ ..] => {
            let folder = fs::canonicalize(folder)?;
            let mutants = list::read(&fs::read(folder.join("list.json"))?)?;
            Run { tree: folder.join("tree"), folder, mutants }.ask(skipped)
        }
        _ => bail!(
            "usage: adyton-mutants build WORKSPACE FOLDER PACKAGE TESTS FILES… | ask FOLDER SKIPPED…"
        ),
    }
}

struct Run {
    folder: PathBuf,
    tree: PathBuf,
    mutants: Vec<Mutant>,
}

/// One built test.
struct Binary {
    name: String,
    path: PathBuf,
    /// How long it takes when nothing is changed.
    takes: Duration,
}

impl Run {
    /// Copies what git knows of, untouched where nothing has changed so that little is built again.
    fn copy(&self, workspace: &Path) -> anyhow::Result<()> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "-c", "-o", "--exclude-standard"])
            .current_dir(workspace)
            .output()?;
        for file in String::from_utf8(listed.stdout)?.split('\0').filter(|file| !file.is_empty()) {
            let (from, to) = (workspace.join(file), self.tree.join(file));
            if let Ok(bytes) = fs::read(&from) {
                write_if_changed(&to, &bytes)?;
            }
        }
        Ok(())
    }

    /// Writes the mutants into the copy and takes out, round by round, what the compiler does not take.
    fn place(&self, package: &str) -> anyhow::Result<()> {
        let mut files: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
        for mutant in &self.mutants {
            files.entry(&mutant.file).or_default().push(mutant);
        }
        let library = self.library()?;
        let text = fs::read_to_string(&library)?;
        let opening = text.find("\npub mod ").context("lib.rs has modules")?;
        let (head, rest) = text.split_at(opening);
        write_if_changed(&library, format!("{head}\n{SWITCH}{rest}").as_bytes())?;

        let originals: BTreeMap<&str, String> = files
            .keys()
            .map(|file| Ok((*file, fs::read_to_string(self.tree.join(file))?)))
            .collect::<anyhow::Result<_>>()?;
        let mut refused: BTreeSet<usize> = BTreeSet::new();
        for round in 1..=MAX_ROUNDS {
            let mut placed = BTreeSet::new();
            for (file, mutants) in &files {
                let kept: Vec<&Mutant> =
                    mutants.iter().copied().filter(|mutant| !refused.contains(&mutant.n)).collect();
                let (text, of_file) =
                    place::place(&originals[file], &kept).context((*file).to_owned())?;
                write_if_changed(&self.tree.join(file), text.as_bytes())?;
                placed.extend(of_file);
            }
            let errors = self.check(package)?;
            println!("round {round}: {} placed, {} errors", placed.len(), errors.len());
            if errors.is_empty() {
                fs::write(self.folder.join("unviable"), serde_json::to_vec(&refused)?)?;
                return Ok(fs::write(self.folder.join("placed"), serde_json::to_vec(&placed)?)?);
            }
            let before = refused.len();
            for (file, line, is_exhaustiveness) in errors {
                let text = fs::read_to_string(self.tree.join(&file))?;
                refused.extend(culprit(&text, line, is_exhaustiveness));
            }
            ensure!(refused.len() > before, "the copy does not compile, and no mutant is to blame");
        }
        bail!("the copy still does not compile");
    }

    fn library(&self) -> anyhow::Result<PathBuf> {
        let folder = Path::new(&self.mutants.first().context("there are mutants")?.file);
        let root = folder.iter().next().context("a path")?;
        Ok(self.tree.join(root).join("src/lib.rs"))
    }

    fn cargo(&self, subcommand: &str, package: &str) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.args([subcommand, "--message-format=json", "-p", package]).current_dir(&self.tree);
        cargo.stderr(Stdio::inherit());
        cargo
    }

    /// File, line and kind of every error.
    fn check(&self, package: &str) -> anyhow::Result<Vec<(String, usize, bool)>> {
        let output = self.cargo("check", package).arg("--lib").output()?;
        let mut errors = Vec::new();
        for message in String::from_utf8(output.stdout)?.lines() {
            let message: Value = serde_json::from_str(message)?;
            let said = &message["message"];
            if said["level"] != "error" {
                continue;
            }
            let is_exhaustiveness = said["code"]["code"] == "E0004";
            let spans = said["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
            for span in spans.iter().filter(|span| span["is_primary"] == true) {
                let file = span["file_name"].as_str().unwrap_or_default().to_owned();
                let line = span["line_start"].as_u64().unwrap_or(1) as usize;
                errors.push((file, line, is_exhaustiveness));
            }
        }
        ensure!(
            !errors.is_empty() || output.status.success(),
            "cargo check failed without a place"
        );
        Ok(errors)
    }

    /// Builds the tests, and puts them where the next build does not change them.
    fn build(&self, package: &str, tests: &[&str]) -> anyhow::Result<()> {
        let mut cargo = self.cargo("test", package);
        cargo.args(["--no-run", "--lib"]);
        for test in tests {
            cargo.args(["--test", test]);
        }
        let output = cargo.output()?;
        ensure!(output.status.success(), "the tests do not build");
        let bin = self.folder.join("bin");
        fs::create_dir_all(&bin)?;
        for message in String::from_utf8(output.stdout)?.lines() {
            let message: Value = serde_json::from_str(message)?;
            let (path, name) = (&message["executable"], &message["target"]["name"]);
            if let (Some(path), Some(name)) = (path.as_str(), name.as_str()) {
                fs::copy(path, bin.join(name))?;
            }
        }
        Ok(())
    }

    /// Runs the tests for every mutant until one of them fails.
    fn ask(&self, skipped: &[&str]) -> anyhow::Result<()> {
        let times = self.folder.join("seconds");
        let mut known: BTreeMap<String, f64> = fs::read(&times)
            .map_or_else(|_| Ok(BTreeMap::new()), |json| serde_json::from_slice(&json))?;
        let mut binaries = Vec::new();
        for entry in fs::read_dir(self.folder.join("bin"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut binary = Binary { name, path: entry.path(), takes: Duration::from_secs(600) };
            match known.get(&binary.name) {
                Some(seconds) => binary.takes = Duration::from_secs_f64(*seconds),
                None => {
                    let started = Instant::now();
                    let passes = self.passes(0, &binary, skipped)?;
                    ensure!(passes, "{} fails without a mutant", binary.name);
                    binary.takes = started.elapsed();
                    known.insert(binary.name.clone(), binary.takes.as_secs_f64());
                    fs::write(&times, serde_json::to_vec(&known)?)?;
                }
            }
            println!("{:6.1} s  {}", binary.takes.as_secs_f64(), binary.name);
            binaries.push(binary);
        }
        let placed: BTreeSet<usize> =
            serde_json::from_slice(&fs::read(self.folder.join("placed"))?)?;
        let path = self.folder.join("caught");
        let known = fs::read_to_string(&path).unwrap_or_default();
        let known: BTreeSet<&str> = known.lines().collect();
        let caught = Mutex::new(fs::OpenOptions::new().create(true).append(true).open(&path)?);
        let survivors = Mutex::new(fs::File::create(self.folder.join("survivors"))?);
        let mut asked: Vec<&Mutant> = self
            .mutants
            .iter()
            .filter(|one| placed.contains(&one.n) && !known.contains(one.name.as_str()))
            .collect();
        // The ladders before what surrounds them.
        asked.sort_by(|a, b| b.file.cmp(&a.file));
        let next = AtomicUsize::new(0);
        let work = || -> anyhow::Result<()> {
            while let Some(mutant) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
                let file = match self.is_caught(mutant, &binaries, skipped)? {
                    true => &caught,
                    false => &survivors,
                };
                let mut file = file.lock().map_err(|_| anyhow!("another thread panicked"))?;
                writeln!(file, "{}", mutant.name)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|one| one.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    }

    /// The tests that have a word of the file's path in their name come first: most are caught there.
    fn is_caught(
        &self,
        mutant: &Mutant,
        binaries: &[Binary],
        skipped: &[&str],
    ) -> anyhow::Result<bool> {
        let words: Vec<&str> =
            mutant.file.split(['/', '.', '_']).filter(|word| word.len() > 2).collect();
        let mut order: Vec<&Binary> = binaries.iter().collect();
        order.sort_by_key(|binary| {
            let named = words.iter().filter(|word| binary.name.contains(**word)).count();
            (Reverse(named), binary.takes)
        });
        for binary in order {
            if !self.passes(mutant.n, binary, skipped)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn passes(&self, mutant: usize, binary: &Binary, skipped: &[&str]) -> anyhow::Result<bool> {
        let package = self.library()?.ancestors().nth(2).context("a package")?.to_owned();
        let mut child = Command::new(&binary.path)
            .args(skipped.iter().flat_map(|name| ["--skip", *name]))
            .env("ADYTON_MUTANT", mutant.to_string())
            .env("CARGO_MANIFEST_DIR", &package)
            .current_dir(package)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        within(&mut child, binary.takes * 5 + Duration::from_secs(30))
    }
}

/// Whether the child ends well before the time is over. Ends it at the first test that fails.
fn within(child: &mut Child, limit: Duration) -> anyhow::Result<bool> {
    let output = child.stdout.take().context("its output")?;
    let has_failed = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&has_failed);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.starts_with("test ") && line.ends_with("FAILED") {
                noted.store(true, Ordering::Relaxed);
            }
        }
    });
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if has_failed.load(Ordering::Relaxed) || Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The mutant that an error is about: the last one written at or before its line; for a match that is not
/// exhaustive any more, the first arm after it.
fn culprit(text: &str, line: usize, is_exhaustiveness: bool) -> Option<usize> {
    let number = |text: &str, mark: &str| {
        let (_, after) = text.rsplit_once(mark)?;
        after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let mut lines = text.lines();
    match is_exhaustiveness {
        true => lines.skip(line - 1).find_map(|text| number(text, "if !crate::mutant(")),
        false => lines.by_ref().take(line).filter_map(|text| number(text, "crate::mutant(")).last(),
    }
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a file in a folder")?)?;
    Ok(fs::write(path, bytes)?)
}
