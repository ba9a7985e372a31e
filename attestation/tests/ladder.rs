//! Each rung of the TDX ladder with a case that fails exactly there.
//!
//! The fake TEE makes Evidence and Endorsements in the real formats under a root of its own, with one
//! fault each; the Verifier is told to trust that root through `insecure_extra_roots` and is otherwise
//! the one of production.

use std::sync::LazyLock;

use adyton_attestation::claims::{AnchorUsed, AttributesProfile, Claims, TcbStatus, TdxClaims};
use adyton_attestation::evidence::EvidenceError;
use adyton_attestation::reference_value::TdxReferenceValues;
use adyton_attestation::verifier::chain::{ChainError, RevocationError};
use adyton_attestation::verifier::{Document, LeftTo, Outcome};
use adyton_attestation::{
    AmdRevocation, AppraisalPolicy, AppraisalRefusal, AttestationResult, DebugGuests,
    EndorsementBundle, Evidence, ParavisorTds, Reason, ReferenceValues, ReportData, SignatureCache,
    Tee, TrustAnchors, UnixTime, Verified, VerifyError, VerifyOptions, appraise, replay,
    replay_with, verify, verify_cached, verify_with,
};
use adyton_fake_tee::{FakeEventLog, FakeTee, Fault, QuoteFormat, Site, TdProfile};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;
const REPORT_DATA: [u8; 64] = [0x5a; 64];

/// One machine for all tests: making its certificates is the slow part.
fn tee() -> &'static FakeTee {
    static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([7; 32], NOW));
    &TEE
}

fn anchors(tee: &FakeTee) -> TrustAnchors {
    TrustAnchors::vendor().with_insecure_extra_root(tee.root_pem().as_bytes()).expect("a root")
}

fn bundle(tee: &FakeTee, faults: &[Fault]) -> EndorsementBundle {
    EndorsementBundle::parse(tee.endorsement_bundle(NOW, faults).to_string().as_bytes())
        .expect("a bundle")
}

fn quote(tee: &FakeTee, faults: &[Fault]) -> Vec<u8> {
    let profile = TdProfile::default().with_faults(faults);
    tee.faulty_quote(&profile, REPORT_DATA, faults)
}

/// What the Verifier says to Evidence and Endorsements with these faults.
fn verified_with(
    faults: &[Fault],
    options: &VerifyOptions,
) -> Result<Verified<Claims>, VerifyError> {
    let tee = tee();
    let evidence = Evidence::parse_file(&quote(tee, faults))?;
    verify_with(
        &evidence,
        &bundle(tee, faults),
        &anchors(tee),
        &ReportData(REPORT_DATA),
        UnixTime(NOW),
        options,
    )
}

fn verified(faults: &[Fault]) -> Result<Verified<Claims>, VerifyError> {
    verified_with(faults, &VerifyOptions::default())
}

fn claims(verified: &Verified<Claims>) -> &TdxClaims {
    let Claims::Tdx(claims) = verified.get() else { panic!("TDX claims") };
    claims
}

/// The quote with its event log, as a KBS client sends it: only so a fault of the log shows.
fn verified_with_log(fault: Fault) -> Result<Verified<Claims>, VerifyError> {
    let tee = tee();
    let profile = TdProfile::default().with_event_log(FakeEventLog::default());
    let json = tee.primary_evidence(&profile, REPORT_DATA, &[fault]);
    let evidence = Evidence::parse_kbs(Tee::Tdx, &json)?;
    let expected = ReportData(REPORT_DATA);
    verify(&evidence, &bundle(tee, &[]), &anchors(tee), &expected, UnixTime(NOW))
}

#[test]
fn every_fault_is_refused_at_its_own_rung_with_its_own_code() {
    let (mut refused, mut left_to_appraisal) = (0, 0);
    for &fault in Fault::ALL {
        let Some(expected) = fault.refusal() else { continue };
        let result = match fault.site() {
            Site::EventLog => verified_with_log(fault),
            Site::Evidence | Site::Endorsements | Site::GuestApi => verified(&[fault]),
        };
        if fault.is_for_appraisal() {
            assert!(result.is_ok(), "{fault}: {result:?}");
            left_to_appraisal += 1;
            continue;
        }
        let error = result.map(|_| ()).expect_err(fault.name());
        let reasons = error.reasons();
        assert_eq!((error.rung(), &*reasons[0].code), expected, "{fault}: {error:?}");
        assert_eq!(reasons.len(), 1, "{fault}");
        assert_complete(&reasons[0]);
        refused += 1;
    }
    assert_eq!((refused, left_to_appraisal), (80, 8), "added a fault? raise this number, too");
}

#[test]
fn every_rung_of_the_verifier_has_a_fault() {
    let is_of =
        |rung: &str| Fault::ALL.iter().any(|fault| fault.refusal().is_some_and(|of| of.0 == rung));
    for rung in (1..=18).map(|number| format!("T{number}")) {
        // Ages and platforms are the policy's, and no fault of anybody's: `tdx_policy.rs`.
        assert_eq!(is_of(&rung), !matches!(&*rung, "T15" | "T17"), "{rung}");
    }
}

/// Every refusal tells a person what was looked at, expected, there, and what to do.
fn assert_complete(reason: &Reason) {
    for text in [&reason.claim, &reason.expected, &reason.got, &reason.remedy] {
        assert!(!text.is_empty(), "{reason:?}");
    }
    assert!(reason.remedy.len() > 20, "{reason:?}");
}

#[test]
fn sound_evidence_climbs_the_whole_ladder() {
    for format in QuoteFormat::ALL {
        let tee = tee();
        let profile = TdProfile { format, ..TdProfile::default() };
        let bytes = tee.quote(&profile, REPORT_DATA);
        let evidence = Evidence::parse_file(&bytes).expect("a quote");
        let verified = verify(
            &evidence,
            &bundle(tee, &[]),
            &anchors(tee),
            &ReportData(REPORT_DATA),
            UnixTime(NOW),
        )
        .unwrap_or_else(|error| panic!("{format:?}: {error:?}"));
        let claims = claims(&verified);
        assert_eq!(claims.tcb_status, TcbStatus::UpToDate);
        assert_eq!(claims.mrtd.0, profile.mrtd);
        assert_eq!(claims.fmspc.0, tee.fmspc());
        assert_eq!(claims.ppid.0, tee.ppid());
        assert_eq!(claims.collateral.issued, UnixTime(NOW - 60 * 60));
        assert!(matches!(claims.root, AnchorUsed::InsecureExtra { .. }));
    }
}

#[test]
fn zero_padding_is_cut_off() {
    let tee = tee();
    let profile = TdProfile { pad_to: 8000, ..TdProfile::default() };
    let bytes = tee.quote(&profile, REPORT_DATA);
    assert_eq!(bytes.len(), 8000);
    let Ok(Evidence::Tdx(evidence)) = Evidence::parse_file(&bytes) else { panic!("a quote") };
    assert!(evidence.raw().len() < 8000);
}

#[test]
fn a_simulated_tee_is_refused_unless_its_root_is_listed() {
    let tee = tee();
    let evidence = Evidence::parse_file(&quote(tee, &[])).expect("a quote");
    let refusal = verify(
        &evidence,
        &bundle(tee, &[]),
        &TrustAnchors::vendor(),
        &ReportData(REPORT_DATA),
        UnixTime(NOW),
    )
    .map(|_| ())
    .expect_err("not the vendor's");
    let VerifyError::PckChain { anchor: AnchorUsed::Vendor, source } = &refusal else {
        panic!("{refusal:?}")
    };
    assert!(matches!(source, ChainError::UnknownIssuer { .. }), "{source:?}");
    assert!(refusal.reasons()[0].remedy.contains("insecure_extra_roots"));
}

#[test]
fn an_extra_root_is_named_wherever_it_is_used() {
    let tee = tee();
    let digest = hex::encode(ring::digest::digest(&ring::digest::SHA256, tee.root_der()));
    let anchors = anchors(tee);
    assert_eq!(anchors.insecure_extra_roots(), std::slice::from_ref(&digest));
    let verified = verified(&[]).expect("verified");
    assert_eq!(claims(&verified).root, AnchorUsed::InsecureExtra { sha256: digest });
}

#[test]
fn a_root_of_the_same_name_does_not_stand_in_for_the_listed_one() {
    let refusal = verified(&[Fault::OtherRoot]).map(|_| ()).expect_err("another root");
    assert!(
        matches!(refusal, VerifyError::PckChain { source: ChainError::Signature { .. }, .. }),
        "{refusal:?}"
    );
}

#[test]
fn each_edge_of_validity_is_where_the_document_says() {
    let tee = tee();
    let evidence = Evidence::parse_file(&quote(tee, &[])).expect("a quote");
    let endorsements = bundle(tee, &[]);
    let at = |now: u64| {
        verify(&evidence, &endorsements, &anchors(tee), &ReportData(REPORT_DATA), UnixTime(now))
            .map(|_| ())
    };
    let issued = NOW - 60 * 60;
    let first = endorsements.entries().next().expect("one entry");
    assert_eq!(first.tcb_info_dates().issued, UnixTime(issued));
    let expires = first.tcb_info_dates().next_update.0;
    // A revocation list ends at its nextUpdate, not after it (RFC 5280 §5.1.2.5).
    assert!(at(issued).is_ok() && at(expires - 1).is_ok(), "the edges are inside");
    let early = at(issued - 1).expect_err("before issue");
    let source = RevocationError::NotYetValid {
        list: "root CA's revocation list",
        from: UnixTime(issued),
        now: UnixTime(issued - 1),
    };
    assert!(
        matches!(&early, VerifyError::Revocation { source: s, .. } if *s == source),
        "{early:?}"
    );
    let late = at(expires).expect_err("after nextUpdate");
    assert!(
        matches!(late, VerifyError::Revocation { source: RevocationError::Expired { .. }, .. }),
        "{late:?}"
    );
}

#[test]
fn the_newest_valid_endorsements_of_a_platform_type_are_chosen() {
    let tee = tee();
    let evidence = Evidence::parse_file(&quote(tee, &[])).expect("a quote");
    let stale = bundle(tee, &[Fault::ExpiredCollateral]);
    for both in [
        stale.clone().merge(bundle(tee, &[])).expect("two"),
        bundle(tee, &[]).merge(stale).expect("two"),
    ] {
        let result =
            verify(&evidence, &both, &anchors(tee), &ReportData(REPORT_DATA), UnixTime(NOW));
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn an_empty_bundle_verifies_nothing() {
    let tee = tee();
    let evidence = Evidence::parse_file(&quote(tee, &[])).expect("a quote");
    let refusal = verify(
        &evidence,
        &EndorsementBundle::empty(),
        &anchors(tee),
        &ReportData(REPORT_DATA),
        UnixTime(NOW),
    )
    .map(|_| ())
    .expect_err("no endorsements");
    assert!(matches!(refusal, VerifyError::NoEndorsements { .. }));
}

#[test]
fn a_bundle_survives_being_written_and_read() {
    let tee = tee();
    let once = bundle(tee, &[]);
    let twice = EndorsementBundle::parse(once.to_json().as_bytes()).expect("its own form");
    assert_eq!(once.to_json(), twice.to_json());
    let evidence = Evidence::parse_file(&quote(tee, &[])).expect("a quote");
    let result = verify(&evidence, &twice, &anchors(tee), &ReportData(REPORT_DATA), UnixTime(NOW));
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn a_replay_names_the_failed_rung_and_goes_on() {
    let tee = tee();
    let faults = [Fault::DebugTd, Fault::TamperedTcbInfo];
    let evidence = Evidence::parse_file(&quote(tee, &faults)).expect("a quote");
    let ladder = replay(&evidence, &bundle(tee, &faults), &anchors(tee), UnixTime(NOW));
    let failed: Vec<&str> = ladder
        .rungs
        .iter()
        .filter(|rung| matches!(rung.outcome, Outcome::Failed(_)))
        .map(|rung| rung.id)
        .collect();
    assert_eq!(failed, ["T4", "T9"]);
    assert!(!ladder.all_passed() && ladder.claims.is_none());
}

#[test]
fn a_replay_of_a_simulated_tee_without_its_root_fails_at_the_chain() {
    let evidence = Evidence::parse_file(&quote(tee(), &[])).expect("a quote");
    let vendor = TrustAnchors::vendor();
    let ladder = replay(&evidence, &bundle(tee(), &[]), &vendor, UnixTime(NOW));
    let failed: Vec<&str> = ladder
        .rungs
        .iter()
        .filter(|rung| matches!(rung.outcome, Outcome::Failed(_)))
        .map(|rung| rung.id)
        .collect();
    assert_eq!(failed, ["T2", "T3", "T4", "T5"], "nothing leads to the vendor's root");
}

#[test]
fn a_replay_without_endorsements_still_climbs_what_it_can() {
    let tee = tee();
    let evidence = Evidence::parse_file(&quote(tee, &[])).expect("a quote");
    let ladder = replay(&evidence, &EndorsementBundle::empty(), &anchors(tee), UnixTime(NOW));
    let outcome = |id: &str| {
        &ladder.rungs.iter().find(|rung| rung.id == id).expect("a rung of every ladder").outcome
    };
    assert!(matches!(outcome("T16"), Outcome::Failed(_)));
    assert_eq!(outcome("T7"), &Outcome::Passed);
    assert_eq!(outcome("T4"), &Outcome::NotReached);
    assert_eq!(outcome("T2"), &Outcome::Passed);
    assert_eq!(outcome("T6"), &Outcome::Passed);
    assert_eq!(outcome("T18"), &Outcome::LeftTo(LeftTo::Challenge));
    assert_eq!(outcome("T11"), &Outcome::LeftTo(LeftTo::Appraisal));
}

#[test]
fn a_debuggable_td_that_was_let_through_is_refused_by_the_appraisal() {
    let options = VerifyOptions {
        debug_guests: DebugGuests::InsecureLeaveToAppraisal,
        ..VerifyOptions::default()
    };
    let debug = || verified_with(&[Fault::DebugTd], &options).expect("let through");
    let refusal = appraised(debug(), &policy()).expect_err("debuggable");
    assert_eq!(codes(&refusal), ["tdx.td-attributes.debug"]);
    let reckless = AppraisalPolicy { insecure_allow_debug: true, ..policy() };
    assert!(appraised(debug(), &reckless).is_ok());
    // Profiling is no debugging: no option lets it through.
    let refusal = verified_with(&[Fault::ProfiledTd], &options).map(|_| ()).expect_err("profiled");
    assert!(matches!(refusal, VerifyError::ReservedAttributes { .. }));
}

/// Attributes as Azure's TDs have them: none.
fn paravisor_td() -> Evidence {
    let profile = TdProfile { td_attributes: 0, ..TdProfile::default() };
    Evidence::parse_file(&tee().quote(&profile, REPORT_DATA)).expect("a quote")
}

const PARAVISOR: VerifyOptions = VerifyOptions {
    debug_guests: DebugGuests::Refuse,
    paravisor_tds: ParavisorTds::InsecureAccept,
    amd_revocation: AmdRevocation::Require,
};

#[test]
fn a_td_without_attributes_passes_t9_only_on_request_and_says_so() {
    let (tee, evidence) = (tee(), paravisor_td());
    let verified = |options: &VerifyOptions| {
        let expected = ReportData(REPORT_DATA);
        verify_with(&evidence, &bundle(tee, &[]), &anchors(tee), &expected, UnixTime(NOW), options)
    };
    let refusal = verified(&VerifyOptions::default()).map(|_| ()).expect_err("strict");
    assert!(matches!(refusal, VerifyError::SeptVeDisable { .. }), "{refusal:?}");

    let accepted = verified(&PARAVISOR).expect("on request");
    assert_eq!(claims(&accepted).attributes_profile, AttributesProfile::AzureParavisor);
    let refusal = appraised(accepted, &policy()).expect_err("not without the policy's word");
    assert_eq!(codes(&refusal), ["tdx.td-attributes.paravisor"]);
    let mut reckless = policy();
    reckless.tdx.insecure_accept_paravisor_tds = true;
    assert!(appraised(refusal.verified, &reckless).is_ok());
}

#[test]
fn the_paravisor_option_lets_nothing_else_through() {
    // No bit but zero: LASS without SEPT_VE_DISABLE is no paravisor's TD.
    let profile = TdProfile { td_attributes: 1 << 27, ..TdProfile::default() };
    let tee = tee();
    let evidence = Evidence::parse_file(&tee.quote(&profile, REPORT_DATA)).expect("a quote");
    let refusal = verify_with(
        &evidence,
        &bundle(tee, &[]),
        &anchors(tee),
        &ReportData(REPORT_DATA),
        UnixTime(NOW),
        &PARAVISOR,
    )
    .map(|_| ())
    .expect_err("not zero");
    assert!(matches!(refusal, VerifyError::SeptVeDisable { .. }), "{refusal:?}");
    for fault in [Fault::DebugTd, Fault::MigratableTd, Fault::ProfiledTd] {
        let refusal = verified_with(&[fault], &PARAVISOR).map(|_| ()).expect_err("not for that");
        assert_eq!(refusal.rung(), "T9", "{fault}");
    }
    let verified = verified_with(&[], &PARAVISOR).expect("a standard TD");
    assert_eq!(claims(&verified).attributes_profile, AttributesProfile::Standard);
}

/// The code with which a TD of these attributes and features is refused, if it is.
fn refusal_of(td_attributes: u64, xfam: u64) -> Option<String> {
    static BUNDLE: LazyLock<EndorsementBundle> = LazyLock::new(|| bundle(tee(), &[]));
    let tee = tee();
    let profile = TdProfile { td_attributes, xfam, ..TdProfile::default() };
    let evidence = Evidence::parse_file(&tee.quote(&profile, REPORT_DATA)).expect("a quote");
    let expected = ReportData(REPORT_DATA);
    let verified = verify(&evidence, &BUNDLE, &anchors(tee), &expected, UnixTime(NOW));
    verified.err().map(|error| error.reasons()[0].code.clone().into_owned())
}

#[test]
fn each_bit_of_the_td_attributes_has_its_verdict() {
    const SEPT_VE_DISABLE: u64 = 1 << 28;
    let xfam = TdProfile::default().xfam;
    for bit in 0..64 {
        let expected = match bit {
            // ICSSD, LASS, SEPT_VE_DISABLE itself, PKS, KL, PERFMON.
            16 | 27 | 28 | 30 | 31 | 63 => None,
            0 => Some("tdx.td-attributes.debug"),
            29 => Some("tdx.td-attributes.migratable"),
            _ => Some("tdx.td-attributes.reserved"),
        };
        let got = refusal_of(SEPT_VE_DISABLE | 1 << bit, xfam);
        assert_eq!(got.as_deref(), expected, "bit {bit}");
    }
}

#[test]
fn each_bit_of_the_xfam_has_its_verdict() {
    let attributes = TdProfile::default().td_attributes;
    for bit in 0..64 {
        let expected = match bit {
            0..=2 | 5..=9 | 11 | 12 | 14 | 15 | 17..=19 => None,
            _ => Some("tdx.xfam"),
        };
        assert_eq!(refusal_of(attributes, 0b11 | 1 << bit).as_deref(), expected, "bit {bit}");
    }
    for without in [0b00, 0b01, 0b10] {
        let refused = refusal_of(attributes, without);
        assert_eq!(refused.as_deref(), Some("tdx.xfam"), "every TD has x87 and SSE");
    }
}

#[test]
fn a_replay_shows_what_was_let_through() {
    let (tee, evidence) = (tee(), paravisor_td());
    let at = |options: &VerifyOptions| {
        replay_with(&evidence, &bundle(tee, &[]), &anchors(tee), UnixTime(NOW), options)
    };
    let strict = at(&VerifyOptions::default());
    assert_eq!(strict.reasons()[0].code, "tdx.td-attributes.sept-ve-disable");
    let loose = at(&PARAVISOR);
    assert!(loose.all_passed() && loose.reasons().is_empty());
    assert_eq!(loose.waived()[0].code, "tdx.td-attributes.sept-ve-disable");
    let line = loose.rungs.iter().find(|rung| rung.id == "T9").expect("T9").to_string();
    assert!(line.starts_with("! T9") && line.contains("INSECURE"), "{line}");
}

#[test]
fn a_cache_changes_no_verdict() {
    let (tee, cache) = (tee(), SignatureCache::new());
    let (anchors, options) = (anchors(tee), VerifyOptions::default());
    let ask = |bytes: &[u8], endorsements: &EndorsementBundle, now: u64| {
        let evidence = Evidence::parse_file(bytes)?;
        let (expected, now) = (ReportData(REPORT_DATA), UnixTime(now));
        verify_cached(&evidence, endorsements, &anchors, &expected, now, &options, &cache)
            .map(|verified| claims(&verified).clone())
    };
    let sound = bundle(tee, &[]);
    let cold = ask(&quote(tee, &[]), &sound, NOW).expect("sound");
    // PCK certificate, PCK CA, both lists, TCB signer, both documents, QE report.
    assert_eq!(cache.len(), 8);
    assert_eq!(ask(&quote(tee, &[]), &sound, NOW).expect("warm"), cold);
    assert_eq!(cache.len(), 8);

    // A warm cache refuses each fault at the rung where an empty one does.
    let mut refused = 0;
    for &fault in Fault::ALL.iter().filter(|fault| !fault.is_for_appraisal()) {
        if !matches!(fault.site(), Site::Evidence | Site::Endorsements) {
            continue;
        }
        let refusal = ask(&quote(tee, &[fault]), &bundle(tee, &[fault]), NOW);
        let refusal = refusal.expect_err("a fault");
        let found = (refusal.rung(), &*refusal.reasons()[0].code);
        assert_eq!(Some(found), fault.refusal(), "{fault}");
        refused += 1;
    }
    assert_eq!(refused, 67);
    assert_eq!(cache.len(), 8, "what was refused leaves nothing");
    // Dates are compared every time.
    let late = ask(&quote(tee, &[]), &sound, NOW + 60 * DAY).expect_err("expired");
    assert_eq!(late.rung(), "T3");
}

// ---- Appraisal: rungs T8 (status), T11, T15, T17 ----

fn references() -> TdxReferenceValues {
    match ReferenceValues::parse_toml(&tee().reference_values(&TdProfile::default())) {
        Ok(ReferenceValues::Tdx(set)) => set,
        other => panic!("a TDX set, not {other:?}"),
    }
}

fn policy() -> AppraisalPolicy {
    AppraisalPolicy { reference_values: vec![references().name], ..AppraisalPolicy::default() }
}

fn appraised(
    verified: Verified<Claims>,
    policy: &AppraisalPolicy,
) -> Result<AttestationResult, AppraisalRefusal> {
    appraise(verified, &[references().into()], policy, UnixTime(NOW))
}

fn codes(refusal: &AppraisalRefusal) -> Vec<&str> {
    refusal.reasons.iter().map(|reason| &*reason.code).collect()
}

#[test]
fn the_expected_system_is_accepted() {
    let result = appraised(verified(&[]).expect("verified"), &policy()).expect("accepted");
    assert_eq!(result.matched_reference_values(), references().name);
    assert_eq!(result.appraised_at(), UnixTime(NOW));
    assert_eq!(result.expires(), UnixTime(NOW + 300));
    assert_eq!(result.policy_digest(), policy().digest());
    // The same verified claims can be appraised for another key.
    let nothing = AppraisalPolicy::default();
    let refusal = appraise(result.into_verified(), &[references().into()], &nothing, UnixTime(NOW))
        .expect_err("a policy that names nothing");
    assert_eq!(codes(&refusal), ["reference-values.none-named"]);
    assert!(appraised(refusal.verified, &policy()).is_ok());
}

#[test]
fn every_difference_from_the_policy_is_one_reason() {
    let cases: [(&[Fault], &[&str]); 10] = [
        (&[Fault::StaleTcb], &["tdx.tcb.status", "tdx.tcb.advisory"]),
        (&[Fault::StaleQe], &["tdx.tcb.status"]),
        (&[Fault::StaleTdxModule], &["tdx.tcb.status"]),
        (&[Fault::OtherMeasurement], &["tdx.measurement.mrtd"]),
        (&[Fault::OtherRtmr], &["tdx.measurement.rtmr2"]),
        (&[Fault::OtherConfigId], &["tdx.measurement.mrconfigid"]),
        (&[Fault::OtherOwner], &["tdx.measurement.mrowner"]),
        (&[Fault::OtherSeam], &[]),
        (
            &[Fault::OtherMeasurement, Fault::OtherRtmr],
            &["tdx.measurement.mrtd", "tdx.measurement.rtmr2"],
        ),
        (
            &[Fault::StaleTcb, Fault::OtherMeasurement],
            &["tdx.tcb.status", "tdx.tcb.advisory", "tdx.measurement.mrtd"],
        ),
    ];
    for (faults, expected) in cases {
        let verified = verified(faults).unwrap_or_else(|error| panic!("{faults:?}: {error:?}"));
        match appraised(verified, &policy()) {
            Ok(_) => assert!(expected.is_empty(), "{faults:?} was accepted"),
            Err(refusal) => {
                assert_eq!(codes(&refusal), expected, "{faults:?}");
                refusal.reasons.iter().for_each(assert_complete);
            }
        }
    }
}

#[test]
fn a_module_that_the_owner_pinned_must_be_that_module() {
    let mut pinned = references();
    pinned.mrseam = vec!["00".repeat(48).parse().expect("48 bytes")];
    let refusal =
        appraise(verified(&[]).expect("verified"), &[pinned.into()], &policy(), UnixTime(NOW))
            .expect_err("another module");
    assert_eq!(codes(&refusal), ["tdx.measurement.mrseam"]);
}

#[test]
fn no_reference_values_means_no() {
    let refusal = appraise(verified(&[]).expect("verified"), &[], &policy(), UnixTime(NOW))
        .expect_err("nothing to compare with");
    assert_eq!(codes(&refusal), ["reference-values.unknown"]);
}

#[test]
fn an_empty_list_of_a_register_matches_nothing() {
    let mut set = references();
    set.rtmr1.clear();
    let refusal =
        appraise(verified(&[]).expect("verified"), &[set.into()], &policy(), UnixTime(NOW))
            .expect_err("nothing listed");
    assert_eq!(codes(&refusal), ["tdx.measurement.rtmr1"]);
    assert!(refusal.reasons[0].expected.contains("lists none"), "{:?}", refusal.reasons);
}

#[test]
fn parts_of_two_sets_do_not_add_up_to_one() {
    let other: [&str; 1] = [&"11".repeat(48)];
    let other = other.map(|hex| hex.parse().expect("48 bytes")).to_vec();
    let (mut firmware, mut kernel) = (references(), references());
    firmware.name = "firmware".into();
    firmware.rtmr1.clone_from(&other);
    kernel.name = "kernel".into();
    kernel.mrtd = other;
    let policy = AppraisalPolicy {
        reference_values: vec!["firmware".into(), "kernel".into()],
        ..AppraisalPolicy::default()
    };
    let refusal = appraise(
        verified(&[]).expect("verified"),
        &[firmware.into(), kernel.into()],
        &policy,
        UnixTime(NOW),
    )
    .expect_err("no set matches as a whole");
    assert_eq!(refusal.reasons.len(), 1, "the nearest set is one register off");
}

#[test]
fn a_set_that_the_policy_does_not_name_does_not_count() {
    let policy =
        AppraisalPolicy { reference_values: vec!["another".into()], ..AppraisalPolicy::default() };
    let refusal = appraised(verified(&[]).expect("verified"), &policy).expect_err("not named");
    assert_eq!(codes(&refusal), ["reference-values.unknown"]);
}

#[test]
fn an_owner_can_accept_a_status_with_its_advisories_by_name() {
    let claims_of = || verified(&[Fault::StaleTcb]).expect("verified");
    let status = AppraisalPolicy {
        tcb_status: [TcbStatus::UpToDate, TcbStatus::OutOfDate].into(),
        ..policy()
    };
    let refusal = appraised(claims_of(), &status).expect_err("advisories");
    assert_eq!(codes(&refusal), ["tdx.tcb.advisory"]);
    let both = AppraisalPolicy {
        accepted_advisories: claims(&claims_of()).advisory_ids.iter().cloned().collect(),
        ..status
    };
    assert!(appraised(claims_of(), &both).is_ok());
}

#[test]
fn old_collateral_is_refused_even_when_it_has_not_expired() {
    let policy = AppraisalPolicy { max_collateral_age_days: 10, ..policy() };
    let at = |days: u64| {
        let now = UnixTime(NOW + days * DAY);
        appraise(verified(&[]).expect("verified"), &[references().into()], &policy, now)
    };
    assert!(at(9).is_ok());
    assert_eq!(codes(&at(10).expect_err("old")), ["tdx.collateral.age"]);
    let expired = at(40).expect_err("old and expired");
    assert_eq!(codes(&expired), ["tdx.collateral.age", "tdx.collateral.expired"]);
}

#[test]
fn an_old_evaluation_is_refused_when_the_owner_wants_a_newer_one() {
    let wants = |number| AppraisalPolicy { minimum_tcb_evaluation_data_number: number, ..policy() };
    let verified = verified(&[]).expect("verified");
    let number = claims(&verified).tcb_evaluation_data_number;
    let refusal = appraised(verified, &wants(number + 1)).expect_err("too old");
    assert_eq!(codes(&refusal), ["tdx.collateral.evaluation"]);
    assert!(appraised(refusal.verified, &wants(number)).is_ok());
}

#[test]
fn a_platform_that_is_not_on_the_owners_list_is_refused() {
    let allows = |ppid: [u8; 16]| AppraisalPolicy {
        allowed_ppids: [adyton_attestation::claims::Ppid(ppid)].into(),
        ..policy()
    };
    let refusal =
        appraised(verified(&[]).expect("verified"), &allows([0xee; 16])).expect_err("another");
    assert_eq!(codes(&refusal), ["tdx.platform.not-allowed"]);
    assert!(appraised(refusal.verified, &allows(tee().ppid())).is_ok());
}

#[test]
fn a_result_ends_with_the_collateral() {
    let policy = AppraisalPolicy { result_lifetime_seconds: 86_400, ..policy() };
    let verified = verified(&[]).expect("verified");
    let expires = claims(&verified).collateral.expires;
    let now = UnixTime(expires.0 - 60);
    let result = appraise(verified, &[references().into()], &policy, now).expect("still valid");
    assert_eq!(result.expires(), expires);
}

#[test]
fn evidence_errors_belong_to_a_rung_too() {
    let error = EvidenceError::TrailingBytes { offset: 9 };
    assert_eq!(error.rung(), "T14");
    assert_eq!(error.reasons()[0].code, "tdx.quote.trailing-bytes");
    let wrapped = VerifyError::from(error);
    assert_eq!(wrapped.rung(), "T14");
    let signature = VerifyError::DocumentSignature { document: Document::QeIdentity };
    assert_eq!(signature.rung(), "T5");
}
