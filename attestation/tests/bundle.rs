//! The file of Endorsements: versions, listing, merging, pruning, bounds.

use adyton_attestation::endorsement::{Freshness, ItemKind};
use adyton_attestation::limits::{MAX_ENDORSEMENT_BUNDLE_LEN, MAX_ENDORSEMENT_ENTRIES};
use adyton_attestation::{
    EndorsementBundle, EndorsementError, Evidence, ReportData, TrustAnchors, UnixTime, verify,
};
use adyton_fake_tee::{FakeTee, Fault, TdProfile};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn tee() -> FakeTee {
    FakeTee::from_seed([9; 32], NOW)
}

fn parsed(value: &Value) -> EndorsementBundle {
    EndorsementBundle::parse(value.to_string().as_bytes()).expect("a bundle")
}

#[test]
fn all_three_forms_say_the_same_and_are_written_as_version_2() {
    let collateral = tee().collateral(NOW, &[]);
    let forms = [
        collateral.clone(),
        json!({ "version": 1, "tdx": [collateral] }),
        json!({ "version": 2, "intel": [collateral] }),
        json!({ "version": 2, "intel": [collateral], "amd": {}, "nvidia": {} }),
    ];
    let written: Vec<String> = forms.iter().map(|form| parsed(form).to_json()).collect();
    assert!(written.iter().all(|text| *text == written[0]));
    assert_eq!(serde_json::from_str::<Value>(&written[0]).expect("JSON")["version"], 2);
    assert_eq!(EndorsementBundle::parse(written[0].as_bytes()).expect("ours").len(), 1);
}

#[test]
fn a_bundle_that_went_through_a_file_verifies_the_same_evidence() {
    let tee = tee();
    let bundle = parsed(&tee.endorsement_bundle(NOW, &[]));
    let again = EndorsementBundle::parse(bundle.to_json().as_bytes()).expect("our own");
    let quote = tee.quote(&TdProfile::default(), [7; 64]);
    let evidence = Evidence::parse_file(&quote).expect("a quote");
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee.root_der()).expect("root");
    verify(&evidence, &again, &anchors, &ReportData([7; 64]), UnixTime(NOW)).expect("verifies");
}

#[test]
fn each_item_has_its_kind_subject_dates_and_digest() {
    let items = parsed(&tee().endorsement_bundle(NOW, &[])).items();
    let kinds: Vec<ItemKind> = items.iter().map(|item| item.kind).collect();
    assert_eq!(
        kinds,
        [
            ItemKind::IntelTcbInfo,
            ItemKind::IntelQeIdentity,
            ItemKind::IntelPckCrl,
            ItemKind::IntelRootCrl,
            ItemKind::IntelSignerChain,
            ItemKind::IntelSignerChain,
            ItemKind::IntelSignerChain,
        ]
    );
    assert_eq!(items[0].subject, format!("{} TDX", hex::encode(tee().fmspc())));
    assert!(items.iter().all(|item| item.freshness(UnixTime(NOW)) == Freshness::Fresh));
    assert!(items.iter().all(|item| item.sha256.len() == 64));
    let last_week = UnixTime(NOW + 25 * DAY);
    assert_eq!(items[0].freshness(last_week), Freshness::StaleWithinGrace);
    assert_eq!(items[0].freshness(UnixTime(NOW + 31 * DAY)), Freshness::Expired);
}

#[test]
fn a_list_that_is_missing_is_an_unreadable_item() {
    let items = parsed(&tee().endorsement_bundle(NOW, &[Fault::MissingCrl])).items();
    let list = items.iter().find(|item| item.kind == ItemKind::IntelPckCrl).expect("listed");
    assert_eq!(list.freshness(UnixTime(NOW)), Freshness::Unreadable);
}

#[test]
fn merging_adds_what_is_new_and_nothing_twice() {
    let one = parsed(&tee().endorsement_bundle(NOW, &[]));
    let later = parsed(&tee().endorsement_bundle(NOW + DAY, &[]));
    let merged = one.clone().merge(one.clone()).expect("fits");
    assert_eq!(merged.len(), 1);
    let merged = merged.merge(later).expect("fits").merge(one).expect("fits");
    assert_eq!(merged.len(), 2);
    assert_eq!(merged.items().len(), 7 + 4, "chains are shared, documents and lists are not");
}

#[test]
fn pruning_drops_what_expired_and_what_a_newer_one_replaces() {
    let at = |now| parsed(&tee().endorsement_bundle(now, &[]));
    let both = at(NOW).merge(at(NOW + 10 * DAY)).expect("fits");
    let kept = both.clone().pruned(UnixTime(NOW + 11 * DAY));
    assert_eq!(kept.to_json(), at(NOW + 10 * DAY).to_json());
    // The newer one does not count yet, so the older stays.
    assert_eq!(both.clone().pruned(UnixTime(NOW)).len(), 2);
    assert_eq!(both.pruned(UnixTime(NOW + 60 * DAY)).len(), 0);
}

#[test]
fn a_bundle_of_an_unknown_version_or_with_unknown_members_is_refused() {
    let refusal =
        |value: Value| EndorsementBundle::parse(value.to_string().as_bytes()).expect_err("refused");
    assert!(matches!(refusal(json!({ "version": 3 })), EndorsementError::Version { got: 3 }));
    assert!(matches!(refusal(json!({ "version": 0 })), EndorsementError::Version { got: 0 }));
    for unknown in [
        json!({ "version": 2, "tdx": [] }),
        json!({ "version": 2, "arm": {} }),
        json!({ "version": 2, "amd": { "more": 1 } }),
        json!({ "version": 2, "nvidia": { "more": 1 } }),
        json!({ "version": 1, "intel": [] }),
        json!({ "version": "2" }),
    ] {
        assert!(matches!(refusal(unknown.clone()), EndorsementError::Json(_)), "{unknown}");
    }
    let twice = br#"{"version":1,"version":2,"intel":[]}"#;
    assert!(matches!(EndorsementBundle::parse(twice), Err(EndorsementError::Json(_))));
}

#[test]
fn a_bundle_is_bounded_in_bytes_entries_and_depth() {
    let long = vec![b' '; MAX_ENDORSEMENT_BUNDLE_LEN + 1];
    assert!(matches!(
        EndorsementBundle::parse(&long),
        Err(EndorsementError::TooLarge { what: "bundle", .. })
    ));

    // Small but well-formed entries: the list stops at the first one too many, before any is looked at.
    let members = [
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
    ];
    let entry: serde_json::Map<_, _> =
        members.iter().map(|member| ((*member).to_owned(), json!(""))).collect();
    let of = |count| json!({ "version": 2, "intel": vec![Value::from(entry.clone()); count] });
    let refusal =
        |count| EndorsementBundle::parse(of(count).to_string().as_bytes()).expect_err("refused");
    let EndorsementError::Json(error) = refusal(MAX_ENDORSEMENT_ENTRIES + 1) else {
        panic!("read to the end");
    };
    assert!(error.to_string().contains("at most 1024 entries"), "{error}");
    assert!(matches!(refusal(MAX_ENDORSEMENT_ENTRIES), EndorsementError::Member { .. }));

    let deep = format!("{{\"version\":2,\"x\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    assert!(matches!(EndorsementBundle::parse(deep.as_bytes()), Err(EndorsementError::Json(_))));
}
