//! Sealed models over HTTP, from buckets and from OCI registries.
//!
//! Job: to be the [`Storage`](adyton_sealed_weights::Storage) of a sealed model that lies elsewhere. In: a
//! [`Source`] and [`StoreSettings`]. Out: bytes, in parallel ranges, from the objects that were pinned when
//! they were opened. Role: none; nothing that comes from a store is trusted by anybody. The manifest's MAC,
//! the tags of the chunks and, at a registry, digests speak for it later.
//!
//! ```text
//! "s3://models/llama" ─ Source::parse ─► Source ─ storage(settings) ─► Arc<dyn Storage>
//!                                                                        │ threads of the opener
//!   address.rs                    credentials.rs  settings.rs            ▼
//!   web.rs ─┐                                                     RemoteStorage (remote.rs)
//!   bucket.rs ├─ Backend: look, part, whole ◄── retry, resume, pin, bounds ──┘
//!   oci/   ─┘        │
//!                    └─► transport/: TLS, timeouts, status, range ─► Fault
//! ```
//!
//! Against: a store that answers slowly, never, too much, something else, or with another object than a
//! moment ago; a network between that cuts connections; a host that redirects us to where credentials
//! would be read. It does not hide from a store which model is read, or when.

pub mod address;
mod bucket;
pub mod credentials;
pub mod fault;
pub mod oci;
pub mod push;
mod remote;
mod retry;
pub mod settings;
mod storage;
mod transport;
mod web;

pub use address::{AddressError, Bucket, Provider, Source};
pub use credentials::{Credentials, CredentialsError};
pub use fault::Fault;
pub use push::{Existing, PushError, PushReport, push};
pub use settings::{
    Access, Addressing, PlainHttp, RetryPolicy, Roots, StoreSettings, Tags, Timeouts,
};
pub use storage::StoreError;
pub use transport::RootsError;
