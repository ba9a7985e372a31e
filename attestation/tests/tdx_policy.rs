//! Each rule of `[appraisal.tdx]` with a case that fails exactly there.

use std::sync::LazyLock;

use adyton_attestation::appraisal::{SetupRule, TcbMode, TcbPolicy, TdxPolicy};
use adyton_attestation::claims::{
    Claims, Measurement, PckFlag, PlatformInstance, PlatformInstanceId, TcbStatus, TdxClaims,
    TeeTcbSvn, Xfam,
};
use adyton_attestation::{
    AppraisalPolicy, AppraisalRefusal, EndorsementBundle, Evidence, ReferenceValues, ReleasePolicy,
    ReportData, TrustAnchors, UnixTime, Verified, appraise, verify,
};
use adyton_fake_tee::{FakeTee, Fault, QuoteFormat, TdProfile};

const NOW: u64 = 1_800_000_000;
const REPORT_DATA: ReportData = ReportData([0x5a; 64]);
/// What the fake TEE's OutOfDate level lists.
const ADVISORIES: [&str; 2] = ["INTEL-SA-00001", "INTEL-SA-00002"];

static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([9; 32], NOW));

fn verified(profile: &TdProfile) -> Verified<Claims> {
    let bundle = TEE.endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(TEE.root_der()).expect("a root");
    let evidence = Evidence::parse_file(&TEE.quote(profile, REPORT_DATA.0)).expect("a quote");
    verify(&evidence, &bundle, &anchors, &REPORT_DATA, UnixTime(NOW)).expect("sound")
}

fn with(faults: &[Fault]) -> Verified<Claims> {
    verified(&TdProfile::default().with_faults(faults))
}

fn claims(verified: &Verified<Claims>) -> &TdxClaims {
    let Claims::Tdx(claims) = verified.get() else { panic!("TDX claims") };
    claims
}

fn policy(tdx: TdxPolicy) -> AppraisalPolicy {
    let references = references();
    AppraisalPolicy {
        reference_values: vec![references.name().to_owned()],
        tdx,
        ..AppraisalPolicy::default()
    }
}

fn references() -> ReferenceValues {
    ReferenceValues::parse_toml(&TEE.reference_values(&TdProfile::default())).expect("a set")
}

fn appraised(verified: Verified<Claims>, tdx: TdxPolicy, now: u64) -> Result<(), AppraisalRefusal> {
    appraise(verified, &[references()], &policy(tdx), UnixTime(now)).map(|_| ())
}

fn codes(refusal: &AppraisalRefusal) -> Vec<&str> {
    refusal.reasons.iter().map(|reason| &*reason.code).collect()
}

fn grace(until: u64, advisories: &[&str]) -> TdxPolicy {
    let advisories = advisories.iter().map(|id| (*id).to_owned()).collect();
    let mode = TcbMode::Grace { until: UnixTime(until), advisories };
    TdxPolicy { tcb: TcbPolicy { mode, ..TcbPolicy::default() }, ..TdxPolicy::default() }
}

#[test]
fn a_grace_ends_at_its_second() {
    let until = NOW + 100;
    let stale = || with(&[Fault::StaleTcb]);
    assert!(appraised(stale(), grace(until, &ADVISORIES), until - 1).is_ok());
    let refusal = appraised(stale(), grace(until, &ADVISORIES), until).expect_err("over");
    assert_eq!(codes(&refusal), ["tdx.tcb.grace-ended"]);
    assert!(refusal.reasons[0].remedy.contains("until"), "{:?}", refusal.reasons);
}

#[test]
fn a_grace_covers_the_listed_advisories_only() {
    let refusal = appraised(with(&[Fault::StaleTcb]), grace(NOW + 100, &ADVISORIES[..1]), NOW)
        .expect_err("one is not listed");
    assert_eq!(codes(&refusal), ["tdx.tcb.advisory"]);
    assert_eq!(refusal.reasons[0].got, ADVISORIES[1]);
    assert_eq!(refusal.reasons[0].expected, format!("only {}", ADVISORIES[0]));
}

#[test]
fn a_grace_does_not_cover_a_status_without_advisories() {
    // The module is behind, and the vendor names no advisory: there is nothing to have listed.
    let refusal = appraised(with(&[Fault::StaleTdxModule]), grace(NOW + 100, &ADVISORIES), NOW)
        .expect_err("nothing listed");
    assert_eq!(codes(&refusal), ["tdx.tcb.status"]);
}

#[test]
fn a_grace_changes_nothing_for_a_platform_that_is_up_to_date() {
    assert!(appraised(with(&[]), grace(NOW - 1, &ADVISORIES), NOW).is_ok());
}

#[test]
fn without_a_grace_the_status_is_refused() {
    let refusal =
        appraised(with(&[Fault::StaleTcb]), TdxPolicy::default(), NOW).expect_err("behind");
    assert_eq!(codes(&refusal), ["tdx.tcb.status", "tdx.tcb.advisory"]);
}

#[test]
fn a_td_launched_before_a_module_update_can_have_a_grace() {
    let mut profile = TdProfile { format: QuoteFormat::V5Td15, ..TdProfile::default() };
    profile.tee_tcb_svn = TdProfile::default().with_faults(&[Fault::StaleTcb]).tee_tcb_svn;
    let td = verified(&profile);
    assert_eq!(claims(&td).tcb_status, TcbStatus::TdRelaunchAdvised);
    assert!(appraised(td, grace(NOW + 100, &ADVISORIES), NOW).is_ok());
}

#[test]
fn a_platform_that_is_worse_than_at_the_launch_has_the_status_of_now() {
    let mut profile = TdProfile { format: QuoteFormat::V5Td15, ..TdProfile::default() };
    profile.tee_tcb_svn2 = TdProfile::default().with_faults(&[Fault::StaleTcb]).tee_tcb_svn;
    let td = verified(&profile);
    assert_eq!(claims(&td).tcb_status, TcbStatus::OutOfDate);
    assert_eq!(claims(&td).advisory_ids, ADVISORIES);
}

#[test]
fn each_component_below_its_minimum_is_named() {
    let minimum = |svn: [u8; 3]| {
        let mut minimum = [0; 16];
        minimum[..3].copy_from_slice(&svn);
        let tcb = TcbPolicy { minimum_tee_tcb_svn: TeeTcbSvn(minimum), ..TcbPolicy::default() };
        TdxPolicy { tcb, ..TdxPolicy::default() }
    };
    // The fake TEE is at 7, 1, 5.
    assert!(appraised(with(&[]), minimum([7, 1, 5]), NOW).is_ok());
    let refusal = appraised(with(&[]), minimum([8, 1, 6]), NOW).expect_err("too low");
    assert_eq!(codes(&refusal), ["tdx.tcb.minimum-svn", "tdx.tcb.minimum-svn"]);
    let claims: Vec<&str> = refusal.reasons.iter().map(|reason| &*reason.claim).collect();
    assert_eq!(claims, ["TEE_TCB_SVN[0]", "TEE_TCB_SVN[2]"]);
    assert_eq!((&*refusal.reasons[0].expected, &*refusal.reasons[0].got), ("at least 8", "7"));
}

#[test]
fn cpu_state_outside_the_mask_is_refused() {
    // AMX tiles (bits 17 and 18) are in the fake TEE's XFAM.
    let mask =
        |bits: u64| TdxPolicy { xfam_mask: Xfam(bits.to_le_bytes()), ..TdxPolicy::default() };
    assert!(appraised(with(&[]), mask(0x0006_02e7), NOW).is_ok());
    let refusal = appraised(with(&[]), mask(0x02e7), NOW).expect_err("AMX");
    assert_eq!(codes(&refusal), ["tdx.xfam.not-allowed"]);
    assert!(refusal.reasons[0].got.contains("0x60000"), "{:?}", refusal.reasons);
}

#[test]
fn a_module_that_is_not_listed_is_refused() {
    let listed = |mrseam| TdxPolicy { mrseam: [mrseam].into(), ..TdxPolicy::default() };
    let td = with(&[]);
    let mrseam = claims(&td).mrseam;
    assert!(appraised(td, listed(mrseam), NOW).is_ok());
    let refusal = appraised(with(&[]), listed(Measurement([1; 48])), NOW).expect_err("another");
    assert_eq!(codes(&refusal), ["tdx.module.not-allowed"]);
}

#[test]
fn an_installation_that_is_not_listed_is_refused() {
    let listed = |id| TdxPolicy { allowed_platform_instances: [id].into(), ..TdxPolicy::default() };
    let td = with(&[]);
    let PlatformInstance::Stated(id) = claims(&td).platform_instance else { panic!("stated") };
    assert!(appraised(td, listed(id), NOW).is_ok());
    let refusal =
        appraised(with(&[]), listed(PlatformInstanceId([1; 16])), NOW).expect_err("another");
    assert_eq!(codes(&refusal), ["tdx.platform.instance-not-allowed"]);
}

#[test]
fn a_setup_that_the_owner_refuses_is_refused_by_its_key() {
    let td = with(&[]);
    assert_eq!(claims(&td).pck_flags.smt_enabled, PckFlag::Set);
    let refuse = SetupRule::Refuse;
    for (key, tdx) in [
        ("smt", TdxPolicy { smt: refuse, ..TdxPolicy::default() }),
        ("cached_keys", TdxPolicy { cached_keys: refuse, ..TdxPolicy::default() }),
        ("dynamic_platforms", TdxPolicy { dynamic_platforms: refuse, ..TdxPolicy::default() }),
    ] {
        let refusal = appraised(with(&[]), tdx, NOW).expect_err(key);
        assert_eq!(codes(&refusal), ["tdx.platform.setup"], "{key}");
        assert_eq!(refusal.reasons[0].claim, key);
    }
}

#[test]
fn a_release_policy_spells_it_out() {
    let policy = ReleasePolicy::parse_toml(
        r#"
        key = "kbs:///acme/model-key/kjv"
        [appraisal]
        reference_values = ["kjv"]
        minimum_tcb_evaluation_data_number = 17
        [appraisal.tdx]
        smt = "refuse"
        [appraisal.tdx.tcb]
        mode = "grace"
        until = 2027-01-31T00:00:00Z
        advisories = ["INTEL-SA-01192"]
        minimum_tee_tcb_svn = [6, 1, 3]
        "#,
    )
    .expect("a policy");
    let tdx = policy.appraisal.tdx;
    assert_eq!(tdx.smt, SetupRule::Refuse);
    assert!(
        matches!(tdx.tcb.mode, TcbMode::Grace { until, .. } if until.to_string() == "2027-01-31T00:00:00Z")
    );
    assert_eq!(tdx.tcb.minimum_tee_tcb_svn.0[..4], [6, 1, 3, 0]);
}
