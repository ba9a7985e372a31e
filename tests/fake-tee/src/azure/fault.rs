//! What can be made wrong in the Evidence of an Azure confidential VM, one defect a name.

use std::str::FromStr;

use crate::azure::FakeHardware;
use crate::fault::{UnknownFault, hyphenated};

const BOTH: &[FakeHardware] = &FakeHardware::ALL;
const SNP: &[FakeHardware] = &[FakeHardware::Snp];
const TDX: &[FakeHardware] = &[FakeHardware::Tdx];

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident: $hardware:ident, $rung:literal, $code:literal;)+) => {
        /// One deliberate defect. Each belongs to one rung of the ladder or of the appraisal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AzureFault {
            $($(#[doc = $doc])+ $name,)+
        }

        impl AzureFault {
            /// Every fault with the rung that it fails and the code of the refusal.
            pub const ALL: &[(Self, &'static str, &'static str)] =
                &[$((Self::$name, $rung, $code)),+];

            /// What is wrong, in a line.
            pub fn summary(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// The hardware on which it can be shown.
            pub fn hardware(self) -> &'static [FakeHardware] {
                match self {
                    $(Self::$name => $hardware,)+
                }
            }
        }
    };
}

faults! {
    /// Version 3.
    Version: BOTH, "A1", "azure.evidence.version";
    /// No version, as the oldest agents send it.
    OldestForm: BOTH, "A1", "azure.evidence.version";
    /// No TPM quote.
    NoQuote: BOTH, "A1", "azure.evidence.member";
    /// The quote's message is not hex.
    MessageNotHex: BOTH, "A1", "azure.evidence.member";
    /// A PCR has 31 bytes.
    ShortPcr: BOTH, "A1", "azure.evidence.member";
    /// The HCL report is in the alphabet of plain base64.
    HclNotBase64Url: BOTH, "A1", "azure.evidence.member";
    /// No VCEK.
    NoVcek: SNP, "A1", "azure.evidence.member";
    /// No TD quote.
    NoTdQuote: TDX, "A1", "azure.evidence.member";
    /// The HCL report has 5000 bytes.
    OversizedHcl: BOTH, "A1", "azure.evidence.too-large";
    /// The quote's message has 1100 bytes.
    OversizedMessage: BOTH, "A1", "azure.evidence.too-large";
    /// The HCL report calls an SNP report a TDREPORT.
    SnpCalledTdx: SNP, "A1", "azure.hcl.td-report-type";
    /// The HCL report calls a TDREPORT an SNP report.
    TdxCalledSnp: TDX, "A1", "azure.evidence.report-type";
    /// The TDREPORT is of type 0, SGX.
    TdReportType: TDX, "A1", "azure.hcl.td-report-type";
    /// The HCL report begins with other letters.
    HclMagic: BOTH, "A1", "azure.hcl.magic";
    /// The HCL report ends inside the request data.
    TruncatedHcl: BOTH, "A1", "azure.hcl.truncated";
    /// The var-data are said to be longer than the report.
    VarDataLengthLies: BOTH, "A1", "azure.hcl.truncated";
    /// Version 3 of the HCL header.
    HclVersion: BOTH, "A1", "azure.hcl.field";
    /// The header's report size is one more.
    HclReportSize: BOTH, "A1", "azure.hcl.field";
    /// A request of another type.
    HclRequestType: BOTH, "A1", "azure.hcl.field";
    /// The request data's size is one more.
    RequestDataSize: BOTH, "A1", "azure.hcl.field";
    /// Version 2 of the request data.
    RequestDataVersion: BOTH, "A1", "azure.hcl.field";
    /// Hardware report of type 3.
    ReportType: BOTH, "A1", "azure.hcl.field";
    /// The var-data are said to be hashed with SHA-384.
    HashType: BOTH, "A1", "azure.hcl.field";
    /// The header states a status.
    HclStatus: BOTH, "A1", "azure.hcl.reserved";
    /// A reserved byte of the header is one.
    HclReserved: BOTH, "A1", "azure.hcl.reserved";
    /// A byte between TDREPORT and request data is one.
    HclGap: TDX, "A1", "azure.hcl.reserved";
    /// The last byte of the NV index is one.
    HclTail: BOTH, "A1", "azure.hcl.reserved";
    /// The var-data are no JSON.
    VarDataNotJson: BOTH, "A1", "azure.hcl.var-data";
    /// No key is called HCLAkPub.
    NoAttestationKey: BOTH, "A1", "azure.hcl.var-data";
    /// Two keys are called HCLAkPub.
    TwoAttestationKeys: BOTH, "A1", "azure.hcl.var-data";
    /// Seventeen keys.
    TooManyKeys: BOTH, "A1", "azure.hcl.var-data";
    /// HCLAkPub is of type EC.
    AttestationKeyNotRsa: BOTH, "A1", "azure.hcl.var-data";
    /// HCLAkPub has exponent 3.
    OtherExponent: BOTH, "A1", "azure.hcl.var-data";
    /// The modulus has 255 bytes.
    ShortModulus: BOTH, "A1", "azure.hcl.var-data";
    /// The modulus has 2047 bits.
    SmallModulus: BOTH, "A1", "azure.hcl.var-data";
    /// `user-data` is not hex.
    UserDataNotHex: BOTH, "A1", "azure.hcl.var-data";
    /// The hardware signed zeros instead of the digest of the var-data.
    HardwareOfOtherVarData: BOTH, "A1", "azure.var-data";
    /// The hardware signed the digest of the var-data, and something after it.
    HardwareDataTail: BOTH, "A1", "azure.var-data";
    /// The TDREPORT is of other var-data than the TD quote.
    TdReportOfOtherVarData: TDX, "A1", "azure.var-data";
    /// The TDREPORT has something after the digest of the var-data.
    TdReportDataTail: TDX, "A1", "azure.var-data";
    /// The var-data were changed after the hardware had signed: another machine id.
    ChangedVarData: BOTH, "A1", "azure.var-data";
    /// The vTPM's key was replaced after the hardware had signed, and the other key quotes.
    ReplacedKey: BOTH, "A1", "azure.var-data";
    /// Another key signed the SNP report.
    SnpReportOfOtherKey: SNP, "S11", "snp.report.signature";
    /// The VCEK is of another chip.
    VcekOfOtherChip: SNP, "S7", "snp.chip";
    /// The host may debug the guest.
    DebugGuest: SNP, "S12", "snp.policy.debug";
    /// The TD quote and its certificates are made under another root.
    TdOfOtherRoot: TDX, "T2", "tdx.pck-chain";
    /// The host may debug the TD.
    DebugTd: TDX, "T9", "tdx.td-attributes.debug";
    /// A TD as Azure launches them: no attribute at all.
    ParavisorTd: TDX, "T9", "tdx.td-attributes.sept-ve-disable";
    /// Another key than the var-data's signed the quote.
    OtherKey: BOTH, "A2", "azure.quote.signature";
    /// The quote is signed with SHA-384.
    OtherHash: BOTH, "A2", "azure.quote.signature";
    /// The quote is signed with RSASSA-PSS.
    OtherPadding: BOTH, "A2", "azure.quote.signature";
    /// One bit of the quote was flipped after signing.
    FlippedMessage: BOTH, "A2", "azure.quote.signature";
    /// One bit of the signature was flipped.
    FlippedSignature: BOTH, "A2", "azure.quote.signature";
    /// The signature has 255 bytes.
    ShortSignature: BOTH, "A2", "azure.quote.signature-length";
    /// What was signed does not begin with TPM_GENERATED_VALUE.
    Magic: BOTH, "A2", "azure.quote.magic";
    /// What was signed is an attestation of another type: TPM_ST_ATTEST_CERTIFY.
    AttestType: BOTH, "A2", "azure.quote.type";
    /// The clock's `safe` is 2.
    ClockSafe: BOTH, "A2", "azure.quote.clock";
    /// What was signed ends inside the PCR digest.
    TruncatedMessage: BOTH, "A2", "azure.quote.truncated";
    /// A byte follows what was signed.
    LongMessage: BOTH, "A2", "azure.quote.leftover";
    /// Qualifying data of 65 bytes.
    OversizedExtraData: BOTH, "A2", "azure.quote.too-large";
    /// The quote is over no PCR.
    NoSelection: BOTH, "A2", "azure.quote.pcr-selection";
    /// The quote leaves PCR 16 out.
    PcrLeftOut: BOTH, "A2", "azure.quote.pcr-selection";
    /// The bitmap ends after PCR 15.
    ShortBitmap: BOTH, "A2", "azure.quote.pcr-selection";
    /// The bitmap has a fourth byte.
    LongBitmap: BOTH, "A2", "azure.quote.pcr-selection";
    /// The quote is over the SHA-1 bank.
    Sha1Bank: BOTH, "A2", "azure.quote.pcr-selection";
    /// The quote is over the SHA-1 bank, too.
    SecondBank: BOTH, "A2", "azure.quote.pcr-selection";
    /// The quote is over the SHA-256 bank twice.
    BankTwice: BOTH, "A2", "azure.quote.pcr-selection";
    /// Two PCR values have changed places.
    SwappedPcrs: BOTH, "A2", "azure.quote.pcr-digest";
    /// A PCR value is not the quoted one.
    ReplacedPcr: BOTH, "A2", "azure.quote.pcr-digest";
    /// The quote's digest is of other values.
    OtherPcrDigest: BOTH, "A2", "azure.quote.pcr-digest";
    /// The quote's digest has a byte more.
    LongPcrDigest: BOTH, "A2", "azure.quote.pcr-digest";
    /// 23 PCR values.
    PcrMissing: BOTH, "A2", "azure.evidence.pcrs";
    /// 25 PCR values.
    PcrAdded: BOTH, "A2", "azure.evidence.pcrs";
    /// The var-data have no `user-data`.
    NoUserData: BOTH, "A3", "azure.user-data";
    /// `user-data` is empty.
    EmptyUserData: BOTH, "A3", "azure.user-data";
    /// `user-data` ends a byte before the qualifying data do.
    ShortUserData: BOTH, "A3", "azure.user-data";
    /// `user-data` are of another challenge.
    OtherUserData: BOTH, "A3", "azure.user-data";
    /// The qualifying data are empty, which every text begins with.
    EmptyExtraData: BOTH, "A3", "azure.user-data";
    /// The vTPM was asked with another challenge: first byte.
    OtherChallenge: BOTH, "A5", "azure.report-data";
    /// The vTPM was asked with another challenge: last byte.
    OtherChallengeEnd: BOTH, "A5", "azure.report-data";
    /// The qualifying data are a byte short.
    ShortExtraData: BOTH, "A5", "azure.report-data";
    /// The qualifying data carry the padding of the report data.
    PaddedExtraData: BOTH, "A5", "azure.report-data";
    /// Appraisal: version 1, in which the hardware's report may be old.
    OldVersion: BOTH, "A3", "azure.evidence.old-version";
    /// Appraisal: another paravisor.
    OtherParavisor: BOTH, "A4", "azure.measurement";
    /// Appraisal: another boot loader, PCR 4.
    OtherBootLoader: BOTH, "A4", "azure.pcr";
    /// Appraisal: PCR 15, the last that is compared.
    OtherLastPcr: BOTH, "A4", "azure.pcr";
    /// Appraisal: an RTMR that the paravisor does not use was extended.
    ExtendedRtmr: TDX, "A4", "azure.td-register";
}

impl AzureFault {
    /// The name on the command line: `SwappedPcrs` is `swapped-pcrs`.
    pub fn name(self) -> String {
        hyphenated(&format!("{self:?}"))
    }

    /// Whether the Verifier lets it pass, so that it is the appraisal that refuses.
    pub fn is_for_appraisal(self) -> bool {
        self.summary().starts_with("Appraisal:")
    }
}

impl FromStr for AzureFault {
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
        for (fault, ..) in AzureFault::ALL {
            assert_eq!(fault.name().parse::<AzureFault>().ok(), Some(*fault));
        }
        assert_eq!(AzureFault::HclNotBase64Url.name(), "hcl-not-base64-url");
        assert!("swapped".parse::<AzureFault>().is_err());
    }
}
