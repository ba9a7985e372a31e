//! Writes the seeds of every target where cargo-fuzz looks for its corpus.
//!
//! `cargo run -p adyton-fuzz --example write_seeds -- tests/fuzz/libfuzzer/corpus`

use std::path::PathBuf;
use std::{env, fs, io};

use adyton_fuzz::TARGETS;

fn main() -> io::Result<()> {
    let corpus = env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("tests/fuzz/libfuzzer/corpus"), PathBuf::from);
    for target in TARGETS {
        let folder = corpus.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
    }
    println!("wrote the seeds of {} targets to {}", TARGETS.len(), corpus.display());
    Ok(())
}
