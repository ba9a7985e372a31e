//! Requests to one repository, with the newest answer to the registry's challenge.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::sync::{Arc, PoisonError, RwLock};

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use url::Url;

use super::token::Challenge;
use crate::credentials::{Credentials, Field};
use crate::fault::Fault;
use crate::settings::StoreSettings;
use crate::storage::StoreError;
use crate::transport::{Outgoing, PacedBody, Transport, judge, wanted};
use crate::web::authorization;

/// One repository, and who asks.
pub(crate) struct Session {
    transport: Transport,
    credentials: Option<Arc<Credentials>>,
    /// What is asked for where the challenge does not say it.
    scope: String,
    authorization: RwLock<Option<HeaderValue>>,
}

impl Session {
    pub(crate) fn new(
        scope: String,
        transport: Transport,
        settings: &StoreSettings,
    ) -> Result<Self, StoreError> {
        let credentials = settings.access.credentials().cloned();
        if credentials.as_deref().is_some_and(|credentials| authorization(credentials).is_none()) {
            let expected = "give username and password, or bearer_token";
            return Err(StoreError::Credentials { scheme: "oci", expected });
        }
        // A password is for whoever the registry names in its challenge; a token is for the registry.
        let given = credentials
            .as_deref()
            .filter(|credentials| credentials.has(Field::BearerToken))
            .and_then(authorization);
        Ok(Self { transport, credentials, scope, authorization: RwLock::new(given) })
    }

    /// GET, wherever the registry sends us.
    pub(crate) async fn get(
        &self,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<Response<PacedBody>, Fault> {
        let range = wanted(&headers);
        let answered = self
            .answered(headers, async |headers| self.transport.get_unjudged(url, headers).await)
            .await?;
        judge(answered, range).await
    }

    /// Any other request, to the registry itself.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Outgoing,
    ) -> Result<Response<PacedBody>, Fault> {
        let answered = self
            .answered(headers, async |headers| {
                let mut request = Request::new(body.clone());
                *request.method_mut() = method.clone();
                *request.uri_mut() = url
                    .as_str()
                    .parse()
                    .map_err(|_| Fault::Unsound { what: "a place that is not a URL".to_owned() })?;
                *request.headers_mut() = headers;
                self.transport.send(request).await
            })
            .await?;
        judge(answered, None).await
    }

    /// Answers one challenge.
    async fn answered(
        &self,
        mut headers: HeaderMap,
        send: impl AsyncFn(HeaderMap) -> Result<Response<PacedBody>, Fault>,
    ) -> Result<Response<PacedBody>, Fault> {
        if let Some(value) = self.authorization() {
            headers.insert(AUTHORIZATION, value);
        }
        let response = send(headers.clone()).await?;
        let challenge = (response.status() == StatusCode::UNAUTHORIZED)
            .then(|| response.headers().get(WWW_AUTHENTICATE)?.to_str().ok())
            .flatten()
            .and_then(Challenge::parse);
        let Some(challenge) = challenge else { return Ok(response) };
        let credentials = self.credentials.as_deref();
        let answer = challenge.answer(&self.scope, &self.transport, credentials).await?;
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = Some(answer.clone());
        headers.insert(AUTHORIZATION, answer);
        send(headers).await
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
