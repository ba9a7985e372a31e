//! What stopped the sidecar, in the words of the person who must mend it.
//!
//! Each layer has its own error enum beside its code; here they meet. [`SidecarError::refusals`]
//! is the one mapping from any of them to what is logged and to the exit code.
//! It must never carry a secret: values are names, paths, sizes and digests.

use serde::Serialize;

use crate::admin::AdminError;
use crate::config::ConfigError;
use crate::expose::ExposeError;
use crate::hygiene::HygieneError;
use crate::proxy::ServeError;
use crate::release::ReleaseError;
use crate::weights::WeightsError;

/// Process exit codes, the same for all of Adyton's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A fault of the sidecar or of the machine under it.
    Internal = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The broker does not believe this TEE's Evidence.
    EvidenceRejected = 10,
    /// The broker believes the Evidence and still says no.
    PolicyDenied = 11,
    /// The broker lacks vendor Endorsements; later may be better.
    EndorsementsUnavailable = 12,
    /// The broker cannot be reached; later may be better.
    BrokerUnreachable = 13,
    /// Something sealed is not what it was.
    IntegrityFailure = 14,
    /// This machine lacks what the sidecar needs: a TEE, memory without swap.
    Unsupported = 20,
    /// Bytes from outside are not in their format.
    MalformedInput = 30,
}

/// One reason not to go on: which step, which value, what was expected, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Stable code, dotted, e.g. `config.target-not-memory-backed`.
    pub code: &'static str,
    /// The step of the startup ladder that refused.
    pub step: &'static str,
    /// What was found.
    pub value: String,
    /// What would have been accepted.
    pub expected: String,
    /// What a person can do about it.
    pub remedy: String,
    /// The broker's decision id; the model owner finds the full reasons under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// The broker's reason codes, when it gave any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
    /// The exit code this leads to.
    #[serde(skip)]
    pub exit: Exit,
}

/// Everything that can end the sidecar.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// The configuration has mistakes; all of them are inside.
    #[error("the configuration is refused")]
    Config(#[from] ConfigError),
    /// The process or the machine would let secrets leave memory.
    #[error("this process cannot be made safe for keys")]
    Hygiene(#[from] HygieneError),
    /// The admin listener could not be opened.
    #[error("the admin listener is not available")]
    Admin(#[from] AdminError),
    /// No key was released.
    #[error("no model key was released")]
    Release(#[from] ReleaseError),
    /// The sealed model could not be opened.
    #[error("the sealed model was not opened")]
    Weights(#[from] WeightsError),
    /// The inference server could not be given the weights.
    #[error("the weights were not exposed")]
    Expose(#[from] ExposeError),
    /// The mTLS port could not be served.
    #[error("the mTLS port is not available")]
    Serve(#[from] ServeError),
    /// The async runtime or the signal handlers could not be set up.
    #[error("the process could not be set up")]
    Process(#[source] std::io::Error),
}

impl SidecarError {
    /// Every reason, ready to be logged; at least one.
    pub fn refusals(&self) -> Vec<Refusal> {
        match self {
            Self::Config(error) => error.refusals(),
            Self::Hygiene(error) => vec![error.refusal()],
            Self::Admin(error) => vec![error.refusal()],
            Self::Release(error) => vec![error.refusal()],
            Self::Weights(error) => vec![error.refusal()],
            Self::Expose(error) => vec![error.refusal()],
            Self::Serve(error) => vec![error.refusal()],
            Self::Process(error) => vec![Refusal {
                code: "process.setup",
                step: "process",
                value: error.to_string(),
                expected: "a runtime and signal handlers".into(),
                remedy: "look at the limits on threads and file descriptors of this container"
                    .into(),
                decision: None,
                codes: Vec::new(),
                exit: Exit::Internal,
            }],
        }
    }

    /// The exit code of the first reason.
    pub fn exit(&self) -> Exit {
        self.refusals().first().map_or(Exit::Internal, |refusal| refusal.exit)
    }
}

/// The chain of causes as one line: each error prints its own level only.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let level = cause.to_string();
        if !text.ends_with(&level) {
            text.push_str(": ");
            text.push_str(&level);
        }
        next = cause.source();
    }
    text
}

/// Logs every reason, one line each.
pub fn report(error: &SidecarError) {
    for refusal in error.refusals() {
        tracing::error!(
            code = refusal.code,
            step = refusal.step,
            value = refusal.value,
            expected = refusal.expected,
            remedy = refusal.remedy,
            decision = refusal.decision,
            codes = refusal.codes.join(","),
            exit_code = refusal.exit as i32,
            "refused: {error}"
        );
    }
}
