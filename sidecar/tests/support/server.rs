//! An inference server that does what the test tells it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    healthy: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<Stream>>>,
    arrived: Arc<Mutex<Vec<mpsc::UnboundedSender<Bytes>>>>,
    connections: Arc<Mutex<u64>>,
}

/// What the next `GET /stream` sends: whatever comes out of here.
struct Stream {
    chunks: mpsc::UnboundedReceiver<Bytes>,
    dropped: oneshot::Sender<()>,
}

pub enum Reply {
    Whole(Full<Bytes>),
    Stream(Sending),
}

pub struct Sending {
    chunks: mpsc::UnboundedReceiver<Bytes>,
    dropped: Option<oneshot::Sender<()>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(dropped) = self.dropped.take() {
            let _ = dropped.send(());
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Stream(stream) => {
                stream.chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
        }
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let server = Self {
            address: listener.local_addr().expect("address"),
            seen: Arc::default(),
            healthy: Arc::new(AtomicBool::new(true)),
            streams: Arc::default(),
            arrived: Arc::default(),
            connections: Arc::default(),
        };
        let served = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                *served.connections.lock().expect("lock") += 1;
                let server = served.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| server.clone().answer(request));
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        server
    }

    /// Requests so far, health left out.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }

    pub fn connections(&self) -> u64 {
        *self.connections.lock().expect("lock")
    }

    pub fn healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    /// The next `GET /stream` sends what comes out of the sender, until it is dropped. The receiver
    /// learns when nobody reads any more, or the stream is at its end.
    pub fn stream(&self) -> (mpsc::UnboundedSender<Bytes>, oneshot::Receiver<()>) {
        let (sender, chunks) = mpsc::unbounded_channel();
        let (dropped, learns) = oneshot::channel();
        self.streams.lock().expect("lock").push(Stream { chunks, dropped });
        (sender, learns)
    }

    /// The next `POST /watch` reports each piece of its body here as it arrives.
    pub fn watch_body(&self) -> mpsc::UnboundedReceiver<Bytes> {
        let (sender, pieces) = mpsc::unbounded_channel();
        self.arrived.lock().expect("lock").push(sender);
        pieces
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Reply>, hyper::Error> {
        let (parts, mut body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if path == "/health" {
            let healthy = self.healthy.load(Ordering::Relaxed);
            let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let mut response = Response::new(Reply::Whole(Full::default()));
            *response.status_mut() = status;
            return Ok(response);
        }
        if path == "/stream" {
            let Stream { chunks, dropped } =
                self.streams.lock().expect("lock").pop().expect("a stream was prepared");
            let stream = Sending { chunks, dropped: Some(dropped) };
            let mut response = Response::new(Reply::Stream(stream));
            let kind = "text/event-stream".parse().expect("a header");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            return Ok(response);
        }
        if path == "/watch" {
            let watcher = self.arrived.lock().expect("lock").pop().expect("a watcher");
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    let _ = watcher.send(data);
                }
            }
            return Ok(Response::new(Reply::Whole(Full::from("watched"))));
        }
        if path == "/silent" {
            std::future::pending::<Infallible>().await;
        }
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        self.seen.lock().expect("lock").push(Seen {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: parts.headers,
            body: collected.to_bytes(),
            trailers,
        });
        let mut response = Response::new(Reply::Whole(Full::from("seen")));
        let headers = response.headers_mut();
        headers.insert("x-from-server", "1".parse().expect("a header"));
        headers.insert("connection", "x-hop".parse().expect("a header"));
        headers.insert("x-hop", "1".parse().expect("a header"));
        Ok(response)
    }
}
