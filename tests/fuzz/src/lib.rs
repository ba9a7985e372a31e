//! What hostile bytes may do to each parser: nothing.
//!
//! One module per parser, each with the same two functions. `run` takes any bytes and panics when
//! the parser breaks a promise: it may not panic, its result must survive a round trip, and what
//! was signed by nobody may not verify. `seeds` are inputs from which mutation starts. The bodies
//! run twice: as property tests on stable (`tests/properties.rs`) and as libFuzzer targets
//! (`libfuzzer/`, see the README).

pub mod genuine;

/// One parser under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// The module's name; also the libFuzzer target's.
    pub name: &'static str,
    /// The body. Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to start from, most of them well-formed.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Declares the modules and the list of them, so that the two cannot drift apart.
macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $(pub mod $name;)*

        /// Every target.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds },)*
        ];
    };
}

targets! {
    attestation_report
    attestation_token
    azure_evidence
    boot_image
    coco_answer
    endorsement_bundle
    event_log
    evidence_file
    firmware_image
    gpu_evidence
    hcl_report
    jwe_reply
    kbs_evidence
    model_address
    model_file
    model_path
    model_signature
    oci_manifest
    ra_tls_certificate
    rcar_message
    reference_values
    release_policy
    request_framing
    resource_path
    s3_range
    s3_request
    sealed_header
    sealed_manifest
    sealed_model
    signature_trust_root
    snp_certificate_table
    snp_kbs_form
    snp_report
    tee_public_key
    tpm_structures
}
