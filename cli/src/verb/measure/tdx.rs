//! `adyton measure tdx`: MRTD from the firmware, RTMR0 to RTMR3 from the event log of a trusted boot.
//!
//! MRTD commits to the firmware and to nothing else, so the image decides it. The other registers also hold
//! what the VMM hands over (memory map, ACPI tables, boot order, disk) and what the boot loader logs; no
//! set of files says that. They are taken from the event log of a boot whose every part the owner trusts,
//! and refused otherwise: this computes, it does not guess. Kernel, initrd and command line that are given
//! with a log are looked for in it, so that the log of another boot is noticed.

use std::path::{Path, PathBuf};

use adyton_attestation::claims::Measurement;
use adyton_attestation::evidence::event_log::CcEventLog;
use adyton_attestation::limits::MAX_EVENT_LOG_LEN;
use adyton_attestation::reference_value::TdxReferenceValues;
use adyton_attestation::verifier::event_log::registers;
use adyton_attestation::{ReferenceValues, Tee};
use clap::{Args, ValueEnum};

use super::boot_files::{Found, Loaded};
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

  The same, and was it this kernel that booted?
    adyton measure tdx --firmware OVMF.fd --event-log ccel.bin --kernel vmlinuz --initrd initrd.img \\
        --append \"console=hvc0\" --name llama-tdx

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
    /// Kernel that the event log must have; no kernel alone determines a register
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Initrd that the event log must have
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Command line that the event log must have, as the loader gets it
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
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
            let log = parsed(path, &log)?;
            origin.extend(boot_files(args, path, &log)?);
            registers(&log).map(|value| vec![value])
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

/// The longest kernel or initrd.
const BOOT_FILE_LIMIT: u64 = 1024 * 1024 * 1024;

const ZERO: Measurement = Measurement([0; 48]);

/// A kernel, an initrd and a command line do not make RTMR1 and RTMR2, and nobody is told that they do.
fn predictable(args: &TdxArgs) -> Result<(), Failure> {
    let given = [
        ("--kernel", args.kernel.is_some()),
        ("--initrd", args.initrd.is_some()),
        ("--append", args.append.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(flag, _)| *flag).collect();
    // With a log they are not what the registers are computed from, but what it is compared with.
    if given.is_empty() || args.event_log.is_some() {
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

/// Looks for each file that was given in the log. Out: where it was found, for the head of the set.
fn boot_files(
    args: &TdxArgs,
    log_path: &Path,
    log: &CcEventLog<'_>,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let read = |what, path: &PathBuf| file::read(what, path, BOOT_FILE_LIMIT);
    let mut asked = Vec::new();
    if let Some(path) = &args.kernel {
        let bytes = read("kernel", path)?;
        asked.push(("kernel", sha256(&bytes), Loaded::kernel(&bytes)));
    }
    if let Some(path) = &args.initrd {
        let bytes = read("initrd", path)?;
        asked.push(("initrd", sha256(&bytes), Loaded::initrd(&bytes)));
    }
    if let Some(text) = &args.append {
        asked.push(("command line", format!("{text:?}"), Loaded::command_line(text)));
    }
    let mut origin = Vec::new();
    for (what, name, loaded) in asked {
        let Some(Found { form, register }) = loaded.found_in(log) else {
            let digests: Vec<String> = loaded.digests().map(ToString::to_string).collect();
            return Err(Failure::new(
                Exit::EvidenceRejected,
                "measure.tdx.other-boot",
                format!("the event log {} is not of a boot with this {what}", log_path.display()),
            )
            .got(format!("no event of RTMR1 or RTMR2 with it among {}", log.events.len()))
            .expected(format!("an event with the digest {}", digests.join(" or ")))
            .remedy(
                "take the log of a boot with these very files; a loader that measures in another form \
                 than Linux's EFI stub, GRUB and systemd-stub is not known here: leave the flag out",
            ));
        };
        origin.push((what, format!("{name}, as {form} in {register}")));
    }
    Ok(origin)
}

fn parsed<'a>(path: &Path, log: &'a [u8]) -> Result<CcEventLog<'a>, Failure> {
    CcEventLog::parse(log).map_err(|error| {
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
    })
}
