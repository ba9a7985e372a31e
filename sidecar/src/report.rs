//! `GET /.well-known/adyton/attestation`: this sidecar's own Evidence, bound to this connection.
//!
//! Role: Attester. In: a nonce, the level of binding, the connection's exporter value. Out: an
//! [`AttestationReport`]. Report data of this endpoint is domain-separated from the broker's, so a
//! report made here releases no key.
//! Making Evidence is slow and the platform makes one at a time: callers wait in a bounded queue.
//! Against: replay, relay, and using the endpoint to occupy the platform.

use std::sync::Arc;

use adyton_attestation::attester::Attester;
use adyton_attestation::binding::{BindingLevel, ChannelBinding, ReportBinding};
use adyton_attestation::challenge::Nonce;
use adyton_attestation::report::{AttestationReport, REPORT_VERSION, ReportedModel};
use tokio::sync::{Mutex, Semaphore};

use crate::phase::PhaseBoard;
use crate::proxy::respond::ProxyError;
use crate::ready::Ready;

/// Name and version in every report.
pub const SOFTWARE: &str = concat!("adyton-sidecar/", env!("CARGO_PKG_VERSION"));

/// What a client asked.
#[derive(Debug)]
pub struct Question {
    nonce: Nonce,
    level: BindingLevel,
}

impl Question {
    /// Reads `nonce=<43 characters>[&bind=certificate|exporter]`; each at most once, nothing else.
    ///
    /// # Errors
    /// [`ProxyError::BadQuestion`] with the parameter that is wrong.
    pub fn parse(query: &str) -> Result<Self, ProxyError> {
        let wrong = |reason| ProxyError::BadQuestion { reason };
        let mut nonce = None;
        let mut level = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("nonce", text)) if nonce.is_none() => {
                    let parsed = Nonce::parse_base64url(text).map_err(|_| {
                        wrong("nonce must be 32 bytes as base64url without padding")
                    })?;
                    nonce = Some(parsed);
                }
                Some(("bind", "certificate")) if level.is_none() => {
                    level = Some(BindingLevel::Certificate);
                }
                Some(("bind", "exporter")) if level.is_none() => {
                    level = Some(BindingLevel::Channel)
                }
                Some(("bind", _)) => return Err(wrong("bind must be certificate or exporter")),
                _ => return Err(wrong("the only parameters are nonce and bind, each once")),
            }
        }
        Ok(Self {
            nonce: nonce.ok_or(wrong("the parameter nonce is missing"))?,
            level: level.unwrap_or(BindingLevel::Certificate),
        })
    }
}

/// Makes reports for one serving key.
pub struct Reporter {
    attester: Arc<dyn Attester>,
    one_at_a_time: Arc<Mutex<()>>,
    queue: Arc<Semaphore>,
    board: Arc<PhaseBoard>,
    facts: Facts,
}

struct Facts {
    spki_sha256: [u8; 32],
    manifest_digest: [u8; 32],
    config_digest: [u8; 32],
    model: ReportedModel,
    protections: adyton_attestation::report::Protections,
    insecure: Vec<String>,
}

impl Reporter {
    /// Speaks for `ready` and the serving key with this digest; `queue` callers may wait.
    pub fn new(ready: &Ready, spki_sha256: [u8; 32], queue: usize) -> Self {
        Self {
            attester: ready.attester(),
            one_at_a_time: Arc::new(Mutex::new(())),
            queue: Arc::new(Semaphore::new(queue)),
            board: ready.board(),
            facts: Facts {
                spki_sha256,
                manifest_digest: ready.manifest_digest(),
                config_digest: ready.config_digest(),
                model: ready.model().clone(),
                protections: ready.protections().clone(),
                insecure: ready.insecure().to_vec(),
            },
        }
    }

    /// Collects Evidence for the question, on the connection with this exporter value.
    ///
    /// # Errors
    /// [`ProxyError::ReportsBusy`] when too many wait, [`ProxyError::NoEvidence`] when the platform
    /// refuses; the reason is in the log.
    pub async fn answer(
        &self,
        question: Question,
        exporter: [u8; 32],
    ) -> Result<serde_json::Value, ProxyError> {
        let queue = Arc::clone(&self.queue);
        let place = queue.try_acquire_owned().map_err(|_| ProxyError::ReportsBusy)?;
        let turn = Arc::clone(&self.one_at_a_time).lock_owned().await;
        let channel = match question.level {
            BindingLevel::Certificate => ChannelBinding::Certificate,
            BindingLevel::Channel => ChannelBinding::Exporter(exporter),
        };
        let report_data = ReportBinding {
            nonce: &question.nonce,
            spki_sha256: self.facts.spki_sha256,
            manifest_digest: self.facts.manifest_digest,
            config_digest: self.facts.config_digest,
            channel,
        }
        .report_data();
        let attester = Arc::clone(&self.attester);
        let collecting = tokio::task::spawn_blocking(move || {
            // Held where the platform works: a client that goes away ends neither the work nor its
            // place in the queue.
            let _held = (place, turn);
            attester.collect(&report_data)
        });
        let evidence = collecting
            .await
            .map_err(|error| no_evidence(&error))?
            .map_err(|error| no_evidence(&error))?;
        let report = AttestationReport {
            version: REPORT_VERSION,
            tee: self.attester.tee(),
            nonce: question.nonce.to_base64url(),
            binding: question.level,
            evidence,
            spki_sha256: self.facts.spki_sha256,
            manifest_digest: self.facts.manifest_digest,
            config_digest: self.facts.config_digest,
            model: self.facts.model.clone(),
            protections: self.facts.protections.clone(),
            phase: self.board.snapshot().phase.as_str().to_owned(),
            insecure: self.facts.insecure.clone(),
            software: SOFTWARE.to_owned(),
        };
        serde_json::to_value(&report).map_err(|error| no_evidence(&error))
    }
}

fn no_evidence(error: &(dyn std::error::Error + 'static)) -> ProxyError {
    tracing::error!(error = crate::error::chain(error), "no attestation report");
    ProxyError::NoEvidence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_nonce_and_perhaps_a_level() {
        let nonce = Nonce::from_bytes([7; 32]).to_base64url();
        let asked = Question::parse(&format!("nonce={nonce}")).expect("nonce");
        assert_eq!(asked.level, BindingLevel::Certificate);
        let asked = Question::parse(&format!("bind=exporter&nonce={nonce}")).expect("both");
        assert_eq!(asked.level, BindingLevel::Channel);
    }

    #[test]
    fn every_other_question_is_told_what_is_wrong() {
        let nonce = Nonce::from_bytes([7; 32]).to_base64url();
        for (query, hint) in [
            (String::new(), "missing"),
            ("nonce=".into(), "32 bytes"),
            (format!("nonce={nonce}="), "32 bytes"),
            (format!("nonce={}", &nonce[..42]), "32 bytes"),
            (format!("nonce={nonce}&nonce={nonce}"), "each once"),
            (format!("nonce={nonce}&bind=tls-unique"), "bind must be"),
            (format!("nonce={nonce}&x=1"), "only parameters"),
            (format!("nonce={nonce}&bind=exporter&bind=exporter"), "bind must be"),
        ] {
            match Question::parse(&query) {
                Err(ProxyError::BadQuestion { reason }) => {
                    assert!(reason.contains(hint), "{query}")
                }
                other => panic!("{query}: {other:?}"),
            }
        }
    }
}
