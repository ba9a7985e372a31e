//! The record of a climb: what the Verifier leaves open, and what stands there once others have decided.

use adyton_attestation::verifier::{LeftTo, NotApplicable, Outcome};
use adyton_attestation::{
    EndorsementBundle, Evidence, Ladder, Reason, TrustAnchors, UnixTime, replay,
};
use adyton_fake_tee::{FakeTee, TdProfile};

const NOW: u64 = 1_800_000_000;

#[test]
fn what_a_climb_leaves_open_is_entered_when_it_was_asked() {
    let tee = FakeTee::from_seed([7; 32], NOW);
    let quote = tee.quote(&TdProfile::default(), [0x5a; 64]);
    let evidence = Evidence::parse_file(&quote).expect("a quote");
    let bundle = tee.endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors =
        TrustAnchors::vendor().with_insecure_extra_root(tee.root_pem().as_bytes()).expect("a root");
    let climbed = || replay(&evidence, &bundle, &anchors, UnixTime(NOW));
    let outcome = |ladder: &Ladder, id: &str| {
        let rung = ladder.rungs.iter().find(|rung| rung.id == id).expect("every rung");
        rung.outcome.clone()
    };
    let reason = |code: &'static str, rung: &str| {
        Reason::new(code, rung, "claim", ("one value", "another"), "do so")
    };

    let mut accepted = climbed();
    accepted.settle_challenge(None);
    accepted.settle_appraisal(&[]);
    for id in ["T18", "T11", "T15", "T17"] {
        assert_eq!(outcome(&accepted, id), Outcome::Passed, "{id}");
    }

    let mut refused = climbed();
    let (status, mrtd) = (reason("tdx.tcb.status", "T8"), reason("tdx.measurement.mrtd", "T11"));
    refused.settle_appraisal(&[status.clone(), mrtd.clone()]);
    // The policy says no at a rung that the Verifier passed: the picture shows the no.
    assert_eq!(outcome(&refused, "T8"), Outcome::Failed(status));
    assert_eq!(outcome(&refused, "T11"), Outcome::Failed(mrtd));
    assert_eq!(outcome(&refused, "T15"), Outcome::Passed);
    assert_eq!(outcome(&refused, "T18"), Outcome::LeftTo(LeftTo::Challenge), "nobody compared");

    let mut rego = climbed();
    rego.settle_rego_alone();
    assert_eq!(outcome(&rego, "T11"), Outcome::NotApplicable(NotApplicable::RegoAlone));

    let mut other = climbed();
    let data = reason("tdx.report-data", "T18");
    other.settle_challenge(Some(&data));
    assert_eq!(outcome(&other, "T18"), Outcome::Failed(data.clone()));
    let mut unsound = replay(&evidence, &EndorsementBundle::empty(), &anchors, UnixTime(NOW));
    unsound.settle_challenge(Some(&data));
    assert_eq!(outcome(&unsound, "T18"), Outcome::NotReached, "nobody got that far");
}
