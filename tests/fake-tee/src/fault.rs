//! The list of things that can be made wrong, one rung of the verification ladder each.
//!
//! A test switches on one [`Fault`] and expects the Verifier to refuse at exactly one rung. The
//! names are also the values of `--fault`; the program's help is made from the same list.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

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

/// Writes the enum and its table from one list, so that they cannot drift apart.
macro_rules! faults {
    ($($site:ident $name:literal $variant:ident $summary:literal)*) => {
        /// One deliberate defect in Evidence or in Endorsements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Fault {
            $(#[doc = $summary] $variant,)*
        }

        impl Fault {
            /// Every fault, in the order of the verification ladder.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value of `--fault`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Where it shows.
            pub fn site(self) -> Site {
                match self { $(Self::$variant => Site::$site,)* }
            }

            /// What is wrong, in one sentence.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }
        }
    };
}

faults! {
    // Rungs of the quote itself.
    Evidence "unknown-quote-version" UnknownQuoteVersion
        "Quote header says version 7."
    Evidence "sgx-tee-type" SgxTeeType
        "Quote header says TEE type 0 (SGX)."
    Evidence "unknown-key-type" UnknownKeyType
        "Quote header says attestation key type 3 (P-384)."
    Evidence "other-qe-vendor" OtherQeVendor
        "Quote header carries another QE vendor id."
    Evidence "truncated-quote" TruncatedQuote
        "Quote is cut in the middle of its signature data."
    Evidence "trailing-garbage" TrailingGarbage
        "Quote is followed by bytes that are not zero."

    // PCK chain and revocation.
    Evidence "other-root" OtherRoot
        "Quote and its certificates are made under a different root."
    Evidence "expired-pck" ExpiredPck
        "PCK certificate's validity has ended."
    Endorsements "revoked-pck" RevokedPck
        "PCK CRL names the PCK certificate."
    Endorsements "revoked-pck-ca" RevokedPckCa
        "Root CRL names the PCK CA."
    Endorsements "revoked-tcb-signer" RevokedTcbSigner
        "Root CRL names the TCB signer."
    Endorsements "expired-crl" ExpiredCrl
        "PCK CRL is past its nextUpdate."
    Endorsements "expired-root-crl" ExpiredRootCrl
        "Root CRL is past its nextUpdate."
    Endorsements "forged-crl" ForgedCrl
        "PCK CRL is signed by another key than the PCK CA's."
    Endorsements "missing-crl" MissingCrl
        "PCK CRL is empty."

    // TCB info.
    Endorsements "expired-collateral" ExpiredCollateral
        "All collateral (CRLs, TCB info, QE identity) was issued long ago and has expired."
    Endorsements "expired-tcb-info" ExpiredTcbInfo
        "TCB info alone has expired."
    Endorsements "future-tcb-info" FutureTcbInfo
        "TCB info's issue date lies in the future."
    Endorsements "tampered-tcb-info" TamperedTcbInfo
        "TCB info was changed after signing."
    Endorsements "sgx-tcb-info" SgxTcbInfo
        "TCB info is correctly signed, for SGX."
    Endorsements "wrong-fmspc" WrongFmspc
        "TCB info is correctly signed, for another FMSPC."
    Endorsements "wrong-pceid" WrongPceId
        "TCB info is correctly signed, for another PCEID."
    Endorsements "forged-tcb-info" ForgedTcbInfo
        "TCB info is signed by a key under another root."

    // QE identity and Quoting Enclave.
    Endorsements "expired-qe-identity" ExpiredQeIdentity
        "QE identity has expired."
    Endorsements "tampered-qe-identity" TamperedQeIdentity
        "QE identity was changed after signing."
    Endorsements "sgx-qe-identity" SgxQeIdentity
        "QE identity is correctly signed, for the SGX QE."
    Evidence "other-qe-signer" OtherQeSigner
        "QE report has another MRSIGNER."
    Evidence "other-qe-product" OtherQeProduct
        "QE report has another ISVPRODID."
    Evidence "debug-qe" DebugQe
        "QE runs in debug mode."
    Evidence "stale-qe" StaleQe
        "QE's ISVSVN is at an OutOfDate level."
    Evidence "ancient-qe" AncientQe
        "QE's ISVSVN is below every level."
    Evidence "bad-qe-report" BadQeReport
        "QE report's signature does not verify."
    Evidence "swapped-attestation-key" SwappedAttestationKey
        "Another attestation key signed the quote; the QE report still vouches for the old one."
    Evidence "qe-report-data-tail" QeReportDataTail
        "QE report data does not end in zeros."

    // Signature and TCB of the TD.
    Evidence "bad-quote-signature" BadQuoteSignature
        "Attestation key's signature over header and body does not verify."
    Evidence "stale-tcb" StaleTcb
        "Platform is at an OutOfDate TCB level."
    Evidence "revoked-tcb" RevokedTcb
        "Platform is at a Revoked TCB level."
    Evidence "no-tcb-level" NoTcbLevel
        "Platform is below every TCB level."
    Evidence "stale-tdx-module" StaleTdxModule
        "TDX module's version is at an OutOfDate level of its identity."
    Evidence "unknown-tdx-module" UnknownTdxModule
        "TCB info has no identity for the running TDX module."
    Evidence "other-module-signer" OtherModuleSigner
        "TDX module is signed by somebody else than the vendor."

    // Attributes and features of the TD.
    Evidence "debug-td" DebugTd
        "TD attribute DEBUG is set."
    Evidence "profiled-td" ProfiledTd
        "TD attribute PERF_PROFILING is set."
    Evidence "reserved-td-attribute" ReservedTdAttribute
        "TD attribute bit 8, reserved, is set."
    Evidence "migratable-td" MigratableTd
        "TD attribute MIGRATABLE is set."
    Evidence "sept-ve-enabled" SeptVeEnabled
        "TD attribute SEPT_VE_DISABLE is not set."
    Evidence "unknown-xfam" UnknownXfam
        "XFAM has a bit that no known feature uses."

    // Measurements, which are the appraisal's to judge.
    Evidence "other-measurement" OtherMeasurement
        "MRTD differs from the reference value."
    Evidence "other-rtmr" OtherRtmr
        "RTMR2 differs from the reference value."
    Evidence "other-config-id" OtherConfigId
        "MRCONFIGID (init-data) differs from the reference value."
    Evidence "other-owner" OtherOwner
        "MROWNER is not zero."
    Evidence "other-seam" OtherSeam
        "MRSEAM differs from the default TDX module's."
    Evidence "service-td" ServiceTd
        "Quote v5 of a TD bound to a service TD."
    Evidence "later-service-td" LaterServiceTd
        "Quote v5 of a TD that was bound to a service TD after its creation."

    // Freshness and binding.
    Evidence "wrong-report-data" WrongReportData
        "First byte of the report data is flipped."
    Evidence "wrong-report-data-tail" WrongReportDataTail
        "Last byte of the report data is flipped."

    // The way to the Evidence.
    GuestApi "malformed-evidence" MalformedEvidence
        "Guest API answers evidence requests with something that is not JSON."
    GuestApi "failing-attester" FailingAttester
        "Guest API answers evidence requests with status 500."
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
        Self::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| UnknownFault(name.to_owned()))
    }
}
