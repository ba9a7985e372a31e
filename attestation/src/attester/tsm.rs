//! Evidence from configfs-tsm (Linux ≥ 6.7), without a driver's library.
//!
//! Role: Attester. In: report data. Out: KBS Evidence of the providers `tdx_guest` and `sev_guest`.
//! Kernel ABI: `Documentation/ABI/testing/configfs-tsm-report`; code:
//! `drivers/virt/coco/guest/report.c`.
//!
//! ```text
//! mkdir <root>/adyton-<random>   a private item; removed again in Drop
//! provider    = tdx_guest        or sev_guest, else the platform is not supported
//! generation  = 0                nobody has touched it
//! privlevel   ◄ privlevel_floor  SNP under a paravisor only: the lowest VMPL that we may state
//! inblob      ◄ 64 bytes         takes effect on close, where an error is thrown away; therefore
//! generation  = our writes       they were taken, and they were the only ones
//! outblob     ► quote, report    made now; EBUSY and EINTR are retried for a while
//! auxblob     ► certificates     SNP only; from the host, so never trusted, and maybe empty
//! generation  = our writes       nobody wrote while it was made
//! report data == inblob          compared at the end
//! ```
//! One report is made at a time. Callers who wait for the same report data share the next one.
//! Against: a second process in the pod that writes to the same item, a quote over other data, a
//! host that never answers.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Attester, AttesterError, confirm, snp_evidence};
use crate::binding::ReportData;
use crate::evidence::Tee;
use crate::limits::{MAX_CERTIFICATE_TABLE_LEN, MAX_EVENT_LOG_LEN, MAX_QUOTE_LEN};

/// Where Linux has it, once configfs is mounted.
pub const DEFAULT_ROOT: &str = "/sys/kernel/config/tsm/report";

/// The firmware's event log, as ACPI hands it to Linux. Container runtimes hide it by default.
const EVENT_LOG: &str = "/sys/firmware/acpi/tables/data/CCEL";
const NAME: &str = "tsm";
const TDX_PROVIDER: &str = "tdx_guest";
const SNP_PROVIDER: &str = "sev_guest";
/// Longest text attribute that is read (`provider`, `generation`).
const MAX_TEXT: usize = 128;

/// How often and how long to wait while the platform makes another quote. The driver itself waits
/// up to 30 s for the host.
#[derive(Debug, Clone, Copy)]
struct Backoff {
    attempts: u32,
    first: Duration,
    longest: Duration,
}

const BACKOFF: Backoff =
    Backoff { attempts: 10, first: Duration::from_millis(50), longest: Duration::from_secs(4) };

/// The few operations on configfs. A test stands in for the kernel here.
trait ConfigFs: Send + Sync {
    fn make_item(&self, item: &Path) -> io::Result<()>;
    /// Opens, writes, closes. The kernel acts on close and reports nothing.
    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Reads all, or fails when there are more than `limit` bytes.
    fn read(&self, attribute: &Path, limit: usize) -> io::Result<Vec<u8>>;
    fn remove_item(&self, item: &Path) -> io::Result<()>;
}

struct KernelConfigFs;

impl ConfigFs for KernelConfigFs {
    fn make_item(&self, item: &Path) -> io::Result<()> {
        DirBuilder::new().create(item)
    }

    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
        // Neither `create` nor `truncate`: the file is the kernel's.
        let mut file = OpenOptions::new().write(true).open(attribute)?;
        file.write_all(bytes)
    }

    fn read(&self, attribute: &Path, limit: usize) -> io::Result<Vec<u8>> {
        // Not `read_to_end`: that repeats EINTR by itself and without bound.
        let mut file = File::open(attribute)?;
        let mut bytes = Vec::new();
        let mut chunk = [0_u8; 4096];
        loop {
            let got = file.read(&mut chunk)?;
            if got == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(chunk.get(..got).unwrap_or_default());
            if bytes.len() > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
    }

    fn remove_item(&self, item: &Path) -> io::Result<()> {
        // Plain rmdir: the attributes cannot be unlinked, and go with the item.
        std::fs::remove_dir(item)
    }
}

/// Where the kernel has its files.
struct Paths {
    root: PathBuf,
    event_log: PathBuf,
}

/// configfs-tsm as a source of Evidence.
pub struct TsmAttester {
    paths: Paths,
    fs: Box<dyn ConfigFs>,
    backoff: Backoff,
    tee: Tee,
    /// How many requests there were. Tells whether an answer was begun after a request.
    asked: AtomicU64,
    /// TDX has one quote buffer; two requests at once would only make each other fail.
    one_at_a_time: Mutex<Option<Answer>>,
}

/// The last Evidence that was made.
struct Answer {
    report_data: ReportData,
    /// Requests that there were when it was begun.
    begun_at: u64,
    evidence: Value,
}

impl TsmAttester {
    /// Makes and removes one item under `root` to see which platform this is.
    ///
    /// # Errors
    /// [`AttesterError::Tsm`] when `root` is missing or may not be written,
    /// [`AttesterError::Unsupported`] for another platform than TDX and SNP.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self, AttesterError> {
        let paths = Paths { root: root.into(), event_log: EVENT_LOG.into() };
        Self::with(paths, Box::new(KernelConfigFs), BACKOFF)
    }

    fn with(paths: Paths, fs: Box<dyn ConfigFs>, backoff: Backoff) -> Result<Self, AttesterError> {
        let mut attester = Self {
            paths,
            fs,
            backoff,
            tee: Tee::Tdx,
            asked: AtomicU64::new(0),
            one_at_a_time: Mutex::new(None),
        };
        let tee = attester.item()?.tee()?;
        attester.tee = tee;
        Ok(attester)
    }

    fn make(&self, report_data: &ReportData) -> Result<Value, AttesterError> {
        let item = self.item()?;
        if item.tee()? != self.tee {
            return Err(AttesterError::Unsupported { attester: NAME, got: item.provider()? });
        }
        item.require_generation(0)?;
        let mut writes = 0_u64;
        if self.tee == Tee::Snp {
            writes = writes.saturating_add(item.raise_to_floor()?);
        }
        item.write("inblob", report_data.as_bytes())?;
        writes = writes.saturating_add(1);
        item.require_generation(writes)?;
        let report = item.outblob()?;
        let certificates = match self.tee {
            Tee::Snp => item.auxblob()?,
            _ => Vec::new(),
        };
        item.require_generation(writes)?;
        drop(item);
        match self.tee {
            Tee::Snp => snp_evidence(NAME, &report, &certificates),
            _ => {
                let quote = STANDARD.encode(report);
                Ok(json!({ "cc_eventlog": self.event_log()?, "quote": quote }))
            }
        }
    }

    fn item(&self) -> Result<Item<'_>, AttesterError> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|_| AttesterError::Random)?;
        let path = self.paths.root.join(format!("adyton-{}", hex::encode(random)));
        self.fs.make_item(&path).map_err(|source| failed("make", &path, source))?;
        Ok(Item { attester: self, path })
    }

    fn event_log(&self) -> Result<Value, AttesterError> {
        match self.fs.read(&self.paths.event_log, MAX_EVENT_LOG_LEN) {
            Ok(log) => Ok(Value::String(STANDARD.encode(log))),
            // Inside a container it usually is not there. The quote counts, not the log.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(Value::Null)
            }
            Err(source) => Err(failed("read", &self.paths.event_log, source)),
        }
    }
}

impl Attester for TsmAttester {
    fn tee(&self) -> Tee {
        self.tee
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn collect(&self, report_data: &ReportData) -> Result<Value, AttesterError> {
        let asked_at = self.asked.fetch_add(1, Ordering::SeqCst);
        // A panic of another thread leaves the last answer, which is whole.
        let mut turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = turn.as_ref()
            && answer.report_data == *report_data
            && asked_at < answer.begun_at
        {
            return Ok(answer.evidence.clone());
        }
        let begun_at = self.asked.load(Ordering::SeqCst);
        let evidence = confirm(NAME, self.tee, self.make(report_data)?, report_data)?;
        *turn = Some(Answer { report_data: *report_data, begun_at, evidence: evidence.clone() });
        Ok(evidence)
    }
}

/// One private report item; removed when dropped, or else it would block the driver.
struct Item<'a> {
    attester: &'a TsmAttester,
    path: PathBuf,
}

impl Item<'_> {
    fn provider(&self) -> Result<String, AttesterError> {
        let provider = self.text("provider")?;
        Ok(provider.chars().filter(|c| !c.is_control()).take(32).collect())
    }

    fn tee(&self) -> Result<Tee, AttesterError> {
        match self.provider()? {
            provider if provider == TDX_PROVIDER => Ok(Tee::Tdx),
            provider if provider == SNP_PROVIDER => Ok(Tee::Snp),
            got => Err(AttesterError::Unsupported { attester: NAME, got }),
        }
    }

    /// Under a paravisor the kernel makes reports for VMPLs from a floor on only, and a new item has
    /// VMPL 0. Gives back how many writes that took.
    fn raise_to_floor(&self) -> Result<u64, AttesterError> {
        let floor = self.text("privlevel_floor")?;
        match floor.as_str() {
            "0" => Ok(0),
            "1" | "2" | "3" => {
                self.write("privlevel", floor.as_bytes())?;
                Ok(1)
            }
            _ => Err(AttesterError::TsmAttribute {
                path: self.path.join("privlevel_floor").display().to_string(),
                reason: "it is not a VMPL, 0 to 3",
            }),
        }
    }

    /// The host's certificate table. A host that gives none is no failure: the Verifier may have
    /// the certificates.
    fn auxblob(&self) -> Result<Vec<u8>, AttesterError> {
        let path = self.path.join("auxblob");
        match self.attester.fs.read(&path, MAX_CERTIFICATE_TABLE_LEN) {
            Ok(table) => Ok(table),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    fn require_generation(&self, expected: u64) -> Result<(), AttesterError> {
        let text = self.text("generation")?;
        let got = text.parse().map_err(|_| AttesterError::TsmAttribute {
            path: self.path.join("generation").display().to_string(),
            reason: "it is not a number",
        })?;
        if got == expected { Ok(()) } else { Err(AttesterError::TsmGeneration { expected, got }) }
    }

    fn write(&self, attribute: &str, bytes: &[u8]) -> Result<(), AttesterError> {
        let path = self.path.join(attribute);
        self.attester.fs.write(&path, bytes).map_err(|source| failed("write", &path, source))
    }

    fn text(&self, attribute: &str) -> Result<String, AttesterError> {
        let path = self.path.join(attribute);
        let bytes = self.attester.fs.read(&path, MAX_TEXT);
        let bytes = bytes.map_err(|source| failed("read", &path, source))?;
        let text = String::from_utf8(bytes).map_err(|_| AttesterError::TsmAttribute {
            path: path.display().to_string(),
            reason: "it is not text",
        })?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Reads the quote; while the platform is busy with another, again for a while.
    fn outblob(&self) -> Result<Vec<u8>, AttesterError> {
        let path = self.path.join("outblob");
        let Backoff { mut attempts, first: mut pause, longest } = self.attester.backoff;
        loop {
            match self.attester.fs.read(&path, MAX_QUOTE_LEN) {
                Ok(quote) => return Ok(quote),
                Err(source) => {
                    attempts = attempts.saturating_sub(1);
                    if attempts == 0 || !is_transient(&source) {
                        return Err(failed("read", &path, source));
                    }
                    std::thread::sleep(pause);
                    pause = pause.saturating_mul(2).min(longest);
                }
            }
        }
    }
}

impl Drop for Item<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the item stays behind and has no secret.
        let _ = self.attester.fs.remove_item(&self.path);
    }
}

/// EBUSY: an earlier request is still in flight. EINTR, ETIMEDOUT: the host did not answer.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::Interrupted | io::ErrorKind::TimedOut
    )
}

fn failed(step: &'static str, path: &Path, source: io::Error) -> AttesterError {
    /// No such device or address: the driver was unbound.
    const ENXIO: i32 = 6;
    let remedy = match source.kind() {
        io::ErrorKind::NotFound => {
            "mount the guest's /sys/kernel/config/tsm into the container (Linux 6.7 or newer, \
             module tdx_guest or sev_guest)"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "run as uid 0 of the guest with /sys/kernel/config/tsm mounted read-write"
        }
        io::ErrorKind::InvalidInput => {
            "the kernel refused the report data; inblob must have been written with 64 bytes"
        }
        io::ErrorKind::ResourceBusy | io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => {
            "the platform's quoting service does not answer; try again, then look at the host"
        }
        io::ErrorKind::FileTooLarge => "the platform gave more bytes than a quote can have",
        _ if source.raw_os_error() == Some(ENXIO) => {
            "load the kernel module tdx_guest or sev_guest"
        }
        _ => "see the kernel log of the guest",
    };
    AttesterError::Tsm { step, path: path.display().to_string(), remedy, source }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
pub(super) mod tests;
