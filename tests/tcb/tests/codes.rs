//! Every code that stands in a reason is listed in SPEC.md §15, and nothing else is.

use std::collections::BTreeSet;
use std::fs;

use adyton_tcb::{sources, workspace_root};

/// Crates in which reasons are made; programs have codes of their own in other files.
const FOLDERS: [&str; 4] = ["attestation", "policy-rego", "broker", "cli"];

/// Files of the programs in which reasons are made.
const IN_PROGRAMS: [&str; 4] = [
    "broker/src/decision.rs",
    "broker/src/endorsements/",
    "broker/src/kbs/",
    "cli/src/verb/verify/pinning.rs",
];

/// First words of codes.
const FAMILIES: [&str; 19] = [
    "azure",
    "config",
    "endorsements",
    "evidence",
    "gpu",
    "init-data",
    "instance",
    "key",
    "model",
    "policy",
    "ra-tls",
    "rcar",
    "reference-values",
    "rego",
    "report",
    "session",
    "snp",
    "tdx",
    "token",
];

/// Look like codes and are names of something else.
const OTHER_NAMES: [&str; 5] =
    ["policy.rego", "rego.attestation", "rego.gpu", "rego.reference", "rego.resource"];

#[test]
fn the_list_of_codes_is_that_of_the_source() {
    let mut made = BTreeSet::new();
    for source in FOLDERS.into_iter().flat_map(sources) {
        let in_a_program = source.path.starts_with("broker/") || source.path.starts_with("cli/");
        if in_a_program && !IN_PROGRAMS.iter().any(|file| source.path.starts_with(file)) {
            continue;
        }
        made.extend(literals(&source.product).filter(|text| is_code(text)).map(str::to_owned));
    }
    let spec = fs::read_to_string(workspace_root().join("attestation/SPEC.md")).expect("the spec");
    let (_, list) = spec.split_once("\n## 15. Codes\n").expect("section 15");
    let mut listed = BTreeSet::new();
    for row in list.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 4, "code, rung, meaning, what to do: {row}");
        let code = cells[0].trim_end_matches('`');
        assert!(listed.insert(code.to_owned()), "{code} is listed twice");
    }
    let unlisted: Vec<_> = made.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in SPEC.md §15: {unlisted:?}");
    let unmade: Vec<_> = listed.difference(&made).collect();
    assert!(unmade.is_empty(), "in SPEC.md §15 and nowhere in the source: {unmade:?}");
    assert!(made.len() > 200, "the source was not found: {}", made.len());
}

/// What stands between two quotation marks. A code has none inside, so nothing is missed.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.split('"')
}

fn is_code(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let Some((family, rest)) = text.split_once('.') else { return false };
    let known = FAMILIES.contains(&family);
    known && rest.split('.').all(word) && !OTHER_NAMES.contains(&text)
}

#[test]
fn a_code_is_told_from_other_text() {
    for code in ["tdx.quote.version", "snp.policy.bit-17", "ra-tls.missing"] {
        assert!(is_code(code), "{code}");
    }
    for other in ["tdx", "tdx.", "tdx.Quote", "tls.key", "rego.attestation", "tdx.a b"] {
        assert!(!is_code(other), "{other}");
    }
}
