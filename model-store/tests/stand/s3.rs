//! An S3 server of somebody else, in this process, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use adyton_model_store::{Access, Credentials, StoreSettings};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;

pub const BUCKET: &str = "models";
const KEY_ID: &str = "AKIAEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI";

pub struct Server {
    pub address: SocketAddr,
    pub root: TempDir,
}

impl Server {
    pub fn start() -> Self {
        let root = tempfile::tempdir().expect("folder");
        std::fs::create_dir(root.path().join(BUCKET)).expect("bucket");
        let mut service = S3ServiceBuilder::new(FileSystem::new(root.path()).expect("files"));
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = service.build();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("address");
        listener.set_nonblocking(true).expect("non-blocking");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
                while let Ok((socket, _)) = listener.accept().await {
                    let service = service.clone();
                    tokio::spawn(async move {
                        let server = Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(TokioIo::new(socket), service).await;
                    });
                }
            });
        });
        Self { address, root }
    }
}

/// Settings for `endpoint`, with the credentials of the server.
pub fn settings(endpoint: &str) -> StoreSettings {
    with_secret(endpoint, SECRET)
}

pub fn with_secret(endpoint: &str, secret: &str) -> StoreSettings {
    let text = format!("access_key_id = {KEY_ID}\nsecret_access_key = {secret}\n");
    let credentials = Credentials::take(&mut text.into_bytes()).expect("credentials");
    StoreSettings {
        access: Access::Credentials(Arc::new(credentials)),
        endpoint: Some(endpoint.parse().expect("a URL")),
        ..super::settings()
    }
}
