//! The key broker of Adyton: it verifies Evidence and releases keys to TEEs that the owner accepts.
//!
//! Roles (RFC 9334): Verifier and Relying Party, on the model owner's side. It speaks the KBS protocol
//! 0.4.0 to guests and a small admin API to its owner.
//!
//! ```text
//!                      kbs::routes (HTTP)                        admin (HTTP, other port)
//!                            │                                        │
//!  Attestation ──► kbs::exchange ─────────► Verified<Claims>    keys · policies · references
//!                            │               in session               │
//!  resource path ─► exchange::resource                                ▼
//!                            │  policy::KeyRules ◄──────────────── store (sealed rows)
//!                            ▼                                        ▲
//!                  decision::appraise_and_decide ─► Denied ───────────┤ journal: audit log
//!                            │ ReleasePermit                          │ and decisions
//!                            ▼                                        │
//!                  journal::record_release ───────────────────────────┘
//!                            │ RecordedPermit  (its record is on disk)
//!                            ▼
//!                  keystore::release ─► JWE to the attested TEE key
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`kbs`], [`session`], [`ear`] | the KBS protocol, its sessions, the signed Attestation Result |
//! | [`decision`], [`policy`], [`reference_values`], [`endorsements`] | what decides |
//! | [`journal`], [`audit`] | what is written down, before it has effect |
//! | [`keystore`], [`store`], [`secret_file`], [`state_dir`] | what is kept, and how |
//! | [`admin`] | the owner's API |
//! | [`http`], [`tls`], [`respond`] | listeners, certificates, replies |
//! | [`config`], [`serve`], [`broker`], [`error`] | start and end |
//! | [`metrics`], [`logging`], [`hardening`] | what operators see, and what others don't |

pub mod admin;
pub mod audit;
pub mod broker;
pub mod config;
pub mod decision;
pub mod ear;
pub mod endorsements;
pub mod error;
pub mod hardening;
pub mod http;
pub mod journal;
pub mod kbs;
pub mod keystore;
pub mod logging;
pub mod metrics;
pub mod policy;
pub mod reference_values;
pub mod respond;
pub mod secret_file;
pub mod serve;
pub mod session;
pub mod shared_policies;
pub mod state_dir;
pub mod store;
pub mod tls;
