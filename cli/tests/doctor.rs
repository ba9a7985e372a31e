//! `adyton doctor` on the machine that runs the tests, whatever that is.

mod stand;

use serde_json::Value;
use stand::Stand;

fn finding<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let findings = answer["findings"].as_array().expect("a list");
    findings.iter().find(|finding| finding["name"] == name).expect(name)
}

#[test]
fn a_target_that_is_not_there_is_a_fault_with_a_remedy_and_exit_code_20() {
    let stand = Stand::new();
    let ran = stand.run(&["doctor", "--target", "/nowhere/models", "--output", "json"]);
    assert_eq!(ran.code, 20, "{}", ran.err);
    let answer: Value = serde_json::from_str(&ran.out).expect("json");
    assert_eq!(answer["fit"], false);
    let target = finding(&answer, "target");
    assert_eq!(target["standing"], "fault");
    assert!(target["found"].as_str().expect("text").contains("/nowhere/models"), "{target}");
    assert!(!target["remedy"].as_str().expect("text").is_empty());
    assert!(ran.err.contains("doctor.unfit"), "{}", ran.err);
}

#[test]
fn every_fact_has_a_sign_and_what_is_not_good_has_a_remedy() {
    let stand = Stand::new();
    let ran = stand.run(&["doctor", "--target", "/dev/shm", "--output", "json"]);
    let answer: Value = serde_json::from_str(&ran.out).expect("json");
    let findings = answer["findings"].as_array().expect("a list");
    assert!(findings.len() >= 5, "{answer}");
    for finding in findings {
        assert_eq!(finding["standing"] != "good", finding["remedy"].is_string(), "{finding}");
    }
    let fit = findings.iter().all(|finding| finding["standing"] != "fault");
    assert_eq!((answer["fit"].as_bool(), ran.code), (Some(fit), if fit { 0 } else { 20 }));
    let text = stand.run(&["doctor", "--target", "/dev/shm"]);
    let signs = text.out.lines().filter(|line| line.trim_start().starts_with(['✓', '!', '✗']));
    assert_eq!(signs.count(), findings.len(), "{}", text.out);
}

#[test]
fn a_model_is_compared_with_the_room_there_is() {
    let stand = Stand::new();
    let ran = stand.run(&["doctor", "--model", "missing"]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("missing"), "{}", ran.err);
}
