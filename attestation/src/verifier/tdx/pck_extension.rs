//! Intel's extension of a PCK certificate: which platform it is, at which security versions.
//!
//! In: a parsed certificate, nothing verified. Out: [`PckExtension`], or the member that is missing or
//! malformed. Each member stands once, in the type that the profile gives it; unknown members are
//! refused, as nobody could say what they restrict.
//! Intel "PCK Certificate and CRL Profile Specification", §1.3.5, OID 1.2.840.113741.1.13.1.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::Certificate;

use crate::claims::{Fmspc, PckFlag, PckFlags, PlatformInstance, PlatformInstanceId, Ppid};

/// The extension, and the root of its members' identifiers.
const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

/// What Intel certified about a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PckExtension {
    pub(super) ppid: Ppid,
    pub(super) fmspc: Fmspc,
    pub(super) pce_id: [u8; 2],
    pub(super) cpu_svn: [u8; 16],
    pub(super) pce_svn: u16,
    pub(super) instance: PlatformInstance,
    pub(super) flags: PckFlags,
}

/// Members while they are being read.
#[derive(Default)]
struct Members {
    ppid: Option<[u8; 16]>,
    tcb: Option<(u16, [u8; 16])>,
    pce_id: Option<[u8; 2]>,
    fmspc: Option<[u8; 6]>,
    sgx_type: Option<u8>,
    instance: Option<[u8; 16]>,
    flags: Option<PckFlags>,
}

impl PckExtension {
    /// Reads the extension. The error names the member.
    pub(super) fn of(certificate: &Certificate) -> Result<Self, &'static str> {
        const WHOLE: &str = "SGX extension";
        let extensions = certificate.tbs_certificate().extensions().ok_or(WHOLE)?;
        let mut found = extensions.iter().filter(|one| one.extn_id == SGX_EXTENSION);
        let (Some(extension), None) = (found.next(), found.next()) else {
            return Err(WHOLE);
        };
        let mut members = Members::default();
        let sequence = AnyRef::from_der(extension.extn_value.as_bytes()).map_err(|_| WHOLE)?;
        each(sequence, WHOLE, |arcs, value| members.take(arcs, value))?;
        members.finish()
    }
}

impl Members {
    fn take(&mut self, arcs: &[u8], value: AnyRef<'_>) -> Result<(), &'static str> {
        match arcs {
            [1] => once(&mut self.ppid, octets(value), "PPID"),
            [2] => once(&mut self.tcb, tcb(value), "TCB"),
            [3] => once(&mut self.pce_id, octets(value), "PCE id"),
            [4] => once(&mut self.fmspc, octets(value), "FMSPC"),
            [5] => once(&mut self.sgx_type, enumerated(value), "SGX type"),
            [6] => once(&mut self.instance, octets(value), "platform instance id"),
            [7] => once(&mut self.flags, flags(value), "configuration"),
            _ => Err("SGX extension"),
        }
    }

    fn finish(self) -> Result<PckExtension, &'static str> {
        self.sgx_type.ok_or("SGX type")?;
        let (pce_svn, cpu_svn) = self.tcb.ok_or("TCB")?;
        Ok(PckExtension {
            ppid: Ppid(self.ppid.ok_or("PPID")?),
            fmspc: Fmspc(self.fmspc.ok_or("FMSPC")?),
            pce_id: self.pce_id.ok_or("PCE id")?,
            cpu_svn,
            pce_svn,
            instance: match self.instance {
                Some(id) => PlatformInstance::Stated(PlatformInstanceId(id)),
                None => PlatformInstance::NotStated,
            },
            flags: self.flags.unwrap_or_default(),
        })
    }
}

/// Sixteen component versions, then PCESVN (17) and CPUSVN (18), which the levels are matched with.
fn tcb(value: AnyRef<'_>) -> Option<(u16, [u8; 16])> {
    let (mut pce_svn, mut cpu_svn) = (None, None);
    each(value, "TCB", |arcs, value| match arcs {
        [2, 1..=16] => integer(value).map(drop).ok_or("TCB"),
        [2, 17] => once(&mut pce_svn, integer(value), "TCB"),
        [2, 18] => once(&mut cpu_svn, octets(value), "TCB"),
        _ => Err("TCB"),
    })
    .ok()?;
    Some((pce_svn?, cpu_svn?))
}

fn flags(value: AnyRef<'_>) -> Option<PckFlags> {
    let mut flags = PckFlags::default();
    each(value, "configuration", |arcs, value| {
        let flag = match arcs {
            [7, 1] => &mut flags.dynamic_platform,
            [7, 2] => &mut flags.cached_keys,
            [7, 3] => &mut flags.smt_enabled,
            _ => return Err("configuration"),
        };
        let set = value.decode_as::<bool>().map_err(|_| "configuration")?;
        *flag = if set { PckFlag::Set } else { PckFlag::Clear };
        Ok(())
    })
    .ok()?;
    Some(flags)
}

/// Calls `take` with the identifier's arcs below the extension's own, and the value, for each
/// `SEQUENCE { OID, value }` in a sequence.
fn each<'a>(
    sequence: AnyRef<'a>,
    whole: &'static str,
    mut take: impl FnMut(&[u8], AnyRef<'a>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    if sequence.tag() != Tag::Sequence {
        return Err(whole);
    }
    let mut entries = SliceReader::new(sequence.value()).map_err(|_| whole)?;
    while !entries.is_finished() {
        let entry = AnyRef::decode(&mut entries).map_err(|_| whole)?;
        if entry.tag() != Tag::Sequence {
            return Err(whole);
        }
        let mut pair = SliceReader::new(entry.value()).map_err(|_| whole)?;
        let oid: ObjectIdentifier = Decode::decode(&mut pair).map_err(|_| whole)?;
        let value = AnyRef::decode(&mut pair).map_err(|_| whole)?;
        pair.finish().map_err(|_| whole)?;
        // Arcs below 128 are one byte each.
        let arcs = oid.as_bytes().strip_prefix(SGX_EXTENSION.as_bytes()).ok_or(whole)?;
        take(arcs, value)?;
    }
    Ok(())
}

/// Fills a member that must not have been filled.
fn once<T>(
    place: &mut Option<T>,
    value: Option<T>,
    member: &'static str,
) -> Result<(), &'static str> {
    match (place.is_some(), value) {
        (false, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(member),
    }
}

fn octets<const N: usize>(value: AnyRef<'_>) -> Option<[u8; N]> {
    let octets: &OctetStringRef = value.decode_as().ok()?;
    octets.as_bytes().try_into().ok()
}

fn integer(value: AnyRef<'_>) -> Option<u16> {
    value.decode_as::<u16>().ok()
}

fn enumerated(value: AnyRef<'_>) -> Option<u8> {
    match (value.tag(), value.value()) {
        (Tag::Enumerated, [number]) => Some(*number),
        _ => None,
    }
}
