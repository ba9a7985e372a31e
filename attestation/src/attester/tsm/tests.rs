//! configfs-tsm against a stand-in for the kernel that keeps its rules, and faults of both sides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adyton_fake_tee::{FakeTee, TdProfile};

use super::super::RuntimeEvent;
use super::*;
use crate::evidence::Evidence;

const ROOT: &str = "/configfs/tsm/report";
const EVENT_LOG_PATH: &str = "/acpi/CCEL";
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;
const ENXIO: i32 = 6;
/// Does not wait: nothing here takes time.
const NO_PAUSE: Backoff = Backoff { attempts: 4, first: Duration::ZERO, longest: Duration::ZERO };

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Reading outblob fails this often before it works.
    Transient(i32, usize),
    /// Reading outblob always fails.
    Permanent(i32),
    /// A second process writes after our write.
    RaceBeforeQuote,
    /// A second process writes while the quote is made.
    RaceDuringQuote,
    /// The item was written to before we came.
    RaceBeforeWrite,
    /// The kernel throws our write away on close.
    LostWrite,
    /// The host signs other report data.
    OtherReportData,
    Provider(&'static str),
    Generation(&'static str),
    HugeQuote,
    /// One cloud pads its quotes with zeros to 8000 bytes.
    PaddedQuote,
    /// The kernel makes no reports for VMPLs below this one.
    Floor(&'static str),
    /// A second process writes while the certificates are read.
    RaceDuringCertificates,
    HugeCertificates,
    /// No auxblob at all, as before Linux 6.10.
    NoCertificates,
}

#[derive(Default)]
struct FakeItem {
    generation: u64,
    inblob: Vec<u8>,
    privlevel: u8,
}

/// The kernel's rules for report items: attributes exist with the item, a write takes effect on
/// close and counts one generation, outblob needs 64 bytes in inblob, an item is removed by rmdir.
struct FakeKernel {
    platform: Tee,
    items: Mutex<BTreeMap<PathBuf, FakeItem>>,
    fault: Fault,
    tee: FakeTee,
    event_log: Option<Vec<u8>>,
    made: AtomicUsize,
    quotes: AtomicUsize,
}

impl FakeKernel {
    fn new(fault: Fault) -> Arc<Self> {
        Self::on(Tee::Tdx, fault)
    }

    fn on(platform: Tee, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            platform,
            items: Mutex::default(),
            fault,
            tee: FakeTee::from_seed([4; 32], 1_800_000_000),
            event_log: None,
            made: AtomicUsize::new(0),
            quotes: AtomicUsize::new(0),
        })
    }

    fn with_item<T>(
        &self,
        attribute: &Path,
        act: impl FnOnce(&mut FakeItem) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut items = self.items.lock().unwrap();
        let item = items.get_mut(attribute.parent().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        act(item)
    }

    fn second_writer(item: &mut FakeItem) {
        item.generation += 1;
        item.inblob = vec![0xee; 64];
    }

    fn outblob(&self, item: &mut FakeItem) -> io::Result<Vec<u8>> {
        let asked = self.quotes.fetch_add(1, Ordering::Relaxed);
        let profile = TdProfile { pad_to: self.padding(), ..TdProfile::default() };
        match self.fault {
            Fault::Transient(code, times) if asked < times => {
                return Err(io::Error::from_raw_os_error(code));
            }
            Fault::Permanent(code) => return Err(io::Error::from_raw_os_error(code)),
            Fault::HugeQuote => return Ok(vec![0; 128 * 1024]),
            _ => {}
        }
        let mut data: [u8; 64] =
            item.inblob.clone().try_into().map_err(|_| io::Error::from_raw_os_error(EINVAL))?;
        match self.fault {
            Fault::RaceDuringQuote => Self::second_writer(item),
            Fault::OtherReportData => data[63] ^= 1,
            _ => {}
        }
        match self.platform {
            Tee::Snp => {
                let floor = self.floor().parse().unwrap_or(0);
                if item.privlevel < floor {
                    return Err(io::Error::from_raw_os_error(EINVAL));
                }
                Ok(snp_report(data, item.privlevel))
            }
            _ => Ok(self.tee.quote(&profile, data)),
        }
    }

    fn auxblob(&self, item: &mut FakeItem) -> io::Result<Vec<u8>> {
        match self.fault {
            Fault::RaceDuringCertificates => Self::second_writer(item),
            Fault::HugeCertificates => return Ok(vec![0; 64 * 1024]),
            Fault::NoCertificates => return Err(io::ErrorKind::NotFound.into()),
            _ => {}
        }
        Ok(certificate_table(VCEK_GUID, b"a certificate"))
    }

    fn floor(&self) -> &'static str {
        match self.fault {
            Fault::Floor(floor) => floor,
            _ => "0",
        }
    }

    fn padding(&self) -> usize {
        if self.fault == Fault::PaddedQuote { 8000 } else { 0 }
    }

    fn provider(&self) -> &'static str {
        match self.fault {
            Fault::Provider(provider) => provider,
            _ if self.platform == Tee::Snp => "sev_guest\n",
            _ => "tdx_guest\n",
        }
    }
}

/// VCEK in the host's certificate table, AMD 56421 (GHCB), table 8; mixed-endian as GUIDs are.
const VCEK_GUID: [u8; 16] = [
    0x8d, 0x75, 0xda, 0x63, 0x64, 0xe6, 0x64, 0x45, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd,
];

/// One entry, the zero entry that ends the table, then the certificate.
pub(in crate::attester) fn certificate_table(guid: [u8; 16], certificate: &[u8]) -> Vec<u8> {
    let mut table = guid.to_vec();
    table.extend(48_u32.to_le_bytes());
    table.extend(u32::try_from(certificate.len()).unwrap().to_le_bytes());
    table.extend([0; 24]);
    table.extend(certificate);
    table
}

/// A report of a Genoa that nobody signed: sources give what they got, the Verifier looks closer.
pub(in crate::attester) fn snp_report(report_data: [u8; 64], vmpl: u8) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0x00] = 3;
    report[0x0a] = 0x03; // policy: SMT and the bit that is always one
    report[0x30] = vmpl;
    report[0x34] = 1;
    report[0x50..0x90].copy_from_slice(&report_data);
    report[0x188..0x18b].copy_from_slice(&[0x19, 0x11, 0x01]);
    report[0x1a0..0x1e0].copy_from_slice(&[7; 64]);
    report
}

impl ConfigFs for Arc<FakeKernel> {
    fn make_item(&self, item: &Path) -> io::Result<()> {
        assert_eq!(item.parent(), Some(Path::new(ROOT)));
        let mut fresh = FakeItem::default();
        // The first item is the one of detection.
        if self.fault == Fault::RaceBeforeWrite && self.made.load(Ordering::Relaxed) > 0 {
            FakeKernel::second_writer(&mut fresh);
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        match self.items.lock().unwrap().insert(item.to_owned(), fresh) {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
        if attribute.ends_with("privlevel") {
            assert_eq!(self.platform, Tee::Snp, "TDX has no privilege levels");
            return self.with_item(attribute, |item| {
                item.generation += 1;
                item.privlevel = std::str::from_utf8(bytes).unwrap().parse().unwrap();
                Ok(())
            });
        }
        assert!(attribute.ends_with("inblob"));
        self.with_item(attribute, |item| {
            if self.fault != Fault::LostWrite {
                item.generation += 1;
                item.inblob = bytes.to_vec();
            }
            if self.fault == Fault::RaceBeforeQuote {
                FakeKernel::second_writer(item);
            }
            Ok(())
        })
    }

    fn read(&self, attribute: &Path, limit: usize) -> io::Result<Vec<u8>> {
        if attribute == Path::new(EVENT_LOG_PATH) {
            return self.event_log.clone().ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let bytes = self.with_item(attribute, |item| {
            match attribute.file_name().unwrap().to_str().unwrap() {
                "provider" => Ok(self.provider().as_bytes().to_vec()),
                "generation" => Ok(match self.fault {
                    Fault::Generation(text) => text.as_bytes().to_vec(),
                    _ => format!("{}\n", item.generation).into_bytes(),
                }),
                "outblob" => self.outblob(item),
                "auxblob" if self.platform == Tee::Snp => self.auxblob(item),
                "privlevel_floor" if self.platform == Tee::Snp => {
                    Ok(format!("{}\n", self.floor()).into_bytes())
                }
                other => panic!("{other} does not exist for {}", self.platform),
            }
        })?;
        if bytes.len() > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn remove_item(&self, item: &Path) -> io::Result<()> {
        let removed = self.items.lock().unwrap().remove(item);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn attester(kernel: &Arc<FakeKernel>) -> Result<TsmAttester, AttesterError> {
    let paths = Paths { root: ROOT.into(), event_log: EVENT_LOG_PATH.into() };
    TsmAttester::with(paths, Box::new(Arc::clone(kernel)), NO_PAUSE)
}

fn asked() -> ReportData {
    ReportData(std::array::from_fn(|at| at as u8))
}

/// Detects, collects, and sees that no item stayed behind.
fn collect(fault: Fault) -> (Result<Value, AttesterError>, Arc<FakeKernel>) {
    collect_on(Tee::Tdx, fault)
}

fn collect_on(tee: Tee, fault: Fault) -> (Result<Value, AttesterError>, Arc<FakeKernel>) {
    let kernel = FakeKernel::on(tee, fault);
    let result = attester(&kernel).and_then(|attester| attester.collect(&asked()));
    assert!(kernel.items.lock().unwrap().is_empty(), "an item stayed behind");
    (result, kernel)
}

#[test]
fn evidence_carries_the_report_data() {
    for fault in [Fault::None, Fault::PaddedQuote] {
        let evidence = collect(fault).0.unwrap();
        assert_eq!(evidence["cc_eventlog"], Value::Null);
        let evidence = Evidence::parse_kbs(Tee::Tdx, &evidence).unwrap();
        assert_eq!(evidence.report_data(), asked());
    }
}

#[test]
fn the_firmware_event_log_comes_along_where_it_can_be_read() {
    let mut kernel = FakeKernel::new(Fault::None);
    Arc::get_mut(&mut kernel).unwrap().event_log = Some(b"a log".to_vec());
    let evidence = attester(&kernel).unwrap().collect(&asked()).unwrap();
    assert_eq!(evidence["cc_eventlog"], STANDARD.encode(b"a log"));
}

#[test]
fn rtmr3_is_not_extended_because_the_firmwares_log_would_no_longer_add_up() {
    let kernel = FakeKernel::new(Fault::None);
    let event = RuntimeEvent { domain: "a", operation: "b", content: "c" };
    assert!(matches!(
        attester(&kernel).unwrap().extend_event(&event),
        Err(AttesterError::NoEvents { attester: "tsm" })
    ));
}

#[test]
fn every_request_has_an_item_of_its_own() {
    let kernel = FakeKernel::new(Fault::None);
    let attester = attester(&kernel).unwrap();
    let one = attester.item().unwrap();
    let two = attester.item().unwrap();
    assert_ne!(one.path, two.path);
}

#[test]
fn a_busy_platform_is_asked_again() {
    const EINTR: i32 = 4;
    const ETIMEDOUT: i32 = 110;
    for code in [EBUSY, EINTR, ETIMEDOUT] {
        let (result, kernel) = collect(Fault::Transient(code, 3));
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(kernel.quotes.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn a_platform_that_stays_busy_is_given_up() {
    let (result, kernel) = collect(Fault::Permanent(EBUSY));
    assert!(matches!(
        result,
        Err(AttesterError::Tsm { step: "read", source, .. })
            if source.kind() == io::ErrorKind::ResourceBusy
    ));
    assert_eq!(kernel.quotes.load(Ordering::Relaxed), 4);
}

#[test]
fn a_failure_that_will_not_pass_is_not_repeated() {
    for code in [EINVAL, ENXIO] {
        let (result, kernel) = collect(Fault::Permanent(code));
        assert!(matches!(
            result,
            Err(AttesterError::Tsm { step: "read", source, .. })
                if source.raw_os_error() == Some(code)
        ));
        assert_eq!(kernel.quotes.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_second_writer_is_noticed() {
    for (fault, expected, got) in [
        (Fault::RaceBeforeWrite, 0, 1),
        (Fault::RaceBeforeQuote, 1, 2),
        (Fault::RaceDuringQuote, 1, 2),
    ] {
        assert!(matches!(
            collect(fault).0,
            Err(AttesterError::TsmGeneration { expected: e, got: g }) if (e, g) == (expected, got)
        ));
    }
}

#[test]
fn a_write_that_the_kernel_threw_away_is_noticed() {
    assert!(matches!(
        collect(Fault::LostWrite).0,
        Err(AttesterError::TsmGeneration { expected: 1, got: 0 })
    ));
}

#[test]
fn evidence_over_other_report_data_is_refused() {
    let mut other = asked();
    other.0[63] ^= 1;
    assert!(matches!(
        collect(Fault::OtherReportData).0,
        Err(AttesterError::ReportData { attester: "tsm", expected, got })
            if *expected == asked() && *got == other
    ));
}

#[test]
fn other_platforms_are_refused_by_name() {
    for (provider, name) in
        [("arm_cca_guest\n", "arm_cca_guest"), ("tdx_guest2", "tdx_guest2"), ("", "")]
    {
        assert!(matches!(
            collect(Fault::Provider(provider)).0,
            Err(AttesterError::Unsupported { attester: "tsm", got }) if got == name
        ));
    }
}

#[test]
fn attributes_that_the_kernel_does_not_write_are_refused() {
    for text in ["", "one", "-1", "1 ", "99999999999999999999"] {
        assert!(matches!(
            collect(Fault::Generation(text)).0,
            Err(AttesterError::TsmAttribute { reason: "it is not a number", .. })
        ));
    }
}

#[test]
fn a_quote_beyond_the_bound_is_refused() {
    assert!(matches!(
        collect(Fault::HugeQuote).0,
        Err(AttesterError::Tsm { step: "read", source, .. })
            if source.kind() == io::ErrorKind::FileTooLarge
    ));
}

#[test]
fn a_guest_without_configfs_says_what_to_mount() {
    let dir = tempfile::tempdir().unwrap();
    let error = TsmAttester::new(dir.path().join("absent")).err().unwrap();
    assert!(matches!(
        &error,
        AttesterError::Tsm { step: "make", source, .. } if source.kind() == io::ErrorKind::NotFound
    ));
    assert!(error.to_string().contains("mount"), "{error}");
}

#[test]
fn on_a_real_folder_items_are_made_and_removed_and_nothing_else_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let item = dir.path().join("item");
    let fs = KernelConfigFs;
    fs.make_item(&item).unwrap();
    let attribute = item.join("inblob");
    assert_eq!(fs.write(&attribute, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
    std::fs::write(&attribute, b"before").unwrap();
    fs.write(&attribute, b"after").unwrap();
    assert_eq!(fs.read(&attribute, 6).unwrap(), b"aftere");
    assert_eq!(fs.read(&attribute, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert!(fs.make_item(&item).is_err());
    std::fs::remove_file(&attribute).unwrap();
    fs.remove_item(&item).unwrap();
    assert!(!item.exists());
}

#[test]
fn a_plain_folder_is_not_taken_for_configfs() {
    let dir = tempfile::tempdir().unwrap();
    let error = TsmAttester::new(dir.path()).err().unwrap();
    assert!(matches!(error, AttesterError::Tsm { step: "read", .. }));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the item was removed");
}

// ---- SEV-SNP ----

#[test]
fn an_snp_guest_gives_its_report_and_the_hosts_certificates() {
    let (evidence, _) = collect_on(Tee::Snp, Fault::None);
    let evidence = evidence.unwrap();
    assert_eq!(evidence["cert_chain"][0]["cert_type"], "VCEK");
    let parsed = Evidence::parse_kbs(Tee::Snp, &evidence).unwrap();
    assert_eq!(parsed.report_data(), asked());
}

#[test]
fn an_snp_guest_whose_host_has_no_certificates_still_gives_its_report() {
    let (evidence, _) = collect_on(Tee::Snp, Fault::NoCertificates);
    let parsed = Evidence::parse_kbs(Tee::Snp, &evidence.unwrap()).unwrap();
    assert_eq!(parsed.report_data(), asked());
}

#[test]
fn under_a_paravisor_the_report_states_the_lowest_vmpl_that_the_kernel_allows() {
    for floor in ["1", "2", "3"] {
        let (evidence, _) = collect_on(Tee::Snp, Fault::Floor(floor));
        let evidence = evidence.unwrap();
        assert_eq!(evidence["attestation_report"]["vmpl"].to_string(), floor);
    }
    for floor in ["4", "", "-1", "one"] {
        assert!(matches!(
            collect_on(Tee::Snp, Fault::Floor(floor)).0,
            Err(AttesterError::TsmAttribute { reason: "it is not a VMPL, 0 to 3", .. })
        ));
    }
}

#[test]
fn a_second_writer_is_noticed_while_certificates_are_read() {
    assert!(matches!(
        collect_on(Tee::Snp, Fault::RaceDuringCertificates).0,
        Err(AttesterError::TsmGeneration { expected: 1, got: 2 })
    ));
}

#[test]
fn a_certificate_table_beyond_the_bound_is_refused() {
    assert!(matches!(
        collect_on(Tee::Snp, Fault::HugeCertificates).0,
        Err(AttesterError::Tsm { step: "read", source, .. })
            if source.kind() == io::ErrorKind::FileTooLarge
    ));
}

#[test]
fn an_snp_report_over_other_data_is_refused() {
    assert!(matches!(
        collect_on(Tee::Snp, Fault::OtherReportData).0,
        Err(AttesterError::ReportData { attester: "tsm", .. })
    ));
}

// ---- Many callers ----

#[test]
fn callers_who_wait_for_the_same_report_data_share_one_report() {
    const CALLERS: usize = 16;
    let kernel = FakeKernel::new(Fault::None);
    let attester = attester(&kernel).unwrap();
    // Everybody has asked before the first report is begun.
    let turn = attester.one_at_a_time.lock().unwrap();
    std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| attester.collect(&asked()).unwrap())).collect();
        while attester.asked.load(Ordering::SeqCst) < CALLERS as u64 {
            std::thread::yield_now();
        }
        drop(turn);
        for caller in callers {
            let evidence = Evidence::parse_kbs(Tee::Tdx, &caller.join().unwrap()).unwrap();
            assert_eq!(evidence.report_data(), asked());
        }
    });
    assert_eq!(kernel.quotes.load(Ordering::Relaxed), 1);
}

#[test]
fn a_later_caller_gets_a_report_of_its_own() {
    let kernel = FakeKernel::new(Fault::None);
    let attester = attester(&kernel).unwrap();
    attester.collect(&asked()).unwrap();
    attester.collect(&asked()).unwrap();
    assert_eq!(kernel.quotes.load(Ordering::Relaxed), 2);
}
