//! Everything of Adyton that runs inside the TEE: gets the model key, opens the model, serves it.
//!
//! The way of the data, each station a type, each arrow the only function that leads there:
//!
//! ```text
//!  Config ─ hygiene::harden ─► Hardened            not dumpable, no core, no swap
//!    ─ release::attest ──────► Attested            the broker believes our Evidence
//!    ─ Attested::release ────► Released            the model key, in locked memory
//!    ─ weights::unlock ──────► Unlocked            the manifest is authentic and recent enough
//!    ─ Unlocked::open ───────► LoadedWeights       every chunk authenticated, keys gone
//!    ─ expose::expose ───────► Exposed             the inference server can read them
//!    ─ Ready::new ───────────► Ready
//!    ─ proxy::serve ─────────► the mTLS port       bound here and nowhere else
//!    ─ shutdown ─────────────► Drained ─ wipe ─► nothing
//! ```
//!
//! [`startup`] climbs this ladder; [`admin`] lets the node watch; [`report`] answers clients who
//! ask what they are talking to.

pub mod admin;
pub mod config;
pub mod error;
pub mod expose;
pub mod hygiene;
pub mod logging;
pub mod metrics;
pub mod phase;
pub mod proxy;
pub mod ready;
pub mod ready_file;
pub mod release;
pub mod report;
pub mod shutdown;
pub mod startup;
pub mod upstream;
pub mod weights;
