//! A running sidecar: one TLS connection, one nonce, one report, and what follows from them.
//!
//! The connection is made to anybody who answers. What turns it into a trusted one is the report that came
//! over it: Evidence over our nonce, over the key that signed this handshake and, at level `channel`, over
//! the exporter value of this very connection. Against: replay (nonce), another server (key), relay (exporter).

use std::path::Path;
use std::time::Duration;

use adyton_attestation::binding::EXPORTER_LABEL;
use adyton_attestation::challenge::Nonce;
use adyton_attestation::report::{AttestationReport, ReportError, verify_report};
use adyton_attestation::verifier::Outcome;
use adyton_attestation::{
    AppraisalPolicy, Claims, EndorsementBundle, Evidence, Ladder, Reason, ReferenceValues,
    ReleasePolicy, TrustAnchors, UnixTime, Verified, appraise, replay,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode};
use rustls_pki_types::CertificateDer;

use super::page::{self, Comparison, Page};
use super::stored::rejected;
use super::{BindingArg, VerifyArgs, anchors, endorsements, now};
use crate::console::{Tone, printable};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::https::{self, Address, Call, Party, block_on};
use crate::tls::{self, ClientIdentity};
use crate::verb::Context;
use crate::verb::policy::{self, POLICY_LIMIT, text_file};
use crate::verb::reference_values::{self, REFERENCE_VALUES_LIMIT};

/// Making a quote takes a TEE up to some seconds, and requests queue for it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(60);

/// What this side saw of the connection, and what came over it.
struct Observed {
    certificate: CertificateDer<'static>,
    spki_sha256: [u8; 32],
    exporter: [u8; 32],
    report: AttestationReport,
}

/// What the caller wants the claims compared with.
enum Expectation {
    /// Nothing was given.
    NotAsked,
    /// These sets, under this policy, and no older model.
    Asked {
        references: Vec<ReferenceValues>,
        policy: Box<AppraisalPolicy>,
        minimum_model_version: u64,
    },
}

pub(super) fn run(url: &str, args: &VerifyArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    // 1. Everything that can be wrong on this side, before anything is sent.
    let address = Address::parse(Party::Sidecar, url)?;
    let expectation = Expectation::read(args)?;
    let endorsements = endorsements(args)?;
    let anchors = anchors(args, context)?;
    let identity = match (&args.client_cert, &args.client_key) {
        (Some(certificate), Some(key)) => {
            Some(ClientIdentity { certificate: certificate.clone(), key: key.clone() })
        }
        _ => None,
    };
    let config = tls::provisional(identity.as_ref())?;

    // 2. One connection, one nonce, one report.
    let nonce = Nonce::fresh().map_err(|error| {
        Failure::new(Exit::Internal, "random", "no random nonce could be made").caused_by(&error)
    })?;
    let observed = block_on(observe(&address, config, &nonce, args.binding))?;

    // 3. Is it genuine, fresh, and about this connection?
    let exporter = match args.binding {
        BindingArg::Channel => Some(observed.exporter),
        BindingArg::Certificate => None,
    };
    let at = now()?;
    let mut ladder = climb(&observed.report, &endorsements, &anchors, at);
    let verified = verify_report(
        &observed.report,
        &nonce,
        observed.spki_sha256,
        exporter,
        &endorsements,
        &anchors,
        at,
    );
    let mut page = Page {
        url,
        report: &observed.report,
        spki_sha256: observed.spki_sha256,
        ladder: None,
        insecure: page::insecure(&observed.report, &anchors),
        at,
        paint: context.console.paint(),
    };
    let verified = match verified {
        Ok(verified) => verified,
        Err(error) => {
            let reasons = error.reasons();
            settle_binding(ladder.as_mut(), reasons.first());
            page.ladder = ladder.as_ref();
            page.print_refused(&reasons, context)?;
            return Err(refused(&error));
        }
    };
    settle_binding(ladder.as_mut(), None);

    // 4. Is it what the caller expects?
    let claims = verified.verified().get().clone();
    let (comparison, mut reasons) = compare(verified.into_verified(), &expectation, at);
    settle_appraisal(ladder.as_mut(), &comparison, &reasons);
    page.ladder = ladder.as_ref();
    reasons.extend(model_reasons(&observed.report, args, &expectation));
    page.print_verified(&claims, &comparison, &reasons, context)?;
    if !reasons.is_empty() {
        return Err(Failure::new(
            Exit::PolicyDenied,
            "appraisal.refused",
            "a genuine TEE, but not the one that was expected",
        )
        .reasons(reasons));
    }

    // 5. Only a certificate that passed everything asked for is worth pinning.
    if let Some(path) = &args.save_certificate {
        save(path, &observed.certificate, context)?;
    }
    Ok(())
}

impl Expectation {
    fn read(args: &VerifyArgs) -> Result<Self, Failure> {
        if args.reference_values.is_empty() && args.policy.is_none() {
            return Ok(Self::NotAsked);
        }
        let mut references = Vec::new();
        for path in &args.reference_values {
            let text = text_file("Reference Values file", path, REFERENCE_VALUES_LIMIT)?;
            let set = ReferenceValues::parse_toml(&text)
                .map_err(|error| reference_values::unreadable(&path.display(), &error))?;
            references.push(set);
        }
        let (policy, minimum_model_version) = match &args.policy {
            Some(path) => {
                let text = text_file("release policy", path, POLICY_LIMIT)?;
                let policy = ReleasePolicy::parse_toml(&text)
                    .map_err(|error| policy::unreadable(&path.display(), &error))?;
                (policy.appraisal, policy.minimum_model_version)
            }
            // Without a policy: the strict defaults, and any of the given sets.
            None => {
                let named = references.iter().map(|set| set.name().to_owned().clone()).collect();
                let policy =
                    AppraisalPolicy { reference_values: named, ..AppraisalPolicy::default() };
                (policy, 0)
            }
        };
        Ok(Self::Asked { references, policy: Box::new(policy), minimum_model_version })
    }
}

async fn observe(
    address: &Address,
    config: std::sync::Arc<rustls::ClientConfig>,
    nonce: &Nonce,
    binding: BindingArg,
) -> Result<Observed, Failure> {
    let stream = https::connect(address, config).await?;
    let (_, session) = stream.get_ref();
    let unusable = |error: &rustls::Error| {
        Failure::new(
            Exit::Unsupported,
            "sidecar.tls",
            "the sidecar's TLS session cannot be bound to",
        )
        .expected("TLS 1.3 with one X.509 v3 certificate")
        .remedy("check that the URL names a sidecar's mTLS port")
        .caused_by(error)
    };
    let certificate = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| certificate.clone().into_owned())
        .ok_or_else(|| unusable(&rustls::Error::NoCertificatesPresented))?;
    let spki_sha256 = tls::spki_sha256(&certificate).map_err(|error| unusable(&error))?;
    let exporter = session
        .export_keying_material([0_u8; 32], EXPORTER_LABEL, None)
        .map_err(|error| unusable(&error))?;
    let bind = match binding {
        BindingArg::Certificate => "certificate",
        BindingArg::Channel => "exporter",
    };
    let call = Call {
        method: Method::GET,
        target: format!(
            "/.well-known/adyton/attestation?nonce={}&bind={bind}",
            nonce.to_base64url()
        ),
        headers: HeaderMap::new(),
        body: None,
    };
    let reply = https::exchange(address, stream, call, REPORT_TIMEOUT).await?;
    if reply.status != StatusCode::OK {
        return Err(no_report(reply.status, &reply.body));
    }
    let report = AttestationReport::parse(&reply.body).map_err(|error| refused(&error))?;
    Ok(Observed { certificate, spki_sha256, exporter, report })
}

fn no_report(status: StatusCode, body: &[u8]) -> Failure {
    let said: String = String::from_utf8_lossy(body).chars().take(200).collect();
    let failure = |exit, code: &'static str, remedy: &'static str| {
        Failure::new(exit, code, "the sidecar gave no attestation report")
            .got(format!("HTTP status {status} {}", printable(said.trim())))
            .expected("status 200 and a report")
            .remedy(remedy)
    };
    match status {
        StatusCode::NOT_FOUND => failure(
            Exit::Unsupported,
            "report.not-found",
            "check that the URL names an Adyton sidecar's mTLS port",
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => failure(
            Exit::PolicyDenied,
            "report.forbidden",
            "use a client certificate that this sidecar admits",
        ),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => failure(
            Exit::BrokerUnreachable,
            "report.busy",
            "try again: making a quote takes time and is rationed",
        ),
        _ => failure(Exit::Internal, "report.failed", "look at the sidecar's log"),
    }
}

/// The rungs for showing. The proof comes from [`verify_report`] alone.
fn climb(
    report: &AttestationReport,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    at: UnixTime,
) -> Option<Ladder> {
    let evidence = Evidence::parse_kbs(report.tee, &report.evidence).ok()?;
    Some(replay(&evidence, endorsements, anchors, at))
}

/// Enters what [`verify_report`] said into the rung that a replay leaves open: what the report commits to.
fn settle_binding(ladder: Option<&mut Ladder>, refusal: Option<&Reason>) {
    let Some(ladder) = ladder else { return };
    let sound = ladder.all_passed();
    for rung in ladder.rungs.iter_mut().filter(|rung| rung.id == "T18") {
        rung.outcome = match refusal {
            None => Outcome::Passed,
            // When another rung refused, nobody got as far as the report data.
            Some(_) if !sound => Outcome::NotReached,
            Some(reason) => Outcome::Failed(reason.clone()),
        };
    }
}

/// Enters what [`appraise`] said into the rungs that are its own.
fn settle_appraisal(ladder: Option<&mut Ladder>, comparison: &Comparison, reasons: &[Reason]) {
    let Some(ladder) = ladder else { return };
    for rung in &mut ladder.rungs {
        let refused = reasons.iter().find(|reason| reason.rung == rung.id);
        let appraised = matches!(rung.id, "T11" | "T15" | "T17");
        rung.outcome = match (refused, comparison) {
            (Some(reason), _) => Outcome::Failed(reason.clone()),
            (None, Comparison::NotAsked) if appraised => {
                Outcome::NotApplicable("not asked: no Reference Values or policy given".to_owned())
            }
            (None, Comparison::Accepted { .. } | Comparison::Refused) if appraised => {
                Outcome::Passed
            }
            (None, _) => continue,
        };
    }
}

/// A refused report: 12 when only Endorsements are missing, 30 when it is no report, else 10.
fn refused(error: &ReportError) -> Failure {
    match error {
        ReportError::TooLong { .. } | ReportError::Json(_) | ReportError::Version { .. } => {
            Failure::new(
                Exit::Malformed,
                "report.malformed",
                "the attestation report cannot be read",
            )
            .reasons(error.reasons())
        }
        _ => rejected(error.reasons()),
    }
}

fn compare(
    verified: Verified<Claims>,
    expectation: &Expectation,
    at: UnixTime,
) -> (Comparison, Vec<Reason>) {
    let Expectation::Asked { references, policy, .. } = expectation else {
        return (Comparison::NotAsked, Vec::new());
    };
    match appraise(verified, references, policy, at) {
        Ok(result) => {
            let reference_values = result.matched_reference_values().to_owned();
            (Comparison::Accepted { reference_values }, Vec::new())
        }
        Err(refusal) => (Comparison::Refused, refusal.reasons),
    }
}

/// What the report says of the model, against what the caller said. The report came from the attested key,
/// so after verification its words are the TEE's.
fn model_reasons(
    report: &AttestationReport,
    args: &VerifyArgs,
    expectation: &Expectation,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(expected) = args.manifest_digest
        && report.manifest_digest != expected
    {
        reasons.push(Reason {
            code: "model.manifest-digest".into(),
            rung: "model".into(),
            claim: "manifest_digest".into(),
            expected: hex::encode(expected),
            got: hex::encode(report.manifest_digest),
            remedy: "the pod serves another model or another version; compare with adyton inspect"
                .into(),
        });
    }
    if let Expectation::Asked { minimum_model_version, .. } = expectation
        && report.model.version < *minimum_model_version
    {
        reasons.push(Reason {
            code: "model.version".into(),
            rung: "model".into(),
            claim: "model.version".into(),
            expected: format!("at least {minimum_model_version}"),
            got: report.model.version.to_string(),
            remedy: "the pod serves an outdated model; have it replaced".into(),
        });
    }
    reasons
}

fn save(
    path: &Path,
    certificate: &CertificateDer<'_>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let encoded = STANDARD.encode(certificate.as_ref());
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    file::write_atomically("attested certificate", path, pem.as_bytes())?;
    context.console.note(
        Tone::Good,
        &format!(
            "attested certificate saved: {}; clients that trust only it reach only this TEE",
            path.display()
        ),
    );
    Ok(())
}
