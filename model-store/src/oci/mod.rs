//! Sealed models in OCI registries: one artifact, one layer an object.
//!
//! ```text
//! oci://registry/name@sha256:… ─► manifest (its digest is the address) ─► title → layer (digest, size)
//!                                                                         └─► blob, in ranges
//! ```
//! Layout, normative: an OCI image manifest whose `artifactType` is [`ARTIFACT_TYPE`], with the empty config,
//! and a layer of type [`OBJECT_TYPE`] for each object of the sealed model, named by the annotation
//! `org.opencontainers.image.title`. Layers are the objects' bytes, not packed and not compressed.
//!
//! Against: a registry that serves another manifest than was asked for; a manifest of a terabyte, or with
//! names that leave the folder; a tag that somebody moved.

mod manifest;
mod reference;
mod registry;
mod session;
mod token;

pub(crate) use manifest::TITLE;
pub use manifest::{
    ARTIFACT_TYPE, Layer, MANIFEST_TYPE, MAX_MANIFEST_BYTES, Manifest, ManifestError, OBJECT_TYPE,
};
pub use reference::{Digest, Reference};
pub(crate) use registry::{Registry, base};
pub(crate) use session::Session;
