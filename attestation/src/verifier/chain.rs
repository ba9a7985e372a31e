//! X.509 paths and revocation lists, link by link.

use crate::unix_time::UnixTime;

/// What is wrong with a certificate path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Not PEM certificates, or too many or too large ones.
    #[error("not a chain of 1 to {} certificates in PEM", crate::limits::MAX_CHAIN_CERTIFICATES)]
    Encoding,
    /// A certificate is not valid yet.
    #[error("certificate {subject} is valid from {from}, now is {now}")]
    NotYetValid {
        /// The certificate's subject.
        subject: String,
        /// `notBefore`.
        from: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// A certificate is not valid any more.
    #[error("certificate {subject} was valid until {until}, now is {now}")]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// `notAfter`.
        until: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// No certificate at hand has the name that a certificate gives as its issuer.
    #[error("certificate {subject} was issued by {issuer}, which is not trusted")]
    UnknownIssuer {
        /// The certificate's subject.
        subject: String,
        /// The issuer that it names.
        issuer: String,
    },
    /// A certificate's signature does not verify under its issuer's key.
    #[error("signature of certificate {subject} is invalid")]
    Signature {
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate signs others and is no CA, or the other way round, or the path is too long.
    #[error("certificate {subject} has another role in the chain than it is for")]
    Role {
        /// The certificate's subject.
        subject: String,
    },
}

/// Why revocation could not be ruled out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Not a revocation list in DER.
    #[error("{list} is not a certificate revocation list in DER")]
    Encoding {
        /// Which list.
        list: &'static str,
    },
    /// The list of another authority.
    #[error("{list} was issued by {got}, expected {expected}")]
    Issuer {
        /// Which list.
        list: &'static str,
        /// The authority whose list is needed.
        expected: String,
        /// The authority that issued it.
        got: String,
    },
    /// The list's signature does not verify.
    #[error("signature of the {list} is invalid")]
    Signature {
        /// Which list.
        list: &'static str,
    },
    /// The list is not valid yet.
    #[error("{list} is valid from {from}, now is {now}")]
    NotYetValid {
        /// Which list.
        list: &'static str,
        /// `thisUpdate`.
        from: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// The list is past its `nextUpdate`, or has none.
    #[error("{list} was valid until {until}, now is {now}")]
    Expired {
        /// Which list.
        list: &'static str,
        /// `nextUpdate`; zero when the list has none.
        until: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// The certificate is on the list.
    #[error("certificate {subject} with serial number {serial} is revoked")]
    Revoked {
        /// The certificate's subject.
        subject: String,
        /// Its serial number, hex.
        serial: String,
    },
}
