//! The client: one TLS connection, on which it first asks who is there and then for a completion.
//!
//! The server certificate proves nothing at first; the attestation report that comes over the same
//! connection commits to that certificate's key, to our nonce and to the connection itself.

use std::path::Path;
use std::sync::Arc;

use adyton_client::{
    AcceptedPeer, AttestedConnection, ClientIdentity, EndorsementBundle, Expectations, PeerTrust,
    ProvisionalConnection, ReferenceValues, ServerAddress, TrustAnchors, UnixTime, connect,
};
use anyhow::{Context, Result, bail};
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};

use crate::client_certificates::ClientCertificates;

const REPLY_LIMIT: usize = 4 << 20;

/// What the client was given by people it trusts.
#[derive(Debug)]
pub struct Trust {
    /// Vendor roots, for the quickstart also the root of the simulated TEE; the vendor's statements.
    pub peer: PeerTrust,
    /// What the image should measure.
    pub expectations: Expectations,
}

/// One open connection. Nobody is known to be there.
#[derive(Debug)]
pub struct Connection(ProvisionalConnection);

/// The same connection, once the TEE at its other end is known and accepted.
#[derive(Debug)]
pub struct Attested(AttestedConnection);

impl Connection {
    /// Connects to `url`, with a client certificate if one is given.
    ///
    /// # Errors
    /// When the server can't be reached or refuses the handshake.
    pub async fn open(url: &str, clients: Option<&ClientCertificates>) -> Result<Self> {
        let identity = match clients {
            None => ClientIdentity::Anonymous,
            Some(clients) => ClientIdentity::from_pem(
                &std::fs::read(&clients.certificate_file)?,
                &std::fs::read(&clients.key_file)?,
            )?,
        };
        Ok(Self(connect(&ServerAddress::parse(url)?, &identity).await?))
    }

    /// Asks for the attestation report and takes nobody's word for anything.
    ///
    /// # Errors
    /// When the server does not answer us.
    pub async fn ask_only(self) -> Result<()> {
        self.0.ask().await?;
        Ok(())
    }

    /// Asks for the attestation report, verifies it for this connection, and appraises it.
    ///
    /// # Errors
    /// When any of it does not hold; nothing of the model has been asked for by then.
    pub async fn attest(self, trust: &Trust, now: UnixTime) -> Result<Attested> {
        Ok(Attested(self.0.attest(&trust.peer, &trust.expectations, now).await?))
    }
}

impl Attested {
    /// Who is there.
    pub fn peer(&self) -> &AcceptedPeer {
        self.0.peer()
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
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))?;
        let reply = self.0.send(request).await?;
        let status = reply.status();
        let mut body = reply.into_body();
        if !status.is_success() {
            let text = Limited::new(body, REPLY_LIMIT)
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
        Ok(Arc::new(Self {
            peer: PeerTrust::strict(endorsements, anchors),
            expectations: Expectations::of_software(vec![reference_values]),
        }))
    }
}
