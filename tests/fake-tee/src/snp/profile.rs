//! What a simulated SNP guest and its processor are like.

/// A product line of AMD's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeProduct {
    /// Third generation.
    Milan,
    /// Fourth generation.
    Genoa,
    /// Fifth generation.
    Turin,
}

/// Which kind of key signs reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeKey {
    /// Of one chip.
    Vcek,
    /// Of one cloud.
    Vlek,
}

impl FakeProduct {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// As in the names of AMD's certificates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// Family, model and stepping.
    pub(super) fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Milan => [0x19, 0x01, 1],
            Self::Genoa => [0x19, 0x11, 1],
            Self::Turin => [0x1a, 0x02, 1],
        }
    }

    /// Used bytes of CHIP_ID.
    pub(super) fn chip_id_len(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }
}

/// Security patch levels of a processor's firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FakeTcb {
    /// Turin's only; others don't write it.
    pub fmc: u8,
    /// Bootloader.
    pub bootloader: u8,
    /// Trusted operating system of the security processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl FakeTcb {
    /// TCB_VERSION in the product's byte order. AMD 56860, tables TCB_VERSION.
    pub(super) fn bytes(self, product: FakeProduct) -> [u8; 8] {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        match product {
            FakeProduct::Milan | FakeProduct::Genoa => {
                [bootloader, tee, 0, 0, 0, 0, snp, microcode]
            }
            FakeProduct::Turin => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
        }
    }
}

/// A guest and how its machine is set up. Digests are of fixed texts, so that they are recognised.
#[derive(Clone, Debug)]
pub struct SnpProfile {
    /// Name of the set of Reference Values.
    pub name: String,
    /// Version of the report: 2, 3 or 5.
    pub version: u32,
    /// Security version in the ID block.
    pub guest_svn: u32,
    /// Guest policy: ABI 1.51, bit 17, no SMT, and every restriction that there is.
    pub policy: u64,
    /// Family in the ID block.
    pub family_id: [u8; 16],
    /// Image in the ID block.
    pub image_id: [u8; 16],
    /// Privilege level.
    pub vmpl: u32,
    /// PLATFORM_INFO: TSME, ECC, no RAPL, ciphertext hiding, alias check complete.
    pub platform_info: u64,
    /// Launch digest.
    pub measurement: [u8; 48],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// Key that signed the ID block.
    pub id_key_digest: [u8; 48],
    /// Key that certified the ID key. `None`: there is none.
    pub author_key_digest: Option<[u8; 48]>,
    /// Firmware at launch, committed, reported and now.
    pub tcb: FakeTcb,
    /// Major, minor, build of the firmware.
    pub firmware: [u8; 3],
    /// Mitigations at launch and now; reports of version 5 carry them.
    pub mitigations: [u64; 2],
}

impl Default for SnpProfile {
    fn default() -> Self {
        use crate::keys::{sha256, sha384};
        Self {
            name: "fake-snp".to_owned(),
            version: 5,
            guest_svn: 7,
            policy: 0x03d2_0133,
            family_id: *b"adyton fake fami",
            image_id: *b"adyton fake imag",
            vmpl: 0,
            platform_info: 0b11_1110,
            measurement: sha384(b"adyton fake snp measurement"),
            host_data: sha256(b"adyton fake snp host data"),
            id_key_digest: sha384(b"adyton fake snp id key"),
            author_key_digest: Some(sha384(b"adyton fake snp author key")),
            tcb: FakeTcb { fmc: 3, bootloader: 9, tee: 4, snp: 23, microcode: 84 },
            firmware: [1, 55, 40],
            mitigations: [0b111, 0b111],
        }
    }
}

impl SnpProfile {
    /// The Reference Values that a guest of this profile matches, TOML.
    pub fn reference_values(&self) -> String {
        let list = |key: &str, bytes: &[u8]| format!("{key} = [\"{}\"]\n", hex::encode(bytes));
        let author = self.author_key_digest.map(|digest| list("author_key_digest", &digest));
        [
            "# Reference values of a simulated guest. They prove nothing about real hardware.\n"
                .into(),
            format!("name = \"{}\"\ntee = \"snp\"\n", self.name),
            list("measurement", &self.measurement),
            list("host_data", &self.host_data),
            list("id_key_digest", &self.id_key_digest),
            author.unwrap_or_default(),
            list("family_id", &self.family_id),
            list("image_id", &self.image_id),
            format!("minimum_guest_svn = {}\n", self.guest_svn),
        ]
        .concat()
    }
}
