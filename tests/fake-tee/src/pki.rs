//! The simulated vendor: root, PCK CA, PCK certificate, TCB signer and both CRLs.
//!
//! Role: Endorser (RFC 9334 §4.1). In: a seed and the time of birth. Out: certificates with the
//! names, extensions and shape that Intel's have, under a root that nobody trusts unless told to.

use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::fault::Fault;
use crate::keys::{SigningKey, sha256};
use crate::sgx_extension::{Platform, SGX_EXTENSION};

/// One day in seconds.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// Certificates are valid from a day before birth, so that a machine whose clock is late copes.
const NOT_BEFORE_MARGIN: u64 = DAY;
const CA_LIFETIME: u64 = 30 * 365 * DAY;
const LEAF_LIFETIME: u64 = 7 * 365 * DAY;

/// A certificate together with its key, in a PKI of our own.
pub(crate) struct Identity {
    pub(crate) key: SigningKey,
    params: CertificateParams,
    certificate: Certificate,
}

impl Identity {
    /// PEM, one block.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// DER.
    pub(crate) fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// The serial number, for a CRL.
    pub(crate) fn serial(&self) -> SerialNumber {
        self.params.serial_number.clone().expect("every certificate here is given its serial")
    }

    /// A CRL of this CA, DER.
    pub(crate) fn revocation_list(
        &self,
        window: Window,
        scope: Scope,
        revoked: &[SerialNumber],
    ) -> Vec<u8> {
        let epoch = date_time_ymd(1970, 1, 1);
        let this_update = epoch + Duration::from_secs(window.issued);
        CertificateRevocationListParams {
            this_update,
            next_update: epoch + Duration::from_secs(window.expires),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: match scope {
                Scope::Everything => None,
                Scope::UserCertificates => Some(CrlIssuingDistributionPoint {
                    distribution_point: CrlDistributionPoint {
                        uris: vec!["http://crl.invalid".into()],
                    },
                    scope: Some(CrlScope::UserCertsOnly),
                }),
            },
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: serial.clone(),
                    revocation_time: this_update,
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&Issuer::from_params(&self.params, &self.key))
        .expect("the CRL's own parameters are well-formed")
        .der()
        .to_vec()
    }
}

/// Which of its issuer's certificates a CRL covers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    Everything,
    UserCertificates,
}

/// From when to when something is valid, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) issued: u64,
    pub(crate) expires: u64,
}

/// The whole PKI of one simulated vendor, with one machine.
pub(crate) struct Pki {
    pub(crate) root: Identity,
    pub(crate) pck_ca: Identity,
    pub(crate) pck: Identity,
    pub(crate) tcb_signer: Identity,
    pub(crate) platform: Platform,
    seed: [u8; 32],
    born: u64,
}

/// An extension that no vendor defines.
const UNKNOWN: &[u64] = &[1, 3, 6, 1, 4, 1, 99_999, 1];
const PCK_NAME: &str = "SGX PCK Certificate";

impl Pki {
    /// The PKI that `seed` and the moment of birth define, the same every time.
    pub(crate) fn derive(seed: &[u8; 32], born: u64, platform: Platform) -> Self {
        let start = born.saturating_sub(NOT_BEFORE_MARGIN);
        let ca_window = Window { issued: start, expires: born + CA_LIFETIME };
        let leaf_window = Window { issued: start, expires: born + LEAF_LIFETIME };
        let extension = CustomExtension::from_oid_content(SGX_EXTENSION, platform.to_der());

        let root = identity(seed, "SGX Root CA", Kind::Ca, ca_window, &[], None);
        let pck_ca = identity(seed, "SGX PCK Platform CA", Kind::Ca, ca_window, &[], Some(&root));
        let pck = identity(seed, PCK_NAME, Kind::Leaf, leaf_window, &[extension], Some(&pck_ca));
        let tcb_signer =
            identity(seed, "SGX TCB Signing", Kind::Leaf, leaf_window, &[], Some(&root));
        Self { root, pck_ca, pck, tcb_signer, platform, seed: *seed, born }
    }

    /// PCK leaf, PCK CA, root: what the Quoting Enclave appends to a quote.
    pub(crate) fn pck_chain(&self, faults: &[Fault]) -> String {
        let odd = faults.iter().find_map(|fault| self.odd_pck(*fault));
        let leaf = odd.as_ref().unwrap_or(&self.pck);
        [leaf.pem(), self.pck_ca.pem(), self.root.pem()].concat()
    }

    /// A PCK certificate of the same key and machine with a fault of its own.
    fn odd_pck(&self, fault: Fault) -> Option<Identity> {
        let born = self.born;
        let platform = CustomExtension::from_oid_content(SGX_EXTENSION, self.platform.to_der());
        let usual = Window {
            issued: born.saturating_sub(NOT_BEFORE_MARGIN),
            expires: born + LEAF_LIFETIME,
        };
        let (kind, window, extensions) = match fault {
            Fault::ExpiredPck => {
                let issued = born.saturating_sub(LEAF_LIFETIME);
                (Kind::Leaf, Window { issued, expires: born.saturating_sub(DAY) }, vec![platform])
            }
            Fault::FuturePck => {
                (Kind::Leaf, Window { issued: born + DAY, ..usual }, vec![platform])
            }
            Fault::PckWithoutPlatform => (Kind::Leaf, usual, vec![]),
            Fault::PckIsCa => (Kind::Ca, usual, vec![platform]),
            Fault::CriticalPckExtension => {
                let mut unknown = CustomExtension::from_oid_content(UNKNOWN, vec![0x05, 0x00]);
                unknown.set_criticality(true);
                (Kind::Leaf, usual, vec![platform, unknown])
            }
            _ => return None,
        };
        Some(identity(&self.seed, PCK_NAME, kind, window, &extensions, Some(&self.pck_ca)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ca,
    Leaf,
}

fn identity(
    seed: &[u8; 32],
    name: &str,
    kind: Kind,
    window: Window,
    extensions: &[CustomExtension],
    issuer: Option<&Identity>,
) -> Identity {
    let key = SigningKey::derive(seed, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Simulated {name}"));
    params.distinguished_name.push(DnType::OrganizationName, "Adyton fake TEE, not a vendor");
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(window.issued);
    params.not_after = epoch + Duration::from_secs(window.expires);
    params.serial_number = Some(serial(&key, window));
    params.use_authority_key_identifier_extension = issuer.is_some();
    params.custom_extensions = extensions.to_vec();
    match kind {
        Kind::Ca => {
            let below = if issuer.is_some() { 0 } else { 1 };
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        Kind::Leaf => {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages =
                vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        }
    }
    let certificate = match issuer {
        None => params.self_signed(&&key),
        Some(issuer) => params.signed_by(&&key, &Issuer::from_params(&issuer.params, &issuer.key)),
    }
    .expect("the certificate's own parameters are well-formed");
    Identity { key, params, certificate }
}

/// 20 positive bytes that differ per key and per window.
fn serial(key: &SigningKey, window: Window) -> SerialNumber {
    let mut input = key.raw_public_key().to_vec();
    input.extend_from_slice(&window.expires.to_be_bytes());
    let mut serial = sha256(&input)[..20].to_vec();
    serial[0] = serial[0] & 0x7f | 0x40;
    SerialNumber::from(serial)
}
