//! One opening in a process of its own: seconds, and the peak of what it had in memory beyond the model.

use std::path::Path;
use std::time::Instant;

use adyton_sealed_weights::{NoProgress, OpenOptions, SwapPolicy};

use crate::{Outcome, prepare};

pub fn run(folder: &Path, target: &Path, threads: &str) -> Outcome {
    let options = OpenOptions {
        threads: threads.parse()?,
        swap: SwapPolicy::InsecureAllow,
        ..OpenOptions::default()
    };
    let unlocked = prepare::unlock(&prepare::load(folder)?)?;
    let begun = Instant::now();
    let (opened, bytes) = if target == Path::new("anonymous") {
        let opened = unlocked.open_in_memory(&options, &NoProgress)?;
        let bytes = opened.bytes();
        // All of it is the process's own memory.
        (bytes, bytes)
    } else {
        let opened = unlocked.open_with(target, &options, &NoProgress)?;
        let bytes = opened.bytes();
        opened.wipe()?;
        (0, bytes)
    };
    let seconds = begun.elapsed().as_secs_f64();
    let peak = peak_bytes().ok_or("/proc/self/status has no VmHWM")?;
    println!(
        "{}",
        serde_json::json!({
            "kind": "memory",
            "target": target.file_name().map(|name| name.to_string_lossy()),
            "files": unlocked.manifest().files().len(),
            "bytes": bytes,
            "seconds": seconds,
            "beyond_mib": peak.saturating_sub(opened) as f64 / f64::from(1 << 20),
        })
    );
    Ok(())
}

fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
