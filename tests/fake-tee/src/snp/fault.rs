//! What can be made wrong in SNP Evidence and Endorsements, one defect a name.

use std::str::FromStr;

use crate::fault::{UnknownFault, hyphenated};
use crate::snp::{FakeKey, FakeProduct};

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident: $rung:literal, $code:literal;)+) => {
        /// One deliberate defect. Each belongs to one rung of the ladder or of the appraisal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum SnpFault {
            $($(#[doc = $doc])+ $name,)+
        }

        impl SnpFault {
            /// Every fault with the rung that it fails and the code of the refusal.
            pub const ALL: &[(Self, &'static str, &'static str)] =
                &[$((Self::$name, $rung, $code)),+];

            /// What is wrong, in a line.
            pub fn summary(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

faults! {
    /// The report has lost its last byte.
    Truncated: "S1", "snp.report.length";
    /// Version 4.
    Version: "S1", "snp.report.version";
    /// Signature algorithm 2.
    Algorithm: "S1", "snp.report.algorithm";
    /// A reserved byte before the signature is one.
    ReservedByte: "S16", "snp.report.reserved";
    /// A reserved byte after the signature is one.
    ReservedTail: "S16", "snp.report.reserved";
    /// Bit 26 of the guest policy.
    ReservedPolicyBit: "S16", "snp.report.reserved-bits";
    /// Bit 6 of PLATFORM_INFO.
    ReservedPlatformBit: "S16", "snp.report.reserved-bits";
    /// Bit 5 of KEY_INFO.
    ReservedKeyInfoBit: "S16", "snp.report.reserved-bits";
    /// A reserved byte of the reported TCB.
    ReservedReportedTcb: "S16", "snp.report.reserved-tcb";
    /// A reserved byte of the current TCB.
    ReservedCurrentTcb: "S16", "snp.report.reserved-tcb";
    /// A reserved byte of the committed TCB.
    ReservedCommittedTcb: "S16", "snp.report.reserved-tcb";
    /// A reserved byte of the launch TCB.
    ReservedLaunchTcb: "S16", "snp.report.reserved-tcb";
    /// SIGNING_KEY is 7: none.
    SigningKeyNone: "S6", "snp.key.signing-key";
    /// No certificate comes with the report.
    NoCertificate: "S6", "snp.key.missing";
    /// A VLEK's certificate, called VCEK, for a report that names a VCEK.
    VlekForVcek: "S6", "snp.key.kind";
    /// A VCEK's certificate, called VLEK, for a report that names a VLEK.
    VcekForVlek: "S6", "snp.key.kind";
    /// The certificate's issuer is of a product that nobody knows.
    UnknownIssuerName: "S6", "snp.key.issuer";
    /// The ASVK's name above a VCEK.
    IssuerOfOtherKind: "S6", "snp.key.issuer";
    /// The certificate's productName is another one.
    OtherProductName: "S2", "snp.product";
    /// The certificate has no productName.
    NoProductName: "S2", "snp.key.certificate";
    /// The report's processor is of another product.
    OtherProcessor: "S2", "snp.product";
    /// Another root of the same name signed the intermediate.
    OtherRoot: "S3", "snp.chain";
    /// The root itself signed the endorsement key, under the intermediate's name.
    SignedByRoot: "S3", "snp.chain";
    /// The endorsement key's certificate is signed with PKCS#1 v1.5.
    Pkcs1Signature: "S3", "snp.chain.algorithm";
    /// The intermediate's certificate is signed with PKCS#1 v1.5.
    Pkcs1Intermediate: "S3", "snp.chain.algorithm";
    /// One bit of the endorsement key's signature is flipped.
    FlippedKeySignature: "S3", "snp.chain";
    /// One bit of the intermediate's signature is flipped.
    FlippedIntermediateSignature: "S3", "snp.chain";
    /// The intermediate is no CA.
    IntermediateIsNoCa: "S3", "snp.chain";
    /// The endorsement key is a CA.
    KeyIsCa: "S3", "snp.chain";
    /// The endorsement key's certificate has a critical extension that nobody knows.
    CriticalExtension: "S3", "snp.chain";
    /// The endorsement key's certificate states the chip twice.
    ChipTwice: "S3", "snp.chain";
    /// The intermediate is a CA whose key is for signing lists alone.
    IntermediateForListsOnly: "S3", "snp.chain";
    /// No ASVK is at hand for a VLEK.
    NoIntermediate: "S3", "snp.chain.intermediate";
    /// The endorsement key's certificate has ended.
    ExpiredKey: "S4", "snp.chain.validity";
    /// The endorsement key's certificate has not begun.
    FutureKey: "S4", "snp.chain.validity";
    /// The ASK's certificate has ended.
    ExpiredAsk: "S4", "snp.chain.validity";
    /// The ASVK's certificate has ended.
    ExpiredAsvk: "S4", "snp.chain.validity";
    /// No revocation list.
    NoList: "S5", "snp.revocation.missing";
    /// The list has ended.
    ExpiredList: "S5", "snp.revocation.expired";
    /// The list has not begun.
    FutureList: "S5", "snp.revocation.not-yet-valid";
    /// One bit of the list's signature is flipped.
    TamperedList: "S5", "snp.revocation.signature";
    /// Another root of the same name signed the list.
    ListOfOtherRoot: "S5", "snp.revocation.signature";
    /// The list's issuer has the root's common name and another address.
    ListOfOtherIssuer: "S5", "snp.revocation.issuer";
    /// The list is signed with PKCS#1 v1.5.
    Pkcs1List: "S5", "snp.revocation.signature";
    /// The list says that it covers some of the root's certificates only.
    PartialList: "S5", "snp.revocation.profile";
    /// The list names another algorithm in its signed part than beside its signature.
    ListOfTwoAlgorithms: "S5", "snp.revocation.profile";
    /// The ASK is revoked.
    RevokedAsk: "S5", "snp.revocation.revoked";
    /// The ASVK is revoked.
    RevokedAsvk: "S5", "snp.revocation.revoked";
    /// The certificate is of another chip.
    OtherChip: "S7", "snp.chip";
    /// The last used byte of the chip id differs.
    OtherChipByOneByte: "S7", "snp.chip";
    /// A byte beyond the eight that Turin uses is set.
    ChipIdTail: "S7", "snp.chip";
    /// The certificate names no chip.
    NoHardwareId: "S7", "snp.key.certificate";
    /// KEY_INFO says that the chip id is masked.
    MaskedChipBit: "S7", "snp.chip.masked";
    /// The chip id is zero.
    ZeroChip: "S7", "snp.chip.masked";
    /// A VLEK's certificate names no cloud.
    NoCspId: "S7", "snp.key.certificate";
    /// blSPL of the certificate is another one.
    BootloaderSpl: "S8", "snp.key.firmware";
    /// teeSPL of the certificate is another one.
    TeeSpl: "S8", "snp.key.firmware";
    /// snpSPL of the certificate is another one.
    SnpSpl: "S8", "snp.key.firmware";
    /// ucodeSPL of the certificate is another one.
    MicrocodeSpl: "S8", "snp.key.firmware";
    /// fmcSPL of a Turin's certificate is another one.
    FmcSpl: "S8", "snp.key.firmware";
    /// The certificate has no snpSPL.
    NoSnpSpl: "S8", "snp.key.certificate";
    /// Reported firmware is above the committed one.
    ReportedAboveCommitted: "S9", "snp.firmware.order";
    /// Committed firmware is above the current one.
    CommittedAboveCurrent: "S9", "snp.firmware.order";
    /// The committed version is above the current one.
    VersionOrder: "S9", "snp.firmware.order";
    /// r is zero.
    ZeroR: "S11", "snp.report.signature-encoding";
    /// s is zero.
    ZeroS: "S11", "snp.report.signature-encoding";
    /// r is the order of the group.
    RIsOrder: "S11", "snp.report.signature-encoding";
    /// s is the order of the group.
    SIsOrder: "S11", "snp.report.signature-encoding";
    /// The upper bytes of r carry something.
    UpperBytesOfR: "S11", "snp.report.signature-encoding";
    /// The upper bytes of s carry something.
    UpperBytesOfS: "S11", "snp.report.signature-encoding";
    /// r and s have changed places.
    SwappedNumbers: "S11", "snp.report.signature";
    /// r and s are written big-endian.
    BigEndian: "S11", "snp.report.signature";
    /// One bit of the measurement was flipped after signing.
    FlippedMeasurement: "S11", "snp.report.signature";
    /// Another key signed.
    OtherKey: "S11", "snp.report.signature";
    /// Bit 17 of the guest policy is missing.
    NoBit17: "S12", "snp.policy.bit-17";
    /// The host may debug the guest.
    Debug: "S12", "snp.policy.debug";
    /// The host may migrate the guest.
    Migratable: "S12", "snp.policy.migrate-ma";
    /// The guest wants newer firmware than runs.
    AbiTooHigh: "S12", "snp.policy.abi";
    /// The digest of an author key, and KEY_INFO says that there is none.
    AuthorDigestWithoutKey: "S12", "snp.author-key";
    /// First byte of the report data.
    ReportDataFirst: "S18", "snp.report-data";
    /// Byte 47 of the report data, the last of a SHA-384 digest.
    ReportDataDigestEnd: "S18", "snp.report-data";
    /// Last byte of the report data.
    ReportDataLast: "S18", "snp.report-data";
    /// Appraisal: firmware is old, and so is the key's certificate.
    OldFirmware: "S10", "snp.tcb.below-minimum";
    /// Appraisal: the guest was launched before the firmware was renewed.
    LaunchedOnOldFirmware: "S9", "snp.tcb.launched-below-minimum";
    /// Appraisal: privilege level 1 asked.
    Vmpl: "S13", "snp.vmpl";
    /// Appraisal: another measurement.
    OtherMeasurement: "S14", "snp.measurement";
    /// Appraisal: other host data.
    OtherHostData: "S14", "snp.host-data";
    /// Appraisal: another key signed the ID block.
    OtherIdKey: "S14", "snp.id-key";
    /// Appraisal: another key certified the ID key.
    OtherAuthorKey: "S14", "snp.author-key";
    /// Appraisal: no author key at all.
    NoAuthorKey: "S14", "snp.author-key";
    /// Appraisal: another family.
    OtherFamily: "S14", "snp.family-id";
    /// Appraisal: another image.
    OtherImage: "S14", "snp.image-id";
    /// Appraisal: an older guest.
    OldGuest: "S14", "snp.guest-svn";
    /// Appraisal: memory was not searched for aliases.
    NoAliasCheck: "S15", "snp.platform.alias-check";
    /// Appraisal: SMT is on.
    SmtOn: "S15", "snp.platform.smt";
    /// Appraisal: memory is not encrypted throughout.
    NoTsme: "S15", "snp.platform.tsme";
    /// Appraisal: memory has no error correction.
    NoEcc: "S15", "snp.platform.ecc";
    /// Appraisal: power can be measured.
    RaplOn: "S15", "snp.platform.rapl";
    /// Appraisal: the host sees ciphertext.
    NoCiphertextHiding: "S15", "snp.platform.ciphertext-hiding";
    /// Appraisal: trusted I/O is on.
    TioOn: "S15", "snp.platform.tio";
    /// Appraisal: a mitigation was missing at launch.
    NoMitigationAtLaunch: "S17", "snp.mitigations.launch";
    /// Appraisal: a mitigation is missing now.
    NoMitigationNow: "S17", "snp.mitigations.current";
}

impl SnpFault {
    /// The name on the command line: `FlippedMeasurement` is `flipped-measurement`.
    pub fn name(self) -> String {
        hyphenated(&format!("{self:?}"))
    }

    /// The processor and kind of key that the fault needs; most are shown on a Genoa with a VCEK.
    pub fn machine(self) -> (FakeProduct, FakeKey) {
        match self {
            Self::VcekForVlek
            | Self::NoIntermediate
            | Self::ExpiredAsvk
            | Self::RevokedAsvk
            | Self::NoCspId => (FakeProduct::Genoa, FakeKey::Vlek),
            Self::FmcSpl | Self::ChipIdTail => (FakeProduct::Turin, FakeKey::Vcek),
            _ => (FakeProduct::Genoa, FakeKey::Vcek),
        }
    }

    /// Whether it is in the bundle of Endorsements, and not in what the guest sends.
    pub fn is_in_endorsements(self) -> bool {
        matches!(
            self,
            Self::OtherRoot
                | Self::Pkcs1Intermediate
                | Self::FlippedIntermediateSignature
                | Self::IntermediateIsNoCa
                | Self::IntermediateForListsOnly
                | Self::NoIntermediate
                | Self::ExpiredAsk
                | Self::ExpiredAsvk
                | Self::NoList
                | Self::ExpiredList
                | Self::FutureList
                | Self::TamperedList
                | Self::ListOfOtherRoot
                | Self::ListOfOtherIssuer
                | Self::Pkcs1List
                | Self::PartialList
                | Self::ListOfTwoAlgorithms
                | Self::RevokedAsk
                | Self::RevokedAsvk
        )
    }

    /// Whether the Verifier lets it pass, so that it is the appraisal that refuses.
    pub fn is_for_appraisal(self) -> bool {
        let first = SnpFault::ALL.iter().position(|(fault, ..)| *fault == Self::OldFirmware);
        let this = SnpFault::ALL.iter().position(|(fault, ..)| *fault == self);
        this >= first
    }
}

impl FromStr for SnpFault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let mut all = Self::ALL.iter().map(|(fault, ..)| *fault);
        all.find(|fault| fault.name() == name).ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name() {
        for (fault, ..) in SnpFault::ALL {
            assert_eq!(fault.name().parse::<SnpFault>().ok(), Some(*fault));
        }
        assert_eq!(SnpFault::ZeroR.name(), "zero-r");
        assert!("flipped".parse::<SnpFault>().is_err());
    }
}
