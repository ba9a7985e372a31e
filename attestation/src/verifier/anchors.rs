//! Trust anchors: where a chain of signatures may end.
//!
//! The vendor's root is built in. More roots can be added under a name that says what it means:
//! whoever holds the key of an extra root can make Evidence with any measurement. A root that comes
//! with Evidence is never an anchor; at most it helps to pick among those that we already have.

use std::sync::{Arc, LazyLock};

use der::{Decode as _, Encode as _};
use x509_cert::Certificate;
use x509_cert::name::Name;

use crate::claims::{AnchorUsed, SnpProduct};
use crate::limits::{MAX_ANCHOR_LEN, MAX_EXTRA_ANCHORS};
use crate::verifier::chain::{Chain, Link};

/// Intel SGX Root CA, DER, as published at
/// <https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer>.
/// SHA-256 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3; a test compares it.
const INTEL_SGX_ROOT_CA: &[u8] = include_bytes!("intel_sgx_root_ca.der");

/// NVIDIA Device Identity CA, DER, as the PyPI package `nv-local-gpu-verifier` 2.7.3 carries it.
/// A test compares its SHA-256.
const NVIDIA_DEVICE_IDENTITY_CA: &[u8] = include_bytes!("nvidia_device_identity_ca.der");

/// The vendors' roots, parsed once: they are part of the program.
static INTEL: LazyLock<Anchor> = LazyLock::new(|| Anchor::vendor(INTEL_SGX_ROOT_CA));
/// AMD Root Keys, DER, as the crate `sev` 8.0.0 carries them; a test compares their SHA-256.
static AMD: LazyLock<[(SnpProduct, Anchor); 3]> = LazyLock::new(|| {
    [
        (SnpProduct::Milan, Anchor::vendor(include_bytes!("ark_milan.der"))),
        (SnpProduct::Genoa, Anchor::vendor(include_bytes!("ark_genoa.der"))),
        (SnpProduct::Turin, Anchor::vendor(include_bytes!("ark_turin.der"))),
    ]
});
static NVIDIA: LazyLock<Anchor> = LazyLock::new(|| Anchor::vendor(NVIDIA_DEVICE_IDENTITY_CA));

/// The roots that a Verifier believes.
#[derive(Clone, Debug)]
pub struct TrustAnchors {
    insecure_extra: Vec<Anchor>,
}

/// One root: its certificate and the name by which chains refer to it.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    pub(crate) link: Arc<Link>,
    subject: Vec<u8>,
    pub(crate) used: AnchorUsed,
}

/// Why a file is not a trust anchor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// More bytes or roots than [`limits`](crate::limits) allow.
    #[error("{what} is {got}; at most {limit} is read")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size in bytes, or the count.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// Neither a DER certificate nor one PEM certificate.
    #[error("not an X.509 certificate in DER or PEM")]
    Certificate(#[source] Box<der::Error>),
}

impl Anchor {
    fn vendor(der: &[u8]) -> Self {
        let link = Link::parse(der).expect("the built-in roots are certificates");
        Self { link: Arc::new(link), subject: Vec::new(), used: AnchorUsed::Vendor }
    }
}

impl TrustAnchors {
    /// The hardware vendors' roots alone. What production uses.
    #[must_use]
    pub fn vendor() -> Self {
        Self { insecure_extra: Vec::new() }
    }

    /// Adds a root that no vendor stands behind, in DER or PEM. Its holder can forge any Evidence.
    ///
    /// # Errors
    /// [`AnchorError::TooLarge`], [`Certificate`](AnchorError::Certificate).
    pub fn with_insecure_extra_root(mut self, der_or_pem: &[u8]) -> Result<Self, AnchorError> {
        limit("certificate in bytes", der_or_pem.len(), MAX_ANCHOR_LEN)?;
        limit(
            "number of extra roots",
            self.insecure_extra.len().saturating_add(1),
            MAX_EXTRA_ANCHORS,
        )?;
        let certificate = parse(der_or_pem).map_err(|e| AnchorError::Certificate(Box::new(e)))?;
        let der = certificate.to_der().map_err(|e| AnchorError::Certificate(Box::new(e)))?;
        let subject = subject(&certificate).map_err(|e| AnchorError::Certificate(Box::new(e)))?;
        let sha256 = hex::encode(ring::digest::digest(&ring::digest::SHA256, &der));
        let link = Link::parse(&der)
            .map_err(|_| AnchorError::Certificate(Box::new(der::ErrorKind::Failed.into())))?;
        self.insecure_extra.push(Anchor {
            link: Arc::new(link),
            subject,
            used: AnchorUsed::InsecureExtra { sha256 },
        });
        Ok(self)
    }

    /// SHA-256 of each extra root, hex. Not empty means: say so in logs, metrics and reports.
    #[must_use]
    pub fn insecure_extra_roots(&self) -> Vec<String> {
        self.insecure_extra
            .iter()
            .filter_map(|anchor| match &anchor.used {
                AnchorUsed::InsecureExtra { sha256 } => Some(sha256.clone()),
                AnchorUsed::Vendor => None,
            })
            .collect()
    }

    /// Every root that a chain of Intel's may end in, parsed.
    pub(crate) fn intel_links(&self) -> Vec<Arc<Link>> {
        let extra = self.insecure_extra.iter().map(|anchor| Arc::clone(&anchor.link));
        [Arc::clone(&INTEL.link)].into_iter().chain(extra).collect()
    }

    /// The anchor to verify a chain against: Intel's, unless the chain carries an extra root byte
    /// for byte or its last certificate names one as issuer. Picking proves nothing, the whole chain
    /// is verified against the anchor afterwards.
    pub(crate) fn for_intel_chain(&self, chain: &Chain) -> Anchor {
        self.pick(chain, &INTEL)
    }

    /// As [`for_intel_chain`](Self::for_intel_chain), for NVIDIA's device root.
    pub(crate) fn for_nvidia_chain(&self, chain: &Chain) -> Anchor {
        self.pick(chain, &NVIDIA)
    }

    /// AMD's root of a product line.
    pub(crate) fn amd(product: SnpProduct) -> &'static Anchor {
        let [milan, genoa, turin] = &*AMD;
        match product {
            SnpProduct::Milan => &milan.1,
            SnpProduct::Genoa => &genoa.1,
            SnpProduct::Turin => &turin.1,
        }
    }

    /// The vendor's root and every extra one, as far as they have this name.
    pub(crate) fn named<'a>(
        &'a self,
        vendor: &'a Anchor,
        name: &'a Name,
    ) -> impl Iterator<Item = &'a Anchor> {
        std::iter::once(vendor)
            .chain(&self.insecure_extra)
            .filter(move |anchor| anchor.link.subject() == name)
    }

    fn pick(&self, chain: &Chain, vendor: &Anchor) -> Anchor {
        if chain.rest.iter().any(|link| link.der == vendor.link.der) {
            return vendor.clone();
        }
        if let Some(anchor) = self
            .insecure_extra
            .iter()
            .find(|a| chain.rest.iter().any(|link| link.der == a.link.der))
        {
            return anchor.clone();
        }
        let last = chain.rest.last().map_or(&chain.leaf, |link| link);
        let issuer = last.issuer().to_der().ok();
        self.insecure_extra
            .iter()
            .find(|anchor| issuer.as_ref() == Some(&anchor.subject))
            .cloned()
            .unwrap_or_else(|| vendor.clone())
    }
}

fn parse(der_or_pem: &[u8]) -> Result<Certificate, der::Error> {
    use der::DecodePem as _;
    if der_or_pem.trim_ascii_start().starts_with(b"-----BEGIN") {
        Certificate::from_pem(der_or_pem.trim_ascii())
    } else {
        Certificate::from_der(der_or_pem)
    }
}

fn subject(certificate: &Certificate) -> Result<Vec<u8>, der::Error> {
    certificate.tbs_certificate().subject().to_der()
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), AnchorError> {
    if got > limit {
        return Err(AnchorError::TooLarge { what, got, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_roots_of_amd_are_those_of_another_library() {
        for (product, sha256) in [
            (SnpProduct::Milan, "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
            (SnpProduct::Genoa, "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
            (SnpProduct::Turin, "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
        ] {
            assert_eq!(hex::encode(TrustAnchors::amd(product).link.digest()), sha256);
        }
    }

    #[test]
    fn the_built_in_device_root_is_nvidias() {
        let digest = ring::digest::digest(&ring::digest::SHA256, NVIDIA_DEVICE_IDENTITY_CA);
        assert_eq!(
            hex::encode(digest),
            "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"
        );
    }

    #[test]
    fn the_built_in_root_is_intels() {
        let digest = ring::digest::digest(&ring::digest::SHA256, INTEL_SGX_ROOT_CA);
        assert_eq!(
            hex::encode(digest),
            "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
        );
    }
}
