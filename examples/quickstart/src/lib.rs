//! The parts of the quickstart, so that end-to-end tests can set up the same stage.
//!
//! [`stage`] starts real programs and always stops them; [`programs`] builds them; [`cast`]
//! starts the simulated hardware and the broker; [`owner`] and [`machine`] play the model owner and the confidential machine; [`client`] is the caller;
//! [`traces`] looks for secrets in memory; [`story`] tells it all.

pub mod attested_key;
pub mod cast;
pub mod client;
pub mod client_certificates;
pub mod closing;
pub mod loopback;
pub mod machine;
pub mod owner;
pub mod programs;
pub mod refusals;
pub mod stage;
pub mod story;
pub mod traces;
