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
    /// In the event log beside the quote, so in what the guest API gives out.
    EventLog,
    /// In the endorsements, so in the state folder's `endorsements.json`.
    Endorsements,
    /// In the guest API's HTTP answer.
    GuestApi,
}

/// Writes the enum and its table from one list, so that they cannot drift apart.
macro_rules! faults {
    ($($site:ident $name:literal $variant:ident $rung:literal $code:literal $summary:literal)*) => {
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

            /// Rung and code with which the Verifier refuses, or the appraisal. `None` for what is wrong
            /// with the guest API.
            pub fn refusal(self) -> Option<(&'static str, &'static str)> {
                let (rung, code) = match self { $(Self::$variant => ($rung, $code),)* };
                (!rung.is_empty()).then_some((rung, code))
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
    Evidence "unknown-quote-version" UnknownQuoteVersion "T1" "tdx.quote.version"
        "Quote header says version 7."
    Evidence "sgx-tee-type" SgxTeeType "T1" "tdx.quote.tee-type"
        "Quote header says TEE type 0 (SGX)."
    Evidence "unknown-key-type" UnknownKeyType "T1" "tdx.quote.attestation-key-type"
        "Quote header says attestation key type 3 (P-384)."
    Evidence "unknown-body-type" UnknownBodyType "T1" "tdx.quote.body-type"
        "Quote v5 says body type 1, an SGX report."
    Evidence "wrong-body-size" WrongBodySize "T1" "tdx.quote.body-size"
        "Quote v5 says that its body is a byte longer."
    Evidence "other-qe-vendor" OtherQeVendor "T1" "tdx.quote.qe-vendor"
        "Quote header carries another QE vendor id."
    Evidence "truncated-quote" TruncatedQuote "T1" "evidence.truncated"
        "Quote is cut in the middle of its signature data."
    Evidence "oversized-quote" OversizedQuote "T1" "evidence.too-large"
        "Quote is filled up with zeros to a megabyte."
    Evidence "other-certification" OtherCertification "T1" "tdx.quote.certification-type"
        "Quote names its platform by an encrypted PPID instead of certificates."
    Evidence "no-qe-report" NoQeReport "T1" "tdx.quote.certification-type"
        "Quote has the PCK chain where the QE report has to be."
    Evidence "trailing-garbage" TrailingGarbage "T14" "tdx.quote.trailing-bytes"
        "Quote is followed by bytes that are not zero."
    Evidence "leftover-signature-data" LeftoverSignatureData "T14" "tdx.quote.leftover"
        "A byte follows the PCK chain inside the signature data."

    // PCK chain and revocation.
    Evidence "other-root" OtherRoot "T2" "tdx.pck-chain"
        "Quote and its certificates are made under a different root."
    Evidence "expired-pck" ExpiredPck "T2" "tdx.pck-chain"
        "PCK certificate's validity has ended."
    Evidence "future-pck" FuturePck "T2" "tdx.pck-chain"
        "PCK certificate's validity has not begun."
    Evidence "pck-without-platform" PckWithoutPlatform "T2" "tdx.pck-chain.extension"
        "PCK certificate does not describe the platform."
    Evidence "pck-is-ca" PckIsCa "T2" "tdx.pck-chain"
        "PCK certificate is a CA's."
    Evidence "critical-pck-extension" CriticalPckExtension "T2" "tdx.pck-chain"
        "PCK certificate has a critical extension that nobody knows."
    Evidence "foreign-certificate" ForeignCertificate "T2" "tdx.pck-chain"
        "A certificate in the PCK chain is not on the way to the root."
    Endorsements "revoked-pck" RevokedPck "T3" "tdx.revocation.revoked"
        "PCK CRL names the PCK certificate."
    Endorsements "revoked-pck-ca" RevokedPckCa "T3" "tdx.revocation.revoked"
        "Root CRL names the PCK CA."
    Endorsements "revoked-tcb-signer" RevokedTcbSigner "T3" "tdx.revocation.revoked"
        "Root CRL names the TCB signer."
    Endorsements "expired-crl" ExpiredCrl "T3" "tdx.revocation.expired"
        "PCK CRL is past its nextUpdate."
    Endorsements "expired-root-crl" ExpiredRootCrl "T3" "tdx.revocation.expired"
        "Root CRL is past its nextUpdate."
    Endorsements "future-crl" FutureCrl "T3" "tdx.revocation.not-yet-valid"
        "PCK CRL's issue date lies in the future."
    Endorsements "crl-of-other-issuer" CrlOfOtherIssuer "T3" "tdx.revocation.issuer"
        "PCK CRL is the root's."
    Endorsements "partial-crl" PartialCrl "T3" "tdx.revocation.profile"
        "PCK CRL says that it covers some certificates only."
    Endorsements "forged-crl" ForgedCrl "T3" "tdx.revocation.signature"
        "PCK CRL is signed by another key than the PCK CA's."
    Endorsements "missing-crl" MissingCrl "T3" "tdx.revocation.missing"
        "PCK CRL is empty."

    // TCB info.
    Endorsements "expired-collateral" ExpiredCollateral "T3" "tdx.revocation.expired"
        "All collateral (CRLs, TCB info, QE identity) was issued long ago and has expired."
    Endorsements "expired-tcb-info" ExpiredTcbInfo "T4" "tdx.tcb-info.expired"
        "TCB info alone has expired."
    Endorsements "future-tcb-info" FutureTcbInfo "T4" "tdx.tcb-info.not-yet-valid"
        "TCB info's issue date lies in the future."
    Endorsements "tampered-tcb-info" TamperedTcbInfo "T4" "tdx.tcb-info.signature"
        "TCB info was changed after signing."
    Endorsements "sgx-tcb-info" SgxTcbInfo "T4" "tdx.tcb-info.kind"
        "TCB info is correctly signed, for SGX."
    Endorsements "wrong-fmspc" WrongFmspc "T16" "tdx.endorsements.missing"
        "TCB info is correctly signed, for another FMSPC."
    Endorsements "wrong-pceid" WrongPceId "T4" "tdx.tcb-info.pce-id"
        "TCB info is correctly signed, for another PCEID."
    Endorsements "forged-tcb-info" ForgedTcbInfo "T4" "tdx.tcb-info.signer"
        "TCB info is signed by a key under another root."

    // QE identity and Quoting Enclave.
    Endorsements "expired-qe-identity" ExpiredQeIdentity "T5" "tdx.qe-identity.expired"
        "QE identity has expired."
    Endorsements "future-qe-identity" FutureQeIdentity "T5" "tdx.qe-identity.not-yet-valid"
        "QE identity's issue date lies in the future."
    Endorsements "tampered-qe-identity" TamperedQeIdentity "T5" "tdx.qe-identity.signature"
        "QE identity was changed after signing."
    Endorsements "sgx-qe-identity" SgxQeIdentity "T5" "tdx.qe-identity.kind"
        "QE identity is correctly signed, for the SGX QE."
    Endorsements "forged-qe-identity" ForgedQeIdentity "T5" "tdx.qe-identity.signer"
        "QE identity is signed by a key under another root."
    Evidence "other-qe-signer" OtherQeSigner "T5" "tdx.qe-identity.mismatch"
        "QE report has another MRSIGNER."
    Evidence "other-qe-product" OtherQeProduct "T5" "tdx.qe-identity.mismatch"
        "QE report has another ISVPRODID."
    Evidence "other-qe-miscselect" OtherQeMiscselect "T5" "tdx.qe-identity.mismatch"
        "QE report has another MISCSELECT."
    Evidence "debug-qe" DebugQe "T5" "tdx.qe-identity.mismatch"
        "QE runs in debug mode."
    Evidence "stale-qe" StaleQe "T8" "tdx.tcb.status"
        "QE's ISVSVN is at an OutOfDate level."
    Evidence "ancient-qe" AncientQe "T5" "tdx.qe-identity.mismatch"
        "QE's ISVSVN is below every level."
    Evidence "bad-qe-report" BadQeReport "T6" "tdx.qe-report.signature"
        "QE report's signature does not verify."
    Evidence "swapped-attestation-key" SwappedAttestationKey "T6" "tdx.qe-report.data"
        "Another attestation key signed the quote; the QE report still vouches for the old one."
    Evidence "qe-report-data-tail" QeReportDataTail "T6" "tdx.qe-report.data"
        "QE report data does not end in zeros."

    // Signature and TCB of the TD.
    Evidence "bad-quote-signature" BadQuoteSignature "T7" "tdx.quote.signature"
        "Attestation key's signature over header and body does not verify."
    Evidence "stale-tcb" StaleTcb "T8" "tdx.tcb.status"
        "Platform is at an OutOfDate TCB level."
    Evidence "revoked-tcb" RevokedTcb "T8" "tdx.tcb.revoked"
        "Platform is at a Revoked TCB level."
    Evidence "no-tcb-level" NoTcbLevel "T8" "tdx.tcb.no-level"
        "Platform is below every TCB level."
    Evidence "stale-tdx-module" StaleTdxModule "T8" "tdx.tcb.status"
        "TDX module's version is at an OutOfDate level of its identity."
    Evidence "unknown-tdx-module" UnknownTdxModule "T8" "tdx.tcb.module"
        "TCB info has no identity for the running TDX module."
    Evidence "other-module-signer" OtherModuleSigner "T8" "tdx.tcb.module"
        "TDX module is signed by somebody else than the vendor."

    // Attributes and features of the TD.
    Evidence "debug-td" DebugTd "T9" "tdx.td-attributes.debug"
        "TD attribute DEBUG is set."
    Evidence "profiled-td" ProfiledTd "T9" "tdx.td-attributes.reserved"
        "TD attribute PERF_PROFILING is set."
    Evidence "reserved-td-attribute" ReservedTdAttribute "T9" "tdx.td-attributes.reserved"
        "TD attribute bit 8, reserved, is set."
    Evidence "migratable-td" MigratableTd "T9" "tdx.td-attributes.migratable"
        "TD attribute MIGRATABLE is set."
    Evidence "sept-ve-enabled" SeptVeEnabled "T9" "tdx.td-attributes.sept-ve-disable"
        "TD attribute SEPT_VE_DISABLE is not set."
    Evidence "unknown-xfam" UnknownXfam "T10" "tdx.xfam"
        "XFAM has a bit that no known feature uses."
    Evidence "xfam-without-sse" XfamWithoutSse "T10" "tdx.xfam"
        "XFAM lacks SSE, which every TD has."

    // Measurements, which are the appraisal's to judge.
    Evidence "other-measurement" OtherMeasurement "T11" "tdx.measurement.mrtd"
        "MRTD differs from the reference value."
    Evidence "other-rtmr" OtherRtmr "T11" "tdx.measurement.rtmr2"
        "RTMR2 differs from the reference value."
    Evidence "other-config-id" OtherConfigId "T11" "tdx.measurement.mrconfigid"
        "MRCONFIGID (init-data) differs from the reference value."
    Evidence "other-owner" OtherOwner "T11" "tdx.measurement.mrowner"
        "MROWNER is not zero."
    Evidence "other-seam" OtherSeam "T11" "tdx.module.not-allowed"
        "MRSEAM differs from the default TDX module's."
    Evidence "service-td" ServiceTd "T12" "tdx.service-td"
        "Quote v5 of a TD bound to a service TD."
    Evidence "initial-service-td" InitialServiceTd "T12" "tdx.service-td"
        "Quote v5 of a TD that was created with a service TD."
    Evidence "later-service-td" LaterServiceTd "T12" "tdx.service-td"
        "Quote v5 of a TD that was bound to a service TD after its creation."

    // The event log beside the quote.
    EventLog "dropped-event" DroppedEvent "T13" "tdx.event-log.replay"
        "An event is left out of the log."
    EventLog "appended-event" AppendedEvent "T13" "tdx.event-log.replay"
        "An event was appended to the log that no register was extended with."
    EventLog "repeated-event" RepeatedEvent "T13" "tdx.event-log.replay"
        "An event is in the log twice."
    EventLog "reordered-events" ReorderedEvents "T13" "tdx.event-log.replay"
        "Two events of one register have changed places."
    EventLog "moved-event" MovedEvent "T13" "tdx.event-log.replay"
        "An event is logged for another register."
    EventLog "other-event-digest" OtherEventDigest "T13" "tdx.event-log.replay"
        "An event's digest is another one."
    EventLog "silenced-event" SilencedEvent "T13" "tdx.event-log.replay"
        "An event is marked as one that extends nothing."
    EventLog "log-of-another-boot" LogOfAnotherBoot "T13" "tdx.event-log.replay"
        "The log is of a boot with another command line."
    EventLog "empty-event-log" EmptyEventLog "T13" "tdx.event-log.replay"
        "The log has no event."
    EventLog "truncated-event-log" TruncatedEventLog "T13" "tdx.event-log.malformed"
        "The log ends inside an event."
    EventLog "sha256-event-log" Sha256EventLog "T13" "tdx.event-log.malformed"
        "The log has SHA-256 digests."
    EventLog "unknown-register" UnknownRegister "T13" "tdx.event-log.malformed"
        "An event is logged for a register that no TD has."
    EventLog "garbage-after-event-log" GarbageAfterEventLog "T13" "tdx.event-log.malformed"
        "The log's padding is followed by something."

    // Freshness and binding.
    Evidence "wrong-report-data" WrongReportData "T18" "tdx.report-data"
        "First byte of the report data is flipped."
    Evidence "wrong-report-data-tail" WrongReportDataTail "T18" "tdx.report-data"
        "Last byte of the report data is flipped."

    // The way to the Evidence.
    GuestApi "malformed-evidence" MalformedEvidence "" ""
        "Guest API answers evidence requests with something that is not JSON."
    GuestApi "failing-attester" FailingAttester "" ""
        "Guest API answers evidence requests with status 500."
}

impl Fault {
    /// Whether the Verifier makes a claim of it and lets it pass, so that it is the appraisal that refuses.
    pub fn is_for_appraisal(self) -> bool {
        matches!(
            self,
            Self::StaleTcb
                | Self::StaleQe
                | Self::StaleTdxModule
                | Self::OtherMeasurement
                | Self::OtherRtmr
                | Self::OtherConfigId
                | Self::OtherOwner
                | Self::OtherSeam
        )
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
        Self::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

/// A variant's name as the command line writes it: `ZeroR` is `zero-r`.
pub(crate) fn hyphenated(variant: &str) -> String {
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
