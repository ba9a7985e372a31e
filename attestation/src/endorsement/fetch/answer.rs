//! An HTTP answer as plain values, and why one can't be used.

use crate::limits::{MAX_CERTIFICATE_CHAIN_LEN, MAX_ENDORSEMENT_ANSWER_LEN};

/// Longest excerpt of an answer in an error, in characters.
const MAX_EXCERPT: usize = 80;
/// Longest pause that a service can order, in seconds.
const MAX_RETRY_AFTER: u64 = 3600;

/// What a service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Value of the first header of [`Statement::chain_headers`](super::Statement::chain_headers) that
    /// was there, as sent.
    pub issuer_chain: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Status 429.
    #[error("the service asks for fewer requests (status 429)")]
    Throttled,
    /// Status 404.
    #[error("the service does not have it (status 404)")]
    NotFound,
    /// A redirect. None is followed: where Endorsements come from is the operator's choice.
    #[error("the service sends us elsewhere (status {status}); redirects are not followed")]
    Redirect {
        /// The status.
        status: u16,
    },
    /// Another status than 200.
    #[error("the service failed (status {status})")]
    Status {
        /// The status.
        status: u16,
    },
    /// More bytes than such an answer has.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The header with the issuer chain is missing or not URL-encoded PEM.
    #[error("header {header} is missing or is no URL-encoded PEM chain")]
    NoChain {
        /// The header.
        header: &'static str,
    },
    /// The body is something else.
    #[error("the body is not {expected}; it begins with {got:?}")]
    Contents {
        /// What it should be.
        expected: &'static str,
        /// How it begins.
        got: String,
    },
    /// The body is about something else than was asked for.
    #[error("the body is about {got}, asked was for {expected}")]
    Subject {
        /// What was asked for.
        expected: String,
        /// What it is about.
        got: String,
    },
    /// The right thing, and no root that we trust stands behind it.
    #[error("the vendor did not sign it ({detail})")]
    Unsigned {
        /// What is wrong with its signature, chain or issuer.
        detail: String,
    },
}

impl AnswerError {
    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Throttled => {
                "wait; put a cache (PCCS, or a KDS proxy) between, or import a bundle made elsewhere"
            }
            Self::NotFound => {
                "check that the URL is that of the service; a PCCS may have to be filled first, and a \
                 new platform may not be registered with its vendor yet"
            }
            Self::Redirect { .. } => {
                "configure the URL that it redirects to, if that one is trusted"
            }
            Self::Status { .. } => {
                "look at the service's status; what is cached stays in use meanwhile"
            }
            Self::TooLarge { .. }
            | Self::NoChain { .. }
            | Self::Contents { .. }
            | Self::Subject { .. } => {
                "check that the URL is that of a PCS or PCCS of version 4, or of a KDS, and that no proxy \
                 answers in its place"
            }
            Self::Unsigned { .. } => {
                "refresh or empty the cache that the URL names (PCCS, KDS proxy), and look at who can write \
                 to it; what was fetched before stays in use meanwhile"
            }
        }
    }

    pub(super) fn contents(expected: &'static str, body: &[u8]) -> Self {
        let head = body.get(..body.len().min(4 * MAX_EXCERPT)).unwrap_or(body);
        let got = String::from_utf8_lossy(head).chars().take(MAX_EXCERPT).collect();
        Self::Contents { expected, got }
    }
}

impl Answer {
    /// Everything but 200, and a body that is too long.
    pub(super) fn refuse_failure(&self) -> Result<(), AnswerError> {
        match self.status {
            200 => {}
            429 => return Err(AnswerError::Throttled),
            404 => return Err(AnswerError::NotFound),
            status @ 300..=399 => return Err(AnswerError::Redirect { status }),
            status => return Err(AnswerError::Status { status }),
        }
        if self.body.len() > MAX_ENDORSEMENT_ANSWER_LEN {
            let limit = MAX_ENDORSEMENT_ANSWER_LEN;
            return Err(AnswerError::TooLarge { what: "the body", limit });
        }
        Ok(())
    }

    /// The issuer chain in PEM.
    pub(super) fn chain(&self, header: &'static str) -> Result<String, AnswerError> {
        let missing = AnswerError::NoChain { header };
        let Some(encoded) = &self.issuer_chain else {
            return Err(missing);
        };
        // Each encoded byte takes at most three characters.
        if encoded.len() > MAX_CERTIFICATE_CHAIN_LEN.saturating_mul(3) {
            return Err(AnswerError::TooLarge { what: header, limit: MAX_CERTIFICATE_CHAIN_LEN });
        }
        let pem = percent_decoded(encoded).and_then(|bytes| String::from_utf8(bytes).ok());
        pem.filter(|pem| pem.trim_start().starts_with("-----BEGIN CERTIFICATE-----")).ok_or(missing)
    }
}

/// RFC 3986 §2.1. A `+` stands for itself: base64 has it, and these services encode spaces as `%20`.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let pair = [bytes.next()?, bytes.next()?];
        let mut one = [0_u8; 1];
        hex::decode_to_slice(pair, &mut one).ok()?;
        decoded.extend(one);
    }
    Some(decoded)
}

/// Seconds that a `Retry-After` header asks for, at most an hour. `None` when it is a date or nothing
/// that can be read; the caller then has a pause of its own.
#[must_use]
pub fn retry_after_seconds(value: &str) -> Option<u64> {
    value.trim().parse::<u64>().ok().map(|seconds| seconds.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        assert_eq!(percent_decoded("a%20b%0Ac+d").expect("valid"), b"a b\nc+d");
        for broken in ["%", "%2", "%zz", "a%"] {
            assert_eq!(percent_decoded(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_pause_is_bounded_and_a_date_is_none() {
        assert_eq!(retry_after_seconds(" 17 "), Some(17));
        assert_eq!(retry_after_seconds("99999999"), Some(3600));
        assert_eq!(retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(retry_after_seconds("-1"), None);
    }
}
