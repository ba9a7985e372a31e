//! TPM structures of a quote: TPMS_ATTEST and TPMT_SIGNATURE.

use adyton_attestation::evidence::tpm::{
    ClockSafety, PcrSelection, TPM_GENERATED, TPM_ST_ATTEST_QUOTE, TpmAttest, TpmSignature,
};

/// Reads the bytes as either structure. What is accepted is the same when it is written again: every
/// byte belongs to a field.
pub fn run(data: &[u8]) {
    if let Ok(attest) = TpmAttest::parse(data) {
        assert_eq!(write(&attest), data, "a byte that no field accounts for");
    }
    if let Ok(TpmSignature(signature)) = TpmSignature::parse(data) {
        let head = [0x00, 0x14, 0x00, 0x0b, 0x01, 0x00];
        assert_eq!([&head[..], &signature].concat(), data);
    }
}

/// Marshals as TCG's Part 2 says. Independent of the parser.
fn write(attest: &TpmAttest) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).expect("a TPM2B is short");
        [&len.to_be_bytes(), bytes].concat()
    };
    let mut bytes = TPM_GENERATED.to_be_bytes().to_vec();
    bytes.extend(TPM_ST_ATTEST_QUOTE.to_be_bytes());
    bytes.extend(sized(&attest.qualified_signer));
    bytes.extend(sized(&attest.extra_data));
    bytes.extend(attest.clock.milliseconds.to_be_bytes());
    bytes.extend(attest.clock.reset_count.to_be_bytes());
    bytes.extend(attest.clock.restart_count.to_be_bytes());
    bytes.push(match attest.clock.safe {
        ClockSafety::Unsafe => 0,
        ClockSafety::Safe => 1,
    });
    bytes.extend(attest.firmware_version.to_be_bytes());
    bytes.extend(u32::try_from(attest.selections.len()).expect("few").to_be_bytes());
    for PcrSelection { hash, bitmap } in &attest.selections {
        bytes.extend(hash.to_be_bytes());
        bytes.push(u8::try_from(bitmap.len()).expect("short"));
        bytes.extend(bitmap);
    }
    bytes.extend(sized(&attest.pcr_digest));
    bytes
}

/// Quotes over one bank, several, and none; a signature; one by another algorithm.
pub fn seeds() -> Vec<Vec<u8>> {
    let bank = |hash: u16| PcrSelection { hash, bitmap: vec![0xff; 3] };
    let quote = |selections: Vec<PcrSelection>, extra: usize| {
        write(&TpmAttest { selections, extra_data: vec![0x42; extra], ..attest() })
    };
    let signature = |scheme: u8| [&[0x00, scheme, 0x00, 0x0b, 0x01, 0x00][..], &[7; 256]].concat();
    vec![
        quote(vec![bank(0x0b)], 48),
        quote(vec![bank(0x0b), bank(0x04), bank(0x0c)], 64),
        quote(vec![], 0),
        signature(0x14),
        signature(0x16),
    ]
}

fn attest() -> TpmAttest {
    TpmAttest {
        qualified_signer: vec![0x0b; 34],
        extra_data: Vec::new(),
        clock: adyton_attestation::evidence::tpm::TpmClock {
            milliseconds: 7,
            reset_count: 1,
            restart_count: 0,
            safe: ClockSafety::Safe,
        },
        firmware_version: 0x2020_0312_0012_0003,
        selections: Vec::new(),
        pcr_digest: vec![0x33; 32],
    }
}

/// A quote over all PCRs, for the seeds of other targets.
pub(crate) fn quote_over_all_pcrs(pcr_digest: Vec<u8>) -> Vec<u8> {
    let selections = vec![PcrSelection { hash: 0x0b, bitmap: vec![0xff; 3] }];
    write(&TpmAttest { selections, extra_data: vec![0x42; 48], pcr_digest, ..attest() })
}
