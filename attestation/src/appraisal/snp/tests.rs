use super::*;
use crate::appraisal::{PolicyError, ReleasePolicy};
use crate::binding::ReportData;
use crate::claims::{
    AnchorUsed, ChipId, CpuId, FirmwareVersion, GuestPolicy, HostData, KeyInfo, LaunchId,
    Measurement, PlatformInfo, ReportId,
};
use crate::reference_value::SnpReferenceValues;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// A Genoa guest as the default policy and [`set`] want it.
fn sound() -> SnpClaims {
    let tcb = SnpTcb { fmc: None, bootloader: 10, tee: 0, snp: 23, microcode: 25 };
    let version = FirmwareVersion { major: 1, minor: 55, build: 40 };
    SnpClaims {
        report_version: 3,
        product: SnpProduct::Genoa,
        cpuid: Some(CpuId { family: 0x19, model: 0xa0, stepping: 2 }),
        measurement: Measurement([1; 48]),
        host_data: HostData([0; 32]),
        report_data: ReportData([2; 64]),
        vmpl: 0,
        policy: GuestPolicy(0x3_0000),
        platform_info: PlatformInfo(0x25),
        key_info: KeyInfo(0),
        guest_svn: 0,
        family_id: LaunchId([0; 16]),
        image_id: LaunchId([0; 16]),
        id_key_digest: Measurement([0; 48]),
        author_key_digest: Measurement([0; 48]),
        report_id: ReportId([3; 32]),
        report_id_ma: ReportId([0xff; 32]),
        current_tcb: tcb,
        reported_tcb: tcb,
        committed_tcb: tcb,
        launch_tcb: tcb,
        current_version: version,
        committed_version: version,
        launch_mitigations: None,
        current_mitigations: None,
        chip_id: ChipId([4; 64]),
        csp_id: None,
        revocation: SnpRevocation::Checked,
        endorsements_expire: UnixTime(NOW.0 + 60),
        root: AnchorUsed::Vendor,
    }
}

fn set(tail: &str) -> SnpReferenceValues {
    let measurement = "01".repeat(48);
    let text = format!("name = \"kjv\"\ntee = \"snp\"\nmeasurement = [\"{measurement}\"]\n{tail}");
    match ReferenceValues::parse_toml(&text) {
        Ok(ReferenceValues::Snp(set)) => set,
        other => panic!("an SNP set, not {other:?}"),
    }
}

fn policy(snp: &str) -> AppraisalPolicy {
    let tcb = "Genoa = { bootloader = 10, tee = 0, snp = 23, microcode = 25 }";
    let text = format!("reference_values = [\"kjv\"]\n[snp]\n{snp}\n[snp.minimum_tcb]\n{tcb}\n");
    let policy: AppraisalPolicy = toml::from_str(&text).expect("a policy");
    policy.validate().expect("a policy that can be meant");
    policy
}

fn codes(claims: &SnpClaims, set: SnpReferenceValues, policy: &AppraisalPolicy) -> Vec<String> {
    match appraise(claims, &[set.into()], policy, NOW) {
        Ok(name) => {
            assert_eq!(name, "kjv");
            Vec::new()
        }
        Err(reasons) => {
            for reason in &reasons {
                let texts = [&reason.expected, &reason.got, &reason.remedy];
                assert!(texts.iter().all(|text| !text.is_empty()), "{reason:?}");
            }
            reasons.into_iter().map(|reason| reason.code.into_owned()).collect()
        }
    }
}

#[test]
fn the_expected_guest_is_accepted() {
    assert_eq!(codes(&sound(), set(""), &policy("")), [""; 0]);
}

/// Each case changes one claim; the code says which rule noticed.
#[test]
fn every_claim_that_is_not_as_expected_is_one_reason() {
    type Change = fn(&mut SnpClaims);
    let cases: &[(&str, &str, Change)] = &[
        ("snp.report.old-version", "", |c| c.report_version = 2),
        ("snp.endorsements.expired", "", |c| c.endorsements_expire = UnixTime(NOW.0 - 1)),
        ("snp.revocation.waived", "", |c| c.revocation = SnpRevocation::InsecureWaived),
        ("snp.tcb.below-minimum", "", |c| c.reported_tcb.bootloader = 9),
        ("snp.tcb.below-minimum", "", |c| c.reported_tcb.snp = 22),
        ("snp.tcb.below-minimum", "", |c| c.reported_tcb.microcode = 24),
        ("snp.tcb.launched-below-minimum", "", |c| c.launch_tcb.microcode = 24),
        ("snp.policy.debug", "", |c| c.policy.0 |= 1 << 19),
        ("snp.policy.migrate-ma", "", |c| c.policy.0 |= 1 << 18),
        ("snp.policy.abi", "minimum_abi = [0, 31]", |c| c.policy.0 |= 30),
        ("snp.policy.smt", "guest_restrictions = [\"no-smt\"]", |_| {}),
        ("snp.policy.single-socket", "guest_restrictions = [\"single-socket\"]", |_| {}),
        ("snp.policy.cxl", "guest_restrictions = [\"no-cxl\"]", |c| c.policy.0 |= 1 << 21),
        ("snp.policy.aes-256-xts", "guest_restrictions = [\"aes-256-xts\"]", |_| {}),
        ("snp.policy.rapl", "guest_restrictions = [\"no-rapl\"]", |_| {}),
        ("snp.policy.ciphertext-hiding", "guest_restrictions = [\"ciphertext-hiding\"]", |_| {}),
        ("snp.policy.page-swap", "guest_restrictions = [\"no-page-swap\"]", |_| {}),
        ("snp.vmpl", "", |c| c.vmpl = 1),
        ("snp.platform.alias-check", "", |c| c.platform_info.0 &= !(1 << 5)),
        ("snp.platform.smt", "platform = [\"no-smt\"]", |_| {}),
        ("snp.platform.tsme", "platform = [\"tsme\"]", |_| {}),
        ("snp.platform.ecc", "platform = [\"ecc\"]", |c| c.platform_info.0 &= !(1 << 2)),
        ("snp.platform.rapl", "platform = [\"no-rapl\"]", |_| {}),
        ("snp.platform.ciphertext-hiding", "platform = [\"ciphertext-hiding\"]", |_| {}),
        ("snp.platform.tio", "platform = [\"no-tio\"]", |c| c.platform_info.0 |= 1 << 7),
        ("snp.mitigations.launch", "required_mitigations = 2", |c| {
            c.launch_mitigations = Some(1);
            c.current_mitigations = Some(3);
        }),
        ("snp.mitigations.current", "required_mitigations = 2", |c| {
            c.launch_mitigations = Some(2);
            c.current_mitigations = Some(1);
        }),
        ("snp.csp.not-allowed", "allowed_csp_ids = [\"a.example\"]", |c| {
            c.csp_id = Some("b.example".to_owned());
        }),
        ("snp.measurement", "", |c| c.measurement.0[47] ^= 1),
        ("snp.host-data", "", |c| c.host_data.0[31] ^= 1),
        ("snp.guest-svn", "minimum_guest_svn = 1", |_| {}),
    ];
    for (code, snp, change) in cases {
        let mut claims = sound();
        change(&mut claims);
        assert_eq!(codes(&claims, set(""), &policy(snp)), [*code], "{snp}");
    }
}

/// What each rule asks for is there: nothing is refused.
#[test]
fn a_guest_that_has_what_is_asked_for_is_accepted() {
    let mut claims = sound();
    claims.report_version = 5;
    claims.policy = GuestPolicy(1 << 17 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25 | 0x0137);
    claims.platform_info = PlatformInfo(0b11_1110);
    claims.launch_mitigations = Some(7);
    claims.current_mitigations = Some(6);
    claims.csp_id = Some("a.example".to_owned());
    claims.vmpl = 2;
    claims.guest_svn = 4;
    let asked = format!(
        "minimum_report_version = 5\nminimum_abi = [1, 55]\nallowed_vmpls = [0, 2]\n\
         guest_restrictions = [\"no-smt\", \"single-socket\", \"no-cxl\", \"aes-256-xts\", \"no-rapl\", \
         \"ciphertext-hiding\", \"no-page-swap\"]\n\
         platform = [\"no-smt\", \"tsme\", \"ecc\", \"no-rapl\", \"ciphertext-hiding\", \"no-tio\"]\n\
         required_mitigations = 6\nallowed_csp_ids = [\"a.example\"]\nminimum_guest_svn = 4\n\
         allowed_chip_ids = [\"{}\"]\n",
        "04".repeat(64)
    );
    assert_eq!(codes(&claims, set(""), &policy(&asked)), [""; 0]);
}

#[test]
fn milan_is_off_by_default_and_the_refusal_says_why() {
    let mut claims = sound();
    claims.product = SnpProduct::Milan;
    let reasons = appraise(&claims, &[set("").into()], &policy(""), NOW).expect_err("Milan");
    let product = reasons.iter().find(|reason| reason.code == "snp.product.not-allowed");
    let product = product.expect("a reason about the product");
    assert_eq!((product.expected.as_str(), product.got.as_str()), ("Genoa, Turin", "Milan"));
    assert!(product.remedy.contains("2605.12990"), "{product}");
    let mut accepting = policy("allowed_products = [\"Milan\"]");
    let floor = accepting.snp.minimum_tcb[&SnpProduct::Genoa];
    accepting.snp.minimum_tcb.insert(SnpProduct::Milan, floor);
    assert_eq!(codes(&claims, set(""), &accepting), [""; 0]);
}

#[test]
fn a_product_without_a_lowest_tcb_is_refused_with_a_table_that_can_be_pasted() {
    let turin = SnpTcb { fmc: Some(1), ..sound().reported_tcb };
    for (product, tcb) in [(SnpProduct::Genoa, sound().reported_tcb), (SnpProduct::Turin, turin)] {
        let mut claims = sound();
        claims.product = product;
        for of_the_report in [&mut claims.reported_tcb, &mut claims.launch_tcb] {
            *of_the_report = tcb;
        }
        let mut bare = policy("");
        bare.snp.minimum_tcb.clear();
        let reasons = appraise(&claims, &[set("").into()], &bare, NOW).expect_err("no floor");
        let [reason] = &reasons[..] else { panic!("{reasons:?}") };
        assert_eq!(reason.code, "snp.tcb.no-minimum");
        let (_, table) = reason.remedy.split_once('\n').expect("a table on lines of its own");
        let text = format!("key = \"kbs:///a/b/c\"\n{table}\n");
        let pasted = ReleasePolicy::parse_toml(&text).expect("a policy").appraisal.snp.minimum_tcb;
        assert_eq!(pasted.get(&product).map(|floor| SnpTcb::from(*floor)), Some(tcb));
        bare.snp.minimum_tcb = pasted;
        assert_eq!(codes(&claims, set(""), &bare), [""; 0]);
    }
}

#[test]
fn a_chip_that_is_not_listed_or_masked_is_refused_where_there_is_a_list() {
    let listed = policy(&format!("allowed_chip_ids = [\"{}\"]", "05".repeat(64)));
    assert_eq!(codes(&sound(), set(""), &listed), ["snp.chip.not-allowed"]);
    let mut masked = sound();
    masked.chip_id = ChipId([0; 64]);
    assert_eq!(codes(&masked, set(""), &listed), ["snp.chip.not-allowed"]);
}

#[test]
fn id_block_claims_count_where_a_set_lists_them() {
    let digest = "06".repeat(48);
    let id = "07".repeat(16);
    let tail = format!(
        "id_key_digest = [\"{digest}\"]\nauthor_key_digest = [\"{digest}\"]\nfamily_id = [\"{id}\"]\n\
         image_id = [\"{id}\"]\nminimum_guest_svn = 3\n"
    );
    let expected =
        ["snp.id-key", "snp.author-key", "snp.family-id", "snp.image-id", "snp.guest-svn"];
    assert_eq!(codes(&sound(), set(&tail), &policy("")), expected);
    let mut claims = sound();
    claims.id_key_digest = Measurement([6; 48]);
    claims.author_key_digest = Measurement([6; 48]);
    claims.family_id = LaunchId([7; 16]);
    claims.image_id = LaunchId([7; 16]);
    claims.guest_svn = 3;
    // The digest alone does not say that an author key certified anything.
    assert_eq!(codes(&claims, set(&tail), &policy("")), ["snp.author-key"]);
    claims.key_info = KeyInfo(1);
    assert_eq!(codes(&claims, set(&tail), &policy("")), [""; 0]);
}

#[test]
fn a_waiver_and_debug_count_only_where_the_policy_says_so() {
    let mut claims = sound();
    claims.revocation = SnpRevocation::InsecureWaived;
    claims.policy.0 |= 1 << 19;
    let mut reckless = policy("insecure_accept_waived_revocation = true");
    assert_eq!(codes(&claims, set(""), &reckless), ["snp.policy.debug"]);
    reckless.insecure_allow_debug = true;
    assert_eq!(codes(&claims, set(""), &reckless), [""; 0]);
}

#[test]
fn every_reason_is_collected() {
    let mut claims = sound();
    claims.vmpl = 1;
    claims.measurement = Measurement([9; 48]);
    claims.reported_tcb.snp = 1;
    claims.platform_info = PlatformInfo(0);
    let expected =
        ["snp.tcb.below-minimum", "snp.vmpl", "snp.platform.alias-check", "snp.measurement"];
    assert_eq!(codes(&claims, set(""), &policy("")), expected);
}

#[test]
fn no_reference_values_means_no() {
    let mut nothing = policy("");
    nothing.reference_values.clear();
    assert_eq!(codes(&sound(), set(""), &nothing), ["reference-values.none-named"]);
    nothing.reference_values = vec!["another".to_owned()];
    assert_eq!(codes(&sound(), set(""), &nothing), ["reference-values.unknown"]);
}

#[test]
fn a_policy_that_cannot_be_meant_is_an_error_with_its_key() {
    let cases = [
        ("allowed_products = []", "appraisal.snp.allowed_products"),
        ("minimum_report_version = 4", "appraisal.snp.minimum_report_version"),
        ("allowed_vmpls = []", "appraisal.snp.allowed_vmpls"),
        ("allowed_vmpls = [4]", "appraisal.snp.allowed_vmpls"),
        (
            "minimum_tcb = { Turin = { bootloader = 1, tee = 1, snp = 1, microcode = 1 } }",
            "appraisal.snp.minimum_tcb",
        ),
        (
            "minimum_tcb = { Genoa = { fmc = 1, bootloader = 1, tee = 1, snp = 1, microcode = 1 } }",
            "appraisal.snp.minimum_tcb",
        ),
    ];
    for (text, expected) in cases {
        let policy: SnpPolicy = toml::from_str(text).expect("TOML of the right types");
        let Err(PolicyError::Value { key, .. }) = policy.validate() else { panic!("{text}") };
        assert_eq!(key, expected, "{text}");
    }
    let zero = format!("allowed_chip_ids = [\"{}\"]", "00".repeat(64));
    let policy: SnpPolicy = toml::from_str(&zero).expect("TOML of the right types");
    assert!(matches!(
        policy.validate(),
        Err(PolicyError::Value { key: "appraisal.snp.allowed_chip_ids", .. })
    ));
}

#[test]
fn a_key_that_there_is_not_is_an_error() {
    for text in ["allow_debug = true", "platform = [\"aes\"]", "allowed_products = [\"Rome\"]"] {
        assert!(toml::from_str::<SnpPolicy>(text).is_err(), "{text}");
    }
}
