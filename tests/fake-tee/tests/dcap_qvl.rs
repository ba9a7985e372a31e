//! An independent verifier judges what the fake TEE makes.

use adyton_fake_tee::{FakeTee, Fault, QuoteFormat, TdProfile};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};

const NOW: u64 = 1_800_000_000;

fn verify(tee: &FakeTee, profile: &TdProfile, faults: &[Fault]) -> Result<VerifiedReport, String> {
    let quote = tee.faulty_quote(profile, [0x42; 64], faults);
    let collateral: QuoteCollateralV3 =
        serde_json::from_value(tee.collateral(NOW, faults)).expect("the collateral's shape");
    QuoteVerifier::<RingConfig>::new_with_config(tee.root_der().to_vec())
        .verify(&quote, &collateral, NOW)
        .map_err(|error| format!("{error:#}"))
}

#[test]
fn a_sound_td_is_up_to_date_in_every_quote_format() {
    let tee = FakeTee::new(NOW);
    for format in [QuoteFormat::V4, QuoteFormat::V5Td10, QuoteFormat::V5Td15] {
        let profile = TdProfile {
            format,
            ..TdProfile::default()
        };
        let report = verify(&tee, &profile, &[]).expect("a sound quote verifies");
        assert_eq!(report.status, "UpToDate");
        assert_eq!(report.ppid, tee.ppid());
    }
}
