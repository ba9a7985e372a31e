//! `adyton measure snp`: MEASUREMENT of an SEV-SNP guest, by the calculator of the crate `sev`.
//!
//! The calculator believes the image that it gets. So the image is read once, looked at by
//! [`SnpFirmware`], and handed over as a private copy of exactly the bytes that were looked at. Where the
//! calculator would give a digest that no machine has (processors without a start address, a command line
//! that it trims, a kernel that the firmware does not measure), this refuses.

use std::io::Write;
use std::path::{Path, PathBuf};

use adyton_attestation::claims::{HostData, Measurement};
use adyton_attestation::reference_value::SnpReferenceValues;
use adyton_attestation::{ReferenceValues, Tee};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};

use super::firmware::{KernelHashes, PAGE, SnpFirmware};
use super::{FIRMWARE_LIMIT, Measured, SetArgs, deliver, sha256, unmeasurable};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::verb::Context;

/// Shown under the help of `adyton measure snp`.
pub(super) const EXAMPLES: &str = "\
Examples:
  adyton measure snp --ovmf OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img \\
   --append \"console=ttyS0\" --vcpus 4 --vcpu-type EPYC-v4 --name llama-snp
  adyton measure snp --ovmf OVMF.fd --vcpus 2 --vcpu-type EPYC-Genoa --guest-features 0x21 \\
   --name llama-snp --out llama-snp.toml

The digest depends on every argument: count and type of the processors, and the features that the host's
kernel turns on (0x1 SNPActive, 0x20 DebugSwap). It is that of QEMU with KVM. Not covered: guests under an
SVSM, and EC2 (calculators disagree about the registers with which its guests start).";

const FIRMWARE_REMEDY: &str =
    "take the image that the host starts the guest with, whole; edk2 builds it as OvmfPkg/AmdSev";
/// Kernel and initrd, each.
const BOOT_FILE_LIMIT: u64 = 2 * 1024 * 1024 * 1024;

/// The names that QEMU knows.
const CPU_TYPES: [&str; 18] = [
    "EPYC",
    "EPYC-v1",
    "EPYC-v2",
    "EPYC-IBPB",
    "EPYC-v3",
    "EPYC-v4",
    "EPYC-Rome",
    "EPYC-Rome-v1",
    "EPYC-Rome-v2",
    "EPYC-Rome-v3",
    "EPYC-Milan",
    "EPYC-Milan-v1",
    "EPYC-Milan-v2",
    "EPYC-Genoa",
    "EPYC-Genoa-v1",
    "EPYC-Turin",
    "EPYC-Turin-v1",
    "EPYC-Turin-v2",
];

/// Arguments of `measure snp`.
#[derive(Debug, Args)]
pub struct SnpArgs {
    /// Firmware image, OVMF for SEV-SNP
    #[arg(long, value_name = "FILE")]
    ovmf: PathBuf,
    /// Launch digest after the firmware's pages, when the file has only the end of the image
    #[arg(long, value_name = "HEX")]
    ovmf_hash: Option<Measurement>,
    /// Kernel that the VMM loads (direct boot with kernel-hashes=on)
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Initrd that the VMM loads
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Kernel command line that the VMM hands over
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    append: Option<String>,
    /// Processors of the guest
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=4096))]
    vcpus: u32,
    /// Type of the processors, as QEMU names it
    #[arg(long, value_name = "TYPE", ignore_case = true,
          value_parser = PossibleValuesParser::new(CPU_TYPES).try_map(cpu_type))]
    vcpu_type: CpuType,
    /// SEV features that the host's kernel turns on, in hex
    #[arg(long, value_name = "HEX", default_value = "0x1", value_parser = guest_features)]
    guest_features: u64,
    /// HOST_DATA that the host sets, such as the digest of init-data [default: zero]
    #[arg(long, value_name = "HEX")]
    host_data: Option<HostData>,
    #[command(flatten)]
    set: SetArgs,
}

pub(super) fn run(args: &SnpArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let image = file::read("firmware", &args.ovmf, FIRMWARE_LIMIT)?;
    let firmware = SnpFirmware::parse(&image)
        .map_err(|error| unmeasurable(&args.ovmf, &error, FIRMWARE_REMEDY))?;
    answerable(args, &image, &firmware)?;
    let measurement = launch_digest(args, &image)?;
    let set = SnpReferenceValues {
        name: args.set.name.clone(),
        tee: Tee::Snp,
        measurement: vec![measurement],
        host_data: vec![args.host_data.unwrap_or(HostData([0; 32]))],
        id_key_digest: Vec::new(),
        author_key_digest: Vec::new(),
        family_id: Vec::new(),
        image_id: Vec::new(),
        minimum_guest_svn: 0,
    };
    let measured =
        Measured { set: ReferenceValues::Snp(set), origin: origin(args, &image), gaps: Vec::new() };
    deliver(&measured, &args.set, context)
}

/// Refuses what the calculator would answer with a digest that no machine has.
fn answerable(args: &SnpArgs, image: &[u8], firmware: &SnpFirmware) -> Result<(), Failure> {
    if !(image.len() as u64).is_multiple_of(PAGE) {
        return Err(Failure::new(
            Exit::Malformed,
            "measure.snp.firmware-length",
            "the firmware is not whole pages long",
        )
        .got(format!("{} bytes", image.len()))
        .expected(format!("a multiple of {PAGE}"))
        .remedy(FIRMWARE_REMEDY));
    }
    if firmware.reset_eip == 0 && args.vcpus > 1 {
        return Err(Failure::new(
            Exit::Unsupported,
            "measure.snp.processors",
            "this firmware cannot start more than one processor under SEV-SNP",
        )
        .got(format!("--vcpus {}, and no start address in the image", args.vcpus))
        .expected("an image with a start address (SEV-ES reset block)")
        .remedy(FIRMWARE_REMEDY));
    }
    match (&args.kernel, firmware.kernel_hashes) {
        (Some(_), KernelHashes::Unprepared) => Err(Failure::new(
            Exit::Unsupported,
            "measure.snp.kernel-unmeasured",
            "this firmware does not measure a kernel that the VMM loads",
        )
        .got("an image without a page for kernel digests")
        .expected("an image with one, as edk2 builds it from OvmfPkg/AmdSev")
        .remedy("take that image on the host too; any kernel could be started under this one")),
        (Some(_) | None, _) => args.append.as_deref().map_or(Ok(()), exact_command_line),
    }
}

/// QEMU measures the command line as it is; the calculator trims it and ends it at no NUL.
fn exact_command_line(append: &str) -> Result<(), Failure> {
    if append.trim() == append && !append.contains('\0') {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        "measure.snp.command-line",
        "this command line cannot be measured as the VMM would",
    )
    .got(format!("{append:?}"))
    .expected("a text without white space at its ends, and without NUL")
    .remedy("write it so, here and in the VMM's configuration"))
}

fn launch_digest(args: &SnpArgs, image: &[u8]) -> Result<Measurement, Failure> {
    // The calculator opens files by name; this one is ours and cannot change under it.
    let copy = private_copy(image)?;
    for (what, path) in [("kernel", &args.kernel), ("initrd", &args.initrd)] {
        if let Some(path) = path {
            file::within(what, path, BOOT_FILE_LIMIT)?;
        }
    }
    let ovmf_hash = args.ovmf_hash.map(|digest| digest.to_string());
    let question = SnpMeasurementArgs {
        vcpus: args.vcpus,
        vcpu_type: args.vcpu_type,
        ovmf_file: copy.path().to_owned(),
        guest_features: GuestFeatures(args.guest_features),
        kernel_file: args.kernel.clone(),
        initrd_file: args.initrd.clone(),
        append: args.append.as_deref(),
        ovmf_hash_str: ovmf_hash.as_deref(),
        vmm_type: Some(VMMType::QEMU),
    };
    let refused = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(
            Exit::Malformed,
            "measure.snp.calculator",
            "no launch digest could be computed",
        )
        .expected("readable files and an image of OVMF for SEV-SNP")
        .remedy("check the files that are named; the causes are the calculator's own words")
        .caused_by(error)
    };
    let digest = snp_calc_launch_digest(question).map_err(|error| refused(&error))?;
    digest.get_hex_ld().parse().map_err(|error| refused(&error))
}

fn private_copy(image: &[u8]) -> Result<tempfile::NamedTempFile, Failure> {
    let written = tempfile::NamedTempFile::with_prefix("adyton-measure-").and_then(|mut file| {
        file.write_all(image)?;
        file.flush()?;
        Ok(file)
    });
    written.map_err(|error| {
        Failure::new(Exit::Internal, "measure.temporary", "no temporary file could be written")
            .got(error.to_string())
            .remedy("check TMPDIR and the room on its disk")
    })
}

fn origin(args: &SnpArgs, image: &[u8]) -> Vec<(&'static str, String)> {
    let given = |path: &Option<PathBuf>| path.as_deref().map_or("none".to_owned(), named);
    vec![
        ("firmware sha256", sha256(image)),
        ("kernel", given(&args.kernel)),
        ("initrd", given(&args.initrd)),
        ("processors", format!("{} of type {}", args.vcpus, args.vcpu_type)),
        ("guest features", format!("{:#x}", args.guest_features)),
        ("vmm", "qemu".to_owned()),
    ]
}

/// The file's name as a quoted text: it ends up in a comment.
fn named(path: &Path) -> String {
    format!("{:?}", path.file_name().unwrap_or_default())
}

fn cpu_type(name: String) -> Result<CpuType, sev::error::MeasurementError> {
    CpuType::try_from(name.as_str())
}

fn guest_features(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").ok_or("expected hex with 0x, such as 0x1")?;
    let features = u64::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
    match features & 1 {
        1 => Ok(features),
        _ => Err("bit 0 (SNPActive) is set in every SEV-SNP guest".to_owned()),
    }
}
