//! The simulated Quoting Enclave: turns a TD report into a signed quote.
//!
//! Role: Attesting Environment (RFC 9334 §3.1). In: PKI, [`TdProfile`], report data, [`Fault`]s.
//! Out: the bytes of a TDX quote v4 or v5 (Intel TDX DCAP Quoting Library API, appendix A.3/A.4).

use crate::fault::Fault;
use crate::keys::{SigningKey, sha256};
use crate::pki::Pki;
use crate::profile::{QuoteFormat, TdProfile};
use crate::tcb;

const VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
const TEE_TYPE_TDX: u32 = 0x81;
const KEY_TYPE_P256: u16 = 2;
const BODY_SGX: u16 = 1;
const BODY_TD10: u16 = 2;
const BODY_TD15: u16 = 3;
const BODY_TD15_EX: u16 = 4;
const CERTIFICATION_QE_REPORT: u16 = 6;
const CERTIFICATION_PCK_CHAIN: u16 = 5;
const CERTIFICATION_ENCRYPTED_PPID: u16 = 3;
/// Authentication data of the Quoting Enclave; Intel's is a counter from 0 to 31 as well.
const QE_AUTHENTICATION: [u8; 32] = {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};

/// Keys of the Quoting Enclave on the simulated machine.
pub(crate) struct QuotingEnclave {
    attestation: SigningKey,
    swapped: SigningKey,
}

impl QuotingEnclave {
    pub(crate) fn derive(seed: &[u8; 32]) -> Self {
        Self {
            attestation: SigningKey::derive(seed, "attestation key"),
            swapped: SigningKey::derive(seed, "attestation key nobody vouches for"),
        }
    }

    /// A quote over `profile` and `report_data`, certified by `pki`.
    pub(crate) fn quote(
        &self,
        pki: &Pki,
        profile: &TdProfile,
        mut report_data: [u8; 64],
        faults: &[Fault],
    ) -> Vec<u8> {
        let has = |fault| faults.contains(&fault);
        if has(Fault::WrongReportData) {
            report_data[0] ^= 1;
        }
        if has(Fault::WrongReportDataTail) {
            report_data[63] ^= 1;
        }
        let profile = profile.clone().with_faults(faults);

        let mut quote = header(&profile, faults);
        quote.extend(body(&profile, &report_data, faults));

        let signer =
            if has(Fault::SwappedAttestationKey) { &self.swapped } else { &self.attestation };
        let mut signature = signer.sign_raw(&quote);
        if has(Fault::BadQuoteSignature) {
            signature[40] ^= 1;
        }
        let mut signature_data = signature.to_vec();
        signature_data.extend(signer.raw_public_key());
        let certification = self.qe_certification(pki, faults);
        let certification_type = match has(Fault::NoQeReport) {
            true => CERTIFICATION_PCK_CHAIN,
            false => CERTIFICATION_QE_REPORT,
        };
        signature_data.extend(certification_type.to_le_bytes());
        signature_data.extend(length(certification.len()));
        signature_data.extend(certification);
        if has(Fault::LeftoverSignatureData) {
            signature_data.push(0);
        }

        quote.extend(length(signature_data.len()));
        quote.extend(signature_data);
        if has(Fault::TruncatedQuote) {
            quote.truncate(quote.len() - 100);
        }
        if quote.len() < profile.pad_to {
            quote.resize(profile.pad_to, 0);
        }
        if has(Fault::TrailingGarbage) {
            quote.extend(*b"garbage after the quote");
        }
        quote
    }

    /// Signs header and body of a quote anew, whatever they say. They are the first
    /// `signed_len` bytes.
    pub(crate) fn sign(&self, quote: &mut [u8], signed_len: usize) {
        let signature = self.attestation.sign_raw(&quote[..signed_len]);
        quote[signed_len + 4..signed_len + 68].copy_from_slice(&signature);
    }

    /// QE report, its signature, authentication data, and the PCK chain.
    fn qe_certification(&self, pki: &Pki, faults: &[Fault]) -> Vec<u8> {
        let has = |fault| faults.contains(&fault);
        let bound = [&self.attestation.raw_public_key()[..], &QE_AUTHENTICATION].concat();
        let report = qe_report(&sha256(&bound), faults);
        let mut signature = pki.pck.key.sign_raw(&report);
        if has(Fault::BadQeReport) {
            signature[40] ^= 1;
        }
        let mut chain = pki.pck_chain(faults);
        if has(Fault::ForeignCertificate) {
            chain.push_str(&pki.tcb_signer.pem());
        }
        let chain_type = match has(Fault::OtherCertification) {
            true => CERTIFICATION_ENCRYPTED_PPID,
            false => CERTIFICATION_PCK_CHAIN,
        };

        let mut out = report;
        out.extend(signature);
        out.extend(32_u16.to_le_bytes());
        out.extend(QE_AUTHENTICATION);
        out.extend(chain_type.to_le_bytes());
        out.extend(length(chain.len()));
        out.extend(chain.into_bytes());
        out
    }
}

/// The 48 bytes before the body.
fn header(profile: &TdProfile, faults: &[Fault]) -> Vec<u8> {
    let has = |fault| faults.contains(&fault);
    let version: u16 = match profile.format {
        _ if has(Fault::UnknownQuoteVersion) => 7,
        QuoteFormat::V4 => 4,
        QuoteFormat::V5Td10 | QuoteFormat::V5Td15 | QuoteFormat::V5Td15Ex => 5,
    };
    let key_type = if has(Fault::UnknownKeyType) { 3 } else { KEY_TYPE_P256 };
    let tee_type = if has(Fault::SgxTeeType) { 0 } else { TEE_TYPE_TDX };
    let mut vendor = VENDOR_ID;
    if has(Fault::OtherQeVendor) {
        vendor[0] ^= 0xff;
    }
    let mut out = Vec::with_capacity(48);
    out.extend(version.to_le_bytes());
    out.extend(key_type.to_le_bytes());
    out.extend(tee_type.to_le_bytes());
    out.extend([0; 4]);
    out.extend(vendor);
    out.extend(sha256(b"adyton fake-tee platform")[..20].iter());
    out
}

/// The TD report, behind type and size in quotes v5.
fn body(profile: &TdProfile, report_data: &[u8; 64], faults: &[Fault]) -> Vec<u8> {
    let has = |fault| faults.contains(&fault);
    let report = profile.report(report_data);
    let body_type = match profile.format {
        QuoteFormat::V4 => return report,
        _ if has(Fault::UnknownBodyType) => BODY_SGX,
        QuoteFormat::V5Td10 => BODY_TD10,
        QuoteFormat::V5Td15 => BODY_TD15,
        QuoteFormat::V5Td15Ex => BODY_TD15_EX,
    };
    let mut out = body_type.to_le_bytes().to_vec();
    out.extend(length(report.len() + usize::from(has(Fault::WrongBodySize))));
    out.extend(report);
    out
}

/// The Quoting Enclave's own SGX report, 384 bytes.
fn qe_report(bound: &[u8; 32], faults: &[Fault]) -> Vec<u8> {
    let has = |fault| faults.contains(&fault);
    let mut attributes = tcb::QE_ATTRIBUTES;
    if has(Fault::DebugQe) {
        attributes[0] |= 0x02;
    }
    let mut mrsigner = tcb::QE_MRSIGNER;
    if has(Fault::OtherQeSigner) {
        mrsigner[0] ^= 0xff;
    }
    let product = if has(Fault::OtherQeProduct) { tcb::QE_PRODUCT + 1 } else { tcb::QE_PRODUCT };
    let svn = if has(Fault::AncientQe) {
        tcb::ANCIENT_QE_SVN
    } else if has(Fault::StaleQe) {
        tcb::STALE_QE_SVN
    } else {
        tcb::QE_SVN
    };
    let mut tail = [0; 32];
    if has(Fault::QeReportDataTail) {
        tail[31] = 1;
    }

    let mut out = Vec::with_capacity(384);
    out.extend(tcb::COMPONENT_SVNS);
    out.extend(u32::from(has(Fault::OtherQeMiscselect)).to_le_bytes());
    out.extend([0; 28]);
    out.extend(attributes);
    out.extend(sha256(b"adyton fake-tee quoting enclave code"));
    out.extend([0; 32]);
    out.extend(mrsigner);
    out.extend([0; 96]);
    out.extend(product.to_le_bytes());
    out.extend(svn.to_le_bytes());
    out.extend([0; 60]);
    out.extend(bound);
    out.extend(tail);
    out
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("quotes are a few kilobytes").to_le_bytes()
}
