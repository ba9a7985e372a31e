//! An independent verifier judges what the fake TEE makes: sound Evidence passes, and each fault
//! is refused at the step that is there for it.

use adyton_fake_tee::{FakeTee, Fault, QuoteFormat, Site, TdProfile};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};

const NOW: u64 = 1_800_000_000;
const REPORT_DATA: [u8; 64] = [0x42; 64];

/// What the independent verifier makes of a fault.
enum Verdict {
    /// It refuses, and its error contains this.
    Refused(&'static str),
    /// It reports this TCB status.
    Status(&'static str),
    /// It does not look; the product's own ladder or appraisal must.
    Unnoticed,
}
use Verdict::{Refused, Status, Unnoticed};

fn expected(fault: Fault) -> Verdict {
    match fault {
        Fault::UnknownQuoteVersion => Refused("Failed to decode quote"),
        Fault::SgxTeeType => Refused("Failed to decode quote"),
        Fault::UnknownKeyType => Refused("attestation key type"),
        Fault::OtherQeVendor => Refused("Unknown QE vendor ID"),
        Fault::TruncatedQuote => Refused("Failed to decode quote"),
        Fault::TrailingGarbage => Unnoticed,
        Fault::OtherRoot => Refused("Failed to verify certificate chain"),
        Fault::ExpiredPck => Refused("CertExpired"),
        Fault::RevokedPck => Refused("CertRevoked"),
        Fault::RevokedPckCa => Refused("CertRevoked"),
        Fault::RevokedTcbSigner => Refused("CertRevoked"),
        Fault::ExpiredCrl => Refused("CrlExpired"),
        Fault::ExpiredRootCrl => Refused("CrlExpired"),
        Fault::ForgedCrl => Refused("InvalidCrlSignature"),
        Fault::MissingCrl => Refused("Failed to parse PCK CRL"),
        Fault::ExpiredCollateral => Refused("CrlExpired"),
        Fault::ExpiredTcbInfo => Refused("TCBInfo expired"),
        Fault::FutureTcbInfo => Refused("TCBInfo issue date is in the future"),
        Fault::TamperedTcbInfo => Refused("Signature is invalid for tcb_info"),
        Fault::SgxTcbInfo => Refused("non-TDX TCB info"),
        Fault::WrongFmspc => Refused("Fmspc mismatch"),
        Fault::WrongPceId => Unnoticed,
        Fault::ForgedTcbInfo => Refused("Failed to verify certificate chain"),
        Fault::ExpiredQeIdentity => Refused("QE Identity expired"),
        Fault::TamperedQeIdentity => Refused("Signature is invalid for qe_identity"),
        Fault::SgxQeIdentity => Refused("Unsupported QE Identity id/version"),
        Fault::OtherQeSigner => Refused("QE MRSIGNER mismatch"),
        Fault::OtherQeProduct => Refused("QE ISVPRODID mismatch"),
        Fault::DebugQe => Refused("Debug mode is enabled"),
        Fault::StaleQe => Status("OutOfDate"),
        Fault::AncientQe => Refused("QE ISVSVN 1 is below minimum"),
        Fault::BadQeReport => Refused("Signature is invalid for qe_report"),
        Fault::SwappedAttestationKey => Refused("QE report hash mismatch"),
        Fault::QeReportDataTail => Unnoticed,
        Fault::BadQuoteSignature => Refused("ISV enclave report signature is invalid"),
        Fault::StaleTcb => Status("OutOfDate"),
        Fault::RevokedTcb => Refused("TCB status is invalid: Revoked"),
        Fault::NoTcbLevel => Refused("No matching TCB level found"),
        Fault::StaleTdxModule => Status("OutOfDate"),
        Fault::UnknownTdxModule => Refused("No TDX module identity with id TDX_09"),
        Fault::OtherModuleSigner => Refused("TDX module MRSIGNER mismatch"),
        Fault::DebugTd => Refused("Debug mode is enabled"),
        Fault::ProfiledTd => Refused("TD profiling is enabled"),
        Fault::ReservedTdAttribute => Refused("Reserved bits in TD attributes"),
        Fault::MigratableTd => Refused("TD migration is enabled"),
        Fault::SeptVeEnabled => Refused("SEPT_VE_DISABLE is not enabled"),
        Fault::UnknownXfam => Unnoticed,
        Fault::OtherMeasurement => Unnoticed,
        Fault::OtherRtmr => Unnoticed,
        Fault::OtherConfigId => Unnoticed,
        Fault::OtherOwner => Unnoticed,
        Fault::OtherSeam => Unnoticed,
        Fault::ServiceTd => Refused("Invalid MR service TD"),
        // It looks at the binding of the TD's creation alone.
        Fault::LaterServiceTd => Unnoticed,
        Fault::WrongReportData => Unnoticed,
        Fault::WrongReportDataTail => Unnoticed,
        Fault::MalformedEvidence => Unnoticed,
        Fault::FailingAttester => Unnoticed,
        Fault::UnknownBodyType => Refused("Failed to decode quote"),
        Fault::WrongBodySize => Refused("Failed to decode quote"),
        Fault::OversizedQuote => Unnoticed,
        Fault::OtherCertification => Refused("Unsupported DCAP PCK cert format: 3"),
        // It does not read the outer type.
        Fault::NoQeReport => Unnoticed,
        Fault::LeftoverSignatureData => Unnoticed,
        Fault::FuturePck => Refused("CertNotValidYet"),
        Fault::PckWithoutPlatform => Refused("Intel extension not found"),
        Fault::PckIsCa => Refused("CaUsedAsEndEntity"),
        Fault::CriticalPckExtension => Refused("UnsupportedCriticalExtension"),
        Fault::ForeignCertificate => Unnoticed,
        Fault::FutureCrl => Unnoticed,
        Fault::CrlOfOtherIssuer => Refused("UnknownRevocationStatus"),
        Fault::PartialCrl => Unnoticed,
        Fault::FutureQeIdentity => Refused("QE Identity issue date is in the future"),
        Fault::ForgedQeIdentity => Refused("Failed to verify certificate chain"),
        Fault::OtherQeMiscselect => Refused("MISCSELECT"),
        Fault::XfamWithoutSse => Unnoticed,
        Fault::InitialServiceTd => Unnoticed,
        // It does not read event logs.
        fault if fault.site() == Site::EventLog => Unnoticed,
        _ => panic!("{fault}: say here what dcap-qvl makes of it"),
    }
}

fn verify(
    tee: &FakeTee,
    profile: &TdProfile,
    faults: &[Fault],
    now: u64,
) -> Result<VerifiedReport, String> {
    let quote = tee.faulty_quote(profile, REPORT_DATA, faults);
    let collateral: QuoteCollateralV3 =
        serde_json::from_value(tee.collateral(NOW, faults)).expect("the collateral's shape");
    QuoteVerifier::<RingConfig>::new_with_config(tee.root_der().to_vec())
        .verify(&quote, &collateral, now)
        .map_err(|error| format!("{error:#}"))
}

#[test]
fn a_sound_td_is_up_to_date_in_every_quote_format() {
    let tee = FakeTee::new(NOW);
    for format in QuoteFormat::ALL {
        for pad_to in [0, 8000] {
            let profile = TdProfile { format, pad_to, ..TdProfile::default() };
            let report = verify(&tee, &profile, &[], NOW).expect("a sound quote verifies");
            assert_eq!(report.status, "UpToDate");
            assert_eq!(report.ppid, tee.ppid());
            let td = report.report.as_td10().expect("a TD report");
            assert_eq!(td.report_data, REPORT_DATA);
            assert_eq!(td.mr_td, profile.mrtd);
            assert_eq!(td.mr_config_id, profile.mrconfigid);
            assert_eq!(td.rt_mr0, profile.rtmrs[0]);
            assert_eq!(td.rt_mr3, profile.rtmrs[3]);
        }
    }
}

#[test]
fn each_fault_is_refused_where_it_belongs() {
    let tee = FakeTee::new(NOW);
    let mut unexpected = Vec::new();
    for fault in Fault::ALL {
        let verdict = verify(&tee, &TdProfile::default(), &[*fault], NOW);
        let is_as_expected = match (expected(*fault), &verdict) {
            (Refused(reason), Err(error)) => error.contains(reason),
            (Status(status), Ok(report)) => report.status == status,
            (Unnoticed, Ok(report)) => report.status == "UpToDate",
            _ => false,
        };
        if !is_as_expected {
            unexpected.push(format!("{fault}: {:?}", verdict.map(|report| report.status)));
        }
    }
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

#[test]
fn a_fault_changes_nothing_beyond_its_site() {
    let tee = FakeTee::new(NOW);
    let profile = TdProfile::default();
    let quote = tee.quote(&profile, REPORT_DATA);
    let collateral = tee.collateral(NOW, &[]);
    for fault in Fault::ALL {
        let same_quote = tee.faulty_quote(&profile, REPORT_DATA, &[*fault]) == quote;
        let same_collateral = tee.collateral(NOW, &[*fault]) == collateral;
        assert_eq!(same_quote, fault.site() != Site::Evidence, "{fault}");
        assert_eq!(same_collateral, fault.site() != Site::Endorsements, "{fault}");
    }
}

#[test]
fn fault_names_are_unique_and_parse_back() {
    for fault in Fault::ALL {
        assert_eq!(fault.name().parse(), Ok(*fault));
    }
    assert!("no-such-fault".parse::<Fault>().is_err());
}

#[test]
fn collateral_is_valid_for_thirty_days() {
    let tee = FakeTee::new(NOW);
    let profile = TdProfile::default();
    let day = 24 * 60 * 60;
    assert!(verify(&tee, &profile, &[], NOW + 29 * day).is_ok());
    for outside in [NOW - 2 * 60 * 60, NOW + 31 * day] {
        assert!(verify(&tee, &profile, &[], outside).is_err());
    }
}

#[test]
fn a_launch_before_a_module_update_advises_relaunch() {
    let mut profile = TdProfile { format: QuoteFormat::V5Td15, ..TdProfile::default() };
    profile.tee_tcb_svn = TdProfile::default().with_faults(&[Fault::StaleTcb]).tee_tcb_svn;
    let report = verify(&FakeTee::new(NOW), &profile, &[], NOW).expect("a sound quote verifies");
    assert_eq!(report.status, "TDRelaunchAdvised");
}

#[test]
fn machines_of_one_seed_are_byte_for_byte_the_same() {
    let [one, two] = [1, 1].map(|byte| FakeTee::from_seed([byte; 32], NOW));
    let profile = TdProfile::default();
    assert_eq!(one.root_der(), two.root_der());
    assert_eq!(one.quote(&profile, REPORT_DATA), two.quote(&profile, REPORT_DATA));
    assert_eq!(one.collateral(NOW, &[]), two.collateral(NOW, &[]));
    assert_ne!(one.root_der(), FakeTee::from_seed([2; 32], NOW).root_der());
}
