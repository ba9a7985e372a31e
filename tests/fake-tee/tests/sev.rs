//! `sev`, the crate of AMD's reference tools, judges what the simulated processors make: its chain of
//! signatures holds for what is sound, and each fault either breaks it or stands below with what `sev` does
//! not look at.

use adyton_fake_tee::{FakeKey, FakeProduct, FakeSnp, SnpFault, SnpProfile};
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

const NOW: u64 = 1_800_000_000;
const DATA: [u8; 64] = [0x42; 64];

/// What `sev` makes of a report with its chain: root, intermediate of the bundle, key beside the report.
fn accepts(
    machine: &FakeSnp,
    profile: &SnpProfile,
    kind: FakeKey,
    fault: Option<SnpFault>,
) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let report = AttestationReport::from_bytes(&machine.report(profile, DATA, fault))
        .map_err(|error| said(&error))?;
    let bundle = machine.endorsement_bundle(NOW, fault);
    // ASK, then ASVK.
    let index = match kind {
        FakeKey::Vcek => 0,
        FakeKey::Vlek => 1,
    };
    let intermediate = bundle["amd"]["certificates"][index].as_str().ok_or("no intermediate")?;
    let intermediate = hex::decode(intermediate).expect("hex");
    let certificates = machine.certificates(profile, fault);
    let (_, key) = certificates.first().ok_or("no endorsement key")?;
    let parsed = |der: &[u8]| Certificate::from_der(der).map_err(|error| said(&error));
    let ca = ca::Chain { ark: parsed(&machine.root_der())?, ask: parsed(&intermediate)? };
    let chain = Chain { ca, vek: parsed(key)? };
    (&chain, &report).verify().map_err(|error| said(&error))
}

#[test]
fn sound_reports_of_every_product_version_and_kind_of_key_verify() {
    for product in FakeProduct::ALL {
        for kind in [FakeKey::Vcek, FakeKey::Vlek] {
            let machine = FakeSnp::new(NOW, product, kind);
            for version in [2, 3, 5] {
                let profile = SnpProfile { version, ..SnpProfile::default() };
                let verdict = accepts(&machine, &profile, kind, None);
                assert_eq!(verdict, Ok(()), "{product:?} {kind:?} {version}");
            }
        }
    }
}

#[test]
fn the_parsed_report_says_what_the_profile_says() {
    let machine = FakeSnp::new(NOW, FakeProduct::Turin, FakeKey::Vcek);
    let profile = SnpProfile::default();
    let raw = machine.report(&profile, DATA, None);
    let report = AttestationReport::from_bytes(&raw).expect("a report");
    assert_eq!(report.version, profile.version);
    assert_eq!(report.guest_svn, profile.guest_svn);
    assert_eq!(report.vmpl, profile.vmpl);
    assert_eq!(report.measurement[..], profile.measurement);
    assert_eq!(report.host_data[..], profile.host_data);
    assert_eq!(report.report_data[..], DATA);
    assert_eq!(report.chip_id[..], machine.chip_id());
    let (theirs, ours) = (report.reported_tcb, profile.tcb);
    assert_eq!(theirs.fmc, Some(ours.fmc));
    assert_eq!(
        (theirs.bootloader, theirs.tee, theirs.snp, theirs.microcode),
        (ours.bootloader, ours.tee, ours.snp, ours.microcode)
    );
}

/// What `sev` makes of a fault.
enum Verdict {
    /// It refuses, and its error contains this.
    Refused(&'static str),
    /// It accepts, because it leaves this to whoever calls it. The product does not.
    LeftToTheCaller(&'static str),
}
use Verdict::{LeftToTheCaller, Refused};

fn expected(fault: SnpFault) -> Verdict {
    use SnpFault as F;
    match fault {
        F::Truncated => Refused("expected 1184 bytes"),
        // It knows no version 4 with these fields, and no reserved byte but zero.
        F::Version | F::ReservedByte => Refused("Skipped bytes were expected to be zeroed"),
        // It puts the report together again without them, and the signature is over them.
        F::ReservedReportedTcb
        | F::ReservedCurrentTcb
        | F::ReservedCommittedTcb
        | F::ReservedLaunchTcb => Refused("VEK does not sign the attestation report"),
        F::NoCertificate => Refused("no endorsement key"),
        F::NoIntermediate => Refused("no intermediate"),
        // Not by the kind: here the intermediate is the one that the report asks for.
        F::VlekForVcek | F::VcekForVlek => Refused("does not RSA sign"),
        F::OtherRoot
        | F::SignedByRoot
        | F::FlippedKeySignature
        | F::FlippedIntermediateSignature => Refused("does not RSA sign"),
        F::Pkcs1Signature | F::Pkcs1Intermediate => Refused("unsupported signature algorithm"),
        F::ZeroR | F::ZeroS | F::RIsOrder | F::SIsOrder => Refused("signature"),
        F::SwappedNumbers | F::BigEndian | F::FlippedMeasurement | F::OtherKey => {
            Refused("VEK does not sign the attestation report")
        }
        F::ReservedTail | F::UpperBytesOfR | F::UpperBytesOfS => {
            LeftToTheCaller("bytes that nobody signs and it does not read")
        }
        F::Algorithm | F::SigningKeyNone => LeftToTheCaller("what the report says of its own key"),
        F::ReservedPolicyBit | F::ReservedPlatformBit | F::ReservedKeyInfoBit => {
            LeftToTheCaller("bits that are reserved")
        }
        F::UnknownIssuerName | F::IssuerOfOtherKind => LeftToTheCaller("names in certificates"),
        F::OtherProductName | F::NoProductName | F::OtherProcessor => {
            LeftToTheCaller("whether certificate and processor are of one product line")
        }
        F::IntermediateIsNoCa
        | F::IntermediateForListsOnly
        | F::KeyIsCa
        | F::CriticalExtension
        | F::ChipTwice => LeftToTheCaller("what a certificate may be used for, and its extensions"),
        F::ExpiredKey | F::FutureKey | F::ExpiredAsk | F::ExpiredAsvk => {
            LeftToTheCaller("the time: it has no clock")
        }
        F::NoList
        | F::ExpiredList
        | F::FutureList
        | F::TamperedList
        | F::ListOfOtherRoot
        | F::ListOfOtherIssuer
        | F::Pkcs1List
        | F::PartialList
        | F::ListOfTwoAlgorithms
        | F::RevokedAsk
        | F::RevokedAsvk => LeftToTheCaller("revocation"),
        F::OtherChip
        | F::OtherChipByOneByte
        | F::ChipIdTail
        | F::NoHardwareId
        | F::MaskedChipBit
        | F::ZeroChip
        | F::NoCspId => LeftToTheCaller("which chip or cloud a key is of"),
        F::BootloaderSpl
        | F::TeeSpl
        | F::SnpSpl
        | F::MicrocodeSpl
        | F::FmcSpl
        | F::NoSnpSpl
        | F::ReportedAboveCommitted
        | F::CommittedAboveCurrent
        | F::VersionOrder => {
            LeftToTheCaller("which firmware a key is of, and the firmware's order")
        }
        F::NoBit17 | F::Debug | F::Migratable | F::AbiTooHigh | F::AuthorDigestWithoutKey => {
            LeftToTheCaller("the guest policy")
        }
        F::ReportDataFirst | F::ReportDataDigestEnd | F::ReportDataLast => {
            LeftToTheCaller("what the Verifier asked for")
        }
        F::OldFirmware
        | F::LaunchedOnOldFirmware
        | F::Vmpl
        | F::OtherMeasurement
        | F::OtherHostData
        | F::OtherIdKey
        | F::OtherAuthorKey
        | F::NoAuthorKey
        | F::OtherFamily
        | F::OtherImage
        | F::OldGuest
        | F::NoAliasCheck
        | F::SmtOn
        | F::NoTsme
        | F::NoEcc
        | F::RaplOn
        | F::NoCiphertextHiding
        | F::TioOn
        | F::NoMitigationAtLaunch
        | F::NoMitigationNow => LeftToTheCaller("the appraisal"),
    }
}

#[test]
fn each_fault_breaks_its_chain_or_is_one_that_it_leaves_to_its_caller() {
    let (mut refused, mut left, mut unexpected) = (0, 0, Vec::new());
    for &(fault, rung, _) in SnpFault::ALL {
        let (product, kind) = fault.machine();
        let machine = FakeSnp::new(NOW, product, kind);
        let verdict = accepts(&machine, &SnpProfile::default(), kind, Some(fault));
        match (expected(fault), &verdict) {
            (Refused(reason), Err(error)) if error.contains(reason) => refused += 1,
            (LeftToTheCaller(what), Ok(())) if !what.is_empty() => left += 1,
            _ => unexpected.push(format!("{fault:?} of {rung}: {verdict:?}")),
        }
    }
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    println!("sev refuses {refused} faults and leaves {left} to its caller");
}
