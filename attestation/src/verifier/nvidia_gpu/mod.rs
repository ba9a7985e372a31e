//! The NVIDIA GPU ladder of `SPEC.md`: device Evidence bound to the same nonce as the TEE's.
