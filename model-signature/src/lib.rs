//! OpenSSF Model Signing: who signed the files of a model, verified offline.
//!
//! In: `model.sig` (a sigstore bundle v0.3 with a DSSE envelope with a v1.0 statement), and whom the caller
//! trusts: a public key, certificate roots, or an identity under a trust root of sigstore. Out: a
//! [`SignedStatement`], whose signature is that signer's; then, with the digests of the files that were
//! opened, a [`SignedModel`]. The way back: [`sign()`] writes a bundle.
//!
//! ```text
//! model.sig ─Bundle::parse─► Bundle        an allegation
//! Bundle ──verify(Trust)───► SignedStatement   this signer signed this list
//!        ──covers(measured)► SignedModel       and the list is exactly what was opened
//! ```
//!
//! It reads no files, has no network and no clock. What cannot be checked without them is refused with a
//! reason: docs/decisions/0014.
//!
//! Against: files exchanged between the owner's build and the sealing; a signature by somebody else, over
//! another list, or over a part of the model only.

mod bundle;
mod certificate;
mod error;
mod identity;
mod key;
pub mod limits;
mod sct;
mod sign;
mod statement;
mod time;
mod transparency;
mod trusted_root;
mod verify;

pub use bundle::{Bundle, BundleError};
pub use certificate::{CertificateError, Roots};
pub use error::SignatureError;
pub use identity::Identity;
pub use key::{KeyFormatError, PublicKey, SigningKey};
pub use sct::SctError;
pub use sign::sign;
pub use statement::{Coverage, FileDigests, Hashing, StatementError};
pub use transparency::LogError;
pub use trusted_root::{TrustRootError, TrustedRoot};
pub use verify::{SignedModel, SignedStatement, Signer, Trust, verify};
