//! What one verification of a running sidecar prints: a page for people, a document for programs.

use adyton_attestation::binding::BindingLevel;
use adyton_attestation::peer::PeerTrust;
use adyton_attestation::report::{AttestationReport, KeyMemory, Protections};
use adyton_attestation::{Claims, Ladder, Reason, UnixTime};
use serde_json::json;

use super::picture;
use crate::console::{Paint, Tone, printable};
use crate::failure::Failure;
use crate::table::{Cell, Facts, shortened};
use crate::verb::{Context, trust};

/// What the comparison with Reference Values said.
pub(super) enum Comparison {
    /// None were given.
    NotAsked,
    /// This set matched.
    Accepted {
        /// Its name.
        reference_values: String,
    },
    /// A policy in Rego, asked alone, accepted the claims.
    AcceptedByRego,
    /// None matched, or the policy refused otherwise.
    Refused,
}

/// Everything that can weaken the result, in words: ours first, then what the sidecar says of itself.
pub(in crate::verb) fn insecure(report: &AttestationReport, trust: &PeerTrust) -> Vec<String> {
    let mut all: Vec<String> = trust::insecure(trust)
        .into_iter()
        .map(|said| format!("this verification: {said}"))
        .collect();
    all.extend(report.insecure.iter().map(|said| format!("the sidecar says: {said}")));
    all
}

/// The parts of the page.
pub(super) struct Page<'a> {
    pub(super) url: &'a str,
    pub(super) report: &'a AttestationReport,
    pub(super) spki_sha256: [u8; 32],
    pub(super) ladder: Option<&'a Ladder>,
    pub(super) insecure: Vec<String>,
    pub(super) at: UnixTime,
    pub(super) paint: Paint,
}

impl Page<'_> {
    /// The page of a report that did not verify: nothing that it claims is shown as a fact.
    pub(super) fn print_refused(
        &self,
        reasons: &[Reason],
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let paint = self.paint;
        let mut text = self.head();
        text.push_str(&format!(
            "\n{} Refused: do not send anything here.\n",
            paint.text(Tone::Bad, "✗")
        ));
        let json = json!({
            "verified": false,
            "genuine": false,
            "accepted": false,
            "url": self.url,
            "at": self.at,
            "rungs": self.ladder.map(|ladder| &ladder.rungs),
            "reasons": reasons,
            "certificate_spki_sha256": hex::encode(self.spki_sha256),
            "insecure": self.insecure,
        });
        context.console.result(&text, &json)
    }

    /// The page of a verified report, accepted or not.
    pub(super) fn print_verified(
        &self,
        claims: &Claims,
        comparison: &Comparison,
        reasons: &[Reason],
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let paint = self.paint;
        let mut text = self.head();
        let level = self.report.binding;
        let bound = match level {
            BindingLevel::Certificate => {
                "report over our nonce and the server's key (a relay through another TEE is possible)"
            }
            BindingLevel::Channel => "report over our nonce, the server's key and this connection",
        };
        text.push_str(&format!("{}  {bound}\n\n", paint.text(Tone::Good, "✓")));
        text.push_str(&picture::claims(claims, paint));
        text.push('\n');
        text.push_str(&self.sidecar_facts().render(paint));
        text.push('\n');
        for line in &self.insecure {
            let line = format!("INSECURE: {}", printable(line));
            text.push_str(&format!("{}\n", paint.text(Tone::Warn, &line)));
        }
        text.push_str(&verdict(claims, comparison, reasons, paint));
        let report = self.report;
        let (appraised, matched) = match comparison {
            Comparison::NotAsked => ("not-asked", None),
            Comparison::Accepted { reference_values } => ("accepted", Some(reference_values)),
            Comparison::AcceptedByRego => ("accepted", None),
            Comparison::Refused => ("refused", None),
        };
        let json = json!({
            "verified": true,
            "genuine": picture::is_genuine(claims),
            "accepted": reasons.is_empty(),
            "appraisal": appraised,
            "reference_values": matched,
            "url": self.url,
            "at": self.at,
            "binding": level.as_str(),
            "tee": report.tee,
            "rungs": self.ladder.map(|ladder| &ladder.rungs),
            "claims": claims,
            "model": report.model,
            "manifest_digest": hex::encode(report.manifest_digest),
            "config_digest": hex::encode(report.config_digest),
            "protections": report.protections,
            "phase": report.phase,
            "software": report.software,
            "insecure": self.insecure,
            "certificate_spki_sha256": hex::encode(self.spki_sha256),
            "reasons": reasons,
        });
        context.console.result(&text, &json)
    }

    fn head(&self) -> String {
        let mut text = format!("{} at {}\n\n", printable(self.url), self.at);
        if let Some(ladder) = self.ladder {
            text.push_str(&picture::rungs(ladder, self.paint));
        }
        text
    }

    fn sidecar_facts(&self) -> Facts {
        let report = self.report;
        let mut facts = Facts::new();
        let model = &report.model;
        facts.add(
            "model",
            Cell::new(Tone::Strong, format!("{} version {}", model.name, model.version)),
        );
        facts.add("model id", &model.id);
        facts.add("key", &model.kid);
        facts.add("manifest", hex::encode(report.manifest_digest));
        facts.add("configuration", shortened(&hex::encode(report.config_digest)));
        facts.add("phase", &report.phase);
        facts.add("software", &report.software);
        facts.add("protections", protections(&report.protections));
        let tone = match report.binding {
            BindingLevel::Certificate => Tone::Warn,
            BindingLevel::Channel => Tone::Good,
        };
        facts.add("binding", Cell::new(tone, report.binding.as_str()));
        facts.add("server key", shortened(&hex::encode(self.spki_sha256)));
        facts
    }
}

/// How the sidecar says it guards its secrets; what is missing stands out.
fn protections(protections: &Protections) -> Cell {
    let key_memory = match protections.key_memory {
        KeyMemory::MemfdSecret => "keys in memfd_secret",
        KeyMemory::Mlock => "keys in locked pages",
    };
    let holes = [
        (protections.dumpable, "MEMORY READABLE by other processes"),
        (protections.core_files, "CORE FILES on"),
        (protections.swap, "SWAP on"),
    ];
    let missing: Vec<&str> =
        holes.iter().filter(|(open, _)| *open).map(|(_, what)| *what).collect();
    if missing.is_empty() {
        Cell::from(format!("{key_memory}; not dumpable, no core files, no swap"))
    } else {
        Cell::new(Tone::Warn, format!("{key_memory}; {}", missing.join(", ")))
    }
}

fn verdict(claims: &Claims, comparison: &Comparison, reasons: &[Reason], paint: Paint) -> String {
    let good = paint.text(Tone::Good, "✓");
    let bad = paint.text(Tone::Bad, "✗");
    let what = picture::what(claims);
    match comparison {
        Comparison::NotAsked if reasons.is_empty() => format!(
            "{good} {what}, measurements not compared: give --reference-values to know what runs in it.\n"
        ),
        Comparison::Accepted { reference_values } if reasons.is_empty() => format!(
            "{good} {what}, and its measurements are those of `{}`.\n",
            printable(reference_values)
        ),
        Comparison::AcceptedByRego if reasons.is_empty() => {
            format!(
                "{good} {what}, and the policy in Rego accepts it; a broker asks typed rules, too.\n"
            )
        }
        _ => format!("{bad} {what}, but not what was expected.\n"),
    }
}
