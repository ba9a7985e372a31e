//! The person or workflow that keyless signing certifies.

use std::fmt;

/// An identity and who vouches for it; both compared letter by letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Mail address, URI of a workflow, or user name.
    pub identity: String,
    /// URL of the OpenID Connect provider.
    pub issuer: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (by {})", self.identity, self.issuer)
    }
}
