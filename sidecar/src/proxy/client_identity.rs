//! Who is at the other end of a connection.
//!
//! In: a finished TLS handshake. Out: an [`AuthenticatedClient`], which nothing else can make, and
//! the identity headers that the inference server may believe.
//! Identities are written so that they cannot carry a line break, a list separator or anything
//! else with a meaning in a header: every byte outside the unreserved set is percent-encoded.
//! Against: a certificate whose names inject headers or pretend to be two clients.

use std::fmt::Write;

use http::HeaderValue;
use rustls::ServerConnection;
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use adyton_attestation::binding::EXPORTER_LABEL;

/// Header with the client certificate's subject, RFC 4514.
pub const SUBJECT_HEADER: &str = "x-adyton-client-subject";
/// Header with its subject alternative names, `DNS:a,URI:b,IP:c,email:d`.
pub const SAN_HEADER: &str = "x-adyton-client-san";
/// Header with the hexadecimal SHA-256 of its SubjectPublicKeyInfo.
pub const SPKI_HEADER: &str = "x-adyton-client-spki-sha256";

/// A client that proved to hold the key of a certificate of the configured CA, on this
/// connection. It does not prove that the client may do anything.
#[derive(Debug, Clone)]
pub struct AuthenticatedClient {
    subject: String,
    sans: Vec<String>,
    spki_sha256: [u8; 32],
    exporter: [u8; 32],
}

/// Why a finished handshake has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The handshake ended without a client certificate.
    #[error("the client presented no certificate")]
    NoCertificate,
    /// The certificate passed rustls and does not parse here.
    #[error("the client's certificate does not parse")]
    Malformed(#[source] x509_cert::der::Error),
    /// No exporter value: the handshake is not finished.
    #[error("the connection has no exporter value")]
    Exporter(#[source] rustls::Error),
}

impl AuthenticatedClient {
    fn assertion(
        subject: String,
        sans: Vec<String>,
        spki_sha256: [u8; 32],
        exporter: [u8; 32],
    ) -> Self {
        Self { subject, sans, spki_sha256, exporter }
    }

    /// Takes the identity from a connection whose handshake is complete.
    ///
    /// # Errors
    /// In this order: [`NoCertificate`](IdentityError::NoCertificate),
    /// [`Malformed`](IdentityError::Malformed), [`Exporter`](IdentityError::Exporter).
    pub fn of(connection: &ServerConnection) -> Result<Self, IdentityError> {
        let leaf = connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .ok_or(IdentityError::NoCertificate)?;
        let certificate = Certificate::from_der(leaf).map_err(IdentityError::Malformed)?;
        let subject = certificate.tbs_certificate().subject().to_string();
        let sans = certificate
            .tbs_certificate()
            .get_extension::<SubjectAltName>()
            .map_err(IdentityError::Malformed)?
            .map(|(_critical, names)| names.0.iter().filter_map(name).collect())
            .unwrap_or_default();
        let spki_sha256 = spki_sha256(leaf).map_err(IdentityError::Malformed)?;
        // RFC 9266 §4.2: this label, no context, 32 bytes.
        let exporter = connection
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .map_err(IdentityError::Exporter)?;
        Ok(Self::assertion(subject, sans, spki_sha256, exporter))
    }

    /// The identity headers, in the form the inference server gets them.
    pub fn headers(&self) -> [(&'static str, HeaderValue); 3] {
        let sans: Vec<String> = self.sans.iter().map(|san| encoded(san, "")).collect();
        [
            (SUBJECT_HEADER, ascii(&encoded(&self.subject, ",+ "))),
            (SAN_HEADER, ascii(&sans.join(","))),
            (SPKI_HEADER, ascii(&hex::encode(self.spki_sha256))),
        ]
    }

    /// Subject alternative names as `DNS:…`, `URI:…`, `IP:…`, `email:…`.
    pub fn sans(&self) -> &[String] {
        &self.sans
    }

    /// SHA-256 of the client's SubjectPublicKeyInfo.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }

    /// The exporter value of this very connection.
    pub fn exporter(&self) -> [u8; 32] {
        self.exporter
    }
}

/// SHA-256 of a certificate's DER SubjectPublicKeyInfo.
///
/// # Errors
/// When the certificate does not parse.
pub fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], x509_cert::der::Error> {
    let spki =
        Certificate::from_der(certificate)?.tbs_certificate().subject_public_key_info().to_der()?;
    Ok(sha256(&spki))
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// Names of other kinds are left out: they cannot be told apart in one word.
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{}", name.as_str())),
        GeneralName::UniformResourceIdentifier(uri) => Some(format!("URI:{}", uri.as_str())),
        GeneralName::Rfc822Name(mail) => Some(format!("email:{}", mail.as_str())),
        GeneralName::IpAddress(bytes) => match *bytes.as_bytes() {
            [a, b, c, d] => Some(format!("IP:{a}.{b}.{c}.{d}")),
            ref bytes => {
                let v6 = <[u8; 16]>::try_from(bytes).ok()?;
                Some(format!("IP:{}", std::net::Ipv6Addr::from(v6)))
            }
        },
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

/// Percent-encodes all but letters, digits, a few marks, and `also`.
fn encoded(text: &str, also: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || b"-._~:/@=*".contains(&byte)
            || also.as_bytes().contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn ascii(text: &str) -> HeaderValue {
    // What `encoded` and hexadecimal leave is visible ASCII; anything else would be no identity.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_inject_a_header_or_a_second_name() {
        let client = AuthenticatedClient::assertion(
            "CN=a\r\nx-adyton-client-san: DNS:root".into(),
            vec!["DNS:a,DNS:root".into(), "URI:spiffe://acme/ns/x".into(), "email:é@x".into()],
            [7; 32],
            [0; 32],
        );
        let [(_, subject), (_, san), (_, spki)] = client.headers();
        assert_eq!(subject, "CN=a%0D%0Ax-adyton-client-san: DNS:root");
        assert_eq!(san, "DNS:a%2CDNS:root,URI:spiffe://acme/ns/x,email:%C3%A9@x");
        assert_eq!(spki, "07".repeat(32).as_str());
    }
}
