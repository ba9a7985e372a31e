//! Whether a vendor's statement is one, looked at by itself, before there is Evidence to go with it.
//!
//! In: one statement as a service answered it, the roots, the time. Out: nothing, or what is wrong, for
//! people. For whoever keeps answers. The ladders look at all of this again, at everything else about it, and
//! alone decide.
//! Against: a service, or whoever can write to its cache, that has once sent something else and so keeps what
//! the vendor signed out of a Verifier's own cache for as long as that counts.

use std::fmt::Display;

use crate::claims::SnpProduct;
use crate::endorsement::intel::{PCK_LIST, ROOT_LIST};
use crate::unix_time::UnixTime;
use crate::verifier::TrustAnchors;
use crate::verifier::chain::{Chain, Link, RevocationError, UnverifiedList};
use crate::verifier::signature_cache::{Signatures, sha256};
use crate::verifier::snp;

fn said(error: impl Display) -> String {
    error.to_string()
}

/// A signed JSON document: its signer was issued by the anchor itself, and signed this text.
pub(crate) fn intel_document(
    text: &str,
    signature: &str,
    chain: &[u8],
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<(), String> {
    let chain = Chain::parse_pem(chain).map_err(said)?;
    let anchor = anchors.for_intel_chain(&chain);
    chain.verify_direct(&anchor.link, now, &Signatures::default()).map_err(said)?;
    let signature = hex::decode(signature).map_err(|_| "its signature is not hex".to_owned())?;
    match chain.leaf.has_signed(&sha256(text.as_bytes()), &signature) {
        true => Ok(()),
        false => Err("its signature is invalid".to_owned()),
    }
}

/// The revocation list of a CA whose chain leads to an anchor.
pub(crate) fn intel_list_of_ca(
    list: &[u8],
    chain: &[u8],
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<(), String> {
    let chain = Chain::parse_pem(chain).map_err(said)?;
    let anchor = anchors.for_intel_chain(&chain);
    chain.verify(&anchor.link, now).map_err(said)?;
    signed_list(PCK_LIST, list, &chain.leaf, now).map_err(said)
}

/// The revocation list of an anchor.
pub(crate) fn intel_list_of_root(
    list: &[u8],
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<(), String> {
    let mut refusal = None;
    for root in anchors.intel_links() {
        match signed_list(ROOT_LIST, list, &root, now) {
            Ok(()) => return Ok(()),
            // The first is Intel's: what it says is what people want to read.
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    refusal.map_or(Ok(()), |error| Err(said(error)))
}

/// Intermediate and root of a product. A root that came with it vouches for nothing.
pub(crate) fn amd_chain(
    product: SnpProduct,
    certificates: &[Vec<u8>],
    anchors: &TrustAnchors,
) -> Result<(), String> {
    let intermediate = certificates.first().ok_or("it is empty")?;
    let intermediate = Link::parse(intermediate).map_err(said)?;
    let signatures = Signatures::default();
    let vendor = TrustAnchors::amd(product);
    let mut named = anchors.named(vendor, intermediate.issuer());
    match named.any(|root| intermediate.signed_by(&root.link, &signatures).is_ok()) {
        true => Ok(()),
        false => Err(format!("no trusted root signed {}", intermediate.name())),
    }
}

/// The revocation list of a product's root.
pub(crate) fn amd_list(
    product: SnpProduct,
    list: &[u8],
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<(), String> {
    let vendor = TrustAnchors::amd(product);
    let mut named = anchors.named(vendor, vendor.link.subject());
    match named.any(|root| signed_list(snp::LIST, list, &root.link, now).is_ok()) {
        true => Ok(()),
        false => Err(format!("no trusted root signed the {}", snp::LIST)),
    }
}

/// The certificate of a processor, by AMD's own intermediate.
pub(crate) fn amd_vcek(
    product: SnpProduct,
    certificate: &[u8],
    anchors: &TrustAnchors,
) -> Result<(), String> {
    let certificate = Link::parse(certificate).map_err(said)?;
    let signatures = Signatures::default();
    let by_amd = snp::built_in_intermediates(product)
        .any(|intermediate| certificate.signed_by(intermediate, &signatures).is_ok());
    match by_amd || !anchors.insecure_extra_roots().is_empty() {
        true => Ok(()),
        false => Err(format!("the ASK of {product} did not sign {}", certificate.name())),
    }
}

/// Issuer and signature of a list. When it counts is somebody else's question.
fn signed_list(
    name: &'static str,
    list: &[u8],
    issuer: &Link,
    now: UnixTime,
) -> Result<(), RevocationError> {
    match UnverifiedList::parse(name, list)?.verify(issuer, now, &Signatures::default()) {
        Ok(_) | Err(RevocationError::NotYetValid { .. } | RevocationError::Expired { .. }) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
