//! The platform's certificate: who made it, which platform it names, whether it was revoked.
//!
//! Rungs T2 and T3. Intel "PCK Certificate and CRL Profile Specification", §1.3 (certificate) and
//! §2 (revocation lists).

use crate::claims::{AnchorUsed, Fmspc};
use crate::endorsement::intel::{PCK_LIST, ROOT_LIST};
use crate::evidence::TdxEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::anchors::{Anchor, TrustAnchors};
use crate::verifier::chain::{Chain, Link, RevocationError, RevocationList, UnverifiedList};
use crate::verifier::error::VerifyError;
use crate::verifier::profile::{self, Algorithm, Role};
use crate::verifier::signature_cache::Signatures;
use crate::verifier::tdx::Climb;
use crate::verifier::tdx::pck_extension::PckExtension;

/// The PCK certificate of a quote, parsed, with the anchor that its chain will be held against.
pub(super) struct PckCertificate {
    pub(super) chain: Chain,
    pub(super) anchor: Anchor,
    pub(super) platform: PckExtension,
}

impl PckCertificate {
    /// Reads the chain and Intel's extension, and picks the anchor. Verifies nothing.
    pub(super) fn parse(
        evidence: &TdxEvidence,
        anchors: &TrustAnchors,
    ) -> Result<Self, VerifyError> {
        let parsed = Chain::parse_pem_above(
            &evidence.quote().signature.pck_chain_pem,
            &anchors.intel_links(),
        );
        let chain = parsed
            .map_err(|source| VerifyError::PckChain { anchor: AnchorUsed::Vendor, source })?;
        let anchor = anchors.for_intel_chain(&chain);
        let platform = PckExtension::of(&chain.leaf.certificate)
            .map_err(|member| VerifyError::PckExtension { member })?;
        Ok(Self { chain, anchor, platform })
    }
}

/// T2: from the PCK certificate to the anchor, by certificates that may stand there, and nothing else
/// in the chain.
pub(super) fn verify_path(
    pck: &PckCertificate,
    now: UnixTime,
    signatures: &Signatures<'_>,
) -> Result<(), VerifyError> {
    path(pck, now, signatures).map(drop)
}

/// T2, and the certificates between the PCK certificate and the anchor, nearest to the leaf first.
fn path<'a>(
    pck: &'a PckCertificate,
    now: UnixTime,
    signatures: &Signatures<'_>,
) -> Result<Vec<&'a Link>, VerifyError> {
    let anchor = &pck.anchor.link;
    let refused = |source| VerifyError::PckChain { anchor: pck.anchor.used.clone(), source };
    let intermediates = pck.chain.verify_with(anchor, now, signatures).map_err(refused)?;
    let fits = |link, role| profile::certificate(link, role, Algorithm::EcdsaSha256);
    fits(&pck.chain.leaf, Role::Leaf).map_err(refused)?;
    for (below, intermediate) in intermediates.iter().enumerate() {
        fits(intermediate, Role::Ca { below }).map_err(refused)?;
    }
    fits(anchor, Role::Ca { below: intermediates.len() }).map_err(refused)?;
    pck.chain.refuse_foreign(anchor).map_err(refused)?;
    Ok(intermediates)
}

/// What a genuine PCK certificate says about which Endorsements its platform needs.
pub(crate) struct Platform {
    /// The platform type.
    pub(crate) fmspc: Fmspc,
    /// Name of the CA that certified the platform.
    pub(crate) issuer: String,
}

/// The platform of a quote, once T2 holds.
pub(crate) fn platform(
    evidence: &TdxEvidence,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<Platform, VerifyError> {
    let pck = PckCertificate::parse(evidence, anchors)?;
    path(&pck, now, &Signatures::default())?;
    Ok(Platform { fmspc: pck.platform.fmspc, issuer: pck.chain.leaf.issuer().to_string() })
}

/// T3: neither the PCK certificate, nor its CA, nor a signer of documents is revoked, and the lists
/// that say so are signed and current.
//
//= attestation/SPEC.md#1
//# A Verifier MUST compare validity, revocation and roles on every verification, whatever it remembers.
pub(super) fn verify_revocation(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let pck = &climb.pck;
    let root = &pck.anchor.link;
    let refused = |subject| move |source| VerifyError::Revocation { subject, source };

    let root_list = current(climb, ROOT_LIST, climb.endorsements.root_list(), root)
        .map_err(refused("the PCK CA and the TCB signer"))?;
    root_list.refuse_listed(root).map_err(refused("the root CA"))?;

    let intermediates = pck
        .chain
        .verify_with(root, climb.now, &climb.signatures)
        .map_err(|source| VerifyError::PckChain { anchor: pck.anchor.used.clone(), source })?;
    // The list of the PCK certificate's own issuer; an issuer above it is on the root's list.
    let issuer = intermediates.first().copied().unwrap_or(root);
    let pck_list = current(climb, PCK_LIST, climb.endorsements.pck_list(), issuer)
        .map_err(refused("the PCK certificate"))?;
    pck_list.refuse_listed(&pck.chain.leaf).map_err(refused("the PCK certificate"))?;
    for intermediate in intermediates {
        root_list.refuse_listed(intermediate).map_err(refused("the PCK CA"))?;
    }
    for (signer, subject) in [
        (&climb.endorsements.tcb_info().signer, "the TCB info's signer"),
        (&climb.endorsements.qe_identity().signer, "the QE identity's signer"),
    ] {
        // A chain that can't be read is refused by T4 or T5, with its name.
        if let Ok(chain) = signer {
            root_list.refuse_listed(&chain.leaf).map_err(refused(subject))?;
        }
    }
    Ok(())
}

fn current<'a>(
    climb: &Climb<'_>,
    name: &'static str,
    list: &'a Result<UnverifiedList, RevocationError>,
    issuer: &Link,
) -> Result<RevocationList<'a>, RevocationError> {
    let list = list.as_ref().map_err(Clone::clone)?;
    let verified = list.verify(issuer, climb.now, &climb.signatures)?;
    profile::list(name, list, issuer, Algorithm::EcdsaSha256)?;
    Ok(verified)
}
