//! The KBS protocol over HTTP: `/kbs/v0/auth`, `/attest`, `/resource/…`.
//!
//! [`exchange`] is the way from a body to a decision, without sockets; [`routes`] is HTTP around it;
//! [`reason`] says what was wrong with a message in the form in which owners read it.

pub mod exchange;
pub mod init_data;
pub mod reason;
pub mod routes;

#[cfg(test)]
mod tests;
