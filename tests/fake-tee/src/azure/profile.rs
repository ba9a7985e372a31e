//! What the parts of a simulated Azure VM say.

use crate::keys::sha256;
use crate::{Fault, SnpFault, SnpProfile, TdProfile};

/// TPM_GENERATED_VALUE, and the type of a quote. TPM 2.0 Library, Part 2, §6.2 and §6.9.
const MAGIC: u32 = 0xff54_4347;
const ATTEST_QUOTE: u16 = 0x8018;
/// One TPMS_PCR_SELECTION: SHA-256, three bytes, PCRs 0 to 23.
const ALL_PCRS: [u8; 6] = [0x00, 0x0b, 3, 0xff, 0xff, 0xff];

/// Every part of the Evidence at will; [`answering`](Self::answering) gives a sound one.
#[derive(Clone, Debug)]
pub struct AzureProfile {
    /// Name of its Reference Values.
    pub name: String,
    /// Version of the Evidence: 1 or 2.
    pub version: u64,
    /// Qualifying data of the TPM quote.
    pub extra_data: Vec<u8>,
    /// `user-data` of the var-data; 64 bytes on real machines.
    pub user_data: Option<Vec<u8>>,
    /// The quote's TPML_PCR_SELECTION without its count.
    pub selections: Vec<Vec<u8>>,
    /// The values of PCRs 0 to 23 that go with the quote.
    pub pcrs: Vec<[u8; 32]>,
    /// Digest in the quote; that of `pcrs` when `None`.
    pub pcr_digest: Option<Vec<u8>>,
    /// Type of the attestation.
    pub attest_type: u16,
    /// First four bytes of the attestation.
    pub magic: u32,
    /// Who signs the quote, and how.
    pub signer: QuoteSigner,
    /// The TD under the paravisor. What a paravisor doesn't use is zero.
    pub td: TdProfile,
    /// Faults of the TD quote.
    pub td_faults: Vec<Fault>,
    /// The SNP guest under the paravisor.
    pub snp: SnpProfile,
    /// Fault of the SNP report or its VCEK.
    pub snp_fault: Option<SnpFault>,
    /// Report data that the hardware signs; SHA-256 of the var-data and zeros when `None`.
    pub hardware_data: Option<[u8; 64]>,
    /// Report data of the TDREPORT in the HCL report, likewise.
    pub td_report_data: Option<[u8; 64]>,
}

/// Who signs a TPM quote, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteSigner {
    /// The key in the var-data: RSASSA-PKCS1-v1_5 with SHA-256.
    AttestationKey,
    /// A key that is in nobody's var-data.
    OtherKey,
    /// The key in the var-data, with SHA-384.
    OtherHash,
    /// The key in the var-data, with RSASSA-PSS.
    OtherPadding,
}

impl AzureProfile {
    /// A sound VM that was asked with these report data.
    pub fn answering(report_data: [u8; 64]) -> Self {
        let zero = [0; 48];
        Self {
            name: "fake-azure".to_owned(),
            version: 2,
            extra_data: qualifying_data(&report_data).to_vec(),
            user_data: Some(report_data.to_vec()),
            selections: vec![ALL_PCRS.to_vec()],
            pcrs: (0..24_u8)
                .map(|index| sha256(&[b"adyton fake pcr ", &[index][..]].concat()))
                .collect(),
            pcr_digest: None,
            attest_type: ATTEST_QUOTE,
            magic: MAGIC,
            signer: QuoteSigner::AttestationKey,
            td: TdProfile { rtmrs: [zero; 4], mrconfigid: zero, ..TdProfile::default() },
            td_faults: Vec::new(),
            snp: SnpProfile::default(),
            snp_fault: None,
            hardware_data: None,
            td_report_data: None,
        }
    }
}

/// A SHA-384 digest without its padding, anything else whole.
fn qualifying_data(report_data: &[u8; 64]) -> &[u8] {
    if report_data[48..] == [0; 16] { &report_data[..48] } else { report_data }
}
