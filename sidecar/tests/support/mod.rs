//! A small world around the real binary: simulated TEE, fake KBS, sealed model, inference server.
#![allow(dead_code, reason = "each test file uses its own part of the world")]

pub mod client;
pub mod kbs;
pub mod pki;
pub mod server;
pub mod store;
pub mod world;

use std::time::Duration;

/// Nothing in these tests takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `what`, or fails with its name.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}
