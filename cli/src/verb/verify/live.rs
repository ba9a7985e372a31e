//! A running sidecar: one TLS connection, one nonce, one report, and what follows from them.
//!
//! `adyton-client` makes the exchange; here its proofs are compared, remembered and shown.
//! The connection is made to anybody who answers. What turns it into a trusted one is the report that came
//! over it: Evidence over our nonce, over the key that signed this handshake and, at level `channel`, over
//! the exporter value of this very connection. Against: replay (nonce), another server (key), relay (exporter).

use std::path::Path;

use adyton_attestation::peer::RelayablePeer;
use adyton_attestation::report::{AttestationReport, ReportError};
use adyton_attestation::{
    Claims, Evidence, Ladder, Reason, ReferenceValues, UnixTime, Verified, replay_with,
};
use adyton_client::{
    AnsweredConnection, ClientError, Instance, PeerTrust, ProvisionalConnection, VerifiedPeer,
    relayable, spki_sha256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use rustls_pki_types::CertificateDer;

use super::page::{self, Comparison, Page};
use super::pinning::Pinning;
use super::stored::rejected;
use super::{BindingArg, VerifyArgs, now};
use crate::console::{Tone, printable};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::https::{self, Address, Party, block_on};
use crate::tls::{self, ClientIdentity};
use crate::verb::Context;
use crate::verb::rules::{Rules, Verdict, references};

/// What the caller wants the claims compared with.
enum Expectation {
    /// Nothing was given.
    NotAsked,
    /// These sets, under these rules, and no older model.
    Asked { references: Vec<ReferenceValues>, rules: Rules, minimum_model_version: u64 },
}

pub(super) fn run(url: &str, args: &VerifyArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    // 1. Everything that can be wrong on this side, before anything is sent.
    let address = Address::parse(Party::Sidecar, url)?;
    let expectation = Expectation::read(args)?;
    let trust = args.trust.load(context)?;
    let identity = match (&args.client_cert, &args.client_key) {
        (Some(certificate), Some(key)) => {
            Some(ClientIdentity { certificate: certificate.clone(), key: key.clone() })
        }
        _ => None,
    };
    let config = tls::provisional(identity.as_ref())?;

    let pinning = Pinning::read(args, &address)?;

    // 2. One connection, one nonce, one report.
    let (answered, certificate) = block_on(ask(&address, config, args.binding))?;
    let report = answered.report().clone();

    // 3. Is it genuine, fresh, and about this connection?
    let at = now()?;
    let mut ladder = climb(&report, &trust, at);
    let mut page = Page {
        url,
        report: &report,
        spki_sha256: spki_sha256(&certificate).map_err(|error| unusable(&error))?,
        ladder: None,
        insecure: page::insecure(&report, &trust),
        at,
        paint: context.console.paint(),
    };
    let peer = match answered.verify(&trust, at) {
        Ok(peer) => peer,
        Err(error) => {
            let reasons = error.reasons();
            if let Some(ladder) = &mut ladder {
                ladder.settle_challenge(reasons.first());
            }
            page.ladder = ladder.as_ref();
            page.print_refused(&reasons, context)?;
            return Err(refused(&error));
        }
    };
    if let Some(ladder) = &mut ladder {
        ladder.settle_challenge(None);
    }

    // 4. Is it what the caller expects?
    let (claims, instance) = (peer.claims().clone(), peer.instance());
    let (comparison, mut reasons) =
        compare(peer.into_verified(), &expectation, at, ladder.as_mut());
    page.ladder = ladder.as_ref();
    reasons.extend(model_reasons(&report, args, &expectation));
    reasons.extend(pinning.reasons_against(&instance));
    page.print_verified(&claims, &comparison, &reasons, context)?;
    if !reasons.is_empty() {
        return Err(not_expected(reasons));
    }

    // 5. Only what passed everything asked for is worth remembering.
    pinning.remember(&address, &instance, context)?;
    if let Some(path) = &args.save_certificate {
        save(path, &certificate, context)?;
    }
    Ok(())
}

impl Expectation {
    fn read(args: &VerifyArgs) -> Result<Self, Failure> {
        if args.reference_values.is_empty() && args.policy.is_none() {
            return Ok(Self::NotAsked);
        }
        let references = references(&args.reference_values)?;
        let rules = match &args.policy {
            Some(path) => Rules::load(path, args.kid.as_deref())?,
            None => Rules::Strict,
        };
        let minimum_model_version = match &rules {
            Rules::Release(policy) => policy.minimum_model_version,
            Rules::Rego { .. } | Rules::Strict => 0,
        };
        Ok(Self::Asked { references, rules, minimum_model_version })
    }
}

/// A report that parses, at the level that was asked for.
enum Answered {
    Channel(AnsweredConnection),
    Relayable(relayable::Answered),
}

/// What verification made of it.
enum Peer {
    Channel(VerifiedPeer),
    Relayable(RelayablePeer),
}

impl Answered {
    fn report(&self) -> &AttestationReport {
        match self {
            Self::Channel(answered) => answered.report(),
            Self::Relayable(answered) => answered.report(),
        }
    }

    fn verify(self, trust: &PeerTrust, at: UnixTime) -> Result<Peer, ReportError> {
        let peer = match self {
            Self::Channel(answered) => {
                answered.verify(trust, at).map(|verified| Peer::Channel(verified.into_peer()))
            }
            Self::Relayable(answered) => answered.verify(trust, at).map(Peer::Relayable),
        };
        peer.map_err(|refused| refused.error)
    }
}

impl Peer {
    fn claims(&self) -> &Claims {
        match self {
            Self::Channel(peer) => peer.claims(),
            Self::Relayable(peer) => peer.claims(),
        }
    }

    fn instance(&self) -> Instance {
        match self {
            Self::Channel(peer) => peer.instance(),
            Self::Relayable(peer) => peer.instance(),
        }
    }

    fn into_verified(self) -> Verified<Claims> {
        match self {
            Self::Channel(peer) => peer.into_verified(),
            Self::Relayable(peer) => peer.into_verified(),
        }
    }
}

async fn ask(
    address: &Address,
    config: std::sync::Arc<rustls::ClientConfig>,
    binding: BindingArg,
) -> Result<(Answered, CertificateDer<'static>), Failure> {
    let failure = |error| transport_failure(address, error);
    let stream = https::connect(address, config).await?;
    let connection =
        ProvisionalConnection::over(stream, address.authority()).await.map_err(failure)?;
    let certificate = connection.certificate().clone();
    let answered = match binding {
        BindingArg::Channel => connection.ask().await.map(Answered::Channel),
        BindingArg::Certificate => relayable::ask(connection).await.map(Answered::Relayable),
    };
    Ok((answered.map_err(failure)?, certificate))
}

/// The client library's errors as this program tells them.
pub(in crate::verb) fn transport_failure(address: &Address, error: ClientError) -> Failure {
    match error {
        ClientError::Refused(refusal) => not_expected(refusal.reasons),
        ClientError::Status { status, body } => no_report(status, &body),
        ClientError::Report(error) => refused(&error),
        ClientError::Tls(source) => address.tls_failed(source).into(),
        ClientError::Broken(source) => address.broke(source).into(),
        ClientError::TimedOut { step, after, .. } => address.timed_out(step, after).into(),
        ClientError::ReplyTooLong { .. } => address.reply_too_long().into(),
        ClientError::NotBindable { .. } => unusable(&error),
        other => Failure::new(Exit::Internal, "client", "the report could not be asked for")
            .remedy("try again")
            .caused_by(&other),
    }
}

fn not_expected(reasons: Vec<Reason>) -> Failure {
    Failure::new(
        Exit::PolicyDenied,
        "appraisal.refused",
        "a genuine TEE, but not the one that was expected",
    )
    .reasons(reasons)
}

fn unusable(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Exit::Unsupported, "sidecar.tls", "the sidecar's TLS session cannot be bound to")
        .expected("TLS 1.3 with one X.509 v3 certificate")
        .remedy("check that the URL names a sidecar's mTLS port")
        .caused_by(error)
}

fn no_report(status: StatusCode, said: &str) -> Failure {
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

/// The rungs for showing. The proof comes from [`verify_report`](adyton_attestation::verify_report) alone.
fn climb(report: &AttestationReport, trust: &PeerTrust, at: UnixTime) -> Option<Ladder> {
    let evidence = Evidence::parse_kbs(report.tee, &report.evidence).ok()?;
    Some(replay_with(&evidence, &trust.endorsements, &trust.anchors, at, &trust.options))
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
    ladder: Option<&mut Ladder>,
) -> (Comparison, Vec<Reason>) {
    let Expectation::Asked { references, rules, .. } = expectation else {
        return (Comparison::NotAsked, Vec::new());
    };
    let verdict = rules.judge(verified, references, at);
    if let Some(ladder) = ladder {
        rules.settle(ladder, &verdict);
    }
    match verdict {
        Verdict::Accepted { reference_values: Some(reference_values) } => {
            (Comparison::Accepted { reference_values }, Vec::new())
        }
        Verdict::Accepted { reference_values: None } => (Comparison::AcceptedByRego, Vec::new()),
        Verdict::Denied(reasons) | Verdict::NotVerified(reasons) => (Comparison::Refused, reasons),
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
        reasons.push(Reason::new(
            "model.manifest-digest",
            "model",
            "manifest_digest",
            (hex::encode(expected), hex::encode(report.manifest_digest)),
            "the pod serves another model or another version; compare with adyton inspect",
        ));
    }
    if let Expectation::Asked { minimum_model_version, .. } = expectation
        && report.model.version < *minimum_model_version
    {
        reasons.push(Reason::new(
            "model.version",
            "model",
            "model.version",
            (format!("at least {minimum_model_version}"), report.model.version.to_string()),
            "the pod serves an outdated model; have it replaced",
        ));
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
