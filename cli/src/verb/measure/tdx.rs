//! `adyton measure tdx`: MRTD from the firmware, RTMR0 to RTMR3 from the event log of a trusted boot.
//!
//! MRTD commits to the firmware and to nothing else, so the image decides it. The other registers also hold
//! what the VMM hands over (memory map, ACPI tables, boot order, disk) and what the boot loader logs; no
//! set of files says that. They are taken from the event log of a boot whose every part the owner trusts,
//! and refused otherwise: this computes, it does not guess.

use std::path::{Path, PathBuf};

use adyton_attestation::claims::Measurement;
use adyton_attestation::evidence::event_log::CcEventLog;
use adyton_attestation::limits::MAX_EVENT_LOG_LEN;
use adyton_attestation::reference_value::TdxReferenceValues;
use adyton_attestation::verifier::event_log::registers;
use adyton_attestation::{ReferenceValues, Tee};
use clap::{Args, ValueEnum};

use super::firmware::Tdvf;
use super::mrtd::{RecordOrder, mrtd};
use super::{FIRMWARE_LIMIT, Measured, SetArgs, deliver, sha256, unmeasurable};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::verb::Context;

/// Shown under the help of `adyton measure tdx`.
pub(super) const EXAMPLES: &str = "\
Examples:
  In a guest that you started yourself, from files that you trust:
    cat /sys/firmware/acpi/tables/data/CCEL > ccel.bin

  Where the firmware is:
    adyton measure tdx --firmware OVMF.fd --event-log ccel.bin --name llama-tdx --out llama-tdx.toml
    adyton measure tdx --firmware OVMF.fd --record-order page-by-page --name firmware-only

RTMR0 holds the VMM's memory map and ACPI tables, RTMR1 the disk and the boot loader, RTMR2 what that loads.
They cannot be computed from a kernel and a command line; the log of a reference boot has them exactly.";

const FIRMWARE_REMEDY: &str = "take the image that the host starts the TD with, whole (OVMF.fd, built with TDX); \
     a cloud's own firmware is not in your hands: take MRTD from a quote that you verified";
const PREDICTION_REMEDY: &str = "start the guest once with these files, take its event log (see adyton measure tdx --help), and give \
     it as --event-log";

/// Arguments of `measure tdx`.
#[derive(Debug, Args)]
pub struct TdxArgs {
    /// Firmware image with TDX metadata, whole
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    /// Event log (CCEL) of a reference boot
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// How the VMM adds the firmware's pages
    #[arg(long, value_enum, default_value_t = Order::Any)]
    record_order: Order,
    /// Init-data digest that the host sets as MRCONFIGID [default: zero]
    #[arg(long, value_name = "HEX")]
    mrconfigid: Option<Measurement>,
    /// Kernel; refused, for no kernel alone determines a register
    #[arg(long, value_name = "FILE", hide = true)]
    kernel: Option<PathBuf>,
    /// Initrd; refused likewise
    #[arg(long, value_name = "FILE", hide = true)]
    initrd: Option<PathBuf>,
    /// Command line; refused likewise
    #[arg(long, value_name = "TEXT", hide = true, allow_hyphen_values = true)]
    append: Option<String>,
    #[command(flatten)]
    set: SetArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Both; either commits to the same firmware
    Any,
    /// Each page is measured when it is added: Linux 6.16 and newer
    PageByPage,
    /// All pages of a region are added, then measured: KVM before that
    RegionByRegion,
}

impl Order {
    fn records(self) -> &'static [RecordOrder] {
        match self {
            Self::Any => &[RecordOrder::PageByPage, RecordOrder::RegionByRegion],
            Self::PageByPage => &[RecordOrder::PageByPage],
            Self::RegionByRegion => &[RecordOrder::RegionByRegion],
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::PageByPage => "page by page",
            Self::RegionByRegion => "region by region",
        }
    }
}

pub(super) fn run(args: &TdxArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    predictable(args)?;
    let image = file::read("firmware", &args.firmware, FIRMWARE_LIMIT)?;
    let firmware = Tdvf::parse(&image)
        .map_err(|error| unmeasurable(&args.firmware, &error, FIRMWARE_REMEDY))?;
    let mut origin = vec![
        ("firmware sha256", sha256(&image)),
        ("order of records", args.record_order.as_str().to_owned()),
    ];
    let mut gaps = Vec::new();
    let rtmr = match &args.event_log {
        Some(path) => {
            let log = file::read("event log", path, MAX_EVENT_LOG_LEN as u64)?;
            origin.push(("event log sha256", sha256(&log)));
            replayed(path, &log)?.map(|value| vec![value])
        }
        None => {
            gaps.push((
                "measure.tdx.registers-open",
                "RTMR0 to RTMR3 are left empty, which matches no guest: give the event log of a reference \
                 boot as --event-log, or fill them in from a quote that you verified",
            ));
            Default::default()
        }
    };
    let [rtmr0, rtmr1, rtmr2, rtmr3] = rtmr;
    let orders = args.record_order.records();
    let set = TdxReferenceValues {
        name: args.set.name.clone(),
        tee: Tee::Tdx,
        mrtd: orders.iter().map(|order| mrtd(&firmware, *order)).collect(),
        rtmr0,
        rtmr1,
        rtmr2,
        rtmr3,
        mrconfigid: vec![args.mrconfigid.unwrap_or(ZERO)],
        mrowner: vec![ZERO],
        mrownerconfig: vec![ZERO],
        mrseam: Vec::new(),
        td_attributes: Vec::new(),
        xfam: Vec::new(),
    };
    deliver(&Measured { set: ReferenceValues::Tdx(set), origin, gaps }, &args.set, context)
}

const ZERO: Measurement = Measurement([0; 48]);

/// A kernel, an initrd and a command line do not make RTMR1 and RTMR2, and nobody is told that they do.
fn predictable(args: &TdxArgs) -> Result<(), Failure> {
    let given = [
        ("--kernel", args.kernel.is_some()),
        ("--initrd", args.initrd.is_some()),
        ("--append", args.append.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(flag, _)| *flag).collect();
    if given.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unsupported,
        "measure.tdx.registers-unpredictable",
        "RTMR0 to RTMR2 cannot be computed from a kernel, an initrd and a command line",
    )
    .got(given.join(", "))
    .expected(
        "also the VMM's TD HOB, ACPI tables, boot variables and fw_cfg files (RTMR0), the partition table and \
         the loaders on the way (RTMR1), and the lines that they log (RTMR2): an event log has all of it",
    )
    .remedy(PREDICTION_REMEDY))
}

fn replayed(path: &Path, log: &[u8]) -> Result<[Measurement; 4], Failure> {
    let log = CcEventLog::parse(log).map_err(|error| {
        Failure::new(
            Exit::Malformed,
            "measure.tdx.event-log",
            format!("the event log {} cannot be replayed", path.display()),
        )
        .expected("the bytes of /sys/firmware/acpi/tables/data/CCEL, with SHA-384 digests")
        .remedy(
            "copy it again, as root, in the guest itself; the table CCEL beside it is not the log",
        )
        .caused_by(&error)
    })?;
    Ok(registers(&log))
}
