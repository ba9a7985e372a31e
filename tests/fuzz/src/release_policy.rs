//! Release policies, TOML.

use adyton_attestation::ReleasePolicy;

const SOUND: &str = r#"
key = "kbs:///acme/model-key/kjv"
minimum_model_version = 3

[appraisal]
reference_values = ["fake-td"]
tcb_status = ["UpToDate", "SWHardeningNeeded"]
max_collateral_age_days = 30
accepted_advisories = ["INTEL-SA-00001"]
"#;

/// Parses; the same text always means the same, and an empty policy means no key at all.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(policy) = ReleasePolicy::parse_toml(text) {
        let again = ReleasePolicy::parse_toml(text).expect("parsed a moment ago");
        assert_eq!(again, policy);
        assert_eq!(again.digest(), policy.digest());
        assert!(policy.key.starts_with("kbs:///"), "a policy for no key: {:?}", policy.key);
    }
}

/// A sound policy, and policies with one thing wrong.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        SOUND.to_owned(),
        SOUND.replace("kbs:///", "kbs://"),
        SOUND.replace("UpToDate", "Fine"),
        SOUND.replace("30", "-1"),
        SOUND.replace("[appraisal]", "[apraisal]"),
        format!("{SOUND}insecure_allow_debug = true\n"),
        "[appraisal]".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}
