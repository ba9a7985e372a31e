//! AMD's statements about processors: intermediate keys (ASK, ASVK), revocation lists, VCEKs and VLEKs.

/// AMD's statements. Parsed, unverified.
#[derive(Clone, Debug, Default)]
pub struct AmdEndorsements {}
