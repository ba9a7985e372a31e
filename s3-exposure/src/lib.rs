//! A read-only S3 endpoint over the files of a sealed model, for inference servers in the same pod.
//!
//! ```text
//!  bytes ──Request::parse──▶ Request               one reading only, no body
//!        ──authenticate────▶ Authenticated         signed with this start's secret, now, for this
//!        ──Operation::of───▶ Operation             one of five, nothing guessed
//!        ──answer──────────▶ Answer                head, and a document or bytes of an object
//!        ──ObjectSource────▶ authentic plaintext on the socket
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`request`], [`target`], [`range`] | HTTP/1.1 as far as it is needed, stricter than it must be |
//! | [`signature`] | AWS signature version 4 |
//! | [`catalogue`], [`operation`], [`answer`] | what is shown, what is asked, what is answered |
//! | [`source`] | where bytes come from: opened on the fly, or open already |
//! | [`socket`], [`server`] | loopback and Unix sockets, threads |
//! | [`client_files`] | what the inference server is handed |
//! | [`limits`], [`error`] | bounds, refusals |
//!
//! Plaintext is on the way here: loopback is not encrypted, and the kernel's socket buffers are not wiped by
//! us. What keeps neighbours out is the signature, whose secret they are not given.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod answer;
pub mod catalogue;
pub mod client_files;
mod condition;
mod connection;
pub mod error;
pub mod limits;
mod listing;
pub mod operation;
pub mod range;
pub mod request;
pub mod server;
pub mod signature;
pub mod socket;
pub mod source;
pub mod target;
mod xml;

pub use catalogue::Catalogue;
pub use client_files::ClientFiles;
pub use server::{Answered, Exposure, Observer, Stopped};
pub use signature::Credentials;
pub use socket::{Access, Endpoint, Listener};
pub use source::{ObjectSource, OpenedFiles, SealedRanges};
