//! What a Relying Party expects of a peer, beyond that it is genuine.

use crate::appraisal::AppraisalPolicy;
use crate::peer::Pins;
use crate::reason::Reason;
use crate::reference_value::ReferenceValues;
use crate::report::AttestationReport;

/// Everything a peer is compared with. There is no default: without Reference Values nobody is accepted.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// Measurements of the software. Those count that the policy names.
    pub reference_values: Vec<ReferenceValues>,
    /// Rules for the claims.
    pub policy: AppraisalPolicy,
    /// The sealed model that it must serve: SHA-256 of its manifest.
    pub manifest_digest: ExpectedDigest,
    /// The configuration that it must run: `adyton-sidecar check-config` prints it.
    pub config_digest: ExpectedDigest,
    /// The lowest version of the model.
    pub minimum_model_version: u64,
    /// Which of several genuine machines or keys.
    pub pins: Pins,
}

/// What a digest must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedDigest {
    /// Not compared: whatever the accepted software says is taken.
    NotCompared,
    /// Exactly this one.
    Exactly([u8; 32]),
}

impl Expectations {
    /// The strict default policy over these Reference Values, any of which may match; any model, any
    /// configuration, any machine. Narrow it down by its fields.
    #[must_use]
    pub fn of_software(reference_values: Vec<ReferenceValues>) -> Self {
        let names = reference_values.iter().map(|set| set.name().to_owned()).collect();
        Self {
            reference_values,
            policy: AppraisalPolicy { reference_values: names, ..AppraisalPolicy::default() },
            manifest_digest: ExpectedDigest::NotCompared,
            config_digest: ExpectedDigest::NotCompared,
            minimum_model_version: 0,
            pins: Pins::AnyGenuine,
        }
    }

    /// Every difference between the report and what was expected of it.
    #[must_use]
    pub fn reasons_against(&self, report: &AttestationReport) -> Vec<Reason> {
        let mut reasons = Vec::new();
        reasons.extend(self.manifest_digest.reason_against(
            report.manifest_digest,
            "model.manifest-digest",
            "manifest_digest",
            "the peer serves another model or another version; compare with adyton inspect",
        ));
        reasons.extend(self.config_digest.reason_against(
            report.config_digest,
            "config.digest",
            "config_digest",
            "the peer runs another configuration; compare with adyton-sidecar check-config",
        ));
        if report.model.version < self.minimum_model_version {
            reasons.push(Reason::new(
                "model.version",
                "model",
                "model.version",
                (
                    format!("at least {}", self.minimum_model_version),
                    report.model.version.to_string(),
                ),
                "the peer serves an outdated model; have it replaced",
            ));
        }
        reasons
    }
}

impl ExpectedDigest {
    fn reason_against(
        &self,
        got: [u8; 32],
        code: &'static str,
        claim: &str,
        remedy: &str,
    ) -> Option<Reason> {
        match self {
            Self::NotCompared => None,
            Self::Exactly(expected) if *expected == got => None,
            Self::Exactly(expected) => Some(Reason::new(
                code,
                "model",
                claim,
                (hex::encode(expected), hex::encode(got)),
                remedy,
            )),
        }
    }
}
