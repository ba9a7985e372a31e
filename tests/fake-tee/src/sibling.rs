//! A second machine of the same vendor: genuine in every respect, and not the first one.

use crate::keys::sha256;
use crate::pki::Pki;
use crate::quote::QuotingEnclave;
use crate::{FakeTee, platform};

impl FakeTee {
    /// Another machine under the same root, with its own identity (PPID) and attestation key. One
    /// set of Endorsements vouches for both. It is what a man in the middle buys.
    #[must_use]
    pub fn sibling(&self, number: u8) -> Self {
        let machine = sha256(&[b"sibling", &[number][..], &self.seed[..]].concat());
        let other_seed = sha256(&[b"other root", &self.seed[..]].concat());
        Self {
            seed: self.seed,
            born: self.born,
            pki: Pki::derive(&self.seed, self.born, platform(&machine)),
            other: Pki::derive(&other_seed, self.born, platform(&machine)),
            quoting_enclave: QuotingEnclave::derive(&machine),
        }
    }
}
