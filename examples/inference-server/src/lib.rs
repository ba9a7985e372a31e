//! A small OpenAI-compatible inference server over a folder in Hugging Face layout.
//!
//! Role: the *upstream* of the sidecar in the examples: what stands in for vLLM on a machine without
//! a GPU. In: a model folder (which the sidecar opens) and HTTP requests on loopback or a Unix
//! socket. Out: completions, whole or token by token as server-sent events. It knows nothing of
//! attestation or keys, and must not: any server that reads a folder could take its place.
//!
//! ```text
//! folder ──► ModelFolder ──► Engine ──┐
//!  (bounded reads)   (shapes agreed)  ├─► Event … Event ──► JSON or SSE
//! request ──► CompletionRequest ──► Job ┘   (one blocking thread a request)
//! ```
//!
//! Not for production: one request a thread, no batching, and plain HTTP, for which reason it
//! refuses to listen beyond loopback unless told to.

pub mod api;
pub mod chat_template;
pub mod engine;
pub mod folder;
pub mod job;
pub mod limits;
pub mod listen;
pub mod options;
pub mod serve;
pub mod stop;
