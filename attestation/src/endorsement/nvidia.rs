//! NVIDIA's statements about GPUs: reference integrity manifests (RIM) of driver and VBIOS.

/// NVIDIA's statements. Parsed, unverified.
#[derive(Clone, Debug, Default)]
pub struct NvidiaEndorsements {}
