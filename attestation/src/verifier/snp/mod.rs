//! The SNP ladder: rungs S1 to S18 of `SPEC.md`.
//!
//! ```text
//!  parsed report ─ S16 S1 ─► endorsement key: certificate of the kind that the report names (S6)
//!        │                         │
//!        │                         S2 one product: processor, certificate, issuer
//!        │                         S3 VEK → ASK or ASVK → pinned ARK, S4 dates, S5 revocation list
//!        S7 chip ◄─────────────────┤
//!        S8 firmware ◄─────────────┘   S9 firmware versions are in order
//!        S11 report signature ◄── VEK's key
//!        S12 guest policy
//!        S18 report data ─► claims      (S10 S13 S14 S15 S17: appraisal)
//! ```
//!
//! Certificates may come with the Evidence or from the Verifier's bundle: what counts is what the pinned
//! root signed. Roots and revocation lists never come with Evidence.
//! Against: keys of another kind, chip or firmware; roots of a sender's own; debuggable guests.

use subtle::ConstantTimeEq as _;

use crate::binding::ReportData;
use crate::claims::{SnpClaims, SnpProduct, SnpTcb};
use crate::endorsement::EndorsementBundle;
use crate::evidence::SnpEvidence;
use crate::evidence::snp::{RawTcb, SnpReport};
use crate::unix_time::UnixTime;
use crate::verifier::signature_cache::Signatures;
use crate::verifier::{Grounds, VerifyError, VerifyOptions};

mod chain;
mod endorsement_key;
mod error;
mod replay;
mod report;

use chain::Path;
pub(super) use chain::{LIST, built_in_intermediates};
use endorsement_key::EndorsementKey;
pub(super) use endorsement_key::is_amd_signature;
pub use error::{Firmware, SnpError};
pub(super) use replay::replay;

/// Everything that the rungs look at, picked and parsed, not verified.
struct Climb<'a> {
    evidence: &'a SnpEvidence,
    endorsements: &'a EndorsementBundle,
    key: EndorsementKey,
    product: SnpProduct,
    tcb: Tcbs,
    /// Rung S3, which the next ones stand on.
    path: Result<Path, SnpError>,
    signatures: Signatures<'a>,
    now: UnixTime,
    options: VerifyOptions,
}

/// The four TCB versions of a report, in the byte order of its product.
struct Tcbs {
    current: SnpTcb,
    reported: SnpTcb,
    committed: SnpTcb,
    launch: SnpTcb,
}

/// One rung that needs everything: id and check.
type Rung = (&'static str, fn(&Climb<'_>) -> Result<(), SnpError>);

/// The rungs of [`Climb`], from the bottom. S16, S1, S6 and S2 come before, S18 after.
const RUNGS: [Rung; 8] = [
    ("S3", |climb| climb.path().map(|_| ())),
    ("S4", |climb| climb.path()?.within_validity(&climb.key, climb.now)),
    ("S5", |climb| chain::revocation(climb).map(|_| ())),
    ("S7", report::chip),
    ("S8", report::firmware_of_the_key),
    ("S9", |climb| report::firmware_in_order(climb.evidence, &climb.tcb)),
    ("S11", |climb| report::signature(climb.evidence, &climb.key)),
    ("S12", |climb| report::guest_policy(climb.evidence, &climb.options)),
];

impl Tcbs {
    /// S16 for the bytes that a product reserves inside TCB versions.
    fn read(report: &SnpReport, product: SnpProduct) -> Result<Self, SnpError> {
        let read = |which, raw: RawTcb| {
            SnpTcb::read(raw.0, product).ok_or(SnpError::TcbReserved { which, got: raw.0 })
        };
        Ok(Self {
            current: read(Firmware::Current, report.current_tcb)?,
            reported: read(Firmware::Reported, report.reported_tcb)?,
            committed: read(Firmware::Committed, report.committed_tcb)?,
            launch: read(Firmware::Launch, report.launch_tcb)?,
        })
    }
}

impl<'a> Climb<'a> {
    /// S1, S6, S2 and S16.
    fn prepare(evidence: &'a SnpEvidence, grounds: Grounds<'a>) -> Result<Self, SnpError> {
        report::algorithm(evidence)?;
        report::reserved_bits(evidence)?;
        let key = EndorsementKey::choose(evidence, grounds.endorsements)?;
        let product = key.product(evidence.report())?;
        let tcb = Tcbs::read(evidence.report(), product)?;
        Ok(Self::of(evidence, grounds, key, product, tcb))
    }

    /// A climb of parts that were picked. Nothing is verified by it.
    fn of(
        evidence: &'a SnpEvidence,
        grounds: Grounds<'a>,
        key: EndorsementKey,
        product: SnpProduct,
        tcb: Tcbs,
    ) -> Self {
        let Grounds { endorsements, anchors, now, options, signatures } = grounds;
        let path = Path::find(&key, product, evidence, endorsements, anchors, &signatures);
        Self { evidence, endorsements, key, product, tcb, path, signatures, now, options }
    }

    fn path(&self) -> Result<&Path, SnpError> {
        self.path.as_ref().map_err(Clone::clone)
    }

    /// The claims, once every rung has passed.
    fn claims(&self) -> Result<SnpClaims, SnpError> {
        let path = self.path()?;
        let (revocation, list_expires) = chain::revocation(self)?;
        let report = self.evidence.report();
        let certificates_expire = path.expires(&self.key);
        Ok(SnpClaims {
            report_version: report.version.number(),
            product: self.product,
            cpuid: report.cpuid,
            measurement: report.measurement,
            host_data: report.host_data,
            report_data: report.report_data,
            vmpl: report.vmpl,
            policy: report.policy,
            platform_info: report.platform_info,
            key_info: report.key_info,
            guest_svn: report.guest_svn,
            family_id: report.family_id,
            image_id: report.image_id,
            id_key_digest: report.id_key_digest,
            author_key_digest: report.author_key_digest,
            report_id: report.report_id,
            report_id_ma: report.report_id_ma,
            current_tcb: self.tcb.current,
            reported_tcb: self.tcb.reported,
            committed_tcb: self.tcb.committed,
            launch_tcb: self.tcb.launch,
            current_version: report.current_version,
            committed_version: report.committed_version,
            launch_mitigations: report.launch_mitigations,
            current_mitigations: report.current_mitigations,
            chip_id: report.chip_id,
            csp_id: self.key.csp_id.clone(),
            revocation,
            endorsements_expire: list_expires
                .map_or(certificates_expire, |list| list.min(certificates_expire)),
            root: path.anchor.used.clone(),
        })
    }
}

/// Climbs from the bottom to the claims; the first rung that fails ends it. `expected` is what the
/// caller wants the guest to have signed: a challenge, or on Azure the digest of the vTPM's data.
pub(super) fn verify(
    evidence: &SnpEvidence,
    expected: &ReportData,
    grounds: Grounds<'_>,
) -> Result<SnpClaims, VerifyError> {
    let climb = Climb::prepare(evidence, grounds)?;
    for (_, check) in &RUNGS {
        check(&climb)?;
    }
    let claims = climb.claims()?;
    // S18, last: only what hardware signed is worth comparing.
    //= attestation/SPEC.md#8
    //# A Verifier MUST compare all 64 bytes of an SNP report's report data in constant time.
    if !bool::from(claims.report_data.0.ct_eq(&expected.0)) {
        return Err(SnpError::ReportData {
            expected: Box::new(*expected),
            got: Box::new(claims.report_data),
        }
        .into());
    }
    climb.signatures.keep();
    Ok(claims)
}
