use super::*;
use crate::binding::ReportData;
use crate::claims::{
    AnchorUsed, AttributesProfile, Fmspc, PckFlags, PlatformInstance, Ppid, TcbStatus,
    TdAttributes, TeeTcbSvn, Xfam,
};
use crate::evidence::hcl::SecureBoot;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn td(attributes: u64) -> TdxClaims {
    let zero = Measurement([0; 48]);
    TdxClaims {
        mrtd: Measurement([0x11; 48]),
        rtmr0: zero,
        rtmr1: zero,
        rtmr2: zero,
        rtmr3: zero,
        mrconfigid: zero,
        mrowner: zero,
        mrownerconfig: zero,
        mrseam: Measurement([0x22; 48]),
        td_attributes: TdAttributes(attributes.to_le_bytes()),
        attributes_profile: match attributes {
            0 => AttributesProfile::AzureParavisor,
            _ => AttributesProfile::Standard,
        },
        xfam: Xfam([0xe7, 0, 0, 0, 0, 0, 0, 0]),
        tee_tcb_svn: TeeTcbSvn([0; 16]),
        report_data: ReportData([0; 64]),
        tcb_status: TcbStatus::UpToDate,
        tcb_date: UnixTime(0),
        advisory_ids: Vec::new(),
        fmspc: Fmspc([0; 6]),
        ppid: Ppid([0; 16]),
        event_log: crate::claims::EventLogClaims::Absent,
        platform_instance: PlatformInstance::NotStated,
        pck_flags: PckFlags::default(),
        tcb_evaluation_data_number: 17,
        collateral: crate::claims::CollateralWindow {
            issued: UnixTime(NOW.0 - 10),
            expires: UnixTime(NOW.0 + 1000),
        },
        root: AnchorUsed::Vendor,
    }
}

/// A machine whose PCR i has the value i, thirty-two times.
fn machine(hardware: TdxClaims) -> AzureClaims {
    let hardware = AzureHardwareClaims::Tdx(Box::new(hardware));
    AzureClaims {
        hardware,
        report_data: ReportData([0; 64]),
        evidence_version: 2,
        pcrs: std::array::from_fn(|i| Pcr([u8::try_from(i).expect("small"); 32])),
        vm_unique_id: None,
        secure_boot: SecureBoot::On,
        tpm_firmware_version: 0,
        tpm_reset_count: 0,
        tpm_restart_count: 0,
    }
}

fn strict_td() -> AzureClaims {
    machine(td(TdAttributes::SEPT_VE_DISABLE))
}

/// The set of that machine: all PCRs that are compared by default.
fn set() -> AzureReferenceValues {
    AzureReferenceValues {
        name: "podvm".to_owned(),
        tee: Tee::AzTdxVtpm,
        measurement: vec![Measurement([0x11; 48])],
        init_data: Vec::new(),
        pcrs: DEFAULT_PCRS
            .into_iter()
            .filter_map(|i| Some((PcrIndex::new(i)?, vec![Pcr([i; 32])])))
            .collect(),
    }
}

fn policy() -> AppraisalPolicy {
    AppraisalPolicy { reference_values: vec!["podvm".to_owned()], ..AppraisalPolicy::default() }
}

fn codes(
    claims: &AzureClaims,
    set: AzureReferenceValues,
    policy: &AppraisalPolicy,
) -> Vec<(String, String)> {
    match appraise(claims, &[ReferenceValues::Azure(set)], policy, NOW) {
        Ok(name) => panic!("{name} matched"),
        Err(reasons) => {
            reasons.into_iter().map(|reason| (reason.code.into_owned(), reason.claim)).collect()
        }
    }
}

fn one(code: &str, claim: &str) -> Vec<(String, String)> {
    vec![(code.to_owned(), claim.to_owned())]
}

fn index(number: u8) -> PcrIndex {
    PcrIndex::new(number).expect("a PCR")
}

#[test]
fn a_known_machine_is_accepted() {
    let matched = appraise(&strict_td(), &[ReferenceValues::Azure(set())], &policy(), NOW);
    assert_eq!(matched, Ok("podvm".to_owned()));
}

#[test]
fn each_pcr_that_differs_is_a_reason() {
    for number in DEFAULT_PCRS {
        let mut claims = strict_td();
        claims.pcrs[usize::from(number)].0[31] ^= 1;
        assert_eq!(
            codes(&claims, set(), &policy()),
            one("azure.pcr", &format!("PCR {number}")),
            "PCR {number}"
        );
    }
}

#[test]
fn a_pcr_that_the_policy_does_not_name_counts_when_the_set_lists_it() {
    let mut listing = set();
    listing.pcrs.insert(index(16), vec![Pcr([0xaa; 32])]);
    assert_eq!(codes(&strict_td(), listing, &policy()), one("azure.pcr", "PCR 16"));
}

#[test]
fn a_pcr_that_the_set_does_not_list_matches_nothing() {
    let mut silent = set();
    silent.pcrs.remove(&index(9));
    assert_eq!(codes(&strict_td(), silent, &policy()), one("azure.pcr", "PCR 9"));
    // Unless the owner looks at fewer.
    let mut silent = set();
    silent.pcrs.retain(|index, _| *index == PcrIndex::BOOT_LOADER);
    let mut lenient = policy();
    lenient.azure.pcrs = [PcrIndex::BOOT_LOADER].into();
    let matched = appraise(&strict_td(), &[ReferenceValues::Azure(silent)], &lenient, NOW);
    assert_eq!(matched, Ok("podvm".to_owned()));
}

#[test]
fn init_data_are_compared_through_pcr_8() {
    let mut by_digest = set();
    by_digest.pcrs.remove(&index(8));
    by_digest.init_data = vec![Pcr([0; 32])];
    assert_eq!(
        codes(&strict_td(), by_digest.clone(), &policy()),
        one("azure.pcr", "PCR 8"),
        "other init-data"
    );
    let mut claims = strict_td();
    let extended = by_digest.accepted(PcrIndex::INIT_DATA);
    claims.pcrs[8] = extended[0];
    let matched = appraise(&claims, &[ReferenceValues::Azure(by_digest)], &policy(), NOW);
    assert_eq!(matched, Ok("podvm".to_owned()));
}

#[test]
fn another_paravisor_is_refused() {
    let mut hardware = td(TdAttributes::SEPT_VE_DISABLE);
    hardware.mrtd = Measurement([0x12; 48]);
    let refused = codes(&machine(hardware), set(), &policy());
    assert_eq!(refused, one("azure.measurement", "paravisor measurement"));
}

#[test]
fn a_td_register_that_a_paravisor_does_not_use_has_to_be_zero() {
    fn register<'a>(td: &'a mut TdxClaims, name: &str) -> &'a mut Measurement {
        match name {
            "rtmr0" => &mut td.rtmr0,
            "rtmr1" => &mut td.rtmr1,
            "rtmr2" => &mut td.rtmr2,
            "rtmr3" => &mut td.rtmr3,
            "mrconfigid" => &mut td.mrconfigid,
            "mrowner" => &mut td.mrowner,
            "mrownerconfig" => &mut td.mrownerconfig,
            other => panic!("{other} is the paravisor's"),
        }
    }
    for name in Register::ALL.map(Register::as_str).into_iter().filter(|name| *name != "mrtd") {
        let mut hardware = td(TdAttributes::SEPT_VE_DISABLE);
        register(&mut hardware, name).0[47] = 1;
        let refused = codes(&machine(hardware), set(), &policy());
        assert_eq!(refused, one("azure.td-register", name));
    }
}

#[test]
fn a_paravisors_td_is_accepted_by_its_own_key_alone() {
    let claims = machine(td(0));
    assert_eq!(codes(&claims, set(), &policy()), one("azure.paravisor-td", "TD attributes"));
    // The key for TDs outside Azure's vTPM is another one.
    let mut other = policy();
    other.tdx.insecure_accept_paravisor_tds = true;
    assert_eq!(codes(&claims, set(), &other), one("azure.paravisor-td", "TD attributes"));
    let mut frank = policy();
    frank.azure.insecure_accept_paravisor_td = true;
    let matched = appraise(&claims, &[ReferenceValues::Azure(set())], &frank, NOW);
    assert_eq!(matched, Ok("podvm".to_owned()));
}

#[test]
fn evidence_of_version_1_is_accepted_by_its_own_key_alone() {
    let mut claims = strict_td();
    claims.evidence_version = 1;
    let refused = codes(&claims, set(), &policy());
    assert_eq!(refused, one("azure.evidence.old-version", "Evidence version"));
    let mut frank = policy();
    frank.azure.minimum_evidence_version = 1;
    let matched = appraise(&claims, &[ReferenceValues::Azure(set())], &frank, NOW);
    assert_eq!(matched, Ok("podvm".to_owned()));
}

#[test]
fn the_rules_of_the_hardware_hold_under_the_vtpm() {
    let mut hardware = td(TdAttributes::SEPT_VE_DISABLE | TdAttributes::DEBUG);
    hardware.tcb_status = TcbStatus::OutOfDate;
    hardware.advisory_ids = vec!["INTEL-SA-00001".to_owned()];
    hardware.collateral.issued = UnixTime(NOW.0 - 31 * 24 * 60 * 60);
    let mut policy = policy();
    policy.allowed_ppids = [Ppid([1; 16])].into();
    let refused = codes(&machine(hardware), set(), &policy);
    let refused: Vec<&str> = refused.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(
        refused,
        [
            "tdx.tcb.status",
            "tdx.tcb.advisory",
            "tdx.td-attributes.debug",
            "tdx.collateral.age",
            "tdx.platform.not-allowed"
        ]
    );
}

#[test]
fn sets_for_another_tee_or_of_another_name_do_not_count() {
    let mut for_snp = set();
    for_snp.tee = Tee::AzSnpVtpm;
    let unknown = one("reference-values.unknown", "reference values");
    assert_eq!(codes(&strict_td(), for_snp, &policy()), unknown);
    let mut other = set();
    other.name = "other".to_owned();
    assert_eq!(codes(&strict_td(), other, &policy()), unknown);
    let nameless = AppraisalPolicy::default();
    assert_eq!(
        codes(&strict_td(), set(), &nameless),
        one("reference-values.none-named", "reference values")
    );
}

#[test]
fn the_nearest_set_explains_the_refusal() {
    let mut foreign = set();
    foreign.pcrs.values_mut().for_each(|values| values.clear());
    let mut claims = strict_td();
    claims.pcrs[4].0[0] ^= 1;
    let sets = [ReferenceValues::Azure(foreign), ReferenceValues::Azure(set())];
    let reasons = appraise(&claims, &sets, &policy(), NOW).expect_err("another boot loader");
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].claim, "PCR 4");
}

#[test]
fn a_policy_without_the_boot_loader_or_of_an_unknown_version_is_no_policy() {
    let without = AzurePolicy { pcrs: [index(7)].into(), ..AzurePolicy::default() };
    assert!(matches!(
        without.validate(),
        Err(PolicyError::Value { key: "appraisal.azure.pcrs", .. })
    ));
    for version in [0, 3] {
        let unknown = AzurePolicy { minimum_evidence_version: version, ..AzurePolicy::default() };
        assert!(matches!(
            unknown.validate(),
            Err(PolicyError::Value { key: "appraisal.azure.minimum_evidence_version", .. })
        ));
    }
    assert!(AzurePolicy::default().validate().is_ok());
}
