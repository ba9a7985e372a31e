//! A client of one request for the tests: HTTP/1.1 over any stream.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: String,
}

/// Sends one request over `stream` and reads the answer to its end.
pub async fn send<S>(stream: S, method: Method, path: &str, body: impl Into<Body>) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("the server speaks HTTP");
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "model")
        .header("content-type", "application/json")
        .body(body.into())
        .expect("the request is well formed");
    let response = sender.send_request(request).await.expect("the server answers");
    let status = response.status();
    let body = response.into_body().collect().await.expect("the body has an end").to_bytes();
    Answer { status, body: String::from_utf8(body.to_vec()).expect("the body is UTF-8") }
}
