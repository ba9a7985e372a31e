//! SPDM 1.1 GET_MEASUREMENTS, request and response, as NVIDIA devices sign them.
//!
//! In: at most [`MAX_SPDM_REPORT_LEN`](crate::limits::MAX_SPDM_REPORT_LEN) bytes. Out:
//! [`MeasurementReport`]. Sources: DMTF DSP0274 1.1.0, §10.11 (GET_MEASUREMENTS, MEASUREMENTS), §10.11.1
//! (measurement block), table 22 (DMTF measurement); opaque data as NVIDIA's open verifier reads them.
//!
//! ```text
//!  0    2      4           36    37                                                    n-96      n
//!  ┌────┬──────┬───────────┬─────┬──────────────────────────────────────────────────────┬─────────┐
//!  │11e0│ attr │ nonce 32  │slot │ 1160 · slot · u8 blocks · u24 len · record · nonce 32 │signature│ zeros
//!  └────┴──────┴───────────┴─────┤                     · u16 len · opaque data           │ 96      │
//!   ◄── request, 37 bytes ───────┴── response ──────────────────────────────────────────►│         │
//!   ◄──────────────────────────── signed ──────────────────────────────────────────────►
//! ```
//! Against: lengths that lie, a block twice, bytes that nobody accounts for.

use crate::evidence::reader::{self, Shortage};

/// Length in bytes of the request.
const REQUEST_LEN: usize = 37;
/// ECDSA P-384, `r ‖ s`.
const SIGNATURE_LEN: usize = 96;
/// SPDM 1.1.
const SPDM_VERSION: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;
/// Param1 of the request: a signature is wanted.
const SIGNATURE_REQUESTED: u8 = 0x01;
/// Param2 of the request: all measurement blocks.
const ALL_MEASUREMENTS: u8 = 0xff;
/// MeasurementSpecification: DMTF.
const DMTF: u8 = 0x01;
/// DMTFSpecMeasurementValueType: digest of mutable firmware (low bits), not a raw bit stream (bit 7).
const RAW_BIT_STREAM: u8 = 0x80;
/// SHA-384.
const DIGEST_LEN: usize = 48;
/// Opaque fields in one report. Real: 17.
const MAX_OPAQUE_FIELDS: usize = 64;

/// Why bytes are not a signed measurement report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpdmError {
    /// The bytes end inside a field.
    #[error("ends inside {field}: {needed} bytes needed, {left} left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Its length in bytes.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A field that has one accepted value has another.
    #[error("{field} is {got:#04x}, expected {expected:#04x}")]
    Field {
        /// The field.
        field: &'static str,
        /// The accepted value.
        expected: u8,
        /// The value in the report.
        got: u8,
    },
    /// Measurement blocks are not numbered 1, 2, 3 ….
    #[error("measurement block {expected} is numbered {got}")]
    BlockIndex {
        /// The number that was due.
        expected: u8,
        /// The number in the report.
        got: u8,
    },
    /// A measurement is not a SHA-384 digest.
    #[error("measurement {index} has {got} bytes, expected 48")]
    MeasurementLen {
        /// Number of the block.
        index: u8,
        /// Bytes that it states.
        got: usize,
    },
    /// Bytes are left inside a structure that states its own length.
    #[error("{left} bytes are left over inside {structure}")]
    Leftover {
        /// The structure.
        structure: &'static str,
        /// Bytes left over.
        left: usize,
    },
    /// Bytes after the signature that are not zero padding.
    #[error("byte {offset} after the report is not zero padding")]
    TrailingBytes {
        /// Offset of the first such byte from the start.
        offset: usize,
    },
    /// An opaque field stands in the report twice, or there are too many.
    #[error("opaque field {id} is there twice, or one too many")]
    OpaqueField {
        /// Its id.
        id: u16,
    },
}

impl From<Shortage> for SpdmError {
    fn from(Shortage { field, needed, left }: Shortage) -> Self {
        Self::Truncated { field, needed, left }
    }
}

/// A field of NVIDIA's opaque data, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[non_exhaustive]
pub enum OpaqueField {
    /// Version of the driver, text.
    DriverVersion = 3,
    /// Version of the VBIOS, eight bytes.
    VbiosVersion = 6,
    /// State of the video decoder that has measurement 35.
    Nvdec0Status = 11,
    /// Board id.
    BoardId = 14,
    /// Chip SKU, text.
    ChipSku = 15,
    /// Project, text.
    Project = 17,
    /// SKU of the project, text.
    ProjectSku = 18,
    /// Firmware id: digest of what the leaf certificate's key was derived from.
    FirmwareId = 20,
    /// Whether NVLink traffic between devices is protected.
    ProtectedPcieStatus = 21,
    /// Mode of confidential computing: single GPU, multi GPU, protected PCIe.
    FeatureFlag = 36,
}

/// A measurement report with its exact bytes. Unverified.
#[derive(Clone, Debug)]
pub struct MeasurementReport {
    signed: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
    nonce: [u8; 32],
    measurements: Vec<[u8; DIGEST_LEN]>,
    opaque: Vec<(u16, Vec<u8>)>,
}

impl MeasurementReport {
    /// Parses request and response.
    ///
    /// # Errors
    /// [`SpdmError`], the first one from the front.
    pub fn parse(bytes: &[u8]) -> Result<Self, SpdmError> {
        let mut reader = Reader::new(bytes);
        reader.fixed("request: SPDM version", SPDM_VERSION)?;
        reader.fixed("request: code", GET_MEASUREMENTS)?;
        reader.fixed("request: attributes", SIGNATURE_REQUESTED)?;
        reader.fixed("request: measurement operation", ALL_MEASUREMENTS)?;
        let nonce = reader.array("request: nonce")?;
        let _slot = reader.u8("request: slot")?;
        debug_assert_eq!(bytes.len().saturating_sub(reader.rest().len()), REQUEST_LEN);

        reader.fixed("response: SPDM version", SPDM_VERSION)?;
        reader.fixed("response: code", MEASUREMENTS)?;
        let _total = reader.u8("response: param1")?;
        let _slot = reader.u8("response: slot")?;
        let blocks = reader.u8("response: number of blocks")?;
        let [a, b, c] = reader.array::<3>("response: record length")?;
        let record_len = u32::from_le_bytes([a, b, c, 0]);
        let record = reader.bytes("response: measurement record", usize_from(record_len))?;
        let measurements = measurements(record, blocks)?;
        let _responder_nonce: [u8; 32] = reader.array("response: nonce")?;
        let opaque_len = u16::from_le_bytes(reader.array("response: opaque length")?);
        let opaque = opaque(reader.bytes("response: opaque data", opaque_len.into())?)?;

        let signed_len = bytes.len().saturating_sub(reader.rest().len());
        let signature = reader.array("response: signature")?;
        if let Some(at) = reader.rest().iter().position(|byte| *byte != 0) {
            let end = bytes.len().saturating_sub(reader.rest().len());
            return Err(SpdmError::TrailingBytes { offset: end.saturating_add(at) });
        }
        let signed = bytes.get(..signed_len).unwrap_or_default().to_vec();
        Ok(Self { signed, signature, nonce, measurements, opaque })
    }

    /// The bytes that the device signed: request and response without the signature.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// ECDSA P-384 signature, `r ‖ s`.
    #[must_use]
    pub fn signature(&self) -> &[u8; 96] {
        &self.signature
    }

    /// The nonce of the request, which the signature covers.
    #[must_use]
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// SHA-384 measurements; the first one has index 1.
    #[must_use]
    pub fn measurements(&self) -> &[[u8; 48]] {
        &self.measurements
    }

    /// The bytes of an opaque field, when it is there.
    #[must_use]
    pub fn field(&self, field: OpaqueField) -> Option<&[u8]> {
        let wanted = field as u16;
        self.opaque.iter().find(|(id, _)| *id == wanted).map(|(_, bytes)| bytes.as_slice())
    }
}

fn measurements(record: &[u8], blocks: u8) -> Result<Vec<[u8; DIGEST_LEN]>, SpdmError> {
    let mut reader = Reader::new(record);
    let mut found = Vec::with_capacity(blocks.into());
    for expected in 1..=blocks {
        let got = reader.u8("block index")?;
        if got != expected {
            return Err(SpdmError::BlockIndex { expected, got });
        }
        reader.fixed("measurement specification", DMTF)?;
        let size = u16::from_le_bytes(reader.array("measurement size")?);
        let mut block = Reader::new(reader.bytes("measurement", size.into())?);
        let value_type = block.u8("measurement value type")?;
        if value_type & RAW_BIT_STREAM != 0 {
            return Err(SpdmError::Field {
                field: "measurement value type",
                expected: value_type & !RAW_BIT_STREAM,
                got: value_type,
            });
        }
        let len = u16::from_le_bytes(block.array("measurement value size")?);
        let value = block.bytes("measurement value", len.into())?;
        block.finish("a measurement block")?;
        let digest = value
            .try_into()
            .map_err(|_| SpdmError::MeasurementLen { index: expected, got: value.len() })?;
        found.push(digest);
    }
    reader.finish("the measurement record")?;
    Ok(found)
}

fn opaque(data: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, SpdmError> {
    let mut reader = Reader::new(data);
    let mut found: Vec<(u16, Vec<u8>)> = Vec::new();
    while !reader.rest().is_empty() {
        let id = u16::from_le_bytes(reader.array("opaque field id")?);
        let len = u16::from_le_bytes(reader.array("opaque field length")?);
        let value = reader.bytes("opaque field", len.into())?;
        if found.len() == MAX_OPAQUE_FIELDS || found.iter().any(|(known, _)| *known == id) {
            return Err(SpdmError::OpaqueField { id });
        }
        found.push((id, value.to_vec()));
    }
    Ok(found)
}

/// A 24-bit length always fits.
fn usize_from(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// What SPDM fixes, and structures that state their own length.
type Reader<'a> = reader::Reader<'a, SpdmError>;

impl Reader<'_> {
    fn fixed(&mut self, field: &'static str, expected: u8) -> Result<(), SpdmError> {
        match self.u8(field)? {
            got if got == expected => Ok(()),
            got => Err(SpdmError::Field { field, expected, got }),
        }
    }

    fn finish(self, structure: &'static str) -> Result<(), SpdmError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(SpdmError::Leftover { structure, left }),
        }
    }
}
