//! The HCL report: what Azure's paravisor keeps in the vTPM about the machine and the vTPM's key.
//!
//! Role: Evidence (RFC 9334 §4.2). In: the content of NV index 0x01400001. Out: [`HclReport`], the
//! hardware's report and the *var-data* to which that report commits; nothing is verified here.
//! Layout: openvmm, `openhcl_attestation_protocol`, `igvm_attest/get.rs`; numbers are little-endian.
//!
//! ```text
//!  0x000  header, 32 bytes: "HCLA" ‖ version ‖ report size ‖ request type ‖ status ‖ 3 × reserved
//!  0x020  hardware report: SNP report (1184 bytes) or TDREPORT (1024 bytes), then zeros
//!  0x4c0  request data, 20 bytes: size ‖ version ‖ report type ‖ hash type ‖ length of var-data
//!  0x4d4  var-data, JSON; its SHA-256 is in the hardware report's report data
//!         zeros to the end of the NV index
//! ```
//! Header and request data are signed by nobody. So they decide nothing: each has to hold the one
//! value that fits the rest.
//! Against: a report whose parts do not belong together, bytes that nobody accounts for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::evidence::reader::{self, Shortage};
use crate::evidence::snp::REPORT_LEN;
use crate::limits::{MAX_HCL_KEYS, MAX_HCL_REPORT_LEN};

/// What an HCL report begins with.
pub const HCL_MAGIC: [u8; 4] = *b"HCLA";
/// Length in bytes of a TDREPORT. Intel TDX Module ABI, table TDREPORT_STRUCT.
pub const TD_REPORT_LEN: usize = 1024;

/// `AK_CERT_REQUEST`: the only request whose data a guest gets to see.
const REQUEST_TYPE_AK_CERT: u32 = 2;
const REQUEST_DATA_VERSION: u32 = 1;
const REPORT_TYPE_SNP: u32 = 2;
const REPORT_TYPE_TDX: u32 = 4;
const HASH_TYPE_SHA256: u32 = 1;
/// Room for the hardware report, whichever it is.
const HARDWARE_REPORT_ROOM: usize = 0x4a0;
/// Request data without var-data.
const REQUEST_DATA_LEN: usize = 20;
/// Offset of REPORTDATA in a TDREPORT, and its length.
const TD_REPORT_DATA: usize = 128;
/// First byte of a TDREPORT: REPORTTYPE.TYPE of TDX.
const TD_REPORT_TYPE: u8 = 0x81;

/// Why bytes are not an HCL report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HclFormatError {
    /// More bytes than [`limits`](crate::limits) allow.
    #[error("HCL report has {got} bytes; at most {limit} are read")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
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
    /// No HCL report at all.
    #[error("begins with {}; \"HCLA\" marks an HCL report", hex::encode(.got))]
    Magic {
        /// What it begins with.
        got: [u8; 4],
    },
    /// A number of header or request data is another one.
    #[error("{field} is {got}; expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is supported.
        expected: String,
        /// What the report states.
        got: u32,
    },
    /// Bytes that have to be zero are not.
    #[error("{field} is not zero")]
    Reserved {
        /// Which bytes.
        field: &'static str,
    },
    /// The hardware report is none: a TDREPORT of another type.
    #[error("TDREPORT is of type {got:#04x}; 0x81 (TDX) is supported")]
    TdReportType {
        /// The type that it states.
        got: u8,
    },
    /// The var-data are not JSON of the known shape.
    #[error("{member} of the var-data is not {expected}")]
    VarData {
        /// The member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl From<Shortage> for HclFormatError {
    fn from(Shortage { field, needed, left }: Shortage) -> Self {
        Self::Truncated { field, needed, left }
    }
}

impl HclFormatError {
    /// The refusal's code, the claim, what was expected and what was there.
    pub(super) fn parts(&self) -> (&'static str, &'static str, String, String) {
        match self {
            Self::TooLarge { got, limit } => (
                "azure.hcl.too-large",
                "HCL report",
                format!("at most {limit} bytes"),
                format!("{got} bytes"),
            ),
            Self::Truncated { field, needed, left } => {
                ("azure.hcl.truncated", field, format!("{needed} bytes"), format!("{left} bytes"))
            }
            Self::Magic { got } => {
                ("azure.hcl.magic", "HCL header", "HCLA".to_owned(), got.escape_ascii().to_string())
            }
            Self::Field { field, expected, got } => {
                ("azure.hcl.field", field, expected.clone(), got.to_string())
            }
            Self::Reserved { field } => {
                ("azure.hcl.reserved", field, "zero".to_owned(), "another byte".to_owned())
            }
            Self::TdReportType { got } => (
                "azure.hcl.td-report-type",
                "TDREPORT type",
                format!("{TD_REPORT_TYPE:#04x}"),
                format!("{got:#04x}"),
            ),
            Self::VarData { member, expected } => {
                ("azure.hcl.var-data", member, (*expected).to_owned(), "something else".to_owned())
            }
        }
    }
}

/// An HCL report. Unverified.
#[derive(Clone, Debug)]
pub struct HclReport {
    hardware: HclHardwareReport,
    var_data_raw: Vec<u8>,
    var_data: VarData,
}

/// The hardware's report inside an HCL report.
#[derive(Clone, Debug)]
pub enum HclHardwareReport {
    /// An SNP report, to be parsed as such.
    Snp(Box<[u8; REPORT_LEN]>),
    /// A TDREPORT. Its MAC means something to the machine's own quoting enclave alone; what counts is
    /// the quote that was made of it.
    Tdx(Box<[u8; TD_REPORT_LEN]>),
}

/// What the var-data say, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarData {
    /// The vTPM's attestation key.
    pub attestation_key: RsaPublicKey,
    /// What the guest wrote into NV index 0x01400002.
    pub user_data: UserData,
    /// Azure's id of the machine, when it is stated.
    pub vm_unique_id: Option<String>,
    /// Whether the machine was started with secure boot.
    pub secure_boot: SecureBoot,
}

/// `user-data` of the var-data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserData {
    /// The paravisor is too old to know it.
    NotStated,
    /// The bytes, 64 on real machines.
    Stated(Vec<u8>),
}

/// `secure-boot` of the machine's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecureBoot {
    /// Enabled.
    On,
    /// Disabled.
    Off,
    /// The paravisor did not say.
    NotStated,
}

/// An RSA-2048 public key with exponent 65537.
#[derive(Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    /// The modulus, big-endian, its highest bit set.
    pub modulus: [u8; 256],
}

impl RsaPublicKey {
    /// The one accepted exponent, big-endian.
    pub const EXPONENT: [u8; 3] = [1, 0, 1];
}

impl std::fmt::Debug for RsaPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RsaPublicKey({})", hex::encode(self.modulus))
    }
}

impl HclReport {
    /// Parses an HCL report; every byte belongs to a field or is zero.
    ///
    /// # Errors
    /// [`HclFormatError`]: size first, then in the order of the bytes, the var-data's content last.
    pub fn parse(bytes: &[u8]) -> Result<Self, HclFormatError> {
        if bytes.len() > MAX_HCL_REPORT_LEN {
            return Err(HclFormatError::TooLarge { got: bytes.len(), limit: MAX_HCL_REPORT_LEN });
        }
        let mut input = Reader::new(bytes);
        let report_size = header(&mut input)?;
        let room = input.bytes("hardware report", HARDWARE_REPORT_ROOM)?;
        let request = RequestData::read(&mut input)?;
        let var_data_raw = input.bytes("var-data", request.var_data_len)?;
        let size = bytes.len().saturating_sub(input.rest().len());
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        if report_size != size {
            let (field, expected) = ("report size", size.to_string());
            return Err(HclFormatError::Field { field, expected, got: report_size });
        }
        zero("padding after the var-data", input.rest())?;
        let hardware = HclHardwareReport::read(request.hardware, room)?;
        let var_data = VarData::parse(var_data_raw)?;
        Ok(Self { hardware, var_data_raw: var_data_raw.to_vec(), var_data })
    }

    /// The hardware's report.
    #[must_use]
    pub fn hardware(&self) -> &HclHardwareReport {
        &self.hardware
    }

    /// The var-data, exactly as the hardware's report commits to them.
    #[must_use]
    pub fn var_data_raw(&self) -> &[u8] {
        &self.var_data_raw
    }

    /// The var-data, parsed.
    #[must_use]
    pub fn var_data(&self) -> &VarData {
        &self.var_data
    }
}

/// Reads the header and gives the size that it states.
fn header(input: &mut Reader<'_>) -> Result<u32, HclFormatError> {
    let magic = input.array("HCL magic")?;
    if magic != HCL_MAGIC {
        return Err(HclFormatError::Magic { got: magic });
    }
    // Both versions of the header are alike, for this request.
    let version = input.u32("HCL version")?;
    if !matches!(version, 1 | 2) {
        let (field, expected) = ("HCL version", "1 or 2".to_owned());
        return Err(HclFormatError::Field { field, expected, got: version });
    }
    let report_size = input.u32("report size")?;
    input.exactly("request type", REQUEST_TYPE_AK_CERT)?;
    zero("header status", &input.array::<4>("header status")?)?;
    zero("header reserved bytes", &input.array::<12>("header reserved bytes")?)?;
    Ok(report_size)
}

/// Which hardware report it is, and how long the var-data are.
struct RequestData {
    hardware: HardwareKind,
    var_data_len: usize,
}

#[derive(Clone, Copy)]
enum HardwareKind {
    Snp,
    Tdx,
}

impl RequestData {
    fn read(input: &mut Reader<'_>) -> Result<Self, HclFormatError> {
        let size = input.u32("request data size")?;
        input.exactly("request data version", REQUEST_DATA_VERSION)?;
        let report_type = input.u32("report type")?;
        let hardware = match report_type {
            REPORT_TYPE_SNP => HardwareKind::Snp,
            REPORT_TYPE_TDX => HardwareKind::Tdx,
            got => {
                let (field, expected) = ("report type", "2 (SNP) or 4 (TDX)".to_owned());
                return Err(HclFormatError::Field { field, expected, got });
            }
        };
        input.exactly("hash type", HASH_TYPE_SHA256)?;
        let var_data_len = input.u32("var-data length")?;
        let var_data_len = usize::try_from(var_data_len).unwrap_or(usize::MAX);
        let expected = var_data_len.saturating_add(REQUEST_DATA_LEN);
        if usize::try_from(size) != Ok(expected) {
            let (field, expected) = ("request data size", expected.to_string());
            return Err(HclFormatError::Field { field, expected, got: size });
        }
        Ok(Self { hardware, var_data_len })
    }
}

impl HclHardwareReport {
    fn read(kind: HardwareKind, room: &[u8]) -> Result<Self, HclFormatError> {
        let mut input = Reader::new(room);
        let report = match kind {
            HardwareKind::Snp => Self::Snp(Box::new(input.array("SNP report")?)),
            HardwareKind::Tdx => {
                let report: [u8; TD_REPORT_LEN] = input.array("TDREPORT")?;
                match report.first() {
                    Some(&TD_REPORT_TYPE) => Self::Tdx(Box::new(report)),
                    other => {
                        let got = other.copied().unwrap_or_default();
                        return Err(HclFormatError::TdReportType { got });
                    }
                }
            }
        };
        zero("padding after the hardware report", input.rest())?;
        Ok(report)
    }

    /// Report data of a TDREPORT, which the quote made of it has to carry.
    pub(crate) fn td_report_data(report: &[u8; TD_REPORT_LEN]) -> [u8; 64] {
        let mut data = [0; 64];
        for (to, from) in data.iter_mut().zip(report.iter().skip(TD_REPORT_DATA)) {
            *to = *from;
        }
        data
    }
}

/// The shape of the var-data. Members that are not used here are let pass: the hardware's report
/// commits to every byte of them.
#[derive(Deserialize)]
struct VarDataJson {
    keys: Vec<KeyJson>,
    #[serde(rename = "vm-configuration")]
    vm_configuration: Option<VmConfigurationJson>,
    #[serde(rename = "user-data")]
    user_data: Option<String>,
}

#[derive(Deserialize)]
struct KeyJson {
    kid: String,
    kty: String,
    n: Option<String>,
    e: Option<String>,
}

#[derive(Deserialize)]
struct VmConfigurationJson {
    #[serde(rename = "secure-boot")]
    secure_boot: Option<bool>,
    #[serde(rename = "vmUniqueId")]
    vm_unique_id: Option<String>,
}

/// `kid` of the attestation key.
const ATTESTATION_KEY_ID: &str = "HCLAkPub";

impl VarData {
    fn parse(bytes: &[u8]) -> Result<Self, HclFormatError> {
        let refused = |member, expected| Err(HclFormatError::VarData { member, expected });
        // Text first: in members that are skipped serde_json would let other bytes pass.
        let json = std::str::from_utf8(bytes).ok();
        let Some(json) = json.and_then(|text| serde_json::from_str::<VarDataJson>(text).ok())
        else {
            return refused("var-data", "a JSON object with `keys`");
        };
        if json.keys.len() > MAX_HCL_KEYS {
            return refused("keys", "a list of at most 16 keys");
        }
        let mut candidates = json.keys.iter().filter(|key| key.kid == ATTESTATION_KEY_ID);
        let (Some(key), None) = (candidates.next(), candidates.next()) else {
            return refused("keys", "a list with exactly one HCLAkPub");
        };
        let attestation_key = key.rsa_2048()?;
        let user_data = match json.user_data {
            None => UserData::NotStated,
            Some(digits) => match hex::decode(digits) {
                Ok(bytes) => UserData::Stated(bytes),
                Err(_) => return refused("user-data", "hex"),
            },
        };
        let configuration = json.vm_configuration;
        Ok(Self {
            attestation_key,
            user_data,
            secure_boot: match configuration.as_ref().and_then(|stated| stated.secure_boot) {
                Some(true) => SecureBoot::On,
                Some(false) => SecureBoot::Off,
                None => SecureBoot::NotStated,
            },
            vm_unique_id: configuration.and_then(|stated| stated.vm_unique_id),
        })
    }
}

impl KeyJson {
    fn rsa_2048(&self) -> Result<RsaPublicKey, HclFormatError> {
        let refused = |member, expected| HclFormatError::VarData { member, expected };
        if self.kty != "RSA" {
            return Err(refused("HCLAkPub.kty", "RSA"));
        }
        let decoded = |text: &Option<String>| {
            text.as_deref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        };
        if decoded(&self.e).as_deref() != Some(&RsaPublicKey::EXPONENT) {
            return Err(refused("HCLAkPub.e", "AQAB (65537)"));
        }
        decoded(&self.n)
            .and_then(|bytes| <[u8; 256]>::try_from(bytes).ok())
            .filter(|modulus| modulus.first().is_some_and(|byte| byte & 0x80 != 0))
            .map(|modulus| RsaPublicKey { modulus })
            .ok_or_else(|| refused("HCLAkPub.n", "a modulus of 2048 bits in unpadded base64url"))
    }
}

/// Little-endian fields.
type Reader<'a> = reader::Reader<'a, HclFormatError>;

impl Reader<'_> {
    fn u32(&mut self, field: &'static str) -> Result<u32, HclFormatError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn exactly(&mut self, field: &'static str, expected: u32) -> Result<(), HclFormatError> {
        let got = self.u32(field)?;
        if got != expected {
            return Err(HclFormatError::Field { field, expected: expected.to_string(), got });
        }
        Ok(())
    }
}

fn zero(field: &'static str, bytes: &[u8]) -> Result<(), HclFormatError> {
    match bytes.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(HclFormatError::Reserved { field }),
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
mod tests;
