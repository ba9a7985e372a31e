//! Why no key was released, and which of these reasons time may mend.

use std::path::PathBuf;

use adyton_attestation::attester::AttesterError;
use adyton_attestation::rcar::{
    ErrorInformation, JweError, RcarError, ResourcePathError, TeeKeyError,
};
use adyton_attestation::reason::awaits_vendor;
use adyton_model_store::CredentialsError;
use adyton_sealed_weights::KeyError;
use http::StatusCode;

use crate::error::{Exit, Refusal, chain};

/// The exchange in which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseStep {
    /// `POST /auth`: Request and Challenge.
    Auth,
    /// `POST /attest`: Attestation and Response.
    Attest,
    /// `GET /resource/…`: the key.
    Resource,
}

impl ReleaseStep {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Attest => "attest",
            Self::Resource => "resource",
        }
    }
}

/// Why no key was released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// There is no Evidence.
    #[error("no evidence")]
    Attester(#[source] AttesterError),
    /// There is no TEE key.
    #[error("no TEE key")]
    TeeKey(#[source] TeeKeyError),
    /// A thread ended badly.
    #[error("a thread of ours ended badly")]
    Task(#[source] tokio::task::JoinError),
    /// The broker's TLS cannot be set up from the configured CA.
    #[error("the broker's CA cannot be used")]
    BrokerCa(#[source] rustls::Error),
    /// The broker's certificate does not lead to the pinned CA, or is for another name.
    #[error("{url} presented a certificate that does not lead to {ca_file} or is for another name", ca_file = .ca_file.display())]
    CertificateUnknown {
        /// The broker.
        url: String,
        /// The pinned CA.
        ca_file: PathBuf,
        /// What rustls found.
        #[source]
        source: rustls::Error,
    },
    /// No connection, or it broke.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// The broker.
        url: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The exchange broke off, or the reply is larger than any reply may be.
    #[error("{url} did not complete its reply in step {step}", step = .step.as_str())]
    Broke {
        /// The broker.
        url: String,
        /// The exchange.
        step: ReleaseStep,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No reply in time.
    #[error("{url} did not answer in time")]
    Timeout {
        /// The broker.
        url: String,
    },
    /// 5xx or 429.
    #[error("the broker answered {status} in step {step}", step = .step.as_str())]
    Busy {
        /// The exchange.
        step: ReleaseStep,
        /// The status.
        status: StatusCode,
        /// What it says about it.
        information: Option<ErrorInformation>,
    },
    /// Any other status than success: the broker has decided.
    #[error("the broker refused with {status} in step {step}", step = .step.as_str())]
    Refused {
        /// The exchange.
        step: ReleaseStep,
        /// The status.
        status: StatusCode,
        /// What it says about it.
        information: Option<ErrorInformation>,
    },
    /// A reply is not in the protocol's form.
    #[error("the broker's reply in step {step} is not the protocol's", step = .step.as_str())]
    Protocol {
        /// The exchange.
        step: ReleaseStep,
        /// What is wrong with it.
        #[source]
        source: RcarError,
    },
    /// The key's URI is no resource.
    #[error("the key's URI is no resource")]
    Resource(#[source] ResourcePathError),
    /// The reply does not unwrap with the attested key.
    #[error("the reply for {uri} does not unwrap")]
    Unwrap {
        /// The resource asked for.
        uri: String,
        /// What is wrong with it.
        #[source]
        source: JweError,
    },
    /// What was released for the model's store is no credentials.
    #[error("what was released for {uri} is no credentials")]
    Credentials {
        /// The resource asked for.
        uri: String,
        /// What is wrong with it.
        #[source]
        source: CredentialsError,
    },
    /// What was released is no model key.
    #[error("what was released is no model key")]
    Key(#[source] KeyError),
}

impl ReleaseError {
    /// May time mend it? Decisions, bad bytes and unknown certificates stay what they are.
    pub fn may_be_retried(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Broke { .. }
            | Self::Timeout { .. }
            | Self::Busy { .. } => true,
            Self::Attester(_)
            | Self::TeeKey(_)
            | Self::Task(_)
            | Self::BrokerCa(_)
            | Self::CertificateUnknown { .. }
            | Self::Refused { .. }
            | Self::Protocol { .. }
            | Self::Resource(_)
            | Self::Unwrap { .. }
            | Self::Credentials { .. }
            | Self::Key(_) => false,
        }
    }

    fn information(&self) -> Option<&ErrorInformation> {
        match self {
            Self::Busy { information, .. } | Self::Refused { information, .. } => {
                information.as_ref()
            }
            _ => None,
        }
    }

    /// For the person who must mend it.
    pub fn refusal(&self) -> Refusal {
        let Row { code, step, value, expected, remedy, exit } = self.row();
        let told = self.information().and_then(|information| information.adyton.as_ref());
        Refusal {
            code,
            step,
            value,
            expected: expected.to_owned(),
            remedy,
            decision: told.map(|told| excerpt(&told.decision)),
            codes: told
                .map(|told| told.codes.iter().take(MAX_CODES).map(|code| excerpt(code)).collect())
                .unwrap_or_default(),
            exit,
        }
    }

    fn row(&self) -> Row {
        let row = |code, step, expected, remedy: &str, exit| Row {
            code,
            step,
            value: chain(self),
            expected,
            remedy: remedy.to_owned(),
            exit,
        };
        match self {
            Self::Attester(AttesterError::ReportData { .. }) => row(
                "attest.report-data",
                "attest",
                "Evidence over the report data that was asked for",
                "another process asked at the same moment, or the guest's source of Evidence lies; \
                 start again, and if it happens again, trust this machine with nothing",
                Exit::EvidenceRejected,
            ),
            Self::Attester(error) => row(
                "attest.no-evidence",
                "attest",
                "a TEE whose Evidence can be collected",
                match error {
                    AttesterError::NoTee { .. } => "run in a TDX guest; there is no fallback",
                    _ => "look at attester.kind and at the source that it names",
                },
                Exit::Unsupported,
            ),
            Self::TeeKey(_) | Self::Task(_) => row(
                "attest.internal",
                "attest",
                "a working random number generator and threads",
                "look at the kernel's and the container's limits",
                Exit::Internal,
            ),
            Self::BrokerCa(_) => row(
                "attest.broker-ca",
                "attest",
                "CA certificates",
                "set broker.ca_file to the CA of your broker",
                Exit::Usage,
            ),
            Self::CertificateUnknown { .. } => row(
                "attest.broker-certificate-unknown",
                "attest",
                "a certificate of the CA in broker.ca_file, for the host in broker.url",
                "set broker.ca_file to the CA of your broker (its state_dir/tls/ca.pem when it made \
                 one itself), and use a host name that its certificate carries; if both are right, \
                 somebody stands between you and the broker",
                Exit::BrokerUnreachable,
            ),
            Self::Unreachable { .. } | Self::Broke { .. } | Self::Timeout { .. } => row(
                "attest.broker-unreachable",
                "attest",
                "a KBS that answers",
                "check broker.url, that the broker runs, and that this pod may reach it; the \
                 sidecar may be restarted at any time",
                Exit::BrokerUnreachable,
            ),
            Self::Busy { .. } => row(
                "attest.broker-busy",
                "attest",
                "a KBS that can decide",
                "look at the broker's log; the sidecar may be restarted at any time",
                self.exit_of_busy(),
            ),
            Self::Refused { step, status, information } => {
                refused(*step, *status, information.as_ref(), chain(self))
            }
            Self::Protocol { .. } => row(
                "attest.protocol",
                "attest",
                "KBS protocol 0.4.0",
                "is broker.url a KBS, and of the same version?",
                Exit::MalformedInput,
            ),
            Self::Resource(_) => row(
                "release.resource",
                "release",
                "kbs:///<repository>/<type>/<tag>",
                "take the URI that `adyton key list` shows",
                Exit::Usage,
            ),
            Self::Unwrap { .. } => row(
                "release.unwrap",
                "release",
                "a reply to the attested key, for the resource asked for",
                "if the broker is genuine, report this; else somebody answers in its place",
                Exit::IntegrityFailure,
            ),
            Self::Credentials { source, .. } => row(
                "release.credentials",
                "release",
                "`name = value` lines",
                source.remedy(),
                Exit::MalformedInput,
            ),
            Self::Key(_) => row(
                "release.key",
                "release",
                "32 bytes",
                "is model.key the URI of a model key, and not of another secret?",
                Exit::IntegrityFailure,
            ),
        }
    }

    fn exit_of_busy(&self) -> Exit {
        let endorsements = self
            .information()
            .and_then(|information| information.adyton.as_ref())
            .is_some_and(|told| told.codes.iter().any(|code| awaits_vendor(code)));
        if endorsements { Exit::EndorsementsUnavailable } else { Exit::BrokerUnreachable }
    }
}

/// Codes of one refusal that are shown.
const MAX_CODES: usize = 32;

/// Enough of what the broker says to understand it; a broker can say megabytes.
fn excerpt(text: &str) -> String {
    text.chars().filter(|mark| !mark.is_control()).take(256).collect()
}

struct Row {
    code: &'static str,
    step: &'static str,
    value: String,
    expected: &'static str,
    remedy: String,
    exit: Exit,
}

/// A decision. A KBS of another make answers 401 for everything; its variant tells them apart.
/// Does the KBS say that it no longer knows the session? After a long outage of its store, say.
fn session_ended(information: Option<&ErrorInformation>) -> bool {
    information
        .and_then(|told| told.adyton.as_ref())
        .is_some_and(|told| told.codes.iter().any(|code| code.starts_with("session.")))
}

fn refused(
    step: ReleaseStep,
    status: StatusCode,
    information: Option<&ErrorInformation>,
    said: String,
) -> Row {
    let detail = information
        .map(|told| format!(": {} ({})", excerpt(&told.detail), excerpt(told.variant())));
    let decision =
        information.and_then(|told| told.adyton.as_ref()).map(|told| excerpt(&told.decision));
    let explain = match decision {
        Some(id) => format!("the model owner reads the reasons with `adyton explain {id}`"),
        None => "the model owner finds the reasons in the broker's log".to_owned(),
    };
    let (code, step, expected, exit) = match (step, status) {
        (ReleaseStep::Resource, StatusCode::NOT_FOUND) => (
            "release.key-not-found",
            "release",
            "a key of this name in the broker",
            Exit::PolicyDenied,
        ),
        (ReleaseStep::Resource, _) if session_ended(information) => (
            "release.session-ended",
            "release",
            "a session that lives until the key is there",
            Exit::BrokerUnreachable,
        ),
        (ReleaseStep::Resource, _) | (ReleaseStep::Attest, StatusCode::FORBIDDEN) => (
            "release.policy-denied",
            "release",
            "a release policy that allows this Evidence",
            Exit::PolicyDenied,
        ),
        (ReleaseStep::Attest, _) => (
            "attest.evidence-refused",
            "attest",
            "Evidence that verifies and matches the Reference Values",
            Exit::EvidenceRejected,
        ),
        (ReleaseStep::Auth, _) => (
            "attest.request-refused",
            "attest",
            "KBS protocol 0.4.0 and a TEE that the broker supports",
            Exit::EvidenceRejected,
        ),
    };
    let remedy = if code == "release.key-not-found" {
        format!("create the key with `adyton key create`, or correct model.key; {explain}")
    } else {
        explain
    };
    Row {
        code,
        step,
        value: format!("{said}{}", detail.unwrap_or_default()),
        expected,
        remedy,
        exit,
    }
}
