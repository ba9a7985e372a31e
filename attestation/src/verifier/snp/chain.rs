//! Rungs S3, S4 and S5: the way from the endorsement key to the pinned root, its dates, its list.
//!
//! AMD's PKI is three certificates high: ARK, one for each product and built in; ASK or ASVK below it;
//! VCEK or VLEK at the end. The ASKs are built in, too, so that the way of a VCEK costs one signature.

use std::sync::LazyLock;

use crate::claims::{SigningKey, SnpProduct, SnpRevocation};
use crate::endorsement::EndorsementBundle;
use crate::endorsement::fetch::AmdSigner;
use crate::endorsement::vek::common_name;
use crate::evidence::SnpEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::anchors::Anchor;
use crate::verifier::chain::{ChainError, Link, RevocationError, UnverifiedList};
use crate::verifier::profile::{self, Algorithm, Role};
use crate::verifier::signature_cache::Signatures;
use crate::verifier::snp::endorsement_key::{EndorsementKey, is_amd_signature};
use crate::verifier::snp::{Climb, SnpError};
use crate::verifier::{AmdRevocation, TrustAnchors};

/// AMD SEV Keys of each product, DER, as the crate `sev` 8.0.0 carries them; a test compares. They are
/// signed by the built-in root of their product, which a test verifies once for all.
static ASK: LazyLock<[(SnpProduct, Link); 3]> = LazyLock::new(|| {
    let parse = |der| Link::parse(der).expect("the built-in intermediates are certificates");
    [
        (SnpProduct::Milan, parse(include_bytes!("../ask_milan.der"))),
        (SnpProduct::Genoa, parse(include_bytes!("../ask_genoa.der"))),
        (SnpProduct::Turin, parse(include_bytes!("../ask_turin.der"))),
    ]
});

/// The list, for people.
pub(in crate::verifier) const LIST: &str = "AMD revocation list";

/// AMD's own intermediates for VCEKs of a product.
pub(in crate::verifier) fn built_in_intermediates(
    product: SnpProduct,
) -> impl Iterator<Item = &'static Link> {
    ASK.iter().filter(move |(of, _)| *of == product).map(|(_, link)| link)
}

/// The intermediate and the root that the endorsement key leads to.
pub(super) struct Path {
    intermediate: Link,
    pub(super) anchor: Anchor,
}

impl Path {
    /// S3: an intermediate of the issuer's name that signed the key, under a root that signed it.
    pub(super) fn find(
        key: &EndorsementKey,
        product: SnpProduct,
        evidence: &SnpEvidence,
        endorsements: &EndorsementBundle,
        anchors: &TrustAnchors,
        signatures: &Signatures<'_>,
    ) -> Result<Self, SnpError> {
        let built_in = built_in_intermediates(product).cloned();
        let presented = evidence.certificates().iter().map(|(_, der)| der);
        let signer = match key.kind {
            SigningKey::Vcek => AmdSigner::Vcek,
            SigningKey::Vlek => AmdSigner::Vlek,
        };
        let own = endorsements.amd().intermediates(product, signer).map(|own| own.der());
        let others = presented.chain(own).filter_map(|der| Link::parse(der).ok());
        let mut refusal = SnpError::NoIntermediate { kind: key.kind, product };
        for intermediate in built_in.chain(others) {
            // A name brings a certificate to the test; it passes by its signature only.
            if intermediate.subject() != key.link.issuer() {
                continue;
            }
            match Self::through(&intermediate, key, product, anchors, signatures) {
                Ok(anchor) => return Ok(Self { intermediate, anchor }),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn through(
        intermediate: &Link,
        key: &EndorsementKey,
        product: SnpProduct,
        anchors: &TrustAnchors,
        signatures: &Signatures<'_>,
    ) -> Result<Anchor, SnpError> {
        let refused = |source| SnpError::Chain { product, source };
        amd_signature(&key.link)?;
        key.link.signed_by(intermediate, signatures).map_err(refused)?;
        amd_signature(intermediate)?;
        fits(intermediate, Role::Ca { below: 0 }).map_err(refused)?;
        fits(&key.link, Role::Leaf).map_err(refused)?;
        let vendor = TrustAnchors::amd(product);
        // Built in beside the root that signed it: both are part of this program.
        if ASK.iter().any(|(of, link)| *of == product && link.digest() == intermediate.digest()) {
            return Ok(vendor.clone());
        }
        //= attestation/SPEC.md#8
        //# A Verifier MUST NOT use a root that came with Evidence or Endorsements.
        let mut refusal = SnpError::Chain {
            product,
            source: ChainError::UnknownIssuer {
                subject: intermediate.name(),
                issuer: common_name(intermediate.issuer()).unwrap_or_default(),
            },
        };
        for anchor in anchors.named(vendor, intermediate.issuer()) {
            let vouched = intermediate
                .signed_by(&anchor.link, signatures)
                .and_then(|()| fits(&anchor.link, Role::Ca { below: 1 }));
            match vouched {
                Ok(()) => return Ok(anchor.clone()),
                Err(source) => refusal = refused(source),
            }
        }
        Err(refusal)
    }

    /// S4: every certificate on the way counts at `now`.
    pub(super) fn within_validity(
        &self,
        key: &EndorsementKey,
        now: UnixTime,
    ) -> Result<(), SnpError> {
        for link in [&key.link, &self.intermediate, &*self.anchor.link] {
            link.within_validity(now).map_err(|source| SnpError::Validity { source })?;
        }
        Ok(())
    }

    /// The earliest end of validity on the way.
    pub(super) fn expires(&self, key: &EndorsementKey) -> UnixTime {
        let above = self.intermediate.not_after().min(self.anchor.link.not_after());
        key.link.not_after().min(above)
    }
}

/// S5: the root's current list does not have the intermediate. Gives back when the list ends.
///
/// Lists come from the Verifier's bundle only: a sender would bring an old one.
pub(super) fn revocation(climb: &Climb<'_>) -> Result<(SnpRevocation, Option<UnixTime>), SnpError> {
    let path = climb.path()?;
    let refused = |source| SnpError::Revocation { product: climb.product, source };
    let mut refusal = SnpError::NoRevocationList { product: climb.product };
    let mut current: Option<UnixTime> = None;
    for list in climb.endorsements.amd().lists_of(climb.product) {
        let list = UnverifiedList::parse(LIST, list.der()).map_err(refused)?;
        if !is_amd_signature(&list.parsed().signature_algorithm) {
            refusal = refused(RevocationError::Signature { list: LIST });
            continue;
        }
        match list.verify(&path.anchor.link, climb.now, &climb.signatures) {
            Ok(verified) => {
                verified.refuse_listed(&path.intermediate).map_err(refused)?;
                match profile::list(LIST, &list, &path.anchor.link, Algorithm::RsaPssSha384) {
                    Ok(()) => current = current.max(Some(list.next_update())),
                    Err(source) => refusal = refused(source),
                }
            }
            // Its issuer made it, and a waiver is for what isn't there: what is there counts.
            Err(
                source @ (RevocationError::Expired { .. } | RevocationError::NotYetValid { .. }),
            ) => {
                list.refuse_listed(&path.intermediate).map_err(refused)?;
                refusal = refused(source);
            }
            Err(source) => refusal = refused(source),
        }
    }
    match (current, climb.options.amd_revocation) {
        (Some(until), _) => Ok((SnpRevocation::Checked, Some(until))),
        (None, AmdRevocation::Require) => Err(refusal),
        (None, AmdRevocation::InsecureWaive) => Ok((SnpRevocation::InsecureWaived, None)),
    }
}

fn amd_signature(link: &Link) -> Result<(), SnpError> {
    let outer = link.certificate.signature_algorithm();
    let inner = link.certificate.tbs_certificate().signature();
    if outer == inner && is_amd_signature(outer) {
        return Ok(());
    }
    Err(SnpError::SignatureAlgorithm { subject: link.name() })
}

fn fits(link: &Link, role: Role) -> Result<(), ChainError> {
    profile::certificate(link, role, Algorithm::RsaPssSha384)
}

impl SigningKey {
    /// What AMD calls the intermediate that certifies keys of this kind.
    pub(super) fn intermediate(self) -> &'static str {
        match self {
            Self::Vcek => "ASK",
            Self::Vlek => "ASVK",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_intermediates_are_signed_by_the_built_in_roots() {
        for (product, link) in &*ASK {
            let root = TrustAnchors::amd(*product);
            link.signed_by(&root.link, &Signatures::default()).expect("signed by its root");
            root.link.signed_by(&root.link, &Signatures::default()).expect("signed by itself");
            assert_eq!(common_name(link.subject()), Some(format!("SEV-{product}")));
            assert_eq!(common_name(root.link.subject()), Some(format!("ARK-{product}")));
            amd_signature(link).expect("AMD's algorithm");
            fits(link, Role::Ca { below: 0 }).expect("a CA above keys");
            fits(&root.link, Role::Ca { below: 1 }).expect("a CA above it");
        }
    }
}
