//! The one genuine machine of this crate, and what a Verifier makes of it.
//!
//! Bodies compare against it: whatever verifies must be what this machine signed.

use std::sync::LazyLock;

use adyton_attestation::{
    Claims, EndorsementBundle, Evidence, ReportData, TrustAnchors, UnixTime, Verified, VerifyError,
    verify,
};
use adyton_fake_tee::{FakeTee, Fault, QuoteFormat, Site, TdProfile};

/// When everything happens, in seconds since the Unix epoch.
pub const NOW: u64 = 1_800_000_000;
/// What the machine was asked to sign.
pub const REPORT_DATA: [u8; 64] = [0x42; 64];

/// The machine. Its seed is fixed, so that a corpus on disk stays valid.
pub static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([0xad; 32], NOW));

/// The machine's root, which nobody else trusts.
pub static ANCHORS: LazyLock<TrustAnchors> = LazyLock::new(|| {
    TrustAnchors::vendor()
        .with_insecure_extra_root(TEE.root_der())
        .expect("the fake root is a root")
});

/// The machine's endorsements.
pub static ENDORSEMENTS: LazyLock<EndorsementBundle> = LazyLock::new(|| {
    let bundle = TEE.endorsement_bundle(NOW, &[]).to_string();
    EndorsementBundle::parse(bundle.as_bytes()).expect("the fake bundle is a bundle")
});

/// A quote in every format.
pub static QUOTES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    QuoteFormat::ALL
        .into_iter()
        .map(|format| TEE.quote(&TdProfile { format, ..TdProfile::default() }, REPORT_DATA))
        .collect()
});

/// A quote per fault of the Evidence. The machine signed these as well.
pub static FAULTY_QUOTES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    Fault::ALL
        .iter()
        .filter(|fault| fault.site() == Site::Evidence)
        .map(|fault| TEE.faulty_quote(&TdProfile::default(), REPORT_DATA, &[*fault]))
        .collect()
});

/// Verifies with the machine's root and the time of this crate.
///
/// # Errors
/// Those of [`verify`].
pub fn judge(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
) -> Result<Verified<Claims>, VerifyError> {
    let expected = ReportData(REPORT_DATA);
    verify(evidence, endorsements, &ANCHORS, &expected, UnixTime(NOW))
}
