//! The list of things that can be made wrong, one rung of the verification ladder each.
//!
//! A test switches on one [`Fault`] and expects the Verifier to refuse at exactly one rung. The
//! names are also the values of `--fault`, so the program's help is made from this list.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One deliberate defect in Evidence or in Endorsements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Quote header says version 7.
    UnknownQuoteVersion,
    /// Quote header says TEE type 0 (SGX).
    SgxTeeType,
    /// Quote header says attestation key type 3 (P-384).
    UnknownKeyType,
    /// Quote header carries another QE vendor id.
    OtherQeVendor,
    /// Quote is cut in the middle of its signature data.
    TruncatedQuote,
    /// Quote is followed by bytes that are not zero.
    TrailingGarbage,
    /// Quote and its certificates are made under a different root.
    OtherRoot,
    /// PCK certificate's validity has ended.
    ExpiredPck,
    /// PCK CRL names the PCK certificate.
    RevokedPck,
    /// Root CRL names the PCK CA.
    RevokedPckCa,
    /// Root CRL names the TCB signer.
    RevokedTcbSigner,
    /// PCK CRL is past its nextUpdate.
    ExpiredCrl,
    /// Root CRL is past its nextUpdate.
    ExpiredRootCrl,
    /// PCK CRL is signed by another key than the PCK CA's.
    ForgedCrl,
    /// PCK CRL is empty.
    MissingCrl,
    /// All collateral (CRLs, TCB info, QE identity) was issued long ago and has expired.
    ExpiredCollateral,
    /// TCB info alone has expired.
    ExpiredTcbInfo,
    /// TCB info's issue date lies in the future.
    FutureTcbInfo,
    /// TCB info was changed after signing.
    TamperedTcbInfo,
    /// TCB info is correctly signed, for SGX.
    SgxTcbInfo,
    /// TCB info is correctly signed, for another FMSPC; the bundle still lists it for this one.
    WrongFmspc,
    /// TCB info is correctly signed, for another PCEID.
    WrongPceId,
    /// TCB info is signed by a key under another root.
    ForgedTcbInfo,
    /// QE identity has expired.
    ExpiredQeIdentity,
    /// QE identity was changed after signing.
    TamperedQeIdentity,
    /// QE identity is correctly signed, for the SGX QE.
    SgxQeIdentity,
    /// QE report has another MRSIGNER.
    OtherQeSigner,
    /// QE report has another ISVPRODID.
    OtherQeProduct,
    /// QE runs in debug mode.
    DebugQe,
    /// QE's ISVSVN is at an OutOfDate level.
    StaleQe,
    /// QE's ISVSVN is below every level.
    AncientQe,
    /// QE report's signature does not verify.
    BadQeReport,
    /// Another attestation key signed the quote; the QE report still vouches for the old one.
    SwappedAttestationKey,
    /// QE report data does not end in zeros.
    QeReportDataTail,
    /// Attestation key's signature over header and body does not verify.
    BadQuoteSignature,
    /// Platform is at an OutOfDate TCB level.
    StaleTcb,
    /// Platform is at a Revoked TCB level.
    RevokedTcb,
    /// Platform is below every TCB level.
    NoTcbLevel,
    /// TDX module's version is at an OutOfDate level of its identity.
    StaleTdxModule,
    /// TCB info has no identity for the running TDX module.
    UnknownTdxModule,
    /// TDX module is signed by somebody else than the vendor.
    OtherModuleSigner,
    /// TD attribute DEBUG is set.
    DebugTd,
    /// TD attribute PERF_PROFILING is set.
    ProfiledTd,
    /// TD attribute bit 8, reserved, is set.
    ReservedTdAttribute,
    /// TD attribute MIGRATABLE is set.
    MigratableTd,
    /// TD attribute SEPT_VE_DISABLE is not set.
    SeptVeEnabled,
    /// XFAM has a bit that no known feature uses.
    UnknownXfam,
    /// MRTD differs from the reference value.
    OtherMeasurement,
    /// RTMR2 differs from the reference value.
    OtherRtmr,
    /// MRCONFIGID (init-data) differs from the reference value.
    OtherConfigId,
    /// MROWNER is not zero.
    OtherOwner,
    /// MRSEAM differs from the default TDX module's.
    OtherSeam,
    /// Quote v5 of a TD bound to a service TD.
    ServiceTd,
    /// First byte of the report data is flipped.
    WrongReportData,
    /// Last byte of the report data is flipped.
    WrongReportDataTail,
    /// Guest API answers evidence requests with something that is not JSON.
    MalformedEvidence,
    /// Guest API answers evidence requests with status 500.
    FailingAttester,
}

/// Where a [`Fault`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// In the quote, so in what the guest API and `quote` give out.
    Evidence,
    /// In the endorsements, so in the state folder's `endorsements.json`.
    Endorsements,
    /// In the guest API's HTTP answer.
    GuestApi,
}

/// Name, place and meaning of every fault, in the order of the ladder.
const TABLE: &[(Fault, Site, &str, &str)] = {
    use Fault as F;
    use Site::{Endorsements, Evidence, GuestApi};
    &[
        (
            F::UnknownQuoteVersion,
            Evidence,
            "unknown-quote-version",
            "header says version 7",
        ),
        (
            F::SgxTeeType,
            Evidence,
            "sgx-tee-type",
            "header says TEE type SGX",
        ),
        (
            F::UnknownKeyType,
            Evidence,
            "unknown-key-type",
            "header says attestation key type 3",
        ),
        (
            F::OtherQeVendor,
            Evidence,
            "other-qe-vendor",
            "header carries another QE vendor id",
        ),
        (
            F::TruncatedQuote,
            Evidence,
            "truncated-quote",
            "quote is cut short",
        ),
        (
            F::TrailingGarbage,
            Evidence,
            "trailing-garbage",
            "non-zero bytes follow the quote",
        ),
        (
            F::OtherRoot,
            Evidence,
            "other-root",
            "quote is made under a different root",
        ),
        (
            F::ExpiredPck,
            Evidence,
            "expired-pck",
            "PCK certificate has expired",
        ),
        (
            F::RevokedPck,
            Endorsements,
            "revoked-pck",
            "PCK CRL names the PCK certificate",
        ),
        (
            F::RevokedPckCa,
            Endorsements,
            "revoked-pck-ca",
            "root CRL names the PCK CA",
        ),
        (
            F::RevokedTcbSigner,
            Endorsements,
            "revoked-tcb-signer",
            "root CRL names the TCB signer",
        ),
        (
            F::ExpiredCrl,
            Endorsements,
            "expired-crl",
            "PCK CRL is past its nextUpdate",
        ),
        (
            F::ExpiredRootCrl,
            Endorsements,
            "expired-root-crl",
            "root CRL is past its nextUpdate",
        ),
        (
            F::ForgedCrl,
            Endorsements,
            "forged-crl",
            "PCK CRL is signed by another key",
        ),
        (
            F::MissingCrl,
            Endorsements,
            "missing-crl",
            "PCK CRL is empty",
        ),
        (
            F::ExpiredCollateral,
            Endorsements,
            "expired-collateral",
            "all collateral has expired",
        ),
        (
            F::ExpiredTcbInfo,
            Endorsements,
            "expired-tcb-info",
            "TCB info has expired",
        ),
        (
            F::FutureTcbInfo,
            Endorsements,
            "future-tcb-info",
            "TCB info is from the future",
        ),
        (
            F::TamperedTcbInfo,
            Endorsements,
            "tampered-tcb-info",
            "TCB info changed after signing",
        ),
        (
            F::SgxTcbInfo,
            Endorsements,
            "sgx-tcb-info",
            "TCB info is for SGX",
        ),
        (
            F::WrongFmspc,
            Endorsements,
            "wrong-fmspc",
            "TCB info is for another FMSPC",
        ),
        (
            F::WrongPceId,
            Endorsements,
            "wrong-pceid",
            "TCB info is for another PCEID",
        ),
        (
            F::ForgedTcbInfo,
            Endorsements,
            "forged-tcb-info",
            "TCB info is signed under another root",
        ),
        (
            F::ExpiredQeIdentity,
            Endorsements,
            "expired-qe-identity",
            "QE identity has expired",
        ),
        (
            F::TamperedQeIdentity,
            Endorsements,
            "tampered-qe-identity",
            "QE identity changed after signing",
        ),
        (
            F::SgxQeIdentity,
            Endorsements,
            "sgx-qe-identity",
            "QE identity is the SGX QE's",
        ),
        (
            F::OtherQeSigner,
            Evidence,
            "other-qe-signer",
            "QE has another MRSIGNER",
        ),
        (
            F::OtherQeProduct,
            Evidence,
            "other-qe-product",
            "QE has another ISVPRODID",
        ),
        (F::DebugQe, Evidence, "debug-qe", "QE runs in debug mode"),
        (
            F::StaleQe,
            Evidence,
            "stale-qe",
            "QE is at an OutOfDate level",
        ),
        (
            F::AncientQe,
            Evidence,
            "ancient-qe",
            "QE is below every level",
        ),
        (
            F::BadQeReport,
            Evidence,
            "bad-qe-report",
            "QE report's signature is wrong",
        ),
        (
            F::SwappedAttestationKey,
            Evidence,
            "swapped-attestation-key",
            "QE report vouches for another key",
        ),
        (
            F::QeReportDataTail,
            Evidence,
            "qe-report-data-tail",
            "QE report data does not end in zeros",
        ),
        (
            F::BadQuoteSignature,
            Evidence,
            "bad-quote-signature",
            "quote's signature is wrong",
        ),
        (
            F::StaleTcb,
            Evidence,
            "stale-tcb",
            "platform is at an OutOfDate level",
        ),
        (
            F::RevokedTcb,
            Evidence,
            "revoked-tcb",
            "platform is at a Revoked level",
        ),
        (
            F::NoTcbLevel,
            Evidence,
            "no-tcb-level",
            "platform is below every level",
        ),
        (
            F::StaleTdxModule,
            Evidence,
            "stale-tdx-module",
            "TDX module is at an OutOfDate level",
        ),
        (
            F::UnknownTdxModule,
            Evidence,
            "unknown-tdx-module",
            "TCB info does not know the TDX module",
        ),
        (
            F::OtherModuleSigner,
            Evidence,
            "other-module-signer",
            "TDX module has another signer",
        ),
        (F::DebugTd, Evidence, "debug-td", "TD attribute DEBUG"),
        (
            F::ProfiledTd,
            Evidence,
            "profiled-td",
            "TD attribute PERF_PROFILING",
        ),
        (
            F::ReservedTdAttribute,
            Evidence,
            "reserved-td-attribute",
            "a reserved TD attribute",
        ),
        (
            F::MigratableTd,
            Evidence,
            "migratable-td",
            "TD attribute MIGRATABLE",
        ),
        (
            F::SeptVeEnabled,
            Evidence,
            "sept-ve-enabled",
            "TD attribute SEPT_VE_DISABLE missing",
        ),
        (
            F::UnknownXfam,
            Evidence,
            "unknown-xfam",
            "XFAM bit of no known feature",
        ),
        (
            F::OtherMeasurement,
            Evidence,
            "other-measurement",
            "MRTD differs",
        ),
        (F::OtherRtmr, Evidence, "other-rtmr", "RTMR2 differs"),
        (
            F::OtherConfigId,
            Evidence,
            "other-config-id",
            "MRCONFIGID differs",
        ),
        (
            F::OtherOwner,
            Evidence,
            "other-owner",
            "MROWNER is not zero",
        ),
        (F::OtherSeam, Evidence, "other-seam", "MRSEAM differs"),
        (
            F::ServiceTd,
            Evidence,
            "service-td",
            "quote v5 of a TD with a service TD",
        ),
        (
            F::WrongReportData,
            Evidence,
            "wrong-report-data",
            "first byte of the report data flipped",
        ),
        (
            F::WrongReportDataTail,
            Evidence,
            "wrong-report-data-tail",
            "last byte of the report data flipped",
        ),
        (
            F::MalformedEvidence,
            GuestApi,
            "malformed-evidence",
            "evidence answers are not JSON",
        ),
        (
            F::FailingAttester,
            GuestApi,
            "failing-attester",
            "evidence answers are status 500",
        ),
    ]
};

impl Fault {
    /// Every fault, in the order of the ladder.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(fault, ..)| *fault)
    }

    /// The value of `--fault`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Where it shows.
    pub fn site(self) -> Site {
        self.row().1
    }

    /// What is wrong, in a few words.
    pub fn summary(self) -> &'static str {
        self.row().3
    }

    fn row(self) -> &'static (Self, Site, &'static str, &'static str) {
        TABLE
            .iter()
            .find(|(fault, ..)| *fault == self)
            .expect("a test compares the table with the enum")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A `--fault` that does not exist.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no fault called `{0}`; `adyton-fake-tee faults` lists them")]
pub struct UnknownFault(pub String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        Self::all()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| UnknownFault(name.to_owned()))
    }
}
