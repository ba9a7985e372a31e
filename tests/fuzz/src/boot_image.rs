//! Kernels as `adyton measure tdx` reads them: PE images, whose digest leaves out two places.

use adyton_cli::verb::measure::boot_files::{Loaded, authenticode};

/// Offset of the checksum in the seed, which no digest of an image covers.
const CHECKSUM: usize = 0x98 + 64;

/// What is taken for an image has a digest besides that of the file. It is another one, because at least the
/// checksum is left out.
pub fn run(data: &[u8]) {
    let image = authenticode(data);
    let digests: Vec<_> = Loaded::kernel(data).digests().copied().collect();
    match image {
        Some(digest) => {
            assert_eq!(digests.len(), 2);
            assert_eq!(digests[0], digest);
            assert_ne!(digests[1], digest);
        }
        None => assert_eq!(digests.len(), 1),
    }
}

/// An image of two sections with certificates, and one without.
pub fn seeds() -> Vec<Vec<u8>> {
    [16_u32, 4].into_iter().map(image).chain([b"MZ".to_vec()]).collect()
}

fn image(directories: u32) -> Vec<u8> {
    let mut image = vec![7; 0x618];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x80_u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x86, &2_u16.to_le_bytes());
    put(0x94, &0xf0_u16.to_le_bytes());
    put(0x98, &0x20b_u16.to_le_bytes());
    put(0x98 + 60, &0x200_u32.to_le_bytes());
    put(CHECKSUM, &[0; 4]);
    put(0x98 + 108, &directories.to_le_bytes());
    put(0x98 + 148, &8_u32.to_le_bytes());
    for (n, at) in [0x200_u32, 0x400].into_iter().enumerate() {
        put(0x188 + 40 * n + 16, &0x200_u32.to_le_bytes());
        put(0x188 + 40 * n + 20, &at.to_le_bytes());
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_images() {
        let seeds = seeds();
        assert!(authenticode(&seeds[0]).is_some() && authenticode(&seeds[1]).is_some());
        assert_ne!(authenticode(&seeds[0]), authenticode(&seeds[1]));
    }
}
