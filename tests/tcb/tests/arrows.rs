//! Dependencies run one way (docs/decisions/0001, 0007, 0008, 0012, 0013, 0014): the programs know the libraries, the
//! three lower libraries know nobody, the client library and the one with the Rego interpreter know one of
//! them, and nothing in the product knows `tests`, `examples` or `deploy`.

use adyton_tcb::workspace_root;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Package, what it may depend on inside the workspace, what its tests may use besides.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("adyton-attestation", &[], &["adyton-fake-tee"]),
    ("adyton-sealed-weights", &[], &[]),
    ("adyton-model-signature", &[], &[]),
    ("adyton-model-store", &["adyton-sealed-weights"], &[]),
    ("adyton-s3-exposure", &["adyton-sealed-weights"], &[]),
    (
        "adyton-sidecar",
        &[
            "adyton-attestation",
            "adyton-model-signature",
            "adyton-model-store",
            "adyton-s3-exposure",
            "adyton-sealed-weights",
        ],
        &["adyton-fake-tee", "adyton-client"],
    ),
    ("adyton-rego", &["adyton-attestation"], &["adyton-fake-tee"]),
    (
        "adyton-broker",
        &["adyton-attestation", "adyton-rego", "adyton-sealed-weights"],
        &["adyton-fake-tee"],
    ),
    ("adyton-client", &["adyton-attestation"], &["adyton-fake-tee"]),
    (
        "adyton-cli",
        &[
            "adyton-attestation",
            "adyton-rego",
            "adyton-sealed-weights",
            "adyton-model-signature",
            "adyton-model-store",
            "adyton-client",
        ],
        &["adyton-fake-tee"],
    ),
    ("adyton-fake-tee", &[], &[]),
    ("adyton-example-server", &[], &[]),
];

#[test]
fn product_crates_depend_only_along_the_arrows() {
    let metadata = MetadataCommand::new()
        .current_dir(workspace_root())
        .no_deps()
        .exec()
        .expect("the workspace loads");
    let members: Vec<&str> =
        metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for (package, product, tests) in ARROWS {
        let package = metadata
            .packages
            .iter()
            .find(|candidate| candidate.name.as_str() == *package)
            .unwrap_or_else(|| panic!("{package} is a member of the workspace"));
        for dependency in package.dependencies.iter().filter(|d| members.contains(&d.name.as_str()))
        {
            let allowed = product.contains(&dependency.name.as_str())
                || (dependency.kind == DependencyKind::Development
                    && tests.contains(&dependency.name.as_str()));
            assert!(
                allowed,
                "{} may not depend on {} ({:?}): see ARROWS in {}",
                package.name,
                dependency.name,
                dependency.kind,
                file!()
            );
        }
    }
}

#[test]
fn no_cargo_feature_exists_that_could_change_a_security_decision() {
    let metadata = MetadataCommand::new()
        .current_dir(workspace_root())
        .no_deps()
        .exec()
        .expect("the workspace loads");
    for package in &metadata.packages {
        assert!(
            package.features.is_empty(),
            "{} has cargo features {:?}; behaviour is chosen by configuration, not at build time",
            package.name,
            package.features.keys().collect::<Vec<_>>()
        );
    }
}
