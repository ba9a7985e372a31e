//! What can stop the broker from starting, told to the operator.
//!
//! Every refusal carries a [`Finding`]: the step, the value, what was expected and a remedy. The
//! exit codes are those of the project's conventions: 1 internal, 2 usage, 14 integrity.
//! Answers to clients are made in [`respond`](crate::respond); nothing here goes over the network.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::audit::AuditError;
use crate::secret_file::SecretFileError;
use crate::store::StoreError;
use crate::tls::TlsError;

/// One thing that is wrong, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where it went wrong: a configuration key or a step of the start.
    pub step: String,
    /// The offending value, or a path. Never a secret.
    pub value: String,
    /// What would have been accepted.
    pub expected: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// A finding from its four texts.
    pub fn new(
        step: impl Into<String>,
        value: impl Into<String>,
        expected: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            step: step.into(),
            value: value.into(),
            expected: expected.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.step)?;
        writeln!(f, "     value: {}", self.value)?;
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "    remedy: {}", self.remedy)
    }
}

/// Why the broker did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The configuration has mistakes; all of them are listed.
    #[error("the configuration has {} mistake(s)", .0.len())]
    Configuration(Vec<Finding>),
    /// A file that holds a secret is missing, open to others or malformed.
    #[error("a secret file was refused")]
    SecretFile(#[from] SecretFileError),
    /// The embedded store can't be used.
    #[error("the store was refused")]
    Store(#[from] StoreError),
    /// The audit log can't be continued.
    #[error("the audit log was refused")]
    Audit(#[from] AuditError),
    /// Certificates or keys for TLS can't be used.
    #[error("TLS could not be set up")]
    Tls(#[from] TlsError),
    /// The system gave no random bytes, or a key could not be made from them.
    #[error("could not make the {what}")]
    KeyGeneration {
        /// Which key.
        what: &'static str,
    },
    /// A port can't be bound.
    #[error("could not listen on {address} for {listener}")]
    Listen {
        /// `listen` or `admin_listen`.
        listener: &'static str,
        /// The address from the configuration.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The ready file can't be written.
    #[error("could not write the ready file {}", path.display())]
    ReadyFile {
        /// From `--ready-file`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The process could not be hardened, or a runtime could not be made.
    #[error("could not {what}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl StartupError {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::SecretFile(_) => 2,
            Self::Store(error) if error.is_integrity_failure() => 14,
            Self::Audit(error) if error.is_integrity_failure() => 14,
            Self::Tls(TlsError::SecretFile(_)) => 2,
            Self::Store(StoreError::SecretFile(_)) => 2,
            Self::Store(_)
            | Self::Audit(_)
            | Self::Tls(_)
            | Self::KeyGeneration { .. }
            | Self::Listen { .. }
            | Self::ReadyFile { .. }
            | Self::Process { .. } => 1,
        }
    }

    /// What is wrong and what to do, for the operator.
    pub fn findings(&self) -> Vec<Finding> {
        match self {
            Self::Configuration(findings) => findings.clone(),
            Self::SecretFile(error) => vec![error.finding()],
            Self::Store(error) => vec![error.finding()],
            Self::Audit(error) => vec![error.finding()],
            Self::Tls(error) => vec![error.finding()],
            Self::KeyGeneration { what } => vec![Finding::new(
                "start",
                *what,
                "random bytes from the system",
                "check that getrandom(2) works in this environment",
            )],
            Self::Listen { listener, address, source } => vec![Finding::new(
                format!("configuration key `{listener}`"),
                address.to_string(),
                format!("an address that can be bound ({source})"),
                "choose another port, or stop the process that uses it",
            )],
            Self::ReadyFile { path, source } => vec![Finding::new(
                "--ready-file",
                path.display().to_string(),
                format!("a path in a writable folder ({source})"),
                "create the folder or choose another path",
            )],
            Self::Process { what, source } => vec![Finding::new(
                "start",
                *what,
                format!("success, but the system said: {source}"),
                "check the limits and the seccomp profile of this process",
            )],
        }
    }
}
