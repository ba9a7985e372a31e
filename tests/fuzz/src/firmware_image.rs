//! Firmware images, as `adyton measure` reads them.

use std::io::Write;

use adyton_cli::verb::measure::firmware::{Contents, KernelHashes, PAGE, SnpFirmware, Tdvf};
use adyton_cli::verb::measure::mrtd::{RecordOrder, mrtd};
use sev::measurement::ovmf::{OVMF, SectionType};

/// What is accepted for SNP, the calculator of `sev` reads too, without a panic, and finds the same in it;
/// what is accepted for TDX has its measured bytes inside the image and a value in either order.
pub fn run(data: &[u8]) {
    if let Ok(firmware) = SnpFirmware::parse(data) {
        read_by_the_calculator(data, &firmware);
    }
    if let Ok(firmware) = Tdvf::parse(data) {
        let measured: usize = firmware
            .regions
            .iter()
            .map(|region| {
                assert!(region.size > 0 && region.size % PAGE == 0 && region.address % PAGE == 0);
                match region.contents {
                    Contents::Measured(bytes) => {
                        assert_eq!(bytes.len() as u64, region.size);
                        assert!(data.as_ptr_range().contains(&bytes.as_ptr()), "of the image");
                        bytes.len()
                    }
                    Contents::Unmeasured => 0,
                }
            })
            .sum();
        let one = mrtd(&firmware, RecordOrder::PageByPage);
        let other = mrtd(&firmware, RecordOrder::RegionByRegion);
        if measured == 0 {
            assert_eq!(one, other, "nothing measured, nothing to put in another order");
        }
    }
}

fn read_by_the_calculator(image: &[u8], firmware: &SnpFirmware) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(image).expect("written");
    let theirs = OVMF::new(file.path().to_owned()).expect("what we accept, it reads");
    assert_eq!(theirs.sev_es_reset_eip().expect("a start address"), firmware.reset_eip);
    if firmware.kernel_hashes == KernelHashes::Prepared {
        let page = theirs.sev_hashes_table_gpa().expect("a place for digests") & !(PAGE - 1);
        let is_page = |section: SectionType| section == SectionType::SnpKernelHashes;
        let pages = theirs.metadata_items().iter().filter(|item| is_page(item.section_type));
        let pages: Vec<_> = pages.map(|item| (u64::from(item.gpa), u64::from(item.size))).collect();
        assert_eq!(pages, [(page, PAGE)]);
    }
}

/// One image for each TEE, and one for both.
pub fn seeds() -> Vec<Vec<u8>> {
    let sev = sections(b"ASEV", &[
        vec![0x80_0000, 0x9000, 1],
        vec![0x80_d000, 0x1000, 2],
        vec![0x80_e000, 0x1000, 3],
        vec![0x80_f000, 0x1000, 4],
        vec![0x81_0000, 0x1000, 0x10],
    ]);
    let tdx = sections(b"TDVF", &[
        vec![0x1000, 0x1000, 0xffff_f000, 0, 0x1000, 0, 0, 1],
        vec![0, 0x1000, 0xffff_e000, 0, 0x1000, 0, 1, 0],
        vec![0, 0, 0x80_9000, 0, 0x2000, 0, 2, 0],
        vec![0, 0, 0x10_0000, 0, 0x1000, 0, 4, 2],
    ]);
    let sev_entries = |at: u32| {
        [
            entry(&[at], "dc886566984a4798a75e5585a7bf67cc"),
            entry(&[0x81_0c00, 0x400], "7255371f3a3b4b04927b1da6efa8d454"),
            entry(&[0x80_b004], "00f771de1a7e4fcb890e68c77e2fb44e"),
        ]
        .concat()
    };
    let tdx_entry = |at: u32| entry(&[at], "e47a6535984a4798865e4685a7bf8ec2");
    let behind = 0x2000 - u32::try_from(sev.len()).expect("short");
    vec![
        image(0x1000, &sev, &sev_entries(0x1000)),
        image(0x2000, &tdx, &tdx_entry(0x2000)),
        image(
            0x2000,
            &[&sev[..], &tdx].concat(),
            &[sev_entries(0x2000), tdx_entry(behind)].concat(),
        ),
    ]
}

fn numbers(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn sections(signature: &[u8; 4], sections: &[Vec<u32>]) -> Vec<u8> {
    let body = numbers(&sections.concat());
    let length = u32::try_from(16 + body.len()).expect("short");
    let count = u32::try_from(sections.len()).expect("few");
    [&signature[..], &numbers(&[length, 1, count]), &body].concat()
}

fn entry(data: &[u32], guid: &str) -> Vec<u8> {
    tail(&numbers(data), 18 + 4 * data.len(), guid)
}

fn tail(data: &[u8], length: usize, guid: &str) -> Vec<u8> {
    let mut guid = hex::decode(guid).expect("hex");
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    let length = u16::try_from(length).expect("short").to_le_bytes();
    [data, &length, &guid].concat()
}

fn image(len: usize, descriptors: &[u8], entries: &[u8]) -> Vec<u8> {
    let footer = tail(&[], entries.len() + 18, "96b582de1fb245f7baeaa366c55a082d");
    let tail = [entries, &footer, &[0xf4; 32]].concat();
    let mut image = descriptors.to_vec();
    image.resize(len - tail.len(), 0);
    [image, tail].concat()
}
