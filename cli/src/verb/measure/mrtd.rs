//! MRTD of a TD that starts with a given firmware.
//!
//! In: the regions of a [`Tdvf`]. Out: the value of MRTD once the VMM has added them. MRTD is one SHA-384
//! over a stream of records (Intel "TDX Module Base Architecture Specification" 348549, §12.2, and the ABI's
//! TDH.MEM.PAGE.ADD and TDH.MR.EXTEND):
//!
//! ```text
//!  page added       "MEM.PAGE.ADD" ‖ zeros to 16 ‖ u64 address ‖ zeros to 128
//!  256 bytes of it  "MR.EXTEND"    ‖ zeros to 16 ‖ u64 address ‖ zeros to 128 ‖ the 256 bytes
//! ```
//!
//! The order of the records is the VMM's choice, so one firmware has one value for each [`RecordOrder`].
//! Both commit to the same bytes at the same addresses.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use adyton_attestation::claims::Measurement;
use ring::digest::{Context, SHA384};

use super::firmware::{Contents, PAGE, Region, Tdvf};

const RECORD_LEN: usize = 128;
const EXTENDED_AT_ONCE: usize = 256;

/// In which order a VMM adds and measures the pages of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOrder {
    /// Each page is measured right after it was added: Linux 6.16 and newer (KVM_TDX_INIT_MEM_REGION).
    PageByPage,
    /// All pages of a region are added, then all are measured: KVM before TDX was merged into Linux.
    RegionByRegion,
}

/// The MRTD that a VMM with this order reaches.
#[must_use]
pub fn mrtd(firmware: &Tdvf<'_>, order: RecordOrder) -> Measurement {
    let mut records = Records(Context::new(&SHA384));
    for region in &firmware.regions {
        match order {
            RecordOrder::PageByPage => {
                for page in pages(region) {
                    records.added(&page);
                    records.extended(&page);
                }
            }
            RecordOrder::RegionByRegion => {
                pages(region).for_each(|page| records.added(&page));
                pages(region).for_each(|page| records.extended(&page));
            }
        }
    }
    let mut value = [0; 48];
    value.copy_from_slice(records.0.finish().as_ref());
    Measurement(value)
}

struct Page<'a> {
    address: u64,
    measured: &'a [u8],
}

fn pages<'a>(region: &Region<'a>) -> impl Iterator<Item = Page<'a>> {
    let contents = match region.contents {
        Contents::Measured(bytes) => bytes,
        Contents::Unmeasured => &[],
    };
    let mut contents = contents.chunks(PAGE as usize);
    let addresses = (region.address..region.address.saturating_add(region.size)).step_by(4096);
    addresses.map(move |address| Page { address, measured: contents.next().unwrap_or_default() })
}

struct Records(Context);

impl Records {
    fn added(&mut self, page: &Page<'_>) {
        self.record(b"MEM.PAGE.ADD\0\0\0\0", page.address);
    }

    fn extended(&mut self, page: &Page<'_>) {
        let addresses = (page.address..).step_by(EXTENDED_AT_ONCE);
        for (bytes, address) in page.measured.chunks(EXTENDED_AT_ONCE).zip(addresses) {
            self.record(b"MR.EXTEND\0\0\0\0\0\0\0", address);
            self.0.update(bytes);
        }
    }

    fn record(&mut self, kind: &[u8; 16], address: u64) {
        self.0.update(kind);
        self.0.update(&address.to_le_bytes());
        self.0.update(&[0; RECORD_LEN - 24]);
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
mod tests {
    use super::*;

    /// The value that another program computed: Python's `hashlib` over the records as the specification
    /// writes them, for an image of two pages and one unmeasured page.
    #[test]
    fn mrtd_is_the_digest_of_its_records_in_the_order_of_the_vmm() {
        let code: Vec<u8> = (0..8192_u32).map(|at| (at % 251) as u8).collect();
        let regions = vec![
            Region { address: 0xffff_e000, size: 8192, contents: Contents::Measured(&code) },
            Region { address: 0x80_9000, size: 4096, contents: Contents::Unmeasured },
        ];
        let firmware = Tdvf { regions };
        assert_eq!(mrtd(&firmware, RecordOrder::PageByPage).to_string(), PAGE_BY_PAGE);
        assert_eq!(mrtd(&firmware, RecordOrder::RegionByRegion).to_string(), REGION_BY_REGION);
    }

    const PAGE_BY_PAGE: &str = "bf16598c200ee32f9e79d5cf2775c7282ca42acc88da348c4d080498d91a4c43f6a61836ee6cbf687e9187baf00389eb";
    const REGION_BY_REGION: &str = "7a802db89248c70837e7b75339e5824f0670737dae1eb7ea83eff2de6155490c91cb320dfff4a4483676060ec764db45";
}
