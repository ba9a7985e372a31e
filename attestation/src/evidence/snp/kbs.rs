//! SNP Evidence in the KBS protocol's JSON, in and out.
//!
//! `{"attestation_report":{…},"cert_chain":[{"cert_type":"VCEK","data":[…]}]}`, where the report is taken
//! apart into numbers and arrays, as the crate `sev` 6 writes it. A signature is over bytes, so they are
//! put together again: reserved bytes are zero, TCB versions go into the byte order of the processor.
//! Out of this crate's own need there is a second form, `attestation_report_raw`: base64 of the 1184 bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::claims::{FirmwareVersion, SnpProduct, SnpTcb};
use crate::evidence::snp::certificates::{CertificateLabel, bounded};
use crate::evidence::snp::{
    PresentedCertificates, REPORT_LEN, RawTcb, ReportVersion, SnpEvidence, SnpFormatError,
};
use crate::limits::{MAX_CERTIFICATE_LEN, MAX_CHAIN_CERTIFICATES};

/// The report's members, named as on the wire. Unknown members are ignored, as Trustee does.
#[derive(Deserialize)]
struct ReportJson {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: Vec<u8>,
    image_id: Vec<u8>,
    vmpl: u32,
    sig_algo: u32,
    current_tcb: TcbJson,
    plat_info: u64,
    key_info: u32,
    report_data: Vec<u8>,
    measurement: Vec<u8>,
    host_data: Vec<u8>,
    id_key_digest: Vec<u8>,
    author_key_digest: Vec<u8>,
    report_id: Vec<u8>,
    report_id_ma: Vec<u8>,
    reported_tcb: TcbJson,
    cpuid_fam_id: Option<u8>,
    cpuid_mod_id: Option<u8>,
    cpuid_step: Option<u8>,
    chip_id: Vec<u8>,
    committed_tcb: TcbJson,
    current: VersionJson,
    committed: VersionJson,
    launch_tcb: TcbJson,
    launch_mit_vector: Option<u64>,
    current_mit_vector: Option<u64>,
    signature: SignatureJson,
}

#[derive(Deserialize)]
struct TcbJson {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[derive(Deserialize)]
struct VersionJson {
    major: u8,
    minor: u8,
    build: u8,
}

#[derive(Deserialize)]
struct SignatureJson {
    r: Vec<u8>,
    s: Vec<u8>,
}

#[derive(Deserialize)]
struct CertificateJson {
    /// A string for known kinds, an object for others.
    cert_type: Value,
    data: Vec<u8>,
}

impl SnpEvidence {
    /// Parses the value of `primary_evidence` in the KBS protocol.
    ///
    /// # Errors
    /// [`SnpFormatError::Member`] for what is missing or has another form,
    /// [`TwoReports`](SnpFormatError::TwoReports), [`TooLarge`](SnpFormatError::TooLarge), then as
    /// [`parse`](Self::parse).
    pub fn parse_kbs(primary_evidence: &Value) -> Result<Self, SnpFormatError> {
        let members = primary_evidence.as_object().ok_or(SnpFormatError::Member {
            member: "primary_evidence",
            expected: "an object with attestation_report",
        })?;
        let raw = match members.get("attestation_report_raw") {
            None | Some(Value::Null) => None,
            Some(raw) => Some(decode_raw(raw)?),
        };
        let rebuilt = match members.get("attestation_report") {
            None | Some(Value::Null) => None,
            Some(report) => Some(rebuild(report)?),
        };
        let bytes = match (raw, rebuilt) {
            (Some(raw), Some(rebuilt)) if raw != rebuilt => return Err(SnpFormatError::TwoReports),
            (Some(bytes), _) | (None, Some(bytes)) => bytes,
            (None, None) => {
                return Err(SnpFormatError::Member {
                    member: "attestation_report",
                    expected: "a report as the crate sev writes it",
                });
            }
        };
        let evidence = Self::parse(&bytes)?;
        let certificates = match members.get("cert_chain") {
            None | Some(Value::Null) => PresentedCertificates::none(),
            Some(chain) => certificates(chain)?,
        };
        Ok(evidence.with_certificates(certificates))
    }

    /// The value of `primary_evidence`: the report taken apart, as CoCo's own clients send it. A report
    /// whose TCB versions have bits that this form can't carry goes out as bytes instead.
    #[must_use]
    pub fn to_kbs(&self) -> Value {
        let chain: Vec<Value> = self
            .certificates()
            .iter()
            .map(|(label, der)| json!({ "cert_type": label.as_str(), "data": der }))
            .collect();
        let chain = if chain.is_empty() { Value::Null } else { Value::Array(chain) };
        match self.taken_apart() {
            Some(report) => json!({ "attestation_report": report, "cert_chain": chain }),
            None => {
                json!({ "attestation_report_raw": STANDARD.encode(self.raw()), "cert_chain": chain })
            }
        }
    }

    fn taken_apart(&self) -> Option<Value> {
        let report = self.report();
        let layout = report.tcb_layout();
        let tcb = |raw: RawTcb| {
            let SnpTcb { fmc, bootloader, tee, snp, microcode } = SnpTcb::read(raw.0, layout)?;
            Some(
                json!({ "fmc": fmc, "bootloader": bootloader, "tee": tee, "snp": snp, "microcode": microcode }),
            )
        };
        let version = |FirmwareVersion { major, minor, build }| json!({ "major": major, "minor": minor, "build": build });
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        put("version", report.version.number().into());
        put("guest_svn", report.guest_svn.into());
        put("policy", report.policy.0.into());
        put("family_id", json!(report.family_id.0));
        put("image_id", json!(report.image_id.0));
        put("vmpl", report.vmpl.into());
        put("sig_algo", report.signature_algorithm.into());
        put("current_tcb", tcb(report.current_tcb)?);
        put("plat_info", report.platform_info.0.into());
        put("key_info", report.key_info.0.into());
        put("report_data", bytes(&report.report_data.0));
        put("measurement", bytes(&report.measurement.0));
        put("host_data", bytes(&report.host_data.0));
        put("id_key_digest", bytes(&report.id_key_digest.0));
        put("author_key_digest", bytes(&report.author_key_digest.0));
        put("report_id", bytes(&report.report_id.0));
        put("report_id_ma", bytes(&report.report_id_ma.0));
        put("reported_tcb", tcb(report.reported_tcb)?);
        put("cpuid_fam_id", json!(report.cpuid.map(|cpuid| cpuid.family)));
        put("cpuid_mod_id", json!(report.cpuid.map(|cpuid| cpuid.model)));
        put("cpuid_step", json!(report.cpuid.map(|cpuid| cpuid.stepping)));
        put("chip_id", bytes(&report.chip_id.0));
        put("committed_tcb", tcb(report.committed_tcb)?);
        put("current", version(report.current_version));
        put("committed", version(report.committed_version));
        put("launch_tcb", tcb(report.launch_tcb)?);
        // Null before version 5, as `sev` 6.3 and later write it.
        put("launch_mit_vector", json!(report.launch_mitigations));
        put("current_mit_vector", json!(report.current_mitigations));
        put(
            "signature",
            json!({ "r": bytes(&report.signature_r), "s": bytes(&report.signature_s) }),
        );
        Some(Value::Object(members))
    }
}

fn bytes(bytes: &[u8]) -> Value {
    bytes.iter().copied().map(Value::from).collect()
}

fn decode_raw(value: &Value) -> Result<Vec<u8>, SnpFormatError> {
    const REFUSED: SnpFormatError = SnpFormatError::Member {
        member: "attestation_report_raw",
        expected: "standard base64 of 1184 bytes",
    };
    let text =
        value.as_str().filter(|text| text.len() <= REPORT_LEN.saturating_mul(2)).ok_or(REFUSED)?;
    STANDARD.decode(text).map_err(|_| REFUSED)
}

/// The bytes that the report was read from, reserved ones zero.
fn rebuild(report: &Value) -> Result<Vec<u8>, SnpFormatError> {
    let json = ReportJson::deserialize(report).map_err(|_| SnpFormatError::Member {
        member: "attestation_report",
        expected: "a report as the crate sev writes it",
    })?;
    let version = match json.version {
        2 => ReportVersion::V2,
        3 => ReportVersion::V3,
        5 => ReportVersion::V5,
        got => return Err(SnpFormatError::Version { got }),
    };
    let layout = match (json.cpuid_fam_id, json.reported_tcb.fmc) {
        (Some(0x1a..), _) | (None, Some(_)) => SnpProduct::Turin,
        _ => SnpProduct::Genoa,
    };
    let mut raw = vec![0; REPORT_LEN];
    let mut put = |offset: usize, bytes: &[u8]| {
        for (to, from) in raw.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    };
    put(0x000, &json.version.to_le_bytes());
    put(0x004, &json.guest_svn.to_le_bytes());
    put(0x008, &json.policy.to_le_bytes());
    put(0x010, exactly("family_id", &json.family_id, 16)?);
    put(0x020, exactly("image_id", &json.image_id, 16)?);
    put(0x030, &json.vmpl.to_le_bytes());
    put(0x034, &json.sig_algo.to_le_bytes());
    put(0x038, &tcb("current_tcb", &json.current_tcb, layout)?);
    put(0x040, &json.plat_info.to_le_bytes());
    put(0x048, &json.key_info.to_le_bytes());
    put(0x050, exactly("report_data", &json.report_data, 64)?);
    put(0x090, exactly("measurement", &json.measurement, 48)?);
    put(0x0c0, exactly("host_data", &json.host_data, 32)?);
    put(0x0e0, exactly("id_key_digest", &json.id_key_digest, 48)?);
    put(0x110, exactly("author_key_digest", &json.author_key_digest, 48)?);
    put(0x140, exactly("report_id", &json.report_id, 32)?);
    put(0x160, exactly("report_id_ma", &json.report_id_ma, 32)?);
    put(0x180, &tcb("reported_tcb", &json.reported_tcb, layout)?);
    if version >= ReportVersion::V3 {
        let part = |member, value: Option<u8>| {
            value.ok_or(SnpFormatError::Member { member, expected: "a number, from version 3 on" })
        };
        put(0x188, &[part("cpuid_fam_id", json.cpuid_fam_id)?]);
        put(0x189, &[part("cpuid_mod_id", json.cpuid_mod_id)?]);
        put(0x18a, &[part("cpuid_step", json.cpuid_step)?]);
    }
    put(0x1a0, exactly("chip_id", &json.chip_id, 64)?);
    put(0x1e0, &tcb("committed_tcb", &json.committed_tcb, layout)?);
    put(0x1e8, &[json.current.build, json.current.minor, json.current.major]);
    put(0x1ec, &[json.committed.build, json.committed.minor, json.committed.major]);
    put(0x1f0, &tcb("launch_tcb", &json.launch_tcb, layout)?);
    if version >= ReportVersion::V5 {
        let part = |member, value: Option<u64>| {
            value.ok_or(SnpFormatError::Member { member, expected: "a number, from version 5 on" })
        };
        put(0x1f8, &part("launch_mit_vector", json.launch_mit_vector)?.to_le_bytes());
        put(0x200, &part("current_mit_vector", json.current_mit_vector)?.to_le_bytes());
    }
    put(0x2a0, exactly("signature.r", &json.signature.r, 72)?);
    put(0x2e8, exactly("signature.s", &json.signature.s, 72)?);
    Ok(raw)
}

fn exactly<'a>(
    member: &'static str,
    bytes: &'a [u8],
    len: usize,
) -> Result<&'a [u8], SnpFormatError> {
    if bytes.len() == len {
        return Ok(bytes);
    }
    Err(SnpFormatError::Member {
        member,
        expected: "a list of as many bytes as the report has there",
    })
}

/// TCB_VERSION in the byte order of a product line. AMD 56860, tables TCB_VERSION.
fn tcb(member: &'static str, tcb: &TcbJson, layout: SnpProduct) -> Result<[u8; 8], SnpFormatError> {
    let TcbJson { fmc, bootloader, tee, snp, microcode } = *tcb;
    match (layout, fmc) {
        (SnpProduct::Milan | SnpProduct::Genoa, None | Some(0)) => {
            Ok([bootloader, tee, 0, 0, 0, 0, snp, microcode])
        }
        (SnpProduct::Turin, Some(fmc)) => Ok([fmc, bootloader, tee, snp, 0, 0, 0, microcode]),
        (SnpProduct::Milan | SnpProduct::Genoa, Some(_)) | (SnpProduct::Turin, None) => {
            Err(SnpFormatError::Member {
                member,
                expected: "a TCB version with `fmc` for Turin, and without for others",
            })
        }
    }
}

fn certificates(chain: &Value) -> Result<PresentedCertificates, SnpFormatError> {
    const REFUSED: SnpFormatError = SnpFormatError::Member {
        member: "cert_chain",
        expected: "a list of certificates with cert_type and data, or null",
    };
    let list = chain.as_array().ok_or(REFUSED)?;
    bounded("number of certificates", list.len(), MAX_CHAIN_CERTIFICATES)?;
    let mut certificates = PresentedCertificates::none();
    for certificate in list {
        let data = certificate.get("data").and_then(Value::as_array).ok_or(REFUSED)?;
        bounded("certificate", data.len(), MAX_CERTIFICATE_LEN)?;
        let CertificateJson { cert_type, data } =
            CertificateJson::deserialize(certificate).map_err(|_| REFUSED)?;
        if let Some(label) = cert_type.as_str().and_then(CertificateLabel::named) {
            certificates.push(label, &data)?;
        }
    }
    Ok(certificates)
}
