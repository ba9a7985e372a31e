//! What the quote says about the TD itself, apart from measurements: rungs T1, T9, T10 and T12.

use crate::claims::{AttributesProfile, TdAttributes};
use crate::evidence::TdxEvidence;
use crate::verifier::error::VerifyError;
use crate::verifier::{DebugGuests, ParavisorTds, VerifyOptions};

/// Vendor id of Intel's quoting enclave: 939a7233-f79c-4ca9-940a-0db3957f0607.
const INTEL_QE_VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

/// TD attributes that are known and harmless: ICSSD (16), LASS (27), SEPT_VE_DISABLE (28), PKS (30),
/// KL (31), PERFMON (63). Intel TDX Module ABI 348551, table TD_ATTRIBUTES. Everything else has to be
/// zero: bits 1–15 are for TDs under debug or profiling, 17 admits service TDs, the rest is reserved.
const KNOWN_TD_ATTRIBUTES: u64 =
    1 << 16 | 1 << 27 | TdAttributes::SEPT_VE_DISABLE | 1 << 30 | 1 << 31 | 1 << 63;

/// CPU state components that a TD may have: x87 and SSE (0, 1), AVX (2), AVX-512 (5–7), PT (8), PKRU
/// (9), CET (11, 12), UINTR (14), LBR (15), AMX (17, 18), APX (19). Intel SDM vol. 1, §13.1.
const KNOWN_XFAM: u64 = 0x000e_dbe7;
/// x87 and SSE, which every TD has.
const FIXED_XFAM: u64 = 0x3;

/// T1: the quoting enclave is Intel's. Version, key type and TEE type were decided by the parser.
pub(super) fn header(evidence: &TdxEvidence) -> Result<(), VerifyError> {
    let got = evidence.quote().qe_vendor_id;
    if got != INTEL_QE_VENDOR_ID {
        return Err(VerifyError::QeVendor { got });
    }
    Ok(())
}

/// T9: the host can neither read nor move the TD, and no bit is set that we don't know. Says which of
/// the two shapes the attributes have.
pub(super) fn attributes(
    evidence: &TdxEvidence,
    options: &VerifyOptions,
) -> Result<AttributesProfile, VerifyError> {
    let attributes = evidence.quote().body.td_attributes;
    match options.debug_guests {
        DebugGuests::Refuse if attributes.is_debug() => {
            return Err(VerifyError::Debug { attributes });
        }
        DebugGuests::Refuse | DebugGuests::InsecureLeaveToAppraisal => {}
    }
    if attributes.is_migratable() {
        return Err(VerifyError::Migratable { attributes });
    }
    let bits = attributes.bits() & !(KNOWN_TD_ATTRIBUTES | TdAttributes::DEBUG);
    if bits != 0 {
        return Err(VerifyError::ReservedAttributes { attributes, bits });
    }
    if attributes.bits() & TdAttributes::SEPT_VE_DISABLE != 0 {
        return Ok(AttributesProfile::Standard);
    }
    match options.paravisor_tds {
        ParavisorTds::InsecureAccept if attributes.is_zero() => {
            Ok(AttributesProfile::AzureParavisor)
        }
        ParavisorTds::InsecureAccept | ParavisorTds::Refuse => {
            Err(VerifyError::SeptVeDisable { attributes })
        }
    }
}

/// T10: only CPU state that we know, and the part that every TD has.
pub(super) fn xfam(evidence: &TdxEvidence) -> Result<(), VerifyError> {
    let xfam = evidence.quote().body.xfam;
    let bits = xfam.bits() & !KNOWN_XFAM | !xfam.bits() & FIXED_XFAM;
    if bits != 0 {
        return Err(VerifyError::Xfam { xfam, bits });
    }
    Ok(())
}

/// T12: no other TD was bound to this one, from where it could be reached, neither at its creation nor
/// later.
pub(super) fn service_td(evidence: &TdxEvidence) -> Result<(), VerifyError> {
    let mut bound = evidence.quote().body.generation.service_tds();
    match bound.find(|measurement| !measurement.is_zero()) {
        Some(got) => Err(VerifyError::ServiceTd { got }),
        None => Ok(()),
    }
}
