//! The broker as its peers see it: real TLS sockets, the real RCAR client, Evidence of a simulated
//! TEE that the broker is told to trust.

mod admin;
mod conformance;
mod endorsements;
mod harness;
mod kbs_policies;
mod refusals;
mod rego;
mod release;
mod rotation;
mod snp;
mod start;
mod token;
