//! Measures sealing and opening on this machine; `examples/bench/open.sh` prepares the places and calls it.
//!
//! ```text
//! measure prepare FOLDER MIB FILES noise   a plain model and its sealed form, timed; or `holes`
//! measure open FOLDER SETTINGS…            everything in one run, interleaved; one JSON line a contender
//! measure memory FOLDER TARGET THREADS     opens once in a process of its own; seconds and peak memory
//! measure report OUT LINES…                Markdown table and SVG chart of such lines
//! ```
//! Rates are in GB/s (10^9 bytes), medians over the rounds. The key is a constant: this is no place for secrets.

mod contenders;
mod memory;
mod prepare;
mod report;

use std::path::Path;
use std::process::ExitCode;

/// Whatever goes wrong here ends the measurement; there is nobody to tell the kinds apart.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["prepare", folder, mib, files, contents] => {
            prepare::run(Path::new(folder), mib, files, contents)
        }
        ["open", folder, settings @ ..] => contenders::run(Path::new(folder), settings),
        ["memory", folder, target, threads] => {
            memory::run(Path::new(folder), Path::new(target), threads)
        }
        ["report", out, lines @ ..] => report::run(Path::new(out), lines),
        _ => Err("usage: see the head of sealed-weights/examples/measure/main.rs".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}
