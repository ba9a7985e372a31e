//! Redirects, for the places that send readers to another host: registries and web servers.
//!
//! Against: a redirect to a neighbour that would be asked with our credentials, or without TLS.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response};
use url::Url;

use super::body::PacedBody;
use super::exchange::{Transport, judge, location, wanted};
use super::outgoing::Outgoing;
use crate::fault::Fault;

/// Most redirects of one request.
const MAX_REDIRECTS: usize = 5;

impl Transport {
    /// GET, wherever the server sends us. Credentials stay with the first origin.
    pub(crate) async fn get(
        &self,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<Response<PacedBody>, Fault> {
        let range = wanted(&headers);
        judge(self.get_unjudged(url, headers).await?, range).await
    }

    /// The same, whatever the status at the end is.
    pub(crate) async fn get_unjudged(
        &self,
        url: &Url,
        mut headers: HeaderMap,
    ) -> Result<Response<PacedBody>, Fault> {
        let mut url = url.clone();
        let mut status = 0;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::new(Outgoing::empty());
            *request.method_mut() = Method::GET;
            *request.uri_mut() = url.as_str().parse().map_err(|_| Fault::Unsound {
                what: "it leads to something that is not a URL".to_owned(),
            })?;
            *request.headers_mut() = headers.clone();
            let response = self.send(request).await?;
            status = response.status().as_u16();
            let next = match status {
                301 | 302 | 303 | 307 | 308 => location(response.headers()),
                _ => None,
            };
            let Some(next) = next else { return Ok(response) };
            let next = url.join(next).ok().filter(|next| {
                // From TLS to TLS; from this machine, where it goes without, to wherever it may.
                matches!(next.scheme(), "http" | "https")
                    && (next.scheme() == "https" || url.scheme() == "http")
            });
            let Some(next) = next else {
                // Judged by its status: it names where to, and is final.
                return Ok(response);
            };
            if next.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        let to = format!("{MAX_REDIRECTS} places one after the other");
        Err(Fault::Redirected { status, to })
    }
}
