//! `adyton verify --evidence` where vendors' statements are missing, where rungs are left to others, and
//! where a caller loosens what the Verifier refuses. On Evidence of simulated TEEs.

mod stand;

use adyton_fake_tee::{FakeKey, FakeProduct, FakeSnp, FakeTee, SnpFault, SnpProfile, TdProfile};
use stand::{Ran, Stand};

const NOW: u64 = 1_800_000_000;

/// An SNP guest's Evidence as the KBS protocol has it, with one fault, and its Endorsements with one.
fn snp(of_the_guest: Option<SnpFault>, of_the_vendor: Option<SnpFault>) -> Stand {
    let stand = Stand::new();
    let machine = FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek);
    let evidence = machine.evidence(&SnpProfile::default(), [0x5a; 64], of_the_guest);
    stand.write("evidence.json", evidence.to_string().as_bytes());
    let bundle = machine.endorsement_bundle(NOW, of_the_vendor).to_string();
    stand.write("bundle.json", bundle.as_bytes());
    stand.write("root.pem", machine.root_pem().as_bytes());
    stand
}

fn td(profile: &TdProfile) -> Stand {
    let stand = Stand::new();
    let tee = FakeTee::from_seed([7; 32], NOW);
    stand.write("evidence.json", &tee.faulty_quote(profile, [0x5a; 64], &[]));
    stand.write("bundle.json", tee.endorsement_bundle(NOW, &[]).to_string().as_bytes());
    stand.write("root.pem", tee.root_pem().as_bytes());
    stand
}

fn verify(stand: &Stand, more: &[&str]) -> Ran {
    let at = NOW.to_string();
    let words = [
        "verify",
        "--evidence",
        "evidence.json",
        "--bundle",
        "bundle.json",
        "--insecure-extra-root",
        "root.pem",
        "--at",
        &at,
    ];
    stand.run(&[&words, more].concat())
}

#[test]
fn a_missing_statement_of_amd_is_no_verdict_and_has_its_own_exit_code() {
    for (of_the_guest, of_the_vendor, code) in [
        (Some(SnpFault::NoCertificate), None, "snp.key.missing"),
        (None, Some(SnpFault::NoList), "snp.revocation.missing"),
    ] {
        let ran = verify(&snp(of_the_guest, of_the_vendor), &["--output", "json"]);
        assert_eq!(ran.code, 12, "{ran:?}");
        let error = ran.error();
        assert_eq!(error["code"], "endorsements.missing");
        assert_eq!(error["reasons"][0]["code"], code);
    }
    // One that is there and says no is a verdict.
    let ran = verify(&snp(None, Some(SnpFault::RevokedAsk)), &[]);
    assert_eq!(ran.code, 10, "{ran:?}");
    // So is another fault beside a missing one, and both are told.
    let ran = verify(&snp(Some(SnpFault::Debug), Some(SnpFault::NoList)), &[]);
    assert_eq!(ran.code, 10, "{ran:?}");
    for code in ["snp.revocation.missing", "snp.policy.debug"] {
        assert!(ran.err.contains(code), "{code}: {}", ran.err);
    }
}

#[test]
fn rungs_that_others_decide_are_left_to_them_by_name() {
    let ran = verify(&snp(None, None), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = |rung: &str| {
        let lines = ran.out.lines().filter(|line| line.contains(&format!(" {rung} ")));
        lines.map(str::to_owned).collect::<String>()
    };
    for rung in ["S10", "S13", "S14", "S15", "S17"] {
        assert!(line(rung).contains("left to the appraisal"), "{rung}: {}", ran.out);
    }
    assert!(line("S18").contains("left to the challenge"), "{}", ran.out);
    let ran = verify(&snp(None, None), &["--output", "json"]);
    let rungs = ran.json()["rungs"].as_array().expect("rungs").clone();
    let rung = rungs.iter().find(|rung| rung["id"] == "S14").expect("S14");
    assert_eq!(rung["outcome"]["outcome"], "left-to");
    assert_eq!(rung["outcome"]["detail"], "appraisal");
}

#[test]
fn amds_list_may_be_waived_by_a_flag_that_is_loud() {
    let ran = verify(&snp(None, Some(SnpFault::NoList)), &["--insecure-waive-amd-revocation"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("INSECURE: goes on without AMD's revocation list"), "{}", ran.out);
    assert!(ran.err.contains("warning: INSECURE: goes on without"), "{}", ran.err);
    assert!(ran.out.contains("!  S5"), "{}", ran.out);
}

#[test]
fn a_paravisors_td_is_verified_by_a_flag_that_is_loud() {
    let stand = td(&TdProfile { td_attributes: 0, ..TdProfile::default() });
    let ran = verify(&stand, &[]);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert!(ran.err.contains("tdx.td-attributes.sept-ve-disable"), "{}", ran.err);

    let ran = verify(&stand, &["--insecure-accept-paravisor-tds"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("INSECURE: verifies TDs without SEPT_VE_DISABLE"), "{}", ran.out);
    assert!(ran.out.contains("!  T9"), "{}", ran.out);
}
