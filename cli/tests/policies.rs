//! `adyton verify --evidence --policy`, `adyton policy test` and `adyton policy diff`, on Evidence of a
//! simulated TEE.

mod stand;

use adyton_fake_tee::{FakeTee, Fault, TdProfile};
use stand::{Ran, Stand};

const NOW: u64 = 1_800_000_000;
const POLICY: &str =
    "key = \"kbs:///acme/model-key/kjv\"\n[appraisal]\nreference_values = [\"fake-td\"]\n";
const ALLOW: &str = "package policy\nimport rego.v1\ndefault allow := false\n\
    allow if input.submods.cpu0[\"ear.veraison.annotated-evidence\"].tdx.tcb_status == \"UpToDate\"\n";
const ATTESTATION: &str = "package policy\nimport rego.v1\ndefault executables := 33\n\
    executables := 3 if input.tdx.quote.body.rtmr_2 in query_reference_value(\"rtmr_2\")\n";

/// A folder with a good machine and one with another kernel, and what is needed to verify them.
fn stand() -> Stand {
    let stand = Stand::new();
    let tee = FakeTee::from_seed([7; 32], NOW);
    let quote = |faults: &[Fault]| {
        let profile = TdProfile::default().with_faults(faults);
        tee.faulty_quote(&profile, [0x5a; 64], faults)
    };
    std::fs::create_dir(stand.path("recorded")).expect("folder");
    stand.write("recorded/good.bin", &quote(&[]));
    stand.write("recorded/kernel.bin", &quote(&[Fault::OtherRtmr]));
    stand.write("root.pem", tee.root_pem().as_bytes());
    stand.write("bundle.json", tee.endorsement_bundle(NOW, &[]).to_string().as_bytes());
    stand.write("values.toml", tee.reference_values(&TdProfile::default()).as_bytes());
    stand.write("policy.toml", POLICY.as_bytes());
    stand.write("allow.rego", ALLOW.as_bytes());
    stand.write("attestation.rego", ATTESTATION.as_bytes());
    stand
}

fn run(stand: &Stand, words: &[&str]) -> Ran {
    let at = NOW.to_string();
    let common = [
        "--bundle",
        "bundle.json",
        "--insecure-extra-root",
        "root.pem",
        "--reference-values",
        "values.toml",
        "--at",
        &at,
    ];
    stand.run(&[words, &common[..]].concat())
}

#[test]
fn recorded_evidence_is_appraised_and_each_rung_says_so() {
    let stand = stand();
    let ran =
        run(&stand, &["verify", "--evidence", "recorded/good.bin", "--policy", "policy.toml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("✓  T11"), "{}", ran.out);
    assert!(ran.out.contains("it is `fake-td`"), "{}", ran.out);

    let words = ["verify", "--evidence", "recorded/kernel.bin", "--policy", "policy.toml"];
    let ran = run(&stand, &words);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.out.contains("✗  T11"), "{}", ran.out);
    assert!(ran.err.contains("tdx.measurement.rtmr2"), "{}", ran.err);
    let ran = run(&stand, &[&words[..], &["--output", "json"]].concat());
    assert_eq!(ran.json()["appraisal"], "denied");
    assert_eq!(ran.json()["verified"], true);
    assert_eq!(ran.json()["reasons"][0]["code"], "tdx.measurement.rtmr2");
}

#[test]
fn reference_values_alone_are_compared_under_strict_rules() {
    let stand = stand();
    assert_eq!(run(&stand, &["verify", "--evidence", "recorded/good.bin"]).code, 0);
    assert_eq!(run(&stand, &["verify", "--evidence", "recorded/kernel.bin"]).code, 11);
}

#[test]
fn a_policy_in_rego_judges_recorded_evidence() {
    let stand = stand();
    let verify = |file: &str, policy: &[&str]| {
        run(&stand, &[&["verify", "--evidence", file, "--policy"], policy].concat())
    };
    let ran = verify("recorded/good.bin", &["attestation.rego"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("a broker asks typed rules, too"), "{}", ran.out);
    let ran = verify("recorded/kernel.bin", &["attestation.rego"]);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.err.contains("rego.not-affirming"), "{}", ran.err);
    let kid = ["allow.rego", "--kid", "kbs:///acme/model-key/kjv"];
    assert_eq!(verify("recorded/kernel.bin", &kid).code, 0);
    let ran = verify("recorded/kernel.bin", &["allow.rego"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    stand.write("broken.rego", b"package policy\nallow if {");
    let broken = ["broken.rego", "--kid", "kbs:///acme/model-key/kjv"];
    assert_eq!(verify("recorded/good.bin", &broken).code, 30);
}

#[test]
fn a_policy_test_has_a_line_for_each_file_and_an_exit_code_for_ci() {
    let stand = stand();
    let test = ["policy", "test", "recorded", "--policy", "policy.toml"];
    let ran = run(&stand, &test);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.out.contains("good.bin    accepted"), "{}", ran.out);
    assert!(ran.out.contains("kernel.bin  denied    tdx.measurement.rtmr2"), "{}", ran.out);
    let ran = run(&stand, &[&test[..], &["--output", "json"]].concat());
    let json = ran.json();
    assert_eq!(json["as_expected"], false);
    assert_eq!(json["files"][0]["verdict"], "accepted");
    assert_eq!(json["files"][1]["reasons"][0]["rung"], "T11");

    std::fs::remove_file(stand.path("recorded/good.bin")).expect("removed");
    assert_eq!(run(&stand, &[&test[..], &["--expect", "denied"]].concat()).code, 0);
}

#[test]
fn what_is_not_genuine_or_not_readable_is_told_apart_from_a_denial() {
    let stand = stand();
    let test = ["policy", "test", "recorded", "--policy", "policy.toml"];
    let mut quote = std::fs::read(stand.path("recorded/good.bin")).expect("file");
    quote[200] ^= 1;
    stand.write("recorded/forged.bin", &quote);
    let ran = run(&stand, &test);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert!(ran.out.contains("forged.bin  not-verified  tdx.quote.signature"), "{}", ran.out);
    stand.write("recorded/noise.bin", b"noise");
    let ran = run(&stand, &test);
    assert_eq!(ran.code, 30, "{ran:?}");
    assert!(ran.out.contains("noise.bin   unreadable"), "{}", ran.out);
}

#[test]
fn a_test_of_an_empty_folder_is_an_error() {
    let stand = stand();
    std::fs::create_dir(stand.path("empty")).expect("folder");
    let ran = run(&stand, &["policy", "test", "empty", "--policy", "policy.toml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn a_policy_diff_names_who_gains_and_who_loses_and_why() {
    let stand = stand();
    stand.write("same.toml", format!("{POLICY}# the same\n").as_bytes());
    let diff = |old: &str, new: &str| {
        run(&stand, &["policy", "diff", old, new, "recorded", "--output", "json"])
    };
    let ran = diff("policy.toml", "same.toml");
    assert_eq!((ran.code, &ran.json()["changes"]), (0, &serde_json::json!(0)), "{ran:?}");

    let looser = POLICY.to_owned() + "registers = [\"mrtd\"]\n";
    stand.write("looser.toml", looser.as_bytes());
    let ran = diff("policy.toml", "looser.toml");
    assert_eq!(ran.code, 11, "{ran:?}");
    let json = ran.json();
    assert_eq!(json["changes"], 1);
    assert_eq!(json["files"][0]["access"], "kept");
    assert_eq!(json["files"][1]["access"], "gained");
    assert_eq!(json["files"][1]["old"]["reasons"][0]["code"], "tdx.measurement.rtmr2");
    assert_eq!(diff("looser.toml", "policy.toml").json()["files"][1]["access"], "lost");
    let ran = run(&stand, &["policy", "diff", "looser.toml", "policy.toml", "recorded"]);
    assert!(ran.out.contains("kernel.bin  accepted  denied    LOST"), "{}", ran.out);
    assert!(ran.out.contains("kernel.bin (new policy)"), "{}", ran.out);
}

#[test]
fn a_rego_table_in_a_release_policy_counts_in_test_and_diff() {
    let stand = stand();
    let denying = "package policy\nimport rego.v1\ndefault allow := false\n";
    let with_rego = format!("{POLICY}[rego]\nresource = '''\n{denying}'''\n");
    stand.write("rego.toml", with_rego.as_bytes());
    let ran = run(&stand, &["policy", "diff", "policy.toml", "rego.toml", "recorded"]);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.out.contains("good.bin    accepted  denied  LOST"), "{}", ran.out);
    assert!(ran.out.contains("rego.denied"), "{}", ran.out);
}
