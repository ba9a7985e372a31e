use super::*;

/// A quote over PCRs 0–23 of the SHA-256 bank, built field by field.
fn attest() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(TPM_GENERATED.to_be_bytes());
    bytes.extend(TPM_ST_ATTEST_QUOTE.to_be_bytes());
    bytes.extend([0, 34]);
    bytes.extend([0x11; 34]);
    bytes.extend([0, 48]);
    bytes.extend([0x22; 48]);
    bytes.extend(7_u64.to_be_bytes());
    bytes.extend(2_u32.to_be_bytes());
    bytes.extend(3_u32.to_be_bytes());
    bytes.push(1);
    bytes.extend(0x2020_0312_0012_0003_u64.to_be_bytes());
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend([0x00, 0x0b, 3, 0xff, 0xff, 0xff]);
    bytes.extend([0, 32]);
    bytes.extend([0x33; 32]);
    bytes
}

/// Offsets of fields in [`attest`].
const KIND: usize = 4;
const SIGNER_SIZE: usize = 6;
const EXTRA_SIZE: usize = 42;
const SAFE: usize = 108;
const COUNT: usize = 117;
const BITMAP_SIZE: usize = 123;
const DIGEST_SIZE: usize = 127;

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut all = attest();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    all
}

#[test]
fn a_quote_is_read_field_by_field() {
    let read = TpmAttest::parse(&attest()).expect("a quote");
    assert_eq!(
        read,
        TpmAttest {
            qualified_signer: vec![0x11; 34],
            extra_data: vec![0x22; 48],
            clock: TpmClock {
                milliseconds: 7,
                reset_count: 2,
                restart_count: 3,
                safe: ClockSafety::Safe
            },
            firmware_version: 0x2020_0312_0012_0003,
            selections: vec![PcrSelection { hash: TPM_ALG_SHA256, bitmap: vec![0xff; 3] }],
            pcr_digest: vec![0x33; 32],
        }
    );
}

#[test]
fn a_quote_cut_anywhere_is_truncated() {
    let whole = attest();
    for len in 0..whole.len() {
        assert!(
            matches!(TpmAttest::parse(&whole[..len]), Err(TpmFormatError::Truncated { .. })),
            "{len} bytes"
        );
    }
}

#[test]
fn a_byte_after_the_quote_is_left_over() {
    let mut longer = attest();
    longer.push(0);
    assert_eq!(
        TpmAttest::parse(&longer),
        Err(TpmFormatError::Leftover { structure: "TPMS_ATTEST", left: 1 })
    );
}

#[test]
fn what_no_tpm_made_is_refused_by_its_magic() {
    let bytes = patched(0, &[0xfe]);
    assert_eq!(TpmAttest::parse(&bytes), Err(TpmFormatError::Magic { got: 0xfe54_4347 }));
}

#[test]
fn an_attestation_of_another_kind_is_refused() {
    // TPM_ST_ATTEST_CERTIFY: the AK signs those, too.
    let bytes = patched(KIND, &0x8017_u16.to_be_bytes());
    assert_eq!(TpmAttest::parse(&bytes), Err(TpmFormatError::AttestationType { got: 0x8017 }));
}

#[test]
fn a_clock_that_is_neither_safe_nor_unsafe_is_refused() {
    assert_eq!(TpmAttest::parse(&patched(SAFE, &[2])), Err(TpmFormatError::Safe { got: 2 }));
    let unsafe_clock = TpmAttest::parse(&patched(SAFE, &[0])).expect("a quote");
    assert_eq!(unsafe_clock.clock.safe, ClockSafety::Unsafe);
}

#[test]
fn each_length_is_bounded_before_it_is_read() {
    for (field, at, bytes, got, limit) in [
        ("qualifiedSigner", SIGNER_SIZE, vec![0, 67], 67, MAX_TPM_NAME_LEN),
        ("extraData", EXTRA_SIZE, vec![0, 65], 65, MAX_TPM_EXTRA_DATA_LEN),
        ("pcrSelect count", COUNT, vec![0xff; 4], u32::MAX as usize, MAX_TPM_PCR_SELECTIONS),
        ("pcrSelect bitmap", BITMAP_SIZE, vec![5], 5, MAX_TPM_PCR_SELECT_LEN),
        ("pcrDigest", DIGEST_SIZE, vec![0, 65], 65, MAX_TPM_DIGEST_LEN),
    ] {
        assert_eq!(
            TpmAttest::parse(&patched(at, &bytes)),
            Err(TpmFormatError::TooLarge { field, got, limit })
        );
    }
    assert_eq!(
        TpmAttest::parse(&[0; MAX_TPM_ATTEST_LEN + 1]),
        Err(TpmFormatError::TooLarge {
            field: "TPMS_ATTEST",
            got: MAX_TPM_ATTEST_LEN + 1,
            limit: MAX_TPM_ATTEST_LEN
        })
    );
}

#[test]
fn a_signature_of_other_algorithms_or_length_is_refused() {
    let tpmt = |scheme: u16, hash: u16, len: usize| {
        let mut bytes = scheme.to_be_bytes().to_vec();
        bytes.extend(hash.to_be_bytes());
        bytes.extend(u16::try_from(len).expect("short").to_be_bytes());
        bytes.extend(vec![9; len]);
        bytes
    };
    let good = tpmt(TPM_ALG_RSASSA, TPM_ALG_SHA256, 256);
    assert_eq!(TpmSignature::parse(&good), Ok(TpmSignature([9; 256])));
    // RSAPSS, and SHA-1.
    for (scheme, hash) in [(0x0016, TPM_ALG_SHA256), (TPM_ALG_RSASSA, 0x0004)] {
        assert_eq!(
            TpmSignature::parse(&tpmt(scheme, hash, 256)),
            Err(TpmFormatError::SignatureAlgorithm { scheme, hash })
        );
    }
    assert_eq!(
        TpmSignature::parse(&tpmt(TPM_ALG_RSASSA, TPM_ALG_SHA256, 384)),
        Err(TpmFormatError::SignatureLength { got: 384 })
    );
    assert_eq!(
        TpmSignature::from_raw(&[0; 255]),
        Err(TpmFormatError::SignatureLength { got: 255 })
    );
    let mut longer = good;
    longer.push(0);
    assert_eq!(
        TpmSignature::parse(&longer),
        Err(TpmFormatError::Leftover { structure: "TPMT_SIGNATURE", left: 1 })
    );
}
