//! TDX quotes of version 4 and 5, read field by field into types.
//!
//! Role: Evidence (RFC 9334 §4.2). In: at most [`MAX_QUOTE_LEN`] bytes. Out: [`TdxEvidence`] with the
//! exact bytes that were signed beside the values in them. Nothing is verified here.
//!
//! Layout: Intel "TDX DCAP Quoting Library API", appendix A.3 (version 4) and A.4 (version 5).
//!
//! ```text
//!  0        48                          signed_len            +4        +4+n
//!  ┌────────┬───────────────────────────┬──────┬──────────────┬─────────────┐
//!  │ header │ (v5: type, size) TD body  │ u32 n│ signature    │ zero padding│
//!  └────────┴───────────────────────────┴──────┴──────────────┴─────────────┘
//!   ◄──── signed by the attestation key ────►     64 signature ‖ 64 key ‖ u16 6 ‖ u32 ‖
//!                                                 ┌ 384 QE report ‖ 64 signature ‖ u16 auth ‖ auth ‖
//!                                                 └ u16 5 ‖ u32 ‖ PEM chain
//! ```
//! Against: lengths that lie, fields that overlap, bytes that nobody accounts for.

use crate::binding::ReportData;
use crate::claims::{Measurement, TdAttributes, TeeTcbSvn, Xfam};
use crate::evidence::{EvidenceError, bounded, reader};
use crate::limits::{MAX_CERTIFICATE_CHAIN_LEN, MAX_QE_AUTH_DATA_LEN, MAX_QUOTE_LEN};

/// TEE type of TDX in the quote header.
const TEE_TYPE_TDX: u32 = 0x81;
/// ECDSA over P-256 with SHA-256.
const ATTESTATION_KEY_ECDSA_P256: u16 = 2;
/// The quoting enclave's report and its certification, nested.
const CERTIFICATION_QE_REPORT: u16 = 6;
/// A PCK certificate chain in PEM, leaf first.
const CERTIFICATION_PCK_CHAIN: u16 = 5;

/// A TDX quote with its exact bytes, and the event log that came with it. Unverified.
#[derive(Clone, Debug)]
pub struct TdxEvidence {
    raw: Vec<u8>,
    quote: Box<TdxQuote>,
    event_log: EventLog,
}

/// The event log beside a quote. No claim is made from it: it is carried, not replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventLog {
    /// The guest sent none.
    Absent,
    /// CCEL bytes as sent, unverified.
    Present(Vec<u8>),
}

/// The format that the quoting service wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteVersion {
    /// Version 4: the body is always that of TDX 1.0.
    V4,
    /// Version 5: the body states its type.
    V5,
}

/// The fields of a TDX quote. Unverified.
#[derive(Clone, Debug)]
pub struct TdxQuote {
    /// Format of the quote.
    pub version: QuoteVersion,
    /// Security version of the quoting enclave, as the header states it.
    pub qe_svn: u16,
    /// Security version of the provisioning certification enclave, as the header states it.
    pub pce_svn: u16,
    /// Vendor of the quoting enclave.
    pub qe_vendor_id: [u8; 16],
    /// Bytes of the quoting service, not of the TD.
    pub user_data: [u8; 20],
    /// What the TDX module reported about the TD.
    pub body: TdBody,
    /// Signatures and keys that are to prove the rest.
    pub signature: QuoteSignature,
    /// Length in bytes of header and body, which the attestation key signed.
    pub signed_len: usize,
}

/// The TD report body. Offsets are those of the body.
#[derive(Clone, Debug)]
pub struct TdBody {
    /// Bytes 0–15.
    pub tee_tcb_svn: TeeTcbSvn,
    /// Bytes 16–63, measurement of the TDX module.
    pub mrseam: Measurement,
    /// Bytes 64–111, signer of the TDX module; zero for Intel.
    pub mrsignerseam: Measurement,
    /// Bytes 112–119, attributes of the TDX module.
    pub seam_attributes: [u8; 8],
    /// Bytes 120–127.
    pub td_attributes: TdAttributes,
    /// Bytes 128–135.
    pub xfam: Xfam,
    /// Bytes 136–183.
    pub mrtd: Measurement,
    /// Bytes 184–231.
    pub mrconfigid: Measurement,
    /// Bytes 232–279.
    pub mrowner: Measurement,
    /// Bytes 280–327.
    pub mrownerconfig: Measurement,
    /// Bytes 328–519, registers 0 to 3.
    pub rtmr: [Measurement; 4],
    /// Bytes 520–583.
    pub report_data: ReportData,
    /// What later generations append.
    pub generation: TdGeneration,
}

/// The generation of the body, with the fields that it adds.
#[derive(Clone, Debug)]
pub enum TdGeneration {
    /// TDX 1.0, 584 bytes.
    Td10,
    /// TDX 1.5, 648 bytes.
    Td15(Td15Fields),
    /// TDX 1.5 with extensions, 885 bytes. The rest of the extension is part of the signed bytes and of
    /// no claim.
    Td15Ex(Td15Fields, Td15ExFields),
}

/// Bytes 584–647 of a TDX 1.5 body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Td15Fields {
    /// Current security versions, after an update of the module under the running TD.
    pub tee_tcb_svn2: TeeTcbSvn,
    /// Measurement of the service TDs that may reach into this one; zero when there are none.
    pub mrservicetd: Measurement,
}

/// What bytes 648–884 of a TDX 1.5 body with extensions say about service TDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Td15ExFields {
    /// Measurement of the service TDs that were bound when the TD was created.
    pub initial_service_td: Measurement,
    /// Measurement of the service TDs that are bound now: unlike `mrservicetd` it shows later bindings.
    pub current_service_td: Measurement,
}

/// The signature part of a quote.
#[derive(Clone, Debug)]
pub struct QuoteSignature {
    /// `r ‖ s` over header and body, by the attestation key.
    pub signature: [u8; 64],
    /// `x ‖ y` of the attestation key, P-256.
    pub attestation_key: [u8; 64],
    /// The quoting enclave's report, as signed by the PCK key.
    pub qe_report: Box<[u8; 384]>,
    /// `r ‖ s` over the QE report.
    pub qe_report_signature: [u8; 64],
    /// Bytes that the quoting enclave hashes together with the attestation key.
    pub qe_auth_data: Vec<u8>,
    /// PCK certificate chain in PEM, leaf first.
    pub pck_chain_pem: Vec<u8>,
}

impl TdGeneration {
    /// The fields that TDX 1.5 added, when the body has them.
    #[must_use]
    pub fn td15(&self) -> Option<&Td15Fields> {
        match self {
            Self::Td10 => None,
            Self::Td15(fields) | Self::Td15Ex(fields, _) => Some(fields),
        }
    }

    /// Every measurement of service TDs that the body has; zeros when none is bound.
    pub fn service_tds(&self) -> impl Iterator<Item = Measurement> {
        let (created, later) = match self {
            Self::Td10 => (None, None),
            Self::Td15(fields) => (Some(fields), None),
            Self::Td15Ex(fields, more) => (Some(fields), Some(more)),
        };
        let later = later.map(|more| [more.initial_service_td, more.current_service_td]);
        created.map(|fields| fields.mrservicetd).into_iter().chain(later.into_iter().flatten())
    }
}

impl TdxEvidence {
    /// Parses a quote. Zero padding after it is cut off, as some clouds pad to 8000 bytes.
    ///
    /// # Errors
    /// In this order: [`EvidenceError::TooLarge`], then per field as it is met
    /// [`Truncated`](EvidenceError::Truncated), [`Version`](EvidenceError::Version),
    /// [`AttestationKeyType`](EvidenceError::AttestationKeyType), [`TeeType`](EvidenceError::TeeType),
    /// [`BodyType`](EvidenceError::BodyType), [`BodySize`](EvidenceError::BodySize),
    /// [`CertificationType`](EvidenceError::CertificationType), [`Leftover`](EvidenceError::Leftover),
    /// and last [`TrailingBytes`](EvidenceError::TrailingBytes).
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        bounded("quote", bytes.len(), MAX_QUOTE_LEN)?;
        let mut input = Reader::new(bytes);
        //= attestation/SPEC.md#1
        //# A Verifier MUST refuse a quote of a version, key type, TEE type or body type that it does not know.
        let version = match input.u16("version")? {
            4 => QuoteVersion::V4,
            5 => QuoteVersion::V5,
            got => return Err(EvidenceError::Version { got }),
        };
        let key_type = input.u16("attestation key type")?;
        let tee_type = input.u32("TEE type")?;
        if tee_type != TEE_TYPE_TDX {
            return Err(EvidenceError::TeeType { got: tee_type });
        }
        if key_type != ATTESTATION_KEY_ECDSA_P256 {
            return Err(EvidenceError::AttestationKeyType { got: key_type });
        }
        let qe_svn = input.u16("QE SVN")?;
        let pce_svn = input.u16("PCE SVN")?;
        let qe_vendor_id = input.array("QE vendor id")?;
        let user_data = input.array("user data")?;
        let body = match version {
            QuoteVersion::V4 => TdBody::read(&mut input, BodyType::Td10)?,
            QuoteVersion::V5 => {
                let body_type = BodyType::read(&mut input)?;
                TdBody::read(&mut input, body_type)?
            }
        };
        let signed_len = bytes.len().saturating_sub(input.rest().len());
        let signature_len = input.u32("signature length")?;
        let signature = QuoteSignature::parse(input.bytes_u32("signature", signature_len)?)?;

        let quote_len = bytes.len().saturating_sub(input.rest().len());
        if let Some(at) = input.rest().iter().position(|byte| *byte != 0) {
            return Err(EvidenceError::TrailingBytes { offset: quote_len.saturating_add(at) });
        }
        let raw = bytes.get(..quote_len).unwrap_or(bytes).to_vec();
        let quote = TdxQuote {
            version,
            qe_svn,
            pce_svn,
            qe_vendor_id,
            user_data,
            body,
            signature,
            signed_len,
        };
        Ok(Self { raw, quote: Box::new(quote), event_log: EventLog::Absent })
    }

    pub(super) fn with_event_log(mut self, log: Vec<u8>) -> Self {
        self.event_log = EventLog::Present(log);
        self
    }

    /// The quote's bytes without padding.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Header and body exactly as signed by the attestation key.
    //
    //= attestation/SPEC.md#1
    //# A Verifier MUST verify signatures over the bytes as received, not over bytes that it encoded again.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        self.raw.get(..self.quote.signed_len).unwrap_or(&self.raw)
    }

    /// The fields, unverified.
    #[must_use]
    pub fn quote(&self) -> &TdxQuote {
        &self.quote
    }

    /// The event log that came with the quote, unverified.
    #[must_use]
    pub fn event_log(&self) -> &EventLog {
        &self.event_log
    }
}

#[derive(Clone, Copy)]
enum BodyType {
    Td10,
    Td15,
    Td15Ex,
}

impl BodyType {
    fn read(input: &mut Reader<'_>) -> Result<Self, EvidenceError> {
        let number = input.u16("body type")?;
        let said = input.u32("body size")?;
        let (body_type, expected) = match number {
            2 => (Self::Td10, 584),
            3 => (Self::Td15, 648),
            4 => (Self::Td15Ex, 885),
            got => return Err(EvidenceError::BodyType { got }),
        };
        if said != expected {
            return Err(EvidenceError::BodySize { body_type: number, expected, got: said });
        }
        Ok(body_type)
    }
}

impl TdBody {
    fn read(input: &mut Reader<'_>, body_type: BodyType) -> Result<Self, EvidenceError> {
        Ok(Self {
            tee_tcb_svn: TeeTcbSvn(input.array("TEE_TCB_SVN")?),
            mrseam: Measurement(input.array("MRSEAM")?),
            mrsignerseam: Measurement(input.array("MRSIGNERSEAM")?),
            seam_attributes: input.array("SEAMATTRIBUTES")?,
            td_attributes: TdAttributes(input.array("TDATTRIBUTES")?),
            xfam: Xfam(input.array("XFAM")?),
            mrtd: Measurement(input.array("MRTD")?),
            mrconfigid: Measurement(input.array("MRCONFIGID")?),
            mrowner: Measurement(input.array("MROWNER")?),
            mrownerconfig: Measurement(input.array("MROWNERCONFIG")?),
            rtmr: [
                Measurement(input.array("RTMR0")?),
                Measurement(input.array("RTMR1")?),
                Measurement(input.array("RTMR2")?),
                Measurement(input.array("RTMR3")?),
            ],
            report_data: ReportData(input.array("REPORTDATA")?),
            generation: match body_type {
                BodyType::Td10 => TdGeneration::Td10,
                BodyType::Td15 => TdGeneration::Td15(Td15Fields::read(input)?),
                BodyType::Td15Ex => {
                    TdGeneration::Td15Ex(Td15Fields::read(input)?, Td15ExFields::read(input)?)
                }
            },
        })
    }
}

impl Td15Fields {
    fn read(input: &mut Reader<'_>) -> Result<Self, EvidenceError> {
        Ok(Self {
            tee_tcb_svn2: TeeTcbSvn(input.array("TEE_TCB_SVN2")?),
            mrservicetd: Measurement(input.array("MRSERVICETD")?),
        })
    }
}

impl Td15ExFields {
    /// Intel `sgx_quote_5.h`, `sgx_report2_body_v1_5_ex_t`.
    fn read(input: &mut Reader<'_>) -> Result<Self, EvidenceError> {
        const FIELD: &str = "TD 1.5 extension";
        // VMID, TD id, digest of the devices.
        let _identity: [u8; 1 + 32 + 48] = input.array(FIELD)?;
        let initial_service_td = Measurement(input.array(FIELD)?);
        // Its attributes; CPUSVN, TEE_TCB_SVN and FMSPC of the TD's creation.
        let _at_creation: [u8; 8 + 16 + 16 + 12] = input.array(FIELD)?;
        let current_service_td = Measurement(input.array(FIELD)?);
        let _attributes: [u8; 8] = input.array(FIELD)?;
        Ok(Self { initial_service_td, current_service_td })
    }
}

impl QuoteSignature {
    fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut input = Reader::new(bytes);
        let signature = input.array("quote signature")?;
        let attestation_key = input.array("attestation key")?;
        let outer = input.certification("certification data", CERTIFICATION_QE_REPORT)?;
        input.finish("signature")?;

        let mut inner = Reader::new(outer);
        let qe_report = Box::new(inner.array("QE report")?);
        let qe_report_signature = inner.array("QE report signature")?;
        let auth_len = u32::from(inner.u16("QE authentication data length")?);
        let qe_auth_data = inner.bytes_u32("QE authentication data", auth_len)?;
        bounded("QE authentication data", qe_auth_data.len(), MAX_QE_AUTH_DATA_LEN)?;
        let pck_chain_pem =
            inner.certification("PCK certification data", CERTIFICATION_PCK_CHAIN)?;
        bounded("PCK certificate chain", pck_chain_pem.len(), MAX_CERTIFICATE_CHAIN_LEN)?;
        inner.finish("certification data")?;
        Ok(Self {
            signature,
            attestation_key,
            qe_report,
            qe_report_signature,
            qe_auth_data: qe_auth_data.to_vec(),
            pck_chain_pem: pck_chain_pem.to_vec(),
        })
    }
}

/// Little-endian fields, and structures that state their own length.
type Reader<'a> = reader::Reader<'a, EvidenceError>;

impl<'a> Reader<'a> {
    fn u16(&mut self, field: &'static str) -> Result<u16, EvidenceError> {
        self.array(field).map(u16::from_le_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, EvidenceError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn certification(
        &mut self,
        what: &'static str,
        expected: u16,
    ) -> Result<&'a [u8], EvidenceError> {
        let got = self.u16(what)?;
        if got != expected {
            return Err(EvidenceError::CertificationType { what, expected, got });
        }
        let len = self.u32(what)?;
        self.bytes_u32(what, len)
    }

    fn finish(&self, structure: &'static str) -> Result<(), EvidenceError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(EvidenceError::Leftover { structure, left }),
        }
    }
}
