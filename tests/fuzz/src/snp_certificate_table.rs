//! The GUID table in which a host hands certificates to an SNP guest.

use adyton_attestation::evidence::snp::PresentedCertificates;
use adyton_attestation::limits::{MAX_CERTIFICATE_LEN, MAX_CHAIN_CERTIFICATES};

use crate::snp_report;

/// Parses, and then: what comes out stands in the table, within bounds, and nothing was added.
pub fn run(data: &[u8]) {
    let Ok(certificates) = PresentedCertificates::parse_table(data) else {
        return;
    };
    assert!(certificates.iter().count() <= MAX_CHAIN_CERTIFICATES);
    for (_, der) in certificates.iter() {
        assert!(der.len() <= MAX_CERTIFICATE_LEN);
        assert!(der.is_empty() || data.windows(der.len()).any(|window| window == der));
    }
    let raw = snp_report::report(5, [0x19, 0xa0, 2]);
    let evidence = adyton_attestation::evidence::SnpEvidence::parse_extended(&raw, data);
    snp_report::says_the_same_again(&evidence.expect("the report and the table are fine"));
}

/// Tables with a VCEK, a VLEK and an unknown entry, one of zeros, and one that points outside.
pub fn seeds() -> Vec<Vec<u8>> {
    const VCEK: [u8; 16] =
        [0x8d, 0x75, 0xda, 0x63, 0x64, 0xe6, 0x64, 0x45, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd];
    const VLEK: [u8; 16] =
        [0xc2, 0x4b, 0x07, 0xa8, 0x5a, 0xa2, 0x3e, 0x48, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1];
    let table = |entries: &[([u8; 16], u32, u32)]| {
        let mut table = Vec::new();
        for (guid, offset, length) in entries {
            table.extend(guid);
            table.extend(offset.to_le_bytes());
            table.extend(length.to_le_bytes());
        }
        table.extend(b"contents of the certificates");
        table
    };
    let end = ([0; 16], 0, 0);
    vec![
        table(&[(VCEK, 72, 8), (VLEK, 80, 12), end]),
        table(&[(VCEK, 48, 28), end]),
        table(&[([7; 16], 48, 4), end]),
        vec![0; 4096],
        table(&[(VCEK, 48, u32::MAX), end]),
    ]
}
