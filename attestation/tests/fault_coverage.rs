//! Every code with which a parser or the Verifier refuses has a named fault of the simulated machines that
//! earns it, or stands below with where it is tested instead.
//!
//! Codes are read out of the sources, so a new one fails here until it has its fault. That each fault does
//! earn its code is what `ladder.rs`, `snp_ladder.rs`, `azure_ladder.rs` and `gpu_ladder.rs` show.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use adyton_fake_tee::{AzureFault, Fault, GpuFault, SnpFault};

/// Codes without a fault.
const WITHOUT_FAULT: &[(&str, &str)] = &[
    ("azure.hcl.too-large", "the text around it is bounded first; evidence/hcl/tests.rs"),
    (
        "azure.quote.signature-algorithm",
        "TPMT_SIGNATURE, which only our own attester reads; evidence/tpm/tests.rs",
    ),
    ("evidence.encoding", "the text around Evidence; parsing.rs"),
    ("evidence.tee", "the name of a TEE that nobody verifies; parsing.rs"),
    ("snp.evidence.certificate-table", "the host's table, which an attester reads; properties.rs"),
    ("snp.evidence.member", "the KBS protocol's JSON; snp_real_vectors.rs"),
    ("snp.evidence.too-large", "the KBS protocol's JSON; snp_real_vectors.rs"),
    ("snp.evidence.two-reports", "the KBS protocol's JSON; snp_real_vectors.rs"),
];

/// The prefixes of codes that parsers of Evidence and the Verifier give.
const PREFIXES: [&str; 5] = ["tdx.", "snp.", "azure.", "gpu.", "evidence."];

/// Every string literal in the sources under `dir` that is a code.
fn codes_under(dir: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            codes_under(&path, into);
            continue;
        }
        let is_source = path.extension().is_some_and(|end| end == "rs");
        if !is_source || path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("UTF-8");
        let of_code = |letter: char| letter.is_ascii_lowercase() || ".-0123456789".contains(letter);
        into.extend(
            source
                .split('"')
                .filter(|text| PREFIXES.iter().any(|prefix| text.starts_with(prefix)))
                .filter(|text| text.chars().all(of_code))
                .map(str::to_owned),
        );
    }
}

#[test]
fn every_code_of_the_verifier_has_a_fault_or_a_reason_why_not() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut codes = BTreeSet::new();
    for module in ["evidence", "verifier"] {
        codes_under(&sources.join(module), &mut codes);
    }
    assert!(codes.len() > 100, "{} codes: where are the sources?", codes.len());

    let tdx = Fault::ALL.iter().filter_map(|fault| fault.refusal()).map(|(_, code)| code);
    let snp = SnpFault::ALL.iter().map(|(.., code)| *code);
    let azure = AzureFault::ALL.iter().map(|(.., code)| *code);
    let gpu = GpuFault::ALL.iter().map(|(.., code)| *code);
    let earned: BTreeSet<&str> = tdx.chain(snp).chain(azure).chain(gpu).collect();
    let listed: BTreeSet<&str> = WITHOUT_FAULT.iter().map(|(code, _)| *code).collect();

    let without: BTreeSet<&str> =
        codes.iter().map(String::as_str).filter(|code| !earned.contains(code)).collect();
    assert_eq!(without, listed, "left: codes without a fault, right: those with a reason");
}

#[test]
fn every_rung_of_every_ladder_has_a_fault() {
    let tdx = Fault::ALL.iter().filter_map(|fault| fault.refusal()).map(|(rung, _)| rung);
    let snp = SnpFault::ALL.iter().map(|(_, rung, _)| *rung);
    let azure = AzureFault::ALL.iter().map(|(_, rung, _)| *rung);
    let gpu = GpuFault::ALL.iter().map(|(_, rung, _)| *rung);
    let rungs: BTreeSet<&str> = tdx.chain(snp).chain(azure).chain(gpu).collect();
    let wanted = [("T", 18), ("S", 18), ("A", 5), ("G", 6)];
    for (ladder, last) in wanted {
        for rung in (1..=last).map(|number| format!("{ladder}{number}")) {
            // The age of collateral and the platforms that an owner allows are nobody's fault:
            // `tdx_policy.rs` has them.
            let is_policy = matches!(&*rung, "T15" | "T17");
            assert_eq!(rungs.contains(&*rung), !is_policy, "{rung}");
        }
    }
}
