//! One defect at a time, field by field, each with the code that it must be refused with.
//!
//! A *field* is a range of bytes that a format document names, or a member of a document; a *defect* is one
//! change in it. Sound Evidence and Endorsements of the simulated machines are the start. Each kind is run
//! as an attacker without keys has it, so that bytes behind a signature fail at that signature; where the
//! machines can sign again, also with every signature made over the defect, so that it fails at its own
//! rung. 100 % have to be refused with a code of their field, but for the fields that are claims by design,
//! which have to be accepted; nothing may panic.
//!
//! By default some cases of each kind run (`ADYTON_CORPUS=all` runs all of them, more than 100,000):
//! `ADYTON_CORPUS=all cargo test --release -p adyton-attestation --test corpus -- --nocapture`

#![allow(clippy::result_large_err, reason = "a test may carry a whole refusal")]

mod azure;
mod case;
mod collateral;
mod documents;
mod event_log;
mod gpu;
mod snp;
mod snp_endorsements;
mod tdx;

/// When everything happens, in seconds since the Unix epoch.
const NOW: u64 = 1_800_000_000;

/// How many cases each kind has at least that have to be refused. A kind that is not here does not run.
const FLOORS: &[(&str, usize)] = &[
    ("AMD revocation list", 8740),
    ("ASK", 15580),
    ("HCL report over SNP", 24200),
    ("HCL report over TDX", 15210),
    ("Hopper report", 38220),
    ("PCK CRL", 2680),
    ("PCR values", 7780),
    ("QE identity", 6150),
    ("QE identity, signed anew", 2100),
    ("SNP report v2, Milan", 11010),
    ("SNP report v2, Milan, signed anew", 3480),
    ("SNP report v3, Genoa", 11010),
    ("SNP report v3, Genoa, signed anew", 3470),
    ("SNP report v5, Genoa", 11020),
    ("SNP report v5, Genoa, signed anew", 3330),
    ("SNP report v5, Turin", 10940),
    ("SNP report v5, Turin, signed anew", 3250),
    ("TCB info", 26200),
    ("TCB info, signed anew", 10100),
    ("TDX quote v4", 42840),
    ("TDX quote v4, signed anew", 1540),
    ("TDX quote v5, TD 1.0", 42900),
    ("TDX quote v5, TD 1.5", 43460),
    ("TDX quote v5, TD 1.5 ex", 45600),
    ("TPM quote", 1570),
    ("TPM quote, signed anew", 990),
    ("VCEK", 12840),
    ("VCEK, signed anew", 1890),
    ("chain of the QE identity", 14780),
    ("chain of the TCB info", 14780),
    ("event log", 5340),
    ("root CRL", 2580),
    ("signature of the QE identity", 640),
    ("signature of the TCB info", 640),
    ("signature of the TPM quote", 2570),
    ("var-data over SNP, committed anew", 4760),
    ("var-data over TDX, committed anew", 4760),
];

#[test]
fn all_kinds_together_have_more_than_a_hundred_thousand_cases() {
    let total: usize = FLOORS.iter().map(|(_, floor)| floor).sum();
    assert!(total >= 100_000, "{total} cases");
    println!("{total} one-defect cases in {} kinds", FLOORS.len());
}
