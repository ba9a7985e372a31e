//! Proof types can't be made outside their module: forging one does not compile.

use adyton_attestation::peer::{AcceptedPeer, RelayablePeer, VerifiedPeer};
use adyton_attestation::ra_tls::RaTlsPeer;
use adyton_attestation::{AttestationResult, Verified};
use serde::de::DeserializeOwned;

#[test]
fn forging_a_proof_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// Compiles only while the types do not implement `DeserializeOwned`: with it, both impls below would
/// apply and the compiler could not choose. (As a compile-fail test its message would list whatever
/// types of whatever crates are in the build.)
#[test]
fn a_proof_cannot_be_read_from_bytes() {
    trait Chosen<Which> {
        fn choose() {}
    }
    struct Readable;
    impl<T> Chosen<()> for T {}
    impl<T: DeserializeOwned> Chosen<Readable> for T {}

    <Verified<u8> as Chosen<_>>::choose();
    <AttestationResult as Chosen<_>>::choose();
    <VerifiedPeer as Chosen<_>>::choose();
    <AcceptedPeer as Chosen<_>>::choose();
    <RelayablePeer as Chosen<_>>::choose();
    <RaTlsPeer as Chosen<_>>::choose();
}
