//! Images are built field by field, so that each case has one fault.

use super::*;

/// Footer GUID and its kin are pinned as bytes, so that a slip in a literal cannot hide on both sides.
const FOOTER_BYTES: [u8; 16] = [
    0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d,
];
const TDX_BYTES: [u8; 16] = [
    0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2,
];

fn numbers(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn entry(data: &[u8], guid: [u8; 16]) -> Vec<u8> {
    let length = u16::try_from(data.len() + ENTRY_TAIL).expect("short").to_le_bytes();
    [data, &length, &guid].concat()
}

/// An image of `len` bytes: `descriptor` at the start, then zeros, the table, the reset vector.
fn image(len: usize, descriptor: &[u8], entries: &[Vec<u8>]) -> Vec<u8> {
    let entries = entries.concat();
    let footer = entry(&[], FOOTER_BYTES);
    let footer = {
        let length = u16::try_from(entries.len() + ENTRY_TAIL).expect("short").to_le_bytes();
        [&length[..], &footer[2..]].concat()
    };
    let tail = [&entries[..], &footer, &[0xf4; AFTER_TABLE]].concat();
    let mut image = descriptor.to_vec();
    image.resize(len - tail.len(), 0);
    [image, tail].concat()
}

struct Sev {
    signature: &'static [u8; 4],
    version: u32,
    length: Option<u32>,
    sections: Vec<[u32; 3]>,
    hash_table: u32,
}

impl Sev {
    /// Memory, secrets, CPUID and a page for kernel digests.
    fn good() -> Self {
        let sections = vec![
            [0x80_0000, 0x9000, 1],
            [0x80_d000, 0x1000, 2],
            [0x80_e000, 0x1000, 3],
            [0x81_0000, 0x1000, 0x10],
        ];
        Self { signature: b"ASEV", version: 1, length: None, sections, hash_table: 0x81_0c00 }
    }

    fn image(&self) -> Vec<u8> {
        let count = self.sections.len() as u32;
        let length = self.length.unwrap_or(16 + 12 * count);
        let sections: Vec<u8> = self.sections.iter().flat_map(|section| numbers(section)).collect();
        let head = numbers(&[length, self.version, count]);
        let descriptor = [&self.signature[..], &head, &sections].concat();
        let entries = [
            entry(&numbers(&[4096]), SEV_METADATA),
            entry(&numbers(&[self.hash_table, 0x400]), SEV_HASH_TABLE),
            entry(&numbers(&[0x80_b004]), SEV_ES_RESET),
        ];
        image(4096, &descriptor, &entries)
    }

    fn parse(&self) -> Result<SnpFirmware, FirmwareError> {
        SnpFirmware::parse(&self.image())
    }
}

fn sev_section(index: u32, why: &'static str) -> Result<SnpFirmware, FirmwareError> {
    Err(FirmwareError::Section { what: "SEV", index, why })
}

#[test]
fn a_sev_image_states_its_start_address_and_its_place_for_kernel_digests() {
    let expected = SnpFirmware { reset_eip: 0x80_b004, kernel_hashes: KernelHashes::Prepared };
    assert_eq!(Sev::good().parse(), Ok(expected));
}

#[test]
fn kernel_digests_need_a_table_that_lies_wholly_in_their_page() {
    for (hash_table, expected) in [
        (0x81_0000, KernelHashes::Prepared),
        (0x81_0f50, KernelHashes::Prepared),
        (0x81_0f51, KernelHashes::Unprepared),
        (0x80_ffff, KernelHashes::Unprepared),
        (0x81_1000, KernelHashes::Unprepared),
        (0, KernelHashes::Unprepared),
    ] {
        let firmware = Sev { hash_table, ..Sev::good() }.parse().expect("an image");
        assert_eq!(firmware.kernel_hashes, expected, "{hash_table:#x}");
    }
    let mut without = Sev::good();
    without.sections.pop();
    assert_eq!(without.parse().expect("an image").kernel_hashes, KernelHashes::Unprepared);
}

#[test]
fn each_fault_of_a_sev_section_is_told_with_its_index() {
    let with = |section: [u32; 3]| {
        let mut sev = Sev::good();
        sev.sections.push(section);
        sev.parse()
    };
    for (section, why) in [
        ([0x90_0000, 0x1000, 5], "is of an unknown type"),
        ([0x90_0000, 0x1000, 0], "is of an unknown type"),
        ([0x90_0000, 0x1000, 0x10], "is a second page for kernel digests"),
        ([0x90_0000, 0x2000, 0x10], "is not one page"),
        ([0x90_0000, 0x1001, 1], "does not begin and end on a page"),
        ([0x90_0800, 0x1000, 1], "does not begin and end on a page"),
        ([0x90_0000, 0, 1], "does not begin and end on a page"),
        ([0x80_8000, 0x1000, 1], "overlaps another section"),
        ([0x1000_0000, 0x1000_0000, 1], "asks for more memory than any firmware needs"),
    ] {
        assert_eq!(with(section), sev_section(4, why), "{section:x?}");
    }
}

#[test]
fn each_fault_of_a_descriptor_is_told() {
    let refused = |why| Err(FirmwareError::Descriptor { what: "SEV", why });
    let good = Sev::good;
    let signature = Sev { signature: b"BSEV", ..good() };
    assert_eq!(signature.parse(), refused("does not begin with its signature"));
    assert_eq!(Sev { version: 2, ..good() }.parse(), refused("is of a version other than 1"));
    let lying = Sev { length: Some(16 + 12 * 5), ..good() };
    assert_eq!(lying.parse(), refused("states a length that its sections do not have"));
    let empty = Sev { sections: Vec::new(), ..good() };
    assert_eq!(empty.parse(), refused("has no sections, or too many"));
    let many = Sev { sections: vec![[0, 0x1000, 1]; 65], ..good() };
    assert_eq!(many.parse(), refused("has no sections, or too many"));
}

#[test]
fn a_descriptor_outside_the_file_is_refused() {
    let refused = Err(FirmwareError::Descriptor { what: "SEV", why: "lies outside the file" });
    for from_end in [4097, u32::MAX, 15] {
        let mut sev = Sev::good().image();
        let at = sev.len() - AFTER_TABLE - 3 * ENTRY_TAIL - 4 - 4 - 8 - ENTRY_TAIL;
        assert_eq!(u32_at(&sev, at), Some(4096), "where the descriptor's place is");
        sev[at..at + 4].copy_from_slice(&from_end.to_le_bytes());
        // 15 bytes are there, so that the signature is the reset vector's.
        if from_end == 15 {
            sev.splice(4096 - 15..4096 - 11, *b"ASEV");
        }
        assert_eq!(SnpFirmware::parse(&sev), refused, "{from_end}");
    }
}

#[test]
fn a_table_is_found_or_the_image_is_refused() {
    assert_eq!(SnpFirmware::parse(&[]), Err(FirmwareError::NoTable));
    assert_eq!(SnpFirmware::parse(&[0; 49]), Err(FirmwareError::NoTable));
    assert_eq!(SnpFirmware::parse(&[0xff; 8192]), Err(FirmwareError::NoTable));
    let whole = Sev::good().image();
    let cut = &whole[..whole.len() - 1];
    assert_eq!(SnpFirmware::parse(cut), Err(FirmwareError::NoTable));
}

#[test]
fn lengths_in_the_table_that_lie_are_refused() {
    let whole = Sev::good().image();
    let footer = whole.len() - AFTER_TABLE - ENTRY_TAIL;
    for length in [0_u16, 17, u16::MAX] {
        let mut image = whole.clone();
        image[footer..footer + 2].copy_from_slice(&length.to_le_bytes());
        let expected = FirmwareError::Entry { length: length.into(), left: footer };
        assert_eq!(SnpFirmware::parse(&image), Err(expected), "{length}");
    }
    let last = footer - ENTRY_TAIL;
    for length in [0_u16, 17, u16::MAX] {
        let mut image = whole.clone();
        image[last..last + 2].copy_from_slice(&length.to_le_bytes());
        let refused = SnpFirmware::parse(&image);
        let told = matches!(refused, Err(FirmwareError::Entry { length: got, .. }) if got == usize::from(length));
        assert!(told, "{length}: {refused:?}");
    }
}

#[test]
fn a_table_with_an_entry_twice_is_refused() {
    let twice = [entry(&numbers(&[0x3000]), TDX_BYTES), entry(&numbers(&[0x2000]), TDX_BYTES)];
    let guid = "e47a6535-984a-4798-865e-4685a7bf8ec2".to_owned();
    assert_eq!(Tdvf::parse(&image(0x3000, b"", &twice)), Err(FirmwareError::Twice { guid }));
}

#[test]
fn an_entry_without_room_for_its_number_is_refused() {
    let expected = Err(FirmwareError::Entry { length: 4, left: 3 });
    assert_eq!(Tdvf::parse(&image(0x3000, b"", &[entry(&[0; 3], TDX_BYTES)])), expected);
    let reset = image(4096, b"", &[entry(&[0; 3], SEV_ES_RESET)]);
    assert_eq!(SnpFirmware::parse(&reset), Err(FirmwareError::Entry { length: 4, left: 3 }));
}

#[test]
fn an_image_of_another_tee_says_what_it_lacks() {
    let refused = Tdvf::parse(&Sev::good().image()).expect_err("no TDX metadata");
    assert_eq!(refused.to_string(), "its OVMF table has no TDX metadata: it is no image for TDX");
    let tdx = Td::good().image();
    let refused = SnpFirmware::parse(&tdx).expect_err("no SEV metadata");
    assert!(refused.to_string().contains("no image for SEV-ES"), "{refused}");
}

/// Offset and length in the file, address, size in memory, type, attributes.
type Section = (u32, u32, u64, u64, u32, u32);

struct Td {
    sections: Vec<Section>,
}

impl Td {
    /// Two pages of code, variables, a hand-off block, temporary memory, memory that is added later.
    fn good() -> Self {
        let sections = vec![
            (0x1000, 0x2000, 0xffff_e000, 0x2000, 0, 1),
            (0, 0x1000, 0xffff_d000, 0x1000, 1, 0),
            (0, 0, 0x80_9000, 0x2000, 2, 0),
            (0, 0, 0x80_0000, 0x6000, 3, 0),
            (0, 0, 0x10_0000, 0x1000, 4, 2),
        ];
        Self { sections }
    }

    fn with(section: Section) -> Result<usize, FirmwareError> {
        let mut td = Self::good();
        td.sections.push(section);
        Tdvf::parse(&td.image()).map(|firmware| firmware.regions.len())
    }

    fn image(&self) -> Vec<u8> {
        let count = self.sections.len() as u32;
        let mut descriptor = [&b"TDVF"[..], &numbers(&[16 + 32 * count, 1, count])].concat();
        for (offset, raw, address, size, kind, attributes) in &self.sections {
            descriptor.extend(numbers(&[*offset, *raw]));
            descriptor.extend(address.to_le_bytes());
            descriptor.extend(size.to_le_bytes());
            descriptor.extend(numbers(&[*kind, *attributes]));
        }
        image(0x3000, &descriptor, &[entry(&numbers(&[0x3000]), TDX_BYTES)])
    }
}

#[test]
fn a_td_image_gives_its_regions_in_order_without_those_that_are_added_later() {
    let image = Td::good().image();
    let firmware = Tdvf::parse(&image).expect("an image");
    let got: Vec<_> = firmware.regions.iter().map(|region| (region.address, region.size)).collect();
    assert_eq!(
        got,
        [(0xffff_e000, 0x2000), (0xffff_d000, 0x1000), (0x80_9000, 0x2000), (0x80_0000, 0x6000)]
    );
    let measured = firmware.regions.iter().map(|region| match region.contents {
        Contents::Measured(bytes) => Some(bytes),
        Contents::Unmeasured => None,
    });
    assert_eq!(measured.collect::<Vec<_>>(), [Some(&image[0x1000..0x3000]), None, None, None]);
}

#[test]
fn each_fault_of_a_tdvf_section_is_told_with_its_index() {
    let outside =
        "ends outside the file: take the whole image (OVMF.fd), not code or variables alone";
    for (section, why) in [
        ((0x1000, 0x2001, 0x20_0000, 0x3000, 0, 0), outside),
        ((u32::MAX, u32::MAX, 0x20_0000, 0x3000, 0, 0), outside),
        ((0, 0x1000, 0x20_0000, 0x2000, 0, 1), "is measured and not as long as its memory"),
        ((0, 0, 0x20_0000, 0x1000, 3, 1), "is measured and not as long as its memory"),
        (
            (0, 0x1000, 0x20_0000, 0x1000, 5, 1),
            "is of a type whose contents the VMM decides (payload, parameters), or unknown",
        ),
        ((0, 0, 0x20_0000, 0x1000, 3, 4), "has attributes that are unknown"),
        ((0, 0x1000, 0x20_0000, 0x1000, 4, 3), "is measured and added later, which cannot both be"),
        ((0, 0, 0x20_0800, 0x1000, 3, 0), "does not begin and end on a page"),
        ((0, 0, 0x20_0000, 0, 3, 0), "does not begin and end on a page"),
        ((0, 0, 0x20_0000, 0x1800, 3, 0), "does not begin and end on a page"),
        ((0, 0, u64::MAX - 0xfff, 0x1000, 3, 0), "ends above all addresses"),
        ((0, 0, 0x80_5000, 0x1000, 3, 0), "overlaps another section"),
        ((0, 0, 0x1_0000_0000, 0x2000_0000, 3, 0), "asks for more memory than any firmware needs"),
    ] {
        let expected = FirmwareError::Section { what: "TDVF", index: 5, why };
        assert_eq!(Td::with(section), Err(expected), "{section:x?}");
    }
}

#[test]
fn no_cut_or_flipped_byte_of_an_image_panics() {
    for whole in [Sev::good().image(), Td::good().image()] {
        for len in (0..whole.len()).step_by(61) {
            let _ = (SnpFirmware::parse(&whole[..len]), Tdvf::parse(&whole[..len]));
        }
        // Descriptor, table and footer; the rest is zeros.
        let interesting = (0..256).chain(whole.len() - 160..whole.len());
        for (at, value) in interesting.flat_map(|at| [0, 1, 0x7f, 0xff].map(|value| (at, value))) {
            let mut image = whole.clone();
            image[at] = value;
            let _ = (SnpFirmware::parse(&image), Tdvf::parse(&image));
        }
    }
}
