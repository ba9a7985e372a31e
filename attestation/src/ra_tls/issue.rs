//! Makes the extension; whoever makes the certificate puts it in.
//!
//! This crate builds no certificates: the sidecar has a builder for its serving certificate already.

use serde_json::Value;
use thiserror::Error;

use crate::attester::{Attester, AttesterError};
use crate::limits::MAX_RA_TLS_VALIDITY_SECONDS;
use crate::ra_tls::{CertificateEvidence, ExtensionError, RaTlsBinding};

/// Why there is no extension.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The certificate would be valid for longer than any Verifier accepts, or end before it begins.
    #[error("a certificate with evidence may be valid for {MAX_RA_TLS_VALIDITY_SECONDS} s at most")]
    Validity,
    /// The platform gave no Evidence.
    #[error("no evidence for the certificate")]
    Attester(#[from] AttesterError),
    /// The Evidence does not fit.
    #[error("the evidence does not fit into a certificate")]
    Extension(#[from] ExtensionError),
}

/// Collects Evidence over `binding` and wraps it: the value of extension
/// [`EXTENSION_OID`](crate::ra_tls::EXTENSION_OID), not critical.
///
/// Key and dates of the certificate must then be exactly those of `binding`. An event log is left
/// out: it is longer than a TLS stack takes, and no claim needs it here.
///
/// # Errors
/// [`IssueError`].
pub fn extension_over(
    binding: &RaTlsBinding,
    attester: &dyn Attester,
) -> Result<Vec<u8>, IssueError> {
    let seconds = binding.not_after.0.checked_sub(binding.not_before.0);
    if seconds.is_none_or(|seconds| seconds > MAX_RA_TLS_VALIDITY_SECONDS) {
        return Err(IssueError::Validity);
    }
    let mut evidence = attester.collect(&binding.report_data())?;
    if let Some(log) = evidence.get_mut("cc_eventlog") {
        *log = Value::Null;
    }
    Ok(CertificateEvidence { tee: attester.tee(), evidence }.to_value()?)
}
