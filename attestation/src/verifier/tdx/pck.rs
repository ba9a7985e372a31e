//! The platform's certificate: who made it, which platform it names, whether it was revoked.
//!
//! Rungs T2 and T3. Intel "PCK Certificate and CRL Profile Specification", §1.3 (certificate) and
//! §2 (revocation lists).

use dcap_qvl::configs::RingConfig;
use dcap_qvl::intel::parse_pck_extension_with;

use crate::claims::{Fmspc, Ppid};
use crate::evidence::TdxEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::anchors::{Anchor, TrustAnchors};
use crate::verifier::chain::{Chain, Link, RevocationList};
use crate::verifier::error::VerifyError;
use crate::verifier::tdx::Climb;

/// The PCK certificate of a quote, parsed, with the anchor that its chain will be held against.
pub(super) struct PckCertificate {
    pub(super) chain: Chain,
    pub(super) anchor: Anchor,
    pub(super) anchor_link: Link,
    pub(super) fmspc: Fmspc,
    pub(super) ppid: Ppid,
    pub(super) pce_id: Vec<u8>,
    pub(super) cpu_svn: [u8; 16],
    pub(super) pce_svn: u16,
}

impl PckCertificate {
    /// Reads the chain and Intel's extension, and picks the anchor. Verifies nothing.
    pub(super) fn parse(
        evidence: &TdxEvidence,
        anchors: &TrustAnchors,
    ) -> Result<Self, VerifyError> {
        let parsed = Chain::parse_pem(&evidence.quote().signature.pck_chain_pem);
        let chain = parsed.map_err(|source| VerifyError::PckChain {
            anchor: crate::claims::AnchorUsed::Vendor,
            source,
        })?;
        let anchor = anchors.for_intel_chain(&chain);
        let anchor_link = Link::parse(&anchor.der)
            .map_err(|source| VerifyError::PckChain { anchor: anchor.used.clone(), source })?;
        let extension = parse_pck_extension_with::<RingConfig>(&chain.leaf.der)
            .map_err(|_| VerifyError::PckExtension { member: "SGX extension" })?;
        let ppid: [u8; 16] =
            extension.ppid.try_into().map_err(|_| VerifyError::PckExtension { member: "PPID" })?;
        Ok(Self {
            chain,
            anchor,
            anchor_link,
            fmspc: Fmspc(extension.fmspc),
            ppid: Ppid(ppid),
            pce_id: extension.pce_id,
            cpu_svn: extension.cpu_svn,
            pce_svn: extension.pce_svn,
        })
    }

    /// T2, the half that the library leaves out: nothing in the chain but the path and the anchor.
    pub(super) fn refuse_foreign(&self) -> Result<(), VerifyError> {
        self.chain
            .refuse_foreign(&self.anchor_link)
            .map_err(|source| VerifyError::PckChain { anchor: self.anchor.used.clone(), source })
    }

    /// T2: from the PCK certificate to the anchor.
    pub(super) fn verify_chain(&self, now: UnixTime) -> Result<Vec<&Link>, VerifyError> {
        self.chain
            .verify(&self.anchor_link, now)
            .map_err(|source| VerifyError::PckChain { anchor: self.anchor.used.clone(), source })
    }
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
    pck.verify_chain(now)?;
    pck.refuse_foreign()?;
    Ok(Platform { fmspc: pck.fmspc, issuer: pck.chain.leaf.issuer().to_string() })
}

/// T3: neither the PCK certificate, nor its CA, nor a signer of documents is revoked, and the lists
/// that say so are signed and current.
pub(super) fn verify_revocation(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let pck = &climb.pck;
    let collateral = climb.endorsements.collateral();
    let refused = |subject| move |source| VerifyError::Revocation { subject, source };

    let root_list = RevocationList::verify(
        "root CA's revocation list",
        &collateral.root_ca_crl,
        &pck.anchor_link,
        climb.now,
    )
    .map_err(refused("the PCK CA and the TCB signer"))?;
    root_list.refuse_listed(&pck.anchor_link).map_err(refused("the root CA"))?;

    let intermediates = pck.verify_chain(climb.now)?;
    // The list of the PCK certificate's own issuer; an issuer above it is on the root's list.
    let issuer = intermediates.first().copied().unwrap_or(&pck.anchor_link);
    let pck_list =
        RevocationList::verify("PCK CA's revocation list", &collateral.pck_crl, issuer, climb.now)
            .map_err(refused("the PCK certificate"))?;
    pck_list.refuse_listed(&pck.chain.leaf).map_err(refused("the PCK certificate"))?;
    for intermediate in intermediates {
        root_list.refuse_listed(intermediate).map_err(refused("the PCK CA"))?;
    }
    for (pem, subject) in [
        (&collateral.tcb_info_issuer_chain, "the TCB info's signer"),
        (&collateral.qe_identity_issuer_chain, "the QE identity's signer"),
    ] {
        // A chain that can't be read is refused by T4 or T5, with its name.
        if let Ok(chain) = Chain::parse_pem(pem.as_bytes()) {
            root_list.refuse_listed(&chain.leaf).map_err(refused(subject))?;
        }
    }
    Ok(())
}
