//! Builds and signs attestation reports. AMD 56860, table ATTESTATION_REPORT.

use ring::rand::SystemRandom;
use ring::signature::EcdsaKeyPair;

use crate::snp::{FakeKey, FakeProduct, SnpFault, SnpProfile};

/// Length in bytes of what is signed.
const SIGNED: usize = 0x2a0;
/// Length in bytes of a report.
const REPORT: usize = 1184;
/// Order of the group of P-384, little-endian. SP 800-186, §3.2.1.4.
const ORDER: [u8; 48] = [
    0x73, 0x29, 0xc5, 0xcc, 0x6a, 0x19, 0xec, 0xec, 0x7a, 0xa7, 0xb0, 0x48, 0xb2, 0x0d, 0x1a, 0x58,
    0xdf, 0x2d, 0x37, 0xf4, 0x81, 0x4d, 0x63, 0xc7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

/// Who is asked for the report.
pub(super) struct Machine<'a> {
    pub(super) product: FakeProduct,
    pub(super) kind: FakeKey,
    pub(super) chip_id: [u8; 64],
    pub(super) key: &'a EcdsaKeyPair,
    pub(super) other_key: &'a EcdsaKeyPair,
}

impl Machine<'_> {
    /// A report, with its defect.
    pub(super) fn report(
        &self,
        profile: &SnpProfile,
        report_data: [u8; 64],
        fault: Option<SnpFault>,
    ) -> Vec<u8> {
        let mut raw = vec![0; REPORT];
        self.body(&mut raw, profile, report_data);
        if let Some(fault) = fault {
            spoil_body(&mut raw, fault);
        }
        let signer = if fault == Some(SnpFault::OtherKey) { self.other_key } else { self.key };
        sign(&mut raw, signer);
        if let Some(fault) = fault {
            spoil_signed(&mut raw, fault);
        }
        raw
    }

    fn body(&self, raw: &mut [u8], profile: &SnpProfile, report_data: [u8; 64]) {
        let tcb = profile.tcb.bytes(self.product);
        let signing_key = match self.kind {
            FakeKey::Vcek => 0,
            FakeKey::Vlek => 1 << 2,
        };
        let key_info = signing_key | u8::from(profile.author_key_digest.is_some());
        put(raw, 0x000, &profile.version.to_le_bytes());
        put(raw, 0x004, &profile.guest_svn.to_le_bytes());
        put(raw, 0x008, &profile.policy.to_le_bytes());
        put(raw, 0x010, &profile.family_id);
        put(raw, 0x020, &profile.image_id);
        put(raw, 0x030, &profile.vmpl.to_le_bytes());
        put(raw, 0x034, &[1]);
        put(raw, 0x038, &tcb);
        put(raw, 0x040, &profile.platform_info.to_le_bytes());
        put(raw, 0x048, &[key_info]);
        put(raw, 0x050, &report_data);
        put(raw, 0x090, &profile.measurement);
        put(raw, 0x0c0, &profile.host_data);
        put(raw, 0x0e0, &profile.id_key_digest);
        put(raw, 0x110, &profile.author_key_digest.unwrap_or([0; 48]));
        put(raw, 0x140, &[0x1d; 32]);
        put(raw, 0x160, &[0xff; 32]);
        put(raw, 0x180, &tcb);
        if profile.version >= 3 {
            put(raw, 0x188, &self.product.cpuid());
        }
        put(raw, 0x1a0, &self.chip_id);
        put(raw, 0x1e0, &tcb);
        let [major, minor, build] = profile.firmware;
        put(raw, 0x1e8, &[build, minor, major]);
        put(raw, 0x1ec, &[build, minor, major]);
        put(raw, 0x1f0, &tcb);
        if profile.version >= 5 {
            let [launch, current] = profile.mitigations;
            put(raw, 0x1f8, &launch.to_le_bytes());
            put(raw, 0x200, &current.to_le_bytes());
        }
    }
}

/// Signs a report, whatever it says: `r` and `s` in 72 bytes each, little-endian.
pub(super) fn sign(raw: &mut [u8], key: &EcdsaKeyPair) {
    let signature = key.sign(&SystemRandom::new(), &raw[..SIGNED]).expect("random bytes");
    let (r, s) = signature.as_ref().split_at(48);
    let little_endian = |number: &[u8]| number.iter().rev().copied().collect::<Vec<_>>();
    put(raw, 0x2a0, &little_endian(r));
    put(raw, 0x2e8, &little_endian(s));
}

fn put(raw: &mut [u8], offset: usize, bytes: &[u8]) {
    raw[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Defects that the processor itself signs. Offsets of TCB components are Genoa's.
fn spoil_body(raw: &mut [u8], fault: SnpFault) {
    match fault {
        SnpFault::Version => raw[0] = 4,
        SnpFault::Algorithm => raw[0x34] = 2,
        SnpFault::ReservedByte => raw[0x29f] = 1,
        SnpFault::ReservedPolicyBit => raw[0x00b] |= 1 << 2,
        SnpFault::ReservedPlatformBit => raw[0x040] |= 1 << 6,
        SnpFault::ReservedKeyInfoBit => raw[0x048] |= 1 << 5,
        SnpFault::ReservedReportedTcb => raw[0x182] = 1,
        SnpFault::ReservedCurrentTcb => raw[0x03d] = 1,
        SnpFault::ReservedCommittedTcb => raw[0x1e3] = 1,
        SnpFault::ReservedLaunchTcb => raw[0x1f5] = 1,
        SnpFault::SigningKeyNone => raw[0x048] |= 7 << 2,
        // Milan's model.
        SnpFault::OtherProcessor => raw[0x189] = 0x01,
        SnpFault::OtherChipByOneByte => raw[0x1a0 + 63] ^= 1,
        SnpFault::ChipIdTail => raw[0x1a0 + 8] = 1,
        SnpFault::MaskedChipBit => raw[0x048] |= 1 << 1,
        SnpFault::ZeroChip => raw[0x1a0..0x1e0].fill(0),
        SnpFault::ReportedAboveCommitted => raw[0x1e0 + 6] -= 1,
        SnpFault::CommittedAboveCurrent => raw[0x038 + 6] -= 1,
        SnpFault::VersionOrder => raw[0x1ec] += 1,
        SnpFault::NoBit17 => raw[0x00a] &= !(1 << 1),
        SnpFault::Migratable => raw[0x00a] |= 1 << 2,
        SnpFault::Debug => raw[0x00a] |= 1 << 3,
        SnpFault::AbiTooHigh => raw[0x008] = 56,
        SnpFault::AuthorDigestWithoutKey => raw[0x048] &= !1,
        SnpFault::ReportDataFirst => raw[0x050] ^= 1,
        SnpFault::ReportDataDigestEnd => raw[0x050 + 47] ^= 1,
        SnpFault::ReportDataLast => raw[0x050 + 63] ^= 1,
        SnpFault::OldFirmware => raw[0x180 + 6] -= 1,
        SnpFault::LaunchedOnOldFirmware => raw[0x1f0 + 6] -= 1,
        SnpFault::Vmpl => raw[0x030] = 1,
        SnpFault::OtherMeasurement => raw[0x090] ^= 1,
        SnpFault::OtherHostData => raw[0x0c0] ^= 1,
        SnpFault::OtherIdKey => raw[0x0e0] ^= 1,
        SnpFault::OtherAuthorKey => raw[0x110] ^= 1,
        SnpFault::NoAuthorKey => {
            raw[0x048] &= !1;
            raw[0x110..0x140].fill(0);
        }
        SnpFault::OtherFamily => raw[0x010] ^= 1,
        SnpFault::OtherImage => raw[0x020] ^= 1,
        SnpFault::OldGuest => raw[0x004] -= 1,
        SnpFault::SmtOn => raw[0x040] |= 1,
        SnpFault::NoTsme => raw[0x040] &= !(1 << 1),
        SnpFault::NoEcc => raw[0x040] &= !(1 << 2),
        SnpFault::RaplOn => raw[0x040] &= !(1 << 3),
        SnpFault::NoCiphertextHiding => raw[0x040] &= !(1 << 4),
        SnpFault::NoAliasCheck => raw[0x040] &= !(1 << 5),
        SnpFault::TioOn => raw[0x040] |= 1 << 7,
        SnpFault::NoMitigationAtLaunch => raw[0x1f8] &= !1,
        SnpFault::NoMitigationNow => raw[0x200] &= !1,
        _ => {}
    }
}

/// Defects of the signature, and those that came after it.
fn spoil_signed(raw: &mut Vec<u8>, fault: SnpFault) {
    match fault {
        SnpFault::Truncated => raw.truncate(REPORT - 1),
        SnpFault::ReservedTail => raw[REPORT - 1] = 1,
        SnpFault::ZeroR => raw[0x2a0..0x2e8].fill(0),
        SnpFault::ZeroS => raw[0x2e8..0x330].fill(0),
        SnpFault::RIsOrder => put(raw, 0x2a0, &ORDER),
        SnpFault::SIsOrder => put(raw, 0x2e8, &ORDER),
        SnpFault::UpperBytesOfR => raw[0x2e7] = 1,
        SnpFault::UpperBytesOfS => raw[0x2e8 + 48] = 1,
        SnpFault::SwappedNumbers => {
            let (r, s) = raw[0x2a0..0x330].split_at_mut(72);
            r.swap_with_slice(s);
        }
        SnpFault::BigEndian => {
            raw[0x2a0..0x2a0 + 48].reverse();
            raw[0x2e8..0x2e8 + 48].reverse();
        }
        SnpFault::FlippedMeasurement => raw[0x090] ^= 1,
        _ => {}
    }
}
