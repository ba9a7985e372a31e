//! The exchange without a network: what is asked, what passes, what does not.

use adyton_fake_tee::{FakeTee, TdProfile};
use serde_json::json;

use super::*;
use crate::binding::{BindingLevel, ChannelBinding, ReportBinding};
use crate::challenge::Nonce;
use crate::claims::{ChipId, Ppid};
use crate::reference_value::ReferenceValues;
use crate::report::ReportError;
use crate::unix_time::UnixTime;
use crate::verifier::{Loosened, ParavisorTds, VerifyError};

const NOW: UnixTime = UnixTime(1_800_000_000);
const MANIFEST: [u8; 32] = [2; 32];
const CONFIG: [u8; 32] = [3; 32];
const HERE: ObservedConnection =
    ObservedConnection { peer_spki_sha256: [1; 32], exporter: [4; 32] };

fn tee() -> FakeTee {
    FakeTee::from_seed([7; 32], NOW.0)
}

fn trust() -> PeerTrust {
    let bundle = tee().endorsement_bundle(NOW.0, &[]).to_string();
    PeerTrust::strict(
        EndorsementBundle::parse(bundle.as_bytes()).unwrap(),
        TrustAnchors::vendor().with_insecure_extra_root(tee().root_pem().as_bytes()).unwrap(),
    )
}

/// The answer of a sidecar that sees the connection so.
fn reply(target: &str, seen: ObservedConnection, level: BindingLevel) -> Vec<u8> {
    reply_of(&TdProfile::default(), target, seen, level)
}

fn reply_of(
    td: &TdProfile,
    target: &str,
    seen: ObservedConnection,
    level: BindingLevel,
) -> Vec<u8> {
    let query = target.split_once('?').unwrap().1;
    let nonce = query.split('&').find_map(|pair| pair.strip_prefix("nonce=")).unwrap();
    let channel = match level {
        BindingLevel::Certificate => ChannelBinding::Certificate,
        BindingLevel::Channel => ChannelBinding::Exporter(seen.exporter),
    };
    let binding = ReportBinding {
        nonce: &Nonce::parse_base64url(nonce).unwrap(),
        spki_sha256: seen.peer_spki_sha256,
        manifest_digest: MANIFEST,
        config_digest: CONFIG,
        channel,
    };
    let evidence = tee().primary_evidence(td, binding.report_data().0, &[]);
    json!({
        "version": 1, "tee": "tdx", "nonce": nonce, "binding": level, "evidence": evidence,
        "spki_sha256": hex::encode(seen.peer_spki_sha256),
        "manifest_digest": hex::encode(MANIFEST), "config_digest": hex::encode(CONFIG),
        "model": { "name": "m", "version": 3, "id": "00", "kid": "kbs:///a/b/c" },
        "protections": { "key_memory": "mlock", "dumpable": false, "core_files": false, "swap": false },
        "phase": "ready", "insecure": [], "software": "test",
    })
    .to_string()
    .into_bytes()
}

fn peer() -> VerifiedPeer {
    let exchange = ChannelExchange::begin(HERE).unwrap();
    let body = reply(&exchange.target(), HERE, BindingLevel::Channel);
    exchange.answer(&body).unwrap().verify(&trust(), NOW).unwrap()
}

fn expectations() -> Expectations {
    let text = tee().reference_values(&TdProfile::default());
    Expectations::of_software(vec![ReferenceValues::parse_toml(&text).unwrap()])
}

fn codes(expectations: &Expectations) -> Vec<String> {
    let refusal = peer().appraise(expectations, NOW).unwrap_err();
    refusal.reasons.into_iter().map(|reason| reason.code.into_owned()).collect()
}

#[test]
fn a_question_names_its_level_and_no_two_have_the_same_nonce() {
    let (one, two) = (ChannelExchange::begin(HERE).unwrap(), ChannelExchange::begin(HERE).unwrap());
    assert!(one.target().starts_with("/.well-known/adyton/attestation?nonce="));
    assert!(one.target().ends_with("&bind=exporter"));
    assert_ne!(one.target(), two.target());
    let weak = RelayableExchange::begin(HERE).unwrap();
    assert!(weak.target().ends_with("&bind=certificate"));
}

#[test]
fn the_other_end_of_this_connection_is_verified_and_accepted() {
    let peer = peer();
    assert_eq!(peer.level(), BindingLevel::Channel);
    assert_eq!(peer.instance().machine, Machine::Ppid(Ppid(tee().ppid())));
    assert_eq!(peer.instance().spki_sha256, HERE.peer_spki_sha256);
    let accepted = peer.appraise(&expectations(), NOW).unwrap();
    assert_eq!(accepted.report().manifest_digest, MANIFEST);
}

#[test]
fn an_answer_from_another_connection_is_refused_at_level_channel_only() {
    let elsewhere = ObservedConnection { exporter: [5; 32], ..HERE };
    let exchange = ChannelExchange::begin(HERE).unwrap();
    let body = reply(&exchange.target(), elsewhere, BindingLevel::Channel);
    let refused = exchange.answer(&body).unwrap().verify(&trust(), NOW).unwrap_err();
    let ReportError::Verify { source, .. } = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, VerifyError::ReportData { .. }), "{source:?}");

    let exchange = RelayableExchange::begin(HERE).unwrap();
    let body = reply(&exchange.target(), elsewhere, BindingLevel::Certificate);
    let relayed = exchange.answer(&body).unwrap().verify(&trust(), NOW).unwrap();
    assert_eq!(relayed.level(), BindingLevel::Certificate);
    relayed.appraise(&expectations(), NOW).unwrap();
}

#[test]
fn a_paravisors_td_passes_by_two_words_of_the_caller_and_not_by_one() {
    let td = TdProfile { td_attributes: 0, ..TdProfile::default() };
    let answered = |trust: &PeerTrust| {
        let exchange = ChannelExchange::begin(HERE).unwrap();
        let body = reply_of(&td, &exchange.target(), HERE, BindingLevel::Channel);
        exchange.answer(&body).unwrap().verify(trust, NOW)
    };
    let refused = answered(&trust()).unwrap_err();
    let ReportError::Verify { source, .. } = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, VerifyError::SeptVeDisable { .. }), "{source:?}");

    let mut loosened = trust();
    loosened.options.paravisor_tds = ParavisorTds::InsecureAccept;
    assert_eq!(loosened.options.loosened(), [Loosened::ParavisorTds]);
    let denied = answered(&loosened).unwrap().appraise(&expectations(), NOW).unwrap_err();
    let codes: Vec<&str> = denied.reasons.iter().map(|reason| reason.code.as_ref()).collect();
    assert_eq!(codes, ["tdx.td-attributes.paravisor"]);

    let mut reckless = expectations();
    reckless.policy.tdx.insecure_accept_paravisor_tds = true;
    answered(&loosened).unwrap().appraise(&reckless, NOW).unwrap();
}

#[test]
fn the_weaker_answer_does_not_pass_for_the_stronger() {
    let exchange = ChannelExchange::begin(HERE).unwrap();
    let body = reply(&exchange.target(), HERE, BindingLevel::Certificate);
    let refused = exchange.answer(&body).unwrap().verify(&trust(), NOW).unwrap_err();
    assert!(matches!(refused, ReportError::Level { .. }), "{refused:?}");
}

#[test]
fn an_answer_to_another_question_is_refused() {
    let other = ChannelExchange::begin(HERE).unwrap();
    let body = reply(&other.target(), HERE, BindingLevel::Channel);
    let exchange = ChannelExchange::begin(HERE).unwrap();
    let refused = exchange.answer(&body).unwrap().verify(&trust(), NOW).unwrap_err();
    assert!(matches!(refused, ReportError::Nonce), "{refused:?}");
}

#[test]
fn another_model_configuration_or_version_is_refused_by_its_own_code() {
    let manifest = ExpectedDigest::Exactly([9; 32]);
    assert_eq!(
        codes(&Expectations { manifest_digest: manifest, ..expectations() }),
        ["model.manifest-digest"]
    );
    let config = ExpectedDigest::Exactly([9; 32]);
    assert_eq!(codes(&Expectations { config_digest: config, ..expectations() }), ["config.digest"]);
    assert_eq!(
        codes(&Expectations { minimum_model_version: 4, ..expectations() }),
        ["model.version"]
    );
    let met = Expectations {
        manifest_digest: ExpectedDigest::Exactly(MANIFEST),
        config_digest: ExpectedDigest::Exactly(CONFIG),
        minimum_model_version: 3,
        ..expectations()
    };
    peer().appraise(&met, NOW).unwrap();
}

#[test]
fn without_reference_values_nobody_is_accepted() {
    assert_eq!(codes(&Expectations::of_software(Vec::new())), ["reference-values.none-named"]);
}

#[test]
fn a_pinned_machine_and_key_match_only_themselves() {
    let ours = PinnedInstance::Ppid(Ppid(tee().ppid()));
    let key = PinnedInstance::ServingKey(HERE.peer_spki_sha256);
    let pinned = |pins: &[PinnedInstance]| Expectations {
        pins: Pins::OneOf(pins.to_vec()),
        ..expectations()
    };
    for accepted in
        [&[ours][..], &[key], &[ours, key], &[PinnedInstance::ChipId(ChipId([0; 64])), ours]]
    {
        peer().appraise(&pinned(accepted), NOW).unwrap();
    }
    let other = PinnedInstance::Ppid(Ppid([0; 16]));
    let other_key = PinnedInstance::ServingKey([9; 32]);
    assert_eq!(codes(&pinned(&[other])), ["instance.machine"]);
    assert_eq!(codes(&pinned(&[PinnedInstance::ChipId(ChipId([0; 64]))])), ["instance.machine"]);
    assert_eq!(codes(&pinned(&[other_key])), ["instance.serving-key"]);
    // Both kinds pinned: both have to match.
    assert_eq!(codes(&pinned(&[ours, other_key])), ["instance.serving-key"]);
    assert_eq!(codes(&pinned(&[other, key])), ["instance.machine"]);
    assert_eq!(codes(&pinned(&[other, other_key])), ["instance.machine", "instance.serving-key"]);
    assert_eq!(codes(&pinned(&[])), ["instance.none-pinned"]);
}

#[test]
fn a_machine_that_does_not_name_itself_matches_no_pin_of_a_machine() {
    assert_eq!(Machine::of_chip(ChipId([7; 64])), Machine::ChipId(ChipId([7; 64])));
    // Zeros are what every processor with MaskChipId reports.
    let masked = Instance { machine: Machine::of_chip(ChipId([0; 64])), spki_sha256: [1; 32] };
    assert_eq!(masked.machine, Machine::NotStated);
    let pins = Pins::OneOf(vec![PinnedInstance::ChipId(ChipId([0; 64]))]);
    let reasons = pins.reasons_against(&masked);
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].code, "instance.machine");
    assert!(
        Pins::OneOf(vec![PinnedInstance::ServingKey([1; 32])]).reasons_against(&masked).is_empty()
    );
}

#[test]
fn a_pin_is_written_as_it_is_read() {
    for text in [
        format!("ppid:{}", "ab".repeat(16)),
        format!("chip-id:{}", "cd".repeat(64)),
        format!("spki:{}", "ef".repeat(32)),
    ] {
        let pin: PinnedInstance = text.parse().unwrap();
        assert_eq!(pin.to_string(), text);
    }
    for text in ["", "ppid", "ppid:", "ppid:ab", "chip-id:00", "spki:zz", "key:00", "PPID:00"] {
        assert_eq!(text.parse::<PinnedInstance>(), Err(PinParseError), "{text}");
    }
}
