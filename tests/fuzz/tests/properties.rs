//! Every fuzz body, on stable: over its seeds, over arbitrary bytes and over mutated seeds.
//!
//! Bounded by time: [`SECONDS`] per test, more with `ADYTON_PROPERTY_SECONDS`.

use std::cell::Cell;
use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use adyton_attestation::Evidence;
use adyton_fuzz::{TARGETS, Target, genuine};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

/// How long one test runs unless told otherwise.
const SECONDS: u64 = 2;

thread_local! {
    /// Whether panics of this thread go unreported.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}
static QUIETER_PANICS: Once = Once::new();

/// One small change to well-formed bytes.
#[derive(Clone, Debug)]
enum Mutation {
    FlipBit(Index, u8),
    Set(Index, u8),
    /// Writes a length or count at the limit of its type, little endian.
    Integer(Index, u32),
    Truncate(Index),
    Delete(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat(Index, u8),
    /// Continues with another seed from here.
    Splice(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let limits = vec![0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0x1_0000];
    prop_oneof![
        4 => (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::FlipBit(at, bit)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        2 => (at(), prop::sample::select(limits))
            .prop_map(|(at, value)| Mutation::Integer(at, value)),
        1 => at().prop_map(Mutation::Truncate),
        1 => (at(), any::<u8>()).prop_map(|(at, length)| Mutation::Delete(at, length)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..16))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => (at(), any::<u8>()).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        1 => (at(), at()).prop_map(|(at, other)| Mutation::Splice(at, other)),
    ]
}

fn apply(bytes: &mut Vec<u8>, mutation: &Mutation, seeds: &[Vec<u8>]) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match mutation {
        Mutation::FlipBit(at, bit) => bytes[at.index(len)] ^= 1 << bit,
        Mutation::Set(at, byte) => bytes[at.index(len)] = *byte,
        Mutation::Integer(at, value) => {
            let at = at.index(len);
            for (to, from) in bytes[at..].iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
        }
        Mutation::Truncate(at) => bytes.truncate(at.index(len)),
        Mutation::Delete(at, length) => {
            let at = at.index(len);
            bytes.drain(at..len.min(at + usize::from(*length)));
        }
        Mutation::Insert(at, new) => {
            let at = at.index(len);
            bytes.splice(at..at, new.iter().copied());
        }
        Mutation::Repeat(at, length) => {
            let at = at.index(len);
            let again = bytes[at..len.min(at + usize::from(*length))].to_vec();
            bytes.splice(at..at, again);
        }
        Mutation::Splice(at, other) => {
            let at = at.index(len);
            bytes.truncate(at);
            bytes.extend(other.get(seeds).iter().skip(at));
        }
    }
}

/// Runs `target` over `inputs` until the time is over. What breaks it is made smaller, and left in
/// a file.
fn hold<S: Strategy>(target: &Target, inputs: &S, bytes: impl Fn(S::Value) -> Vec<u8>) {
    let seconds = std::env::var("ADYTON_PROPERTY_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS);
    QUIETER_PANICS.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                report(info);
            }
        }));
    });
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let breaks = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err();
    let mut runner = TestRunner::new(Config::default());
    while Instant::now() < deadline {
        let mut tree = inputs.new_tree(&mut runner).expect("no strategy here rejects");
        let mut broken = bytes(tree.current());
        if !breaks(&broken) {
            continue;
        }
        // The first panic was reported; those of the search would only bury it.
        QUIET.set(true);
        let mut smaller = tree.simplify();
        while smaller {
            let candidate = bytes(tree.current());
            if breaks(&candidate) {
                broken = candidate;
                smaller = tree.simplify();
            } else {
                smaller = tree.complicate();
            }
        }
        QUIET.set(false);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.broken", target.name));
        fs::write(&path, &broken).expect("the temporary folder is writable");
        panic!("{} broke its promise on {}", target.name, path.display());
    }
}

fn named(name: &str) -> &'static Target {
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("there is no target {name}"))
}

fn holds_for_seeds(name: &str) {
    let target = named(name);
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name} has nothing to start from");
    for seed in seeds {
        (target.run)(&seed);
    }
}

fn holds_for_arbitrary_bytes(name: &str) {
    let inputs = prop::collection::vec(any::<u8>(), 0..1024);
    hold(named(name), &inputs, |bytes| bytes);
}

fn holds_for_mutated_seeds(name: &str) {
    let target = named(name);
    let seeds = (target.seeds)();
    let inputs = (any::<Index>(), prop::collection::vec(mutation(), 1..4));
    hold(target, &inputs, |(seed, mutations)| {
        let mut bytes = seed.get(&seeds).clone();
        for mutation in &mutations {
            apply(&mut bytes, mutation, &seeds);
        }
        bytes
    });
}

macro_rules! properties {
    ($($name:ident)*) => {
        $(mod $name {
            #[test]
            fn hold_for_seeds() {
                super::holds_for_seeds(stringify!($name));
            }

            #[test]
            fn hold_for_arbitrary_bytes() {
                super::holds_for_arbitrary_bytes(stringify!($name));
            }

            #[test]
            fn hold_for_mutated_seeds() {
                super::holds_for_mutated_seeds(stringify!($name));
            }
        })*

        #[test]
        fn every_target_has_its_properties() {
            let tested = [$(stringify!($name)),*];
            let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(tested[..], targets[..]);
        }
    };
}

properties! {
    attestation_report
    attestation_token
    azure_evidence
    boot_image
    coco_answer
    endorsement_bundle
    event_log
    evidence_file
    firmware_image
    gpu_evidence
    hcl_report
    jwe_reply
    kbs_evidence
    model_address
    model_file
    model_path
    model_signature
    oci_manifest
    ra_tls_certificate
    rcar_message
    reference_values
    release_policy
    request_framing
    resource_path
    s3_range
    s3_request
    sealed_header
    sealed_manifest
    sealed_model
    signature_trust_root
    snp_certificate_table
    snp_kbs_form
    snp_report
    tee_public_key
    tpm_structures
}

#[test]
fn the_genuine_machine_verifies_so_that_forgeries_could() {
    for quote in genuine::QUOTES.iter() {
        let evidence = Evidence::parse_file(quote).expect("a genuine quote parses");
        genuine::judge(&evidence, &genuine::ENDORSEMENTS).expect("a genuine quote verifies");
    }
}

#[test]
fn every_target_is_a_libfuzzer_target() {
    let libfuzzer = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let manifest = fs::read_to_string(libfuzzer.join("Cargo.toml")).expect("a manifest");
    let mut files: Vec<String> = fs::read_dir(libfuzzer.join("fuzz_targets"))
        .expect("a folder of targets")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    files.sort_unstable();
    let expected: Vec<String> =
        TARGETS.iter().map(|target| format!("{}.rs", target.name)).collect();
    assert_eq!(files, expected);
    for target in TARGETS {
        let path = format!("path = \"fuzz_targets/{}.rs\"", target.name);
        assert!(manifest.contains(&path), "{} is not in the manifest", target.name);
        let file = libfuzzer.join("fuzz_targets").join(format!("{}.rs", target.name));
        let text = fs::read_to_string(file).expect("a target");
        assert!(text.contains(&format!("adyton_fuzz::{}::run(data)", target.name)), "{text}");
    }
}
