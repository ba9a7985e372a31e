//! Proof types can't be made outside their module: forging one does not compile.

#[test]
fn forging_a_proof_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
