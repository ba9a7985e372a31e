//! A read-only S3 endpoint over the files of a sealed model, for inference servers in the same pod.
//!
//! ```text
//!  bytes ──Request::parse──▶ Request               one reading only, no body
//!        ──authenticate────▶ Authenticated         signed with this start's secret, now, for this
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`request`], [`target`], [`range`] | HTTP/1.1 as far as it is needed, stricter than it must be |
//! | [`signature`] | AWS signature version 4 |
//! | [`limits`], [`error`] | bounds, refusals |
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod error;
pub mod limits;
pub mod range;
pub mod request;
pub mod signature;
pub mod target;
