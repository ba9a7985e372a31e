//! The certificates that a guest sends with its report: the host's, so nobody vouches for them.
//!
//! In: the GUID table of SNP_GET_EXT_REPORT and configfs-tsm's auxblob (AMD 56421 "GHCB", SNP Extended
//! Guest Request), or the KBS protocol's `cert_chain`. Out: [`PresentedCertificates`], a bounded pile of
//! DER. What kind of key a certificate is for, the Verifier reads off the certificate; the sender's label
//! is kept for the way out and decides nothing.
//! Against: offsets and lengths that point outside the table, entries without end.

use crate::evidence::snp::SnpFormatError;
use crate::limits::{MAX_CERTIFICATE_LEN, MAX_CERTIFICATE_TABLE_LEN, MAX_CHAIN_CERTIFICATES};

/// One entry: GUID, offset, length.
const ENTRY_LEN: usize = 24;

/// Labels with their GUIDs, in the mixed-endian bytes of the table. AMD 56421, and `sev` in Linux.
const GUIDS: [(CertificateLabel, [u8; 16]); 4] = [
    (CertificateLabel::Vcek, guid(0x63da_758d, 0xe664, 0x4564, 0xadc5_f4b9_3be8_accd)),
    (CertificateLabel::Vlek, guid(0xa807_4bc2, 0xa25a, 0x483e, 0xaae6_39c0_45a0_b8a1)),
    (CertificateLabel::Ask, guid(0x4ab7_b379, 0xbbac, 0x4fe4, 0xa02f_05ae_f327_c782)),
    (CertificateLabel::Ark, guid(0xc0b4_06a4, 0xa803, 0x4952, 0x9743_3fb6_014c_d0ae)),
];

/// What the sender calls a certificate. Kept, never believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateLabel {
    /// Versioned Chip Endorsement Key.
    Vcek,
    /// Versioned Loaded Endorsement Key.
    Vlek,
    /// Intermediate: AMD SEV Key. VLEK chains put the ASVK here.
    Ask,
    /// Root: AMD Root Key. Never used: roots are pinned.
    Ark,
}

impl CertificateLabel {
    const ALL: [Self; 4] = [Self::Vcek, Self::Vlek, Self::Ask, Self::Ark];

    /// The word of the KBS protocol's `cert_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::Ask => "ASK",
            Self::Ark => "ARK",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.as_str() == name)
    }
}

/// A bounded pile of certificates in DER, unverified and unsorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresentedCertificates {
    list: Vec<(CertificateLabel, Vec<u8>)>,
}

impl PresentedCertificates {
    /// No certificates: the Verifier has to have them.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One certificate, of a platform that hands it out by itself.
    ///
    /// # Errors
    /// [`SnpFormatError::TooLarge`].
    pub fn one(label: CertificateLabel, der: &[u8]) -> Result<Self, SnpFormatError> {
        let mut certificates = Self::none();
        certificates.push(label, der)?;
        Ok(certificates)
    }

    /// Parses the host's table. Entries of other kinds (a revocation list, a vendor's own) are left out:
    /// lists come from the Verifier's side.
    ///
    /// # Errors
    /// [`SnpFormatError::TooLarge`], [`CertificateTable`](SnpFormatError::CertificateTable).
    pub fn parse_table(table: &[u8]) -> Result<Self, SnpFormatError> {
        bounded("certificate table", table.len(), MAX_CERTIFICATE_TABLE_LEN)?;
        let refused = |reason| SnpFormatError::CertificateTable { reason };
        let mut certificates = Self::none();
        let mut entries = table;
        // A host that has none gives an empty table, or one of zeros.
        while !entries.is_empty() {
            let (entry, rest) = entries
                .split_first_chunk::<ENTRY_LEN>()
                .ok_or_else(|| refused("it ends inside an entry"))?;
            entries = rest;
            if *entry == [0; ENTRY_LEN] {
                break;
            }
            let (guid, place) = entry.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
            let number = |at: usize| {
                let bytes = place.get(at..).and_then(|from| from.first_chunk::<4>());
                bytes.and_then(|bytes| usize::try_from(u32::from_le_bytes(*bytes)).ok())
            };
            let found = number(0)
                .zip(number(4))
                .and_then(|(offset, len)| table.get(offset..offset.checked_add(len)?));
            let der = found.ok_or_else(|| refused("an entry points outside the table"))?;
            if let Some((label, _)) = GUIDS.iter().find(|(_, known)| known == guid) {
                certificates.push(*label, der)?;
            }
        }
        Ok(certificates)
    }

    pub(super) fn push(
        &mut self,
        label: CertificateLabel,
        der: &[u8],
    ) -> Result<(), SnpFormatError> {
        bounded(
            "number of certificates",
            self.list.len().saturating_add(1),
            MAX_CHAIN_CERTIFICATES,
        )?;
        bounded("certificate", der.len(), MAX_CERTIFICATE_LEN)?;
        self.list.push((label, der.to_vec()));
        Ok(())
    }

    /// The certificates with the sender's labels.
    pub fn iter(&self) -> impl Iterator<Item = (CertificateLabel, &[u8])> {
        self.list.iter().map(|(label, der)| (*label, der.as_slice()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

pub(super) fn bounded(what: &'static str, got: usize, limit: usize) -> Result<(), SnpFormatError> {
    if got > limit {
        return Err(SnpFormatError::TooLarge { what, got, limit });
    }
    Ok(())
}

/// A GUID as it stands in memory: the first three numbers little-endian, the rest as written.
const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
    let [a0, a1, a2, a3] = a;
    let [b0, b1] = b;
    let [c0, c1] = c;
    let [d0, d1, d2, d3, d4, d5, d6, d7] = d;
    [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    const VCEK: [u8; 16] = [
        0x8d, 0x75, 0xda, 0x63, 0x64, 0xe6, 0x64, 0x45, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
        0xcd,
    ];

    fn entry(guid: [u8; 16], offset: u32, len: u32) -> Vec<u8> {
        [guid.as_slice(), &offset.to_le_bytes(), &len.to_le_bytes()].concat()
    }

    fn table(entries: &[Vec<u8>], content: &[u8]) -> Vec<u8> {
        [entries.concat(), vec![0; ENTRY_LEN], content.to_vec()].concat()
    }

    #[test]
    fn a_table_gives_its_known_certificates() {
        let table = table(&[entry(VCEK, 72, 3), entry([9; 16], 75, 2)], b"abcxy");
        let certificates = PresentedCertificates::parse_table(&table).unwrap();
        let all: Vec<_> = certificates.iter().collect();
        assert_eq!(all, [(CertificateLabel::Vcek, &b"abc"[..])]);
    }

    #[test]
    fn no_certificates_are_an_empty_table_or_one_of_zeros() {
        for empty in [vec![], vec![0; ENTRY_LEN], vec![0; 4096]] {
            assert!(PresentedCertificates::parse_table(&empty).unwrap().is_empty());
        }
    }

    #[test]
    fn a_table_that_lies_is_refused() {
        let outside =
            SnpFormatError::CertificateTable { reason: "an entry points outside the table" };
        for (offset, len) in [(48, 5), (u32::MAX, 1), (1, u32::MAX), (53, 0)] {
            let table = table(&[entry(VCEK, offset, len)], b"abcd");
            assert_eq!(
                PresentedCertificates::parse_table(&table),
                Err(outside.clone()),
                "{offset} {len}"
            );
        }
        let cut = SnpFormatError::CertificateTable { reason: "it ends inside an entry" };
        let whole = entry(VCEK, 0, 1);
        for len in 1..ENTRY_LEN {
            assert_eq!(
                PresentedCertificates::parse_table(&whole[..len]),
                Err(cut.clone()),
                "{len}"
            );
        }
        // No entry of zeros ends it.
        assert_eq!(PresentedCertificates::parse_table(&[whole, vec![1]].concat()), Err(cut));
    }

    #[test]
    fn more_certificates_or_bytes_than_the_limits_are_refused() {
        let many = table(&vec![entry(VCEK, 0, 1); MAX_CHAIN_CERTIFICATES + 1], b"");
        assert!(matches!(
            PresentedCertificates::parse_table(&many),
            Err(SnpFormatError::TooLarge { what: "number of certificates", .. })
        ));
        assert!(matches!(
            PresentedCertificates::parse_table(&vec![0; MAX_CERTIFICATE_TABLE_LEN + 1]),
            Err(SnpFormatError::TooLarge { what: "certificate table", .. })
        ));
        let long = table(&[entry(VCEK, 48, 9000)], &[7; 9000]);
        assert!(matches!(
            PresentedCertificates::parse_table(&long),
            Err(SnpFormatError::TooLarge { what: "certificate", .. })
        ));
    }
}
