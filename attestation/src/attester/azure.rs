//! Evidence of an Azure confidential VM, through its vTPM.
//!
//! Role: Attester. In: report data. Out: KBS Evidence of version 2.
//!
//! ```text
//! NV 0x01400001  ► HCL report      must be there, or this is no such machine
//! NV 0x01400002  ◄ report data     defined where it is missing; 64 bytes
//! NV 0x01400001  ► HCL report      until its user-data are the ones just written
//! AK 0x81000003  ► quote           over the same report data and PCRs 0 to 23
//! PCRs 0 to 23   ► values          again from the quote on, when one was extended meanwhile
//! IMDS           ► VCEK, or the TD quote made of the TDREPORT
//! ```
//! Against: an ordinary machine with a TPM that is taken for a confidential VM, a report from before
//! the challenge, PCR values that the quote is not over.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

use super::imds::Imds;
use super::tpm::{NvIndex, Quoted, Stream, Tpm, TpmError};
use super::{Attester, AttesterError, confirm};
use crate::binding::ReportData;
use crate::evidence::Tee;
use crate::evidence::azure::{PCR_COUNT, qualifying_data};
use crate::evidence::hcl::{HclFormatError, HclHardwareReport, HclReport, UserData};
use crate::evidence::tpm::{TpmAttest, TpmFormatError};
use crate::limits::MAX_HCL_REPORT_LEN;

/// The kernel's resource manager for the TPM.
pub const DEFAULT_TPM_PATH: &str = "/dev/tpmrm0";

const NAME: &str = "az-vtpm";
const NV_HCL_REPORT: u32 = 0x0140_0001;
const NV_USER_DATA: u32 = 0x0140_0002;
const USER_DATA_LEN: u16 = 64;
const ATTESTATION_KEY: u32 = 0x8100_0003;

/// How long to wait for the paravisor to make a report of new user data, and how often to quote anew.
#[derive(Debug, Clone, Copy)]
struct Patience {
    report_reads: u32,
    pause: Duration,
    quotes: u32,
}

/// The paravisor makes a report within about three seconds.
const PATIENCE: Patience =
    Patience { report_reads: 40, pause: Duration::from_millis(250), quotes: 5 };

/// Why an Azure vTPM gave no Evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AzureAttesterError {
    /// The TPM device cannot be opened.
    #[error("{path} cannot be opened; it belongs to root and the group tss")]
    Device {
        /// Which file.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A command of the TPM failed.
    #[error("the TPM did not answer as it should")]
    Tpm(#[from] TpmError),
    /// The TPM has no HCL report.
    #[error("the TPM has no NV index 0x01400001; this is no Azure confidential VM")]
    NoHclReport,
    /// What the TPM has instead is no HCL report.
    #[error("NV index 0x01400001 holds no HCL report")]
    HclReport(#[from] HclFormatError),
    /// The index for user data has another size.
    #[error("NV index 0x01400002 has {got} bytes, expected 64")]
    UserDataSize {
        /// Its size.
        got: u16,
    },
    /// The paravisor did not take the user data over.
    #[error(
        "the HCL report still has other user-data after {reads} reads; another process may be \
         writing NV index 0x01400002, or the paravisor is too old"
    )]
    UserData {
        /// How often it was read.
        reads: u32,
    },
    /// The quote is none.
    #[error("the TPM's quote is malformed")]
    Quote(#[source] TpmFormatError),
    /// PCRs changed under every quote.
    #[error("a PCR was extended between quote and reading, {quotes} times in a row")]
    PcrsMoving {
        /// How often it was tried.
        quotes: u32,
    },
    /// A URL of another machine.
    #[error("`{got}` is not the instance metadata service: http://169.254.169.254")]
    ImdsUrl {
        /// What was configured, shortened.
        got: String,
    },
    /// The instance metadata service does not answer.
    #[error(
        "the instance metadata service at {address} does not answer; a network policy may keep \
         the pod from it"
    )]
    ImdsUnreachable {
        /// Where it was looked for.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The instance metadata service answered with another status.
    #[error("the instance metadata service answered {path} with {status}")]
    ImdsStatus {
        /// The path that was asked for.
        path: &'static str,
        /// The status code.
        status: u16,
    },
    /// The answer is not what it should be.
    #[error("the answer of the instance metadata service to {path} is refused: {reason}")]
    ImdsAnswer {
        /// The path that was asked for.
        path: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The vTPM of an Azure confidential VM as a source of Evidence.
pub struct AzVtpmAttester {
    /// One at a time: two callers would overwrite each other's user data.
    tpm: Mutex<Tpm>,
    imds: Imds,
    tee: Tee,
    patience: Patience,
}

impl AzVtpmAttester {
    /// Opens the TPM and reads the HCL report, to see whether this is an Azure confidential VM and
    /// on which hardware.
    ///
    /// # Errors
    /// [`AzureAttesterError::ImdsUrl`], [`Device`](AzureAttesterError::Device),
    /// [`Tpm`](AzureAttesterError::Tpm), [`NoHclReport`](AzureAttesterError::NoHclReport) and
    /// [`HclReport`](AzureAttesterError::HclReport) on every other machine.
    pub fn new(tpm_path: &Path, imds_url: &str) -> Result<Self, AttesterError> {
        let imds = Imds::from_url(imds_url)?;
        let device =
            OpenOptions::new().read(true).write(true).open(tpm_path).map_err(|source| {
                AzureAttesterError::Device { path: tpm_path.display().to_string(), source }
            })?;
        Ok(Self::with(Tpm::new(Stream(device)), imds, PATIENCE)?)
    }

    fn with(mut tpm: Tpm, imds: Imds, patience: Patience) -> Result<Self, AzureAttesterError> {
        let (_, report) = hcl_report(&mut tpm)?;
        let tee = match report.hardware() {
            HclHardwareReport::Snp(_) => Tee::AzSnpVtpm,
            HclHardwareReport::Tdx(_) => Tee::AzTdxVtpm,
        };
        Ok(Self { tpm: Mutex::new(tpm), imds, tee, patience })
    }

    fn evidence(&self, report_data: &ReportData) -> Result<Value, AzureAttesterError> {
        let data = qualifying_data(report_data);
        let mut tpm = self.tpm.lock().unwrap_or_else(PoisonError::into_inner);
        write_user_data(&mut tpm, data)?;
        let (raw, report) = self.report_of(&mut tpm, data)?;
        let (quoted, pcrs) = self.quote(&mut tpm, data)?;
        // The TPM is free again while the network answers.
        drop(tpm);
        let mut evidence = json!({
            "version": 2,
            "tpm_quote": {
                "message": hex::encode(quoted.message),
                "signature": hex::encode(quoted.signature.0),
                "pcrs": pcrs.map(hex::encode),
            },
            "hcl_report": URL_SAFE.encode(raw),
        });
        let (member, bytes) = match report.hardware() {
            HclHardwareReport::Snp(_) => ("vcek", self.imds.vcek()?),
            HclHardwareReport::Tdx(report) => ("td_quote", self.imds.td_quote(report)?),
        };
        if let Some(members) = evidence.as_object_mut() {
            members.insert(member.to_owned(), URL_SAFE.encode(bytes).into());
        }
        Ok(evidence)
    }

    /// Reads the HCL report until its user data are `data`.
    fn report_of(
        &self,
        tpm: &mut Tpm,
        data: &[u8],
    ) -> Result<(Vec<u8>, HclReport), AzureAttesterError> {
        let reads = self.patience.report_reads;
        for read in 0..reads {
            if read > 0 {
                sleep(self.patience.pause);
            }
            let (raw, report) = hcl_report(tpm)?;
            match &report.var_data().user_data {
                UserData::Stated(stated) if stated.starts_with(data) => return Ok((raw, report)),
                UserData::Stated(_) | UserData::NotStated => {}
            }
        }
        Err(AzureAttesterError::UserData { reads })
    }

    /// Quotes until the values read afterwards are the ones quoted.
    fn quote(
        &self,
        tpm: &mut Tpm,
        data: &[u8],
    ) -> Result<(Quoted, [[u8; 32]; PCR_COUNT]), AzureAttesterError> {
        let quotes = self.patience.quotes;
        for _ in 0..quotes {
            let quoted = tpm.quote(ATTESTATION_KEY, data)?;
            let attest = TpmAttest::parse(&quoted.message).map_err(AzureAttesterError::Quote)?;
            let pcrs = tpm.pcrs()?;
            let mut context = Context::new(&SHA256);
            pcrs.iter().for_each(|pcr| context.update(pcr));
            if attest.pcr_digest == context.finish().as_ref() {
                return Ok((quoted, pcrs));
            }
        }
        Err(AzureAttesterError::PcrsMoving { quotes })
    }
}

impl Attester for AzVtpmAttester {
    fn tee(&self) -> Tee {
        self.tee
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn collect(&self, report_data: &ReportData) -> Result<Value, AttesterError> {
        let evidence = self.evidence(report_data)?;
        confirm(NAME, self.tee, evidence, report_data)
    }
}

/// Reads the HCL report. On other machines the index may hold anything; the size is bounded first.
fn hcl_report(tpm: &mut Tpm) -> Result<(Vec<u8>, HclReport), AzureAttesterError> {
    let index = tpm.nv_index(NV_HCL_REPORT)?.ok_or(AzureAttesterError::NoHclReport)?;
    let size = usize::from(index.size);
    if size > MAX_HCL_REPORT_LEN {
        let limit = MAX_HCL_REPORT_LEN;
        return Err(HclFormatError::TooLarge { got: size, limit }.into());
    }
    let raw = tpm.nv_read(index, index.size)?;
    let report = HclReport::parse(&raw)?;
    Ok((raw, report))
}

/// Writes `data`, padded with zeros to 64 bytes.
fn write_user_data(tpm: &mut Tpm, data: &[u8]) -> Result<(), AzureAttesterError> {
    let index: NvIndex = match tpm.nv_index(NV_USER_DATA)? {
        Some(index) if index.size == USER_DATA_LEN => index,
        Some(index) => return Err(AzureAttesterError::UserDataSize { got: index.size }),
        None => tpm.nv_define(NV_USER_DATA, USER_DATA_LEN)?,
    };
    let mut user_data = data.to_vec();
    user_data.resize(usize::from(USER_DATA_LEN), 0);
    Ok(tpm.nv_write(index, &user_data)?)
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
