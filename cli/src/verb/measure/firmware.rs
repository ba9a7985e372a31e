//! What an OVMF image says about how a VMM loads it: the table of GUIDs and the metadata behind it.
//!
//! Role: Reference Value Provider (RFC 9334 §4.1), before anything is computed. In: the bytes of a firmware
//! image. Out: [`SnpFirmware`] or [`Tdvf`], whose numbers are in bounds, so that what computes a digest of
//! them cannot be led outside the image. Not here: any digest.
//! Layout: tianocore edk2, `OvmfPkg/ResetVector` (`ResetVectorVtf0.asm`, `OvmfSevMetadata.asm`,
//! `IntelTdxMetadata.asm`); Intel "TDX Virtual Firmware Design Guide" 344991, §11 (metadata).
//!
//! ```text
//!  … ┌──────┬────┬────┬─┬──────┬────┬────┬──────┬────────────┬─────────────┐
//!    │ data │u16 │GUID│…│ data │u16 │GUID│ u16  │ footer GUID│ 32 bytes    │ end of the image
//!    └──────┴────┴────┴─┴──────┴────┴────┴──────┴────────────┴─────────────┘
//!     ◄─ one entry ──►    read backwards  ◄─ length of all ──►
//! ```
//! Against: images that are cut or foreign, which would give a digest that no machine ever has.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

/// Pages of 4 KiB, in which both TEEs measure.
pub const PAGE: u64 = 4096;
/// Most sections in one descriptor. Real: five to seven.
const MAX_SECTIONS: u32 = 64;
/// Most memory that the sections of one image may ask for, in bytes. Real: under 8 MiB.
const MAX_MEMORY: u64 = 256 * 1024 * 1024;
/// Bytes between the table and the end of the image: the reset vector.
const AFTER_TABLE: usize = 32;
/// Length and GUID at the end of each entry.
const ENTRY_TAIL: usize = 18;

const FOOTER: [u8; 16] = guid(0x96b5_82de_1fb2_45f7_baea_a366_c55a_082d);
const SEV_HASH_TABLE: [u8; 16] = guid(0x7255_371f_3a3b_4b04_927b_1da6_efa8_d454);
const SEV_ES_RESET: [u8; 16] = guid(0x00f7_71de_1a7e_4fcb_890e_68c7_7e2f_b44e);
const SEV_METADATA: [u8; 16] = guid(0xdc88_6566_984a_4798_a75e_5585_a7bf_67cc);
const TDX_METADATA: [u8; 16] = guid(0xe47a_6535_984a_4798_865e_4685_a7bf_8ec2);

/// QEMU's table of kernel digests: 168 bytes, padded to 16.
const HASH_TABLE_LEN: u64 = 176;

/// A GUID as it lies in memory, its first three groups little-endian.
const fn guid(written: u128) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = written.to_be_bytes();
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// Why an image cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FirmwareError {
    /// No table where OVMF has it.
    #[error("it has no OVMF table of GUIDs before its last {AFTER_TABLE} bytes")]
    NoTable,
    /// A length in the table leads outside it.
    #[error("an entry of its OVMF table states {length} bytes, {left} are there")]
    Entry {
        /// The length that the entry states.
        length: usize,
        /// Bytes that are left of the table.
        left: usize,
    },
    /// Two entries of one GUID.
    #[error("its OVMF table has two entries {guid}")]
    Twice {
        /// The GUID.
        guid: String,
    },
    /// The table lacks an entry.
    #[error("its OVMF table has no {what}")]
    Missing {
        /// What the entry is for.
        what: &'static str,
    },
    /// The descriptor lies outside the image, or is not one.
    #[error("its {what} descriptor {why}")]
    Descriptor {
        /// `SEV` or `TDVF`.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A section that cannot be loaded as it is described.
    #[error("section {index} of its {what} descriptor {why}")]
    Section {
        /// `SEV` or `TDVF`.
        what: &'static str,
        /// Its place, from 0.
        index: u32,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What an SNP launch needs to know of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpFirmware {
    /// Where processors but the first begin; 0 when the image cannot start them.
    pub reset_eip: u32,
    /// Whether the image takes digests of a kernel from the VMM.
    pub kernel_hashes: KernelHashes,
}

/// Whether an image is prepared for a kernel that the VMM loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelHashes {
    /// It has a page for the digests of kernel, initrd and command line, and a place in it.
    Prepared,
    /// It would start such a kernel without measuring it, or not at all.
    Unprepared,
}

impl SnpFirmware {
    /// Reads the table and the SEV metadata of an image.
    ///
    /// # Errors
    /// [`FirmwareError`], in the order of the image: table, descriptor, sections.
    pub fn parse(image: &[u8]) -> Result<Self, FirmwareError> {
        let table = Table::find(image)?;
        let reset_eip = table
            .number(SEV_ES_RESET, "SEV-ES reset block: it is no image for SEV-ES and SEV-SNP")?;
        let hash_table = match table.entry(SEV_HASH_TABLE) {
            Some(entry) => u32_at(entry, 0).unwrap_or(0),
            None => 0,
        };
        let metadata = table.number(SEV_METADATA, "SEV metadata: it is no image for SEV-SNP")?;
        let sections = Descriptor { what: "SEV", signature: b"ASEV", section_len: 12 };
        let hash_page = sev_sections(sections.find(image, metadata)?)?;
        let kernel_hashes = match hash_page {
            Some(page) if in_page(hash_table, page) => KernelHashes::Prepared,
            Some(_) | None => KernelHashes::Unprepared,
        };
        Ok(Self { reset_eip, kernel_hashes })
    }
}

/// Whether the hash table lies wholly in the page that is measured for it.
fn in_page(hash_table: u32, page: u32) -> bool {
    let within = u64::from(hash_table).checked_sub(u64::from(page));
    hash_table != 0 && within.is_some_and(|at| at <= PAGE.saturating_sub(HASH_TABLE_LEN))
}

/// Looks at each section; gives back the page for kernel digests, if there is one.
fn sev_sections(sections: &[u8]) -> Result<Option<u32>, FirmwareError> {
    let mut memory = Memory::default();
    let mut hash_page = None;
    for (section, index) in sections.chunks_exact(12).zip(0_u32..) {
        let refused = |why| FirmwareError::Section { what: "SEV", index, why };
        let field = |at| u32_at(section, at).ok_or(refused("is cut"));
        let (address, size, kind) = (field(0)?, field(4)?, field(8)?);
        memory.take(u64::from(address), u64::from(size)).map_err(refused)?;
        match kind {
            // Zeroed memory, secrets, CPUID, calling area of an SVSM.
            1..=4 => {}
            // Digests of the kernel: one page, once.
            0x10 if u64::from(size) != PAGE => return Err(refused("is not one page")),
            0x10 if hash_page.is_some() => {
                return Err(refused("is a second page for kernel digests"));
            }
            0x10 => hash_page = Some(address),
            _ => return Err(refused("is of an unknown type")),
        }
    }
    Ok(hash_page)
}

/// The initial memory of a TD as its firmware describes it, in the order in which a VMM adds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tdvf<'a> {
    /// What is added before the TD runs.
    pub regions: Vec<Region<'a>>,
}

/// One region of initial memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region<'a> {
    /// Guest-physical address, on a page.
    pub address: u64,
    /// Length in bytes, whole pages.
    pub size: u64,
    /// Whether the contents are in MRTD.
    pub contents: Contents<'a>,
}

/// What MRTD says about a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents<'a> {
    /// That its pages exist, and their bytes.
    Measured(&'a [u8]),
    /// That its pages exist.
    Unmeasured,
}

impl<'a> Tdvf<'a> {
    /// Reads the table and the TDX metadata of an image.
    ///
    /// # Errors
    /// [`FirmwareError`], in the order of the image: table, descriptor, sections. Sections that a VMM fills
    /// with something of its own are refused when they are measured.
    pub fn parse(image: &'a [u8]) -> Result<Self, FirmwareError> {
        let table = Table::find(image)?;
        let metadata = table.number(TDX_METADATA, "TDX metadata: it is no image for TDX")?;
        let descriptor = Descriptor { what: "TDVF", signature: b"TDVF", section_len: 32 };
        let sections = descriptor.find(image, metadata)?;
        let mut memory = Memory::default();
        let mut regions = Vec::new();
        for (section, index) in sections.chunks_exact(32).zip(0_u32..) {
            let region = tdvf_section(image, section, &mut memory);
            let region =
                region.map_err(|why| FirmwareError::Section { what: "TDVF", index, why })?;
            regions.extend(region);
        }
        Ok(Self { regions })
    }
}

/// One section; none when its pages are added only once the TD runs.
fn tdvf_section<'a>(
    image: &'a [u8],
    section: &[u8],
    memory: &mut Memory,
) -> Result<Option<Region<'a>>, &'static str> {
    const MEASURED: u32 = 1;
    const ADDED_LATER: u32 = 2;
    let cut = "is cut";
    let (offset, raw_size) = (u32_at(section, 0).ok_or(cut)?, u32_at(section, 4).ok_or(cut)?);
    let (address, size) = (u64_at(section, 8).ok_or(cut)?, u64_at(section, 16).ok_or(cut)?);
    let (kind, attributes) = (u32_at(section, 24).ok_or(cut)?, u32_at(section, 28).ok_or(cut)?);
    match kind {
        // Code, variables, hand-off blocks, temporary and permanent memory.
        0..=4 => {}
        _ => {
            return Err(
                "is of a type whose contents the VMM decides (payload, parameters), or unknown",
            );
        }
    }
    if attributes & !(MEASURED | ADDED_LATER) != 0 {
        return Err("has attributes that are unknown");
    }
    if attributes & ADDED_LATER != 0 {
        return match attributes & MEASURED {
            0 => Ok(None),
            _ => Err("is measured and added later, which cannot both be"),
        };
    }
    memory.take(address, size)?;
    let raw = slice(image, offset, raw_size).ok_or(
        "ends outside the file: take the whole image (OVMF.fd), not code or variables alone",
    )?;
    let contents = match attributes & MEASURED {
        0 => Contents::Unmeasured,
        // VMMs differ in how they fill the rest, so no digest would be right for all.
        _ if u64::from(raw_size) != size => {
            return Err("is measured and not as long as its memory");
        }
        _ => Contents::Measured(raw),
    };
    Ok(Some(Region { address, size, contents }))
}

/// The memory that sections have asked for so far.
#[derive(Default)]
struct Memory {
    taken: Vec<(u64, u64)>,
    bytes: u64,
}

impl Memory {
    fn take(&mut self, address: u64, size: u64) -> Result<(), &'static str> {
        if size == 0 || !size.is_multiple_of(PAGE) || !address.is_multiple_of(PAGE) {
            return Err("does not begin and end on a page");
        }
        let end = address.checked_add(size).ok_or("ends above all addresses")?;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_MEMORY {
            return Err("asks for more memory than any firmware needs");
        }
        if self.taken.iter().any(|&(from, to)| address < to && from < end) {
            return Err("overlaps another section");
        }
        self.taken.push((address, end));
        Ok(())
    }
}

/// The entries of OVMF's table, each with its GUID. Readers differ in which of two equal entries they take,
/// so there is one of each.
struct Table<'a> {
    entries: Vec<([u8; 16], &'a [u8])>,
}

impl<'a> Table<'a> {
    fn find(image: &'a [u8]) -> Result<Self, FirmwareError> {
        let end = image.len().checked_sub(AFTER_TABLE).ok_or(FirmwareError::NoTable)?;
        let table = image.get(..end).ok_or(FirmwareError::NoTable)?;
        let (before, length, guid) = tail(table).ok_or(FirmwareError::NoTable)?;
        if guid != FOOTER {
            return Err(FirmwareError::NoTable);
        }
        let (_, mut rest) = split_data(before, length)?;
        let mut entries: Vec<([u8; 16], &[u8])> = Vec::new();
        while !rest.is_empty() {
            let left = rest.len();
            let (before, length, guid) =
                tail(rest).ok_or(FirmwareError::Entry { length: ENTRY_TAIL, left })?;
            let (next, data) = split_data(before, length)?;
            if entries.iter().any(|(known, _)| *known == guid) {
                return Err(FirmwareError::Twice { guid: written(guid) });
            }
            entries.push((guid, data));
            rest = next;
        }
        Ok(Self { entries })
    }

    /// The data of the entry with this GUID.
    fn entry(&self, wanted: [u8; 16]) -> Option<&'a [u8]> {
        self.entries.iter().find(|(guid, _)| *guid == wanted).map(|(_, data)| *data)
    }

    /// The number at the start of that entry.
    fn number(&self, wanted: [u8; 16], what: &'static str) -> Result<u32, FirmwareError> {
        let entry = self.entry(wanted).ok_or(FirmwareError::Missing { what })?;
        u32_at(entry, 0).ok_or(FirmwareError::Entry { length: 4, left: entry.len() })
    }
}

/// What lies before the data of an entry, and the data; `length` covers them and [`ENTRY_TAIL`].
fn split_data(before: &[u8], length: usize) -> Result<(&[u8], &[u8]), FirmwareError> {
    let refused = FirmwareError::Entry { length, left: before.len() };
    let data_len = length.checked_sub(ENTRY_TAIL).ok_or(refused.clone())?;
    let start = before.len().checked_sub(data_len).ok_or(refused.clone())?;
    before.split_at_checked(start).ok_or(refused)
}

/// A GUID as people write it.
fn written(guid: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = guid;
    let groups: [&[u8]; 5] = [&[d, c, b, a], &[f, e], &[h, g], &[i, j], &[k, l, m, n, o, p]];
    groups.map(hex::encode).join("-")
}

/// What lies before, the length, the GUID: the end of an entry taken off.
fn tail(bytes: &[u8]) -> Option<(&[u8], usize, [u8; 16])> {
    let (rest, guid) = bytes.split_last_chunk::<16>()?;
    let (rest, length) = rest.split_last_chunk::<2>()?;
    Some((rest, usize::from(u16::from_le_bytes(*length)), *guid))
}

/// Signature, length, version, count; then sections. All numbers are 32 bits, little-endian.
struct Descriptor {
    what: &'static str,
    signature: &'static [u8; 4],
    section_len: u32,
}

impl Descriptor {
    /// The bytes of the sections, of a descriptor that begins so many bytes before the image's end.
    fn find<'a>(&self, image: &'a [u8], from_end: u32) -> Result<&'a [u8], FirmwareError> {
        let refused = |why| FirmwareError::Descriptor { what: self.what, why };
        let start = usize::try_from(from_end).ok().and_then(|back| image.len().checked_sub(back));
        let outside = refused("lies outside the file");
        let bytes = start.and_then(|start| image.get(start..)).ok_or(outside.clone())?;
        if bytes.first_chunk::<4>() != Some(self.signature) {
            return Err(refused("does not begin with its signature"));
        }
        let field = |at| u32_at(bytes, at).ok_or(outside.clone());
        let (length, version, count) = (field(4)?, field(8)?, field(12)?);
        if version != 1 {
            return Err(refused("is of a version other than 1"));
        }
        if count == 0 || count > MAX_SECTIONS {
            return Err(refused("has no sections, or too many"));
        }
        let sections_len = count.saturating_mul(self.section_len);
        if length != sections_len.saturating_add(16) {
            return Err(refused("states a length that its sections do not have"));
        }
        slice(bytes, 16, sections_len).ok_or(outside)
    }
}

fn slice(bytes: &[u8], from: u32, len: u32) -> Option<&[u8]> {
    let from = usize::try_from(from).ok()?;
    let end = from.checked_add(usize::try_from(len).ok()?)?;
    bytes.get(from..end)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
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
