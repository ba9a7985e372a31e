//! Policies in Rego, with the input that Trustee gives them.
//!
//! Role: a second Appraisal Policy (RFC 9334 §8.5) beside the typed one of
//! [`adyton_attestation::appraise`]. In: verified claims in Trustee's layout, Reference Values, the text
//! of a policy. Out: an [`Appraised`] vector, a yes from [`allow`], or every reason against.
//! It only ever adds reasons: what the Verifier refused, or the typed policy, stays refused.
//!
//! ```text
//!  annotated_evidence ─┐
//!  references ─────────┼─► appraise (data.policy.trust_claims) ─► vector ─┐
//!                      │                                                  ├─► allow (data.policy.allow)
//!  resource path ──────┴──────────────────────────────────────────────────┘
//!                                              judge: both, as a release policy's [rego] asks
//! ```
//! It is a crate of its own so that no interpreter is linked into what runs inside the TEE
//! (docs/decisions/0007). Evaluation sees no file, no network and no random numbers; its input and its
//! time are bounded, and whatever goes wrong in it is a refusal.
//! Against: a policy that says nothing, something else than a boolean or a number, or never ends.

mod appraisal;
mod engine;
mod event_log;
mod gpu;
mod policy;
mod references;
mod refusal;
mod release;
mod resource;
mod structure;

pub use appraisal::{Appraised, appraise};
pub use engine::{EVALUATION_LIMIT, HARD_LIMIT, MAX_INPUT_LEN};
pub use policy::RegoPolicy;
pub use references::references;
pub use refusal::RegoRefusal;
pub use release::{PolicyNames, Subject, judge, judge_as};
pub use resource::{ResourceRequest, allow};
