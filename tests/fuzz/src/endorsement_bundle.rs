//! Endorsement bundles and bare collateral.

use std::sync::LazyLock;

use adyton_attestation::{EndorsementBundle, Evidence};
use adyton_fake_tee::{Fault, Site};
use serde_json::Value;

use crate::genuine::{ENDORSEMENTS, NOW, QUOTES, TEE, judge};

static EVIDENCE: LazyLock<Evidence> =
    LazyLock::new(|| Evidence::parse_file(&QUOTES[0]).expect("a genuine quote parses"));

static CLAIMS: LazyLock<Value> = LazyLock::new(|| {
    let verified = judge(&EVIDENCE, &ENDORSEMENTS).expect("a genuine quote verifies");
    serde_json::to_value(verified.get()).expect("claims serialise")
});

/// Parses; what is written again reads the same; and a bundle that was changed by anybody leads
/// either to a refusal or to the very claims that the genuine bundle leads to.
pub fn run(data: &[u8]) {
    let Ok(bundle) = EndorsementBundle::parse(data) else {
        return;
    };
    let text = bundle.to_json();
    let again = EndorsementBundle::parse(text.as_bytes()).expect("our own text parses");
    assert_eq!(again.to_json(), text);
    if let Ok(verified) = judge(&EVIDENCE, &bundle) {
        let claims = serde_json::to_value(verified.get()).expect("claims serialise");
        assert_eq!(claims, *CLAIMS, "changed endorsements changed the claims");
    }
}

/// The sound bundle, the bare object inside it, and one bundle per fault.
pub fn seeds() -> Vec<Vec<u8>> {
    let faulty = Fault::ALL
        .iter()
        .filter(|fault| fault.site() == Site::Endorsements)
        .map(|fault| TEE.endorsement_bundle(NOW, &[*fault]));
    [
        TEE.endorsement_bundle(NOW, &[]),
        TEE.collateral(NOW, &[]),
        serde_json::json!({ "version": 1, "tdx": [] }),
        serde_json::json!({ "version": 2, "intel": [TEE.collateral(NOW, &[])], "amd": {}, "nvidia": {} }),
        serde_json::json!({ "version": 3, "intel": [] }),
    ]
    .into_iter()
    .chain(faulty)
    .map(|value| value.to_string().into_bytes())
    .collect()
}
