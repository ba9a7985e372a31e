//! `adyton connect URL --get PATH`: one request on one attested connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::{Value, json};

use super::upstream::Upstream;
use crate::failure::{Exit, Failure};
use crate::https::REPLY_LIMIT;
use crate::verb::Context;

/// How long an answer may take from its request to its last byte.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// Attests a connection, sends the request, prints the answer.
///
/// # Errors
/// [`Failure`]: no attested connection (nothing was sent), no answer in time, or a status of 400 and more.
pub(super) async fn run(
    upstream: &Arc<Upstream>,
    path: &PathAndQuery,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let mut connection = upstream.attest().await?;
    let (_, peer) = upstream.introduce(&connection);
    let request = Request::get(path.as_str()).body(Full::default()).map_err(|error| {
        Failure::because(Exit::Usage, "connect.request", "the request cannot be made", &error)
            .remedy("check the path")
    })?;
    let exchange = async {
        let reply = connection.send(request).await.map_err(|error| broke(&error))?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), REPLY_LIMIT).collect().await;
        let body = body.map_err(|error| broke(error.as_ref()))?.to_bytes();
        Ok::<_, Failure>((status, body))
    };
    let (status, body) = tokio::time::timeout(REPLY_TIMEOUT, exchange).await.map_err(|_| {
        Failure::new(Exit::BrokerUnreachable, "sidecar.timeout", "the answer took too long")
            .expected(format!("all of it within {} s", REPLY_TIMEOUT.as_secs()))
            .remedy("try again; for long answers use --listen")
    })??;
    print(status, &body, &peer, context)?;
    let refused = |exit, code: &'static str, remedy: &'static str| {
        Err(Failure::new(exit, code, format!("{path} was answered with status {status}"))
            .got(status.to_string())
            .expected("a status below 400")
            .remedy(remedy))
    };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refused(
            Exit::PolicyDenied,
            "request.forbidden",
            "use a client certificate that this sidecar admits to this path",
        ),
        status if status.is_client_error() || status.is_server_error() => {
            refused(Exit::Internal, "request.failed", "read the answer above")
        }
        _ => Ok(()),
    }
}

fn print(
    status: StatusCode,
    body: &Bytes,
    peer: &Value,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let parsed: Result<Value, _> = serde_json::from_slice(body);
    let document = json!({
        "status": status.as_u16(),
        "peer": peer,
        "body": parsed.unwrap_or_else(|_| json!(String::from_utf8_lossy(body))),
    });
    context.console.body(body, &document)
}

fn broke(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Exit::BrokerUnreachable, "sidecar.broken", "the answer did not come to its end")
        .expected(format!("an answer of at most {REPLY_LIMIT} bytes"))
        .remedy("try again; for long answers use --listen")
        .caused_by(error)
}
