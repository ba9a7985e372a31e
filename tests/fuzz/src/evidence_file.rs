//! Evidence files: raw quotes, hex, KBS JSON, attestation reports.

use adyton_attestation::{Evidence, TrustAnchors, UnixTime, replay};
use adyton_fake_tee::TdProfile;
use dcap_qvl::quote::Quote;

use crate::genuine::{ENDORSEMENTS, FAULTY_QUOTES, NOW, QUOTES, REPORT_DATA, TEE, judge};

/// Parses, and then: another parser reads the same values; only a genuine quote verifies; nothing
/// of a fake machine verifies under the vendor's root.
pub fn run(data: &[u8]) {
    let Ok(evidence) = Evidence::parse_file(data) else {
        return;
    };
    another_parser_agrees(&evidence);
    only_genuine_quotes_verify(&evidence);
    let ladder = replay(&evidence, &ENDORSEMENTS, &TrustAnchors::vendor(), UnixTime(NOW));
    assert!(!ladder.all_passed(), "the vendor's root vouches for a fake machine");
}

/// A difference between two parsers is where attacks live.
pub(crate) fn another_parser_agrees(evidence: &Evidence) {
    // Other Evidence has bodies of its own.
    let Evidence::Tdx(ours) = evidence else { return };
    let body = &ours.quote().body;
    let theirs = Quote::parse(ours.raw()).expect("dcap-qvl reads every quote that we read");
    let theirs = theirs.report.as_td10().expect("a TD report");
    assert_eq!(theirs.report_data, body.report_data.0);
    assert_eq!(theirs.tee_tcb_svn, body.tee_tcb_svn.0);
    assert_eq!(theirs.mr_seam, body.mrseam.0);
    assert_eq!(theirs.mr_signer_seam, body.mrsignerseam.0);
    assert_eq!(theirs.td_attributes, body.td_attributes.0);
    assert_eq!(theirs.xfam, body.xfam.0);
    assert_eq!(theirs.mr_td, body.mrtd.0);
    assert_eq!(theirs.mr_config_id, body.mrconfigid.0);
    assert_eq!(theirs.mr_owner, body.mrowner.0);
    assert_eq!(theirs.mr_owner_config, body.mrownerconfig.0);
    let rtmrs = [theirs.rt_mr0, theirs.rt_mr1, theirs.rt_mr2, theirs.rt_mr3];
    assert_eq!(rtmrs, body.rtmr.map(|rtmr| rtmr.0));
}

/// The machine signs [`QUOTES`] and [`FAULTY_QUOTES`] and nothing else, so nothing else may verify.
pub(crate) fn only_genuine_quotes_verify(evidence: &Evidence) {
    let Evidence::Tdx(tdx) = evidence else {
        assert!(judge(evidence, &ENDORSEMENTS).is_err(), "the machine is a TD");
        return;
    };
    if judge(evidence, &ENDORSEMENTS).is_ok() {
        let signed = tdx.signed_bytes();
        assert!(
            QUOTES.iter().chain(&*FAULTY_QUOTES).any(|quote| quote.starts_with(signed)),
            "a quote verified that the machine never signed"
        );
    }
}

/// Sound and faulty quotes in every encoding.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = QUOTES.clone();
    let profile = TdProfile::default();
    seeds.push(TEE.quote(&TdProfile { pad_to: 8000, ..profile.clone() }, REPORT_DATA));
    seeds.push(hex::encode(&QUOTES[0]).into_bytes());
    seeds.push(TEE.primary_evidence(&profile, REPORT_DATA, &[]).to_string().into_bytes());
    seeds.extend(FAULTY_QUOTES.iter().cloned());
    seeds
}
