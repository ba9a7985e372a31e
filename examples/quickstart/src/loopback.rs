//! Plain HTTP to admin listeners on this machine.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const LIMIT: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// One reply.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

/// `GET base/path`, where `base` looks like `http://127.0.0.1:1234`.
///
/// # Errors
/// When nobody answers in time, or the answer is over 1 MiB.
pub fn get(base: &str, path: &str) -> Result<Reply> {
    let authority = base.strip_prefix("http://").context("an http:// URL")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let exchange = async {
            let stream = TcpStream::connect(authority).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(connection);
            let request = http::Request::get(path)
                .header(http::header::HOST, authority)
                .body(Empty::<Bytes>::new())?;
            let reply = sender.send_request(request).await?;
            let status = reply.status().as_u16();
            let body = Limited::new(reply.into_body(), LIMIT)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!("read the reply: {error}"))?
                .to_bytes();
            driver.abort();
            Ok(Reply { status, body })
        };
        tokio::time::timeout(TIMEOUT, exchange).await.context("no answer in time")?
    })
}
