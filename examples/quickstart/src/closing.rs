//! The last chapter: no key in memory, no plaintext left, and who trusted whom and why.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::stage::Actor;
use crate::story::{Finished, Story, human_bytes, human_time};
use crate::traces::{Needles, Trace, search};

/// Searches `actors` for the key; each must not have it.
///
/// # Errors
/// When the key is found anywhere.
pub fn key_is_in_nobodys_memory(
    story: &mut Story,
    actors: &[&Actor],
    needles: &Needles,
) -> Result<()> {
    let step = story.step("scan-memory", "looked for the model key in every process");
    let (mut searched, mut lines) = (0, Vec::new());
    for actor in actors {
        match search(actor.pid(), needles)? {
            Trace::Present { address, form } => {
                anyhow::bail!("the model key lies in the memory of {} at {address:#x} ({form})", actor.name())
            }
            Trace::Absent { searched: bytes, hidden } => {
                searched += bytes;
                let hidden = if hidden > 0 { format!(", {} that even root may not read", human_bytes(hidden)) } else { String::new() };
                lines.push(format!("{:<10} not found in {}{hidden}", actor.name(), human_bytes(bytes)));
            }
            Trace::Refused => lines.push(format!(
                "{:<10} not dumpable: the kernel lets nobody but root look (run the quickstart as root to search it)",
                actor.name()
            )),
        }
    }
    step.refused_as_wanted(format!("in none of them ({} searched)", human_bytes(searched)), &lines);
    Ok(())
}

/// The memory-backed folder must be empty.
///
/// # Errors
/// When something is left.
pub fn plaintext_is_gone(story: &mut Story, target: &Path) -> Result<()> {
    let step = story.step("plaintext-gone", "looked into the memory-backed folder");
    let left = std::fs::read_dir(target)?.count();
    ensure!(left == 0, "{left} entries are left in {}", target.display());
    step.done("empty");
    Ok(())
}

/// Who trusted whom, and why; one line a step of the chain of proofs.
pub fn picture(story: &Story) {
    let chain = [
        (
            "vendor root",
            "Quote",
            "a TDX machine (here a simulated one) signed it over our nonce and the TEE key",
        ),
        (
            "reference values",
            "Claims",
            "firmware, kernel and settings are the owner's image, not in debug mode",
        ),
        (
            "release policy",
            "Permit",
            "this key for this machine; in the audit log before the key left",
        ),
        (
            "TEE key",
            "Model key",
            "wrapped to a key that was born in the machine and is in the quote",
        ),
        ("key commitment, MAC", "Weights", "every chunk authenticated before a file got its name"),
        ("weights opened", "Listener", "the serving port exists only because the weights are open"),
        ("client CA", "Request", "the client showed its certificate"),
        (
            "report",
            "Answer",
            "the client saw the quote over its nonce, the serving key and this connection",
        ),
    ];
    let mut lines = vec![String::new(), "  Who trusted whom, and why".to_owned(), String::new()];
    for (number, (because, what, why)) in chain.iter().enumerate() {
        let arrow = if number == 0 { " " } else { "↓" };
        lines.push(format!("    {arrow} {what:<10} ← {because:<20} {why}"));
    }
    story.block(&lines);
}

/// Times of the steps that matter.
pub fn times(story: &Story) {
    const SHOWN: [(&str, &str); 6] = [
        ("seal", "sealed"),
        ("attest-and-open", "attested, key released, weights opened"),
        ("load", "model loaded by the inference server"),
        ("attest-client", "report fetched and verified by the client"),
        ("stream", "completion streamed"),
        ("drain", "drained and wiped"),
    ];
    let mut lines = vec![String::new()];
    for (name, words) in SHOWN {
        let took = story.finished().iter().find(|step: &&Finished| step.name == name);
        if let Some(step) = took {
            lines.push(format!("    {:>8}  {words}", human_time(step.took)));
        }
    }
    lines.push(format!("    {:>8}  everything", human_time(story.elapsed())));
    story.block(&lines);
}
