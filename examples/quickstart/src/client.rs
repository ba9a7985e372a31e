//! The client: one TLS connection, on which it first asks who is there and then for a completion.
//!
//! The server certificate proves nothing at first; the attestation report that comes over the same
//! connection commits to that certificate's key, to our nonce and to the connection itself.

use std::path::Path;
use std::sync::Arc;

use adyton_attestation::binding::EXPORTER_LABEL;
use adyton_attestation::challenge::Nonce;
use adyton_attestation::report::{AttestationReport, verify_report};
use adyton_attestation::{
    AppraisalPolicy, AttestationResult, EndorsementBundle, ReferenceValues, TrustAnchors, UnixTime,
    appraise,
};
use adyton_cli::https::{Address, Party, connect};
use adyton_cli::tls::{ClientIdentity, provisional, spki_sha256};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::client_certificates::ClientCertificates;

const REPORT_LIMIT: usize = 4 << 20;

/// What the client was given by people it trusts.
#[derive(Debug)]
pub struct Trust {
    /// Vendor roots, and for the quickstart the root of the simulated TEE.
    pub anchors: TrustAnchors,
    /// The vendor's statements.
    pub endorsements: EndorsementBundle,
    /// What the image should measure.
    pub reference_values: ReferenceValues,
}

/// One open connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    spki_sha256: [u8; 32],
    exporter: [u8; 32],
}

/// What the report proved.
#[derive(Debug)]
pub struct Attested {
    /// Claims that were verified and found among the Reference Values.
    pub result: AttestationResult,
    /// The report as the sidecar sent it.
    pub report: AttestationReport,
}

impl Connection {
    /// Connects to `url`, with a client certificate if one is given.
    ///
    /// # Errors
    /// When the server can't be reached or refuses the handshake.
    pub async fn open(url: &str, clients: Option<&ClientCertificates>) -> Result<Self> {
        let identity = clients.map(|clients| ClientIdentity {
            certificate: clients.certificate_file.clone(),
            key: clients.key_file.clone(),
        });
        let address = Address::parse(Party::Sidecar, url)?;
        let stream = connect(&address, provisional(identity.as_ref())?).await?;
        let (_, session) = stream.get_ref();
        let certificate = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .context("the server sent no certificate")?;
        let spki_sha256 = spki_sha256(certificate)?;
        let exporter = session.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, authority: address.authority().to_owned(), spki_sha256, exporter })
    }

    /// Asks for the attestation report, verifies it for this connection, and appraises it.
    ///
    /// # Errors
    /// When any of it does not hold; nothing of the model has been asked for by then.
    pub async fn attest(&mut self, trust: &Trust, now: UnixTime) -> Result<Attested> {
        let nonce = Nonce::fresh()?;
        let path =
            format!("/.well-known/adyton/attestation?nonce={}&bind=exporter", nonce.to_base64url());
        let request =
            http::Request::get(path).header(HOST, &self.authority).body(Full::default())?;
        let reply = self.sender.send_request(request).await?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), REPORT_LIMIT)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("read the attestation report: {error}"))?
            .to_bytes();
        ensure!(
            status.is_success(),
            "the attestation endpoint answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        let report = AttestationReport::parse(&body)?;
        let exporter = Some(self.exporter);
        let verified = verify_report(
            &report,
            &nonce,
            self.spki_sha256,
            exporter,
            &trust.endorsements,
            &trust.anchors,
            now,
        )?;
        let policy = AppraisalPolicy {
            reference_values: vec![trust.reference_values.name().to_owned()],
            ..AppraisalPolicy::default()
        };
        let references = std::slice::from_ref(&trust.reference_values);
        let result = appraise(verified.into_verified(), references, &policy, now)?;
        Ok(Attested { result, report })
    }

    /// Streams a completion; `on_text` gets each piece as it arrives. Returns the number of pieces.
    ///
    /// # Errors
    /// When the server answers anything but a whole event stream.
    pub async fn stream_completion(
        &mut self,
        prompt: &str,
        mut on_text: impl FnMut(&str),
    ) -> Result<usize> {
        let body = json!({"model": "kjv-llama", "prompt": prompt, "max_tokens": 96, "temperature": 0.7, "seed": 7, "stream": true});
        let request = http::Request::post("/v1/completions")
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))?;
        let reply = self.sender.send_request(request).await?;
        let status = reply.status();
        let mut body = reply.into_body();
        if !status.is_success() {
            let text = Limited::new(body, REPORT_LIMIT)
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            bail!(
                "the inference server answered {status}: {}",
                String::from_utf8_lossy(&text.unwrap_or_default())
            );
        }
        let (mut pending, mut pieces) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = pending.drain(..end + 2).collect();
                let event = String::from_utf8(event).context("an event is not UTF-8")?;
                let Some(data) = event.trim().strip_prefix("data:").map(str::trim) else {
                    continue;
                };
                if data == "[DONE]" {
                    return Ok(pieces);
                }
                let event: Value = serde_json::from_str(data).context("an event is not JSON")?;
                if let Some(text) =
                    event["choices"][0]["text"].as_str().filter(|text| !text.is_empty())
                {
                    pieces += 1;
                    on_text(text);
                }
            }
        }
        bail!("the stream ended before [DONE]")
    }
}

impl Trust {
    /// Reads what the quickstart's simulated TEE wrote about itself.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn read(root: &Path, bundle: &Path, reference_values: &Path) -> Result<Arc<Self>> {
        let anchors = TrustAnchors::vendor().with_insecure_extra_root(&std::fs::read(root)?)?;
        let endorsements = EndorsementBundle::parse(&std::fs::read(bundle)?)?;
        let reference_values =
            ReferenceValues::parse_toml(&std::fs::read_to_string(reference_values)?)?;
        Ok(Arc::new(Self { anchors, endorsements, reference_values }))
    }
}
