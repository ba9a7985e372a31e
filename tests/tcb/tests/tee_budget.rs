//! What runs inside the TEE stays small, and a change of it is a reviewed diff.

use std::fs;

use adyton_tcb::{packages_of, sources, workspace_root};

/// Code lines that the sidecar can reach; docs/decisions/0005, 0010 to 0013, 0018. May go down, not up.
const CODE_LINES: usize = 23_800;
/// Modules of the two libraries that serve the broker, the owner and the client, never the sidecar.
const OUTSIDE_THE_TEE: &[&str] = &[
    "attestation/src/appraisal/",
    "attestation/src/claims.rs",
    "attestation/src/claims/",
    "attestation/src/ear/",
    "attestation/src/endorsement/",
    "attestation/src/evidence/event_log",
    "attestation/src/evidence/nvidia_gpu/",
    "attestation/src/peer/",
    "attestation/src/ra_tls/verify.rs",
    "attestation/src/reason.rs",
    "attestation/src/reference_value.rs",
    "attestation/src/reference_value/",
    "attestation/src/verifier/",
    "model-store/src/push/",
    "sealed-weights/src/c2sp.rs",
    "sealed-weights/src/seal.rs",
    "sealed-weights/src/source.rs",
];
/// Words that would mean that the sidecar uses one of those modules.
const NOT_IN_THE_SIDECAR: &[&str] = &[
    "verifier",
    "appraisal",
    "appraise",
    "attestation::ear",
    "endorsement",
    "verify_report",
    "attestation::peer",
    "ra_tls::verify",
    "SealJob",
    "seal::",
    "c2sp",
];
/// House limit: no file over 600 lines without its tests.
const LINES_PER_FILE: usize = 600;
/// The audited files with unsafe code: two map memory, one asks the SNP guest device.
const UNSAFE_FILES: [&str; 3] = [
    "sealed-weights/src/locked_memory.rs",
    "sealed-weights/src/mapped.rs",
    "attestation/src/attester/sev_guest/device.rs",
];

const IN_THE_TEE: [&str; 5] =
    ["sidecar", "attestation", "sealed-weights", "model-store", "s3-exposure"];

#[test]
fn what_runs_inside_the_tee_fits_the_line_budget() {
    let lines: usize = IN_THE_TEE
        .iter()
        .flat_map(|folder| sources(folder))
        .filter(|source| !OUTSIDE_THE_TEE.iter().any(|outside| source.path.starts_with(outside)))
        .map(|source| source.code_lines())
        .sum();
    println!("{lines} code lines run inside the TEE (budget {CODE_LINES})");
    assert!(lines <= CODE_LINES, "{lines} code lines inside the TEE, the budget is {CODE_LINES}");
}

#[test]
fn the_sidecar_uses_nothing_that_belongs_outside_the_tee() {
    for source in sources("sidecar") {
        for line in source.product.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in NOT_IN_THE_SIDECAR {
                let uses = line.contains("adyton_") && line.contains(word);
                assert!(!uses, "{} uses {word}: {line}", source.path);
            }
        }
    }
}

#[test]
fn the_sidecar_links_exactly_the_listed_packages() {
    let list = workspace_root().join("tests/tcb/sidecar-packages.txt");
    let now = packages_of("adyton-sidecar").join("\n") + "\n";
    if std::env::var_os("ADYTON_UPDATE_TCB").is_some() {
        fs::write(&list, &now).expect("the list can be written");
    }
    let listed = fs::read_to_string(&list).expect("the list exists");
    assert_eq!(
        listed, now,
        "what the sidecar links has changed; if that is wanted, run with ADYTON_UPDATE_TCB=1 and commit the diff"
    );
}

#[test]
fn no_openssl_is_linked_into_the_sidecar() {
    for package in packages_of("adyton-sidecar") {
        assert!(!package.contains("openssl"), "{package} is linked into the sidecar");
    }
}

#[test]
fn files_are_short_enough_to_read() {
    for folder in [
        "sidecar",
        "attestation",
        "policy-rego",
        "sealed-weights",
        "s3-exposure",
        "broker",
        "cli",
        "client",
        "model-signature",
        "model-store",
        "tests/fake-tee",
        "examples/quickstart",
    ] {
        for source in sources(folder) {
            let lines = source.product.lines().count();
            assert!(
                lines <= LINES_PER_FILE,
                "{} has {lines} lines, split it along a real seam",
                source.path
            );
        }
    }
}

#[test]
fn unsafe_code_stands_in_the_audited_files() {
    for folder in [
        "sidecar",
        "attestation",
        "policy-rego",
        "sealed-weights",
        "s3-exposure",
        "model-signature",
        "model-store",
        "broker",
        "cli",
        "client",
    ] {
        for source in sources(folder) {
            let has = source.product.lines().any(|line| {
                let line = line.trim();
                !line.starts_with("//")
                    && (line.contains("unsafe {")
                        || line.contains("unsafe fn")
                        || line.contains("unsafe impl"))
            });
            assert!(
                !has || UNSAFE_FILES.contains(&source.path.as_str()),
                "{} contains unsafe code",
                source.path
            );
        }
    }
}
