//! Every trust decision is born in a function called `assertion`; here is the list of its callers.

use std::fs;

use adyton_tcb::{sources, workspace_root};

#[test]
fn proofs_are_born_only_at_the_listed_places() {
    let mut found = String::new();
    for folder in [
        "attestation",
        "sealed-weights",
        "s3-exposure",
        "model-signature",
        "broker",
        "sidecar",
        "cli",
        "client",
    ] {
        for source in sources(folder) {
            for line in source.product.lines().map(str::trim) {
                if line.contains("assertion(") && !line.starts_with("//") {
                    found.push_str(&format!("{}: {line}\n", source.path));
                }
            }
        }
    }
    let list = workspace_root().join("tests/tcb/assertions.txt");
    if std::env::var_os("ADYTON_UPDATE_TCB").is_some() {
        fs::write(&list, &found).expect("the list can be written");
    }
    let listed = fs::read_to_string(&list).expect("the list exists");
    assert_eq!(
        listed, found,
        "a proof is born at a new place; if that is wanted, run with ADYTON_UPDATE_TCB=1 and commit the diff"
    );
}
