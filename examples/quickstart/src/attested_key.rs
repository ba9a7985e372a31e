//! Learns the model key the only way there is: by attesting.
//!
//! The last chapter looks for the key in the memory of our processes, so it must know it. No admin call
//! returns it; a quote with the right measurement does. This is also the shortest program that shows the
//! whole RCAR exchange with the library.

use std::path::Path;

use adyton_attestation::Tee;
use adyton_attestation::attester::{Attester, CocoAttester};
use adyton_attestation::rcar::{
    AttestResponse, ChallengeMessage, JweResponse, RcarClient, ResourcePath, TeeKeyPair,
};
use adyton_cli::https::{Address, Party, connect};
use adyton_cli::tls::pinned;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, SET_COOKIE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

const REPLY_LIMIT: usize = 1 << 20;

/// Attests through `guest_api` to the broker at `broker_url` and returns the key of `resource`.
///
/// # Errors
/// When the broker refuses, or answers anything else than the protocol says.
pub async fn fetch(
    guest_api: &str,
    broker_url: &str,
    broker_ca: &Path,
    resource: &ResourcePath,
) -> Result<Zeroizing<Vec<u8>>> {
    let address = Address::parse(Party::Broker, broker_url)?;
    let stream = connect(&address, pinned(broker_ca, None)?).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut kbs = Kbs { sender, authority: address.authority().to_owned(), cookie: None };

    let (request, awaiting) = RcarClient::start(Tee::Tdx);
    let challenge: ChallengeMessage = kbs.post("/kbs/v0/auth", &request).await?;
    let (report_data, awaiting) = awaiting.on_challenge(&challenge, TeeKeyPair::generate()?)?;
    let guest_api = guest_api.to_owned();
    let evidence =
        tokio::task::spawn_blocking(move || CocoAttester::new(&guest_api)?.collect(&report_data))
            .await??;
    let (attestation, awaiting) = awaiting.with_evidence(evidence);
    let token: AttestResponse = kbs.post("/kbs/v0/attest", &attestation).await?;
    let attested = awaiting.on_token(token);
    let wrapped: JweResponse = kbs.get(&format!("/kbs/v0/resource/{resource}")).await?;
    Ok(attested.unwrap(resource, &wrapped)?.plaintext)
}

struct Kbs {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    cookie: Option<String>,
}

impl Kbs {
    async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        message: &impl serde::Serialize,
    ) -> Result<T> {
        let body = Full::from(serde_json::to_vec(message)?);
        self.exchange(http::Request::post(path).header(CONTENT_TYPE, "application/json"), body)
            .await
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.exchange(http::Request::get(path), Full::default()).await
    }

    async fn exchange<T: DeserializeOwned>(
        &mut self,
        request: http::request::Builder,
        body: Full<Bytes>,
    ) -> Result<T> {
        let mut request = request.header(HOST, &self.authority);
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let reply = self.sender.send_request(request.body(body)?).await?;
        if let Some(cookie) = reply.headers().get(SET_COOKIE) {
            self.cookie = cookie.to_str()?.split(';').next().map(str::to_owned);
        }
        let status = reply.status();
        let body = Limited::new(reply.into_body(), REPLY_LIMIT)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("read the broker's answer: {error}"))?
            .to_bytes();
        ensure!(
            status.is_success(),
            "the broker answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).context("parse the broker's answer")
    }
}
