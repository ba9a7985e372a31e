//! Whether the event log of a boot is that of given files: kernel, initrd, command line.
//!
//! In: the owner's files, a parsed log. Out: for each file, in which form and register its digest stands, or
//! a refusal. The forms are those of the loaders that measure (all SHA-384):
//!
//! ```text
//!  kernel        Authenticode digest of the PE image   firmware's LoadImage (UEFI, "Image execution")
//!                the file                              GRUB, systemd-stub's sections
//!  initrd        the file                              Linux EFI stub, GRUB, systemd-stub
//!  command line  UTF-16LE with its final zero          Linux EFI stub (LOADED_IMAGE::LoadOptions), systemd-stub
//!                UTF-8, with and without a final zero  GRUB, systemd-stub's sections
//! ```
//! It does not say that nothing else was loaded: that is what the registers are compared for.
//! Against: a log taken from a machine that somebody else booted otherwise, turned into Reference Values.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use adyton_attestation::claims::{Measurement, Rtmr};
use adyton_attestation::evidence::event_log::CcEventLog;
use ring::digest::{Context, SHA384, digest};

/// Sections of a PE image that are read; the Linux kernel has five.
const MAX_SECTIONS: usize = 96;

/// Something that was loaded, in the forms in which it may have been measured.
#[derive(Debug)]
pub struct Loaded {
    forms: Vec<(&'static str, Measurement)>,
    registers: &'static [Rtmr],
}

/// Where it stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// In which form.
    pub form: &'static str,
    /// In which register.
    pub register: Rtmr,
}

impl Loaded {
    /// A kernel: a PE image, or anything else as a plain file.
    #[must_use]
    pub fn kernel(file: &[u8]) -> Self {
        let image = authenticode(file).map(|digest| ("the digest of its PE image", digest));
        let plain = ("the digest of the file", sha384(file));
        Self {
            forms: image.into_iter().chain([plain]).collect(),
            registers: &[Rtmr::Rtmr1, Rtmr::Rtmr2],
        }
    }

    /// An initrd.
    #[must_use]
    pub fn initrd(file: &[u8]) -> Self {
        Self { forms: vec![("the digest of the file", sha384(file))], registers: &[Rtmr::Rtmr2] }
    }

    /// A command line, as it is given to the loader.
    #[must_use]
    pub fn command_line(text: &str) -> Self {
        let wide: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let ended = [text.as_bytes(), &[0]].concat();
        let forms = vec![
            ("the digest of its UTF-16 form", sha384(&wide)),
            ("the digest of its text", sha384(text.as_bytes())),
            ("the digest of its text with a final zero", sha384(&ended)),
        ];
        Self { forms, registers: &[Rtmr::Rtmr1, Rtmr::Rtmr2] }
    }

    /// The first event with its digest.
    #[must_use]
    pub fn found_in(&self, log: &CcEventLog<'_>) -> Option<Found> {
        let events = log.events.iter().filter(|event| self.registers.contains(&event.register));
        let mut found = events.filter_map(|event| {
            let form = self.forms.iter().find(|(_, digest)| *digest == event.digest)?;
            Some(Found { form: form.0, register: event.register })
        });
        found.next()
    }

    /// The digests that were looked for.
    pub fn digests(&self) -> impl Iterator<Item = &Measurement> {
        self.forms.iter().map(|(_, digest)| digest)
    }
}

/// Authenticode digest of a PE image: headers without the checksum and the entry of the certificate table,
/// sections in the order of the file, what stands behind them, without the certificates ("Windows
/// Authenticode Portable Executable Signature Format", "Calculating the PE Image Hash"). `None` for what is
/// no PE image.
#[must_use]
pub fn authenticode(file: &[u8]) -> Option<Measurement> {
    let word = |at: usize| {
        let bytes = file.get(at..at.checked_add(4)?)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let half = |at: usize| {
        let bytes = file.get(at..at.checked_add(2)?)?.first_chunk()?;
        Some(usize::from(u16::from_le_bytes(*bytes)))
    };
    if file.get(..2)? != b"MZ" {
        return None;
    }
    let signature = word(0x3c)?;
    let coff = signature.checked_add(4)?;
    if file.get(signature..coff)? != b"PE\0\0" {
        return None;
    }
    let sections = half(coff.checked_add(2)?)?;
    let optional = coff.checked_add(20)?;
    // PE32 has a 4-byte base of data more, and pointers of 4 bytes.
    let directories = match half(optional)? {
        0x10b => optional.checked_add(96)?,
        0x20b => optional.checked_add(112)?,
        _ => return None,
    };
    let checksum = optional.checked_add(64)?;
    let headers = word(optional.checked_add(60)?)?;
    let has_certificates = word(directories.checked_sub(4)?)? > 4;
    let certificates = directories.checked_add(32)?;
    let certificates_len = if has_certificates { word(certificates.checked_add(4)?)? } else { 0 };

    let mut hash = Context::new(&SHA384);
    hash.update(file.get(..checksum)?);
    let behind_checksum = checksum.checked_add(4)?;
    match has_certificates {
        true => {
            hash.update(file.get(behind_checksum..certificates)?);
            hash.update(file.get(certificates.checked_add(8)?..headers)?);
        }
        false => hash.update(file.get(behind_checksum..headers)?),
    }
    let mut hashed = headers;
    for section in
        in_file_order(file, optional.checked_add(half(coff.checked_add(16)?)?)?, sections)?
    {
        hash.update(file.get(section.0..section.0.checked_add(section.1)?)?);
        hashed = hashed.checked_add(section.1)?;
    }
    let end = file.len().checked_sub(certificates_len)?;
    if hashed < end {
        hash.update(file.get(hashed..end)?);
    }
    Some(measurement(hash.finish().as_ref()))
}

/// Offset and length of the sections that have bytes in the file.
fn in_file_order(file: &[u8], table: usize, count: usize) -> Option<Vec<(usize, usize)>> {
    if count > MAX_SECTIONS {
        return None;
    }
    let headers = file.get(table..table.checked_add(count.checked_mul(40)?)?)?;
    let mut sections = Vec::with_capacity(count);
    for header in headers.chunks_exact(40) {
        let (len, rest) = header.get(16..)?.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let at = usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?;
        if len > 0 {
            sections.push((at, len));
        }
    }
    sections.sort_unstable();
    Some(sections)
}

fn sha384(bytes: &[u8]) -> Measurement {
    measurement(digest(&SHA384, bytes).as_ref())
}

fn measurement(digest: &[u8]) -> Measurement {
    let mut value = [0; 48];
    value.copy_from_slice(digest);
    Measurement(value)
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

    /// A PE32+ image: headers of 0x200 bytes, two sections that lie in the file in the other order, 16 bytes
    /// behind them, 8 bytes of certificates.
    fn image() -> Vec<u8> {
        let mut image: Vec<u8> = (0..0x618_u32).map(|at| (at % 251) as u8).collect();
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x84 + 2, &2_u16.to_le_bytes());
        put(0x84 + 16, &0xf0_u16.to_le_bytes());
        let optional = 0x98;
        put(optional, &0x20b_u16.to_le_bytes());
        put(optional + 60, &0x200_u32.to_le_bytes());
        put(optional + 108, &16_u32.to_le_bytes());
        put(optional + 112 + 32, &0x610_u32.to_le_bytes());
        put(optional + 112 + 36, &8_u32.to_le_bytes());
        let table = optional + 0xf0;
        for (n, (len, at)) in [(0x200_u32, 0x400_u32), (0x200, 0x200)].into_iter().enumerate() {
            put(table + 40 * n + 16, &len.to_le_bytes());
            put(table + 40 * n + 20, &at.to_le_bytes());
        }
        image
    }

    #[test]
    fn the_digest_of_an_image_leaves_out_checksum_and_certificates_and_nothing_else() {
        let good = image();
        let digest = authenticode(&good).expect("an image");
        let (checksum, entry, certificates) = (0xd8..0xdc, 0x128..0x130, 0x610..0x618);
        for at in 0..good.len() {
            let mut other = good.clone();
            other[at] ^= 1;
            let unsigned = checksum.contains(&at) || certificates.contains(&at)
                // The entry's length decides where the certificates begin.
                || (entry.contains(&at) && at < entry.start + 4);
            let same = authenticode(&other) == Some(digest);
            assert_eq!(same, unsigned, "byte {at:#x}");
        }
        // In the order of the file, headers without the two places, then all up to the certificates.
        let parts = [&good[..0xd8], &good[0xdc..0x128], &good[0x130..0x610]].concat();
        assert_eq!(digest, sha384(&parts));
    }

    #[test]
    fn no_cut_image_panics_or_is_taken_for_a_whole_one() {
        let good = image();
        for len in 0..good.len() {
            assert_ne!(authenticode(&good[..len]), authenticode(&good), "{len}");
        }
        assert_eq!(authenticode(b"MZ"), None);
        assert_eq!(authenticode(b"\x7fELF"), None);
    }
}
