//! Is an SNP verification cheaper than the same signatures computed by hand, in the same minute on the
//! same core?
//!
//! `cargo bench -p adyton-attestation --bench cost_snp`, with real vectors (`ADYTON_VECTORS`, or
//! `../shared/vectors` beside the workspace); without them it says so and ends.
//!
//! - `by hand`: ring over parsed certificates: ARK by itself, ASK by ARK, VCEK by ASK, report by VCEK.
//!   No dates, names, roles, chip, firmware: what a verifier that checks signatures only would pay;
//! - `sev`: the crate `sev` without OpenSSL, which Rust verifiers of SNP use: the same four signatures over
//!   parsed certificates and a parsed report;
//! - `cold`: our ladder over a parsed report, no signature known. The ARK is pinned and the ASK built in,
//!   so two signatures are left;
//! - `warm`: the same with a [`SignatureCache`] that has seen another report of this chip.
//!
//! The candidates take turns, one call each; medians and quickest tenths are compared.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adyton_attestation::evidence::SnpEvidence;
use adyton_attestation::evidence::snp::PresentedCertificates;
use adyton_attestation::evidence::snp::certificates::CertificateLabel;
use adyton_attestation::{
    AmdRevocation, EndorsementBundle, Evidence, SignatureCache, TrustAnchors, UnixTime,
    VerifyOptions, verify_cached, verify_with,
};
use der::{Decode as _, Encode as _};
use ring::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::pem::PemObject as _;
use sev::certs::snp::{Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use x509_cert::Certificate;

const TURNS: usize = 600;
/// 2026-11-26.
const NOW: UnixTime = UnixTime(1_795_651_200);

fn main() {
    let Some(folder) = vectors() else {
        println!("no real vectors (set ADYTON_VECTORS): nothing to measure");
        return;
    };
    let turns = if std::env::args().any(|arg| arg == "--test") { 1 } else { TURNS };
    let read = |name: &str| std::fs::read(folder.join("trustee/snp").join(name)).expect(name);
    let (raw, vcek) = (read("genoa-v3-report.bin"), read("genoa-v3-vcek.der"));
    let chain: Vec<Vec<u8>> =
        rustls_pki_types::CertificateDer::pem_slice_iter(&read("genoa_ask_ark_asvk.pem"))
            .map(|der| der.expect("PEM").to_vec())
            .collect();
    let by_hand = ByHand::parse(&raw, &vcek, &chain[0], &chain[1]);
    let rival = Sev::parse(&raw, &vcek, &chain[0], &chain[1]);

    let certificates = PresentedCertificates::one(CertificateLabel::Vcek, &vcek).expect("one");
    let evidence = SnpEvidence::parse(&raw).expect("a report").with_certificates(certificates);
    let expected = evidence.report_data();
    let evidence = Evidence::Snp(evidence);
    let (bundle, anchors) = (EndorsementBundle::empty(), TrustAnchors::vendor());
    // AMD's revocation lists are not among the vectors.
    let options =
        VerifyOptions { amd_revocation: AmdRevocation::InsecureWaive, ..Default::default() };
    let cache = SignatureCache::new();
    let cold = || {
        drop(
            verify_with(black_box(&evidence), &bundle, &anchors, &expected, NOW, &options)
                .expect("sound"),
        );
    };
    let warm = || {
        let evidence = black_box(&evidence);
        let verified = verify_cached(evidence, &bundle, &anchors, &expected, NOW, &options, &cache);
        drop(verified.expect("sound"));
    };
    warm();
    let [mut hand, mut sev, mut ours, mut known] = [(); 4].map(|()| Vec::with_capacity(turns));
    for _ in 0..turns {
        hand.push(timed(|| by_hand.verify()));
        sev.push(timed(|| rival.verify()));
        ours.push(timed(cold));
        known.push(timed(warm));
    }
    println!("{turns} turns each; milliseconds, median (quickest tenth)");
    let (hand, sev, ours, known) = (figures(hand), figures(sev), figures(ours), figures(known));
    println!("by hand  {:.3} ({:.3})", hand.0, hand.1);
    println!("sev      {:.3} ({:.3})", sev.0, sev.1);
    for (name, (median, quick)) in [("cold", ours), ("warm", known)] {
        print!("{name:<8} {median:.3} ({quick:.3})");
        for (rival, figures) in [("by hand", hand), ("sev", sev)] {
            let (of_median, of_quick) = (median / figures.0, quick / figures.1);
            print!("  {of_median:.3} ({of_quick:.3}) of {rival}");
        }
        println!();
    }
}

/// What the crate `sev` verifies: ARK by itself, ASK by ARK, VCEK by ASK, report by VCEK.
struct Sev {
    chain: Chain,
    report: AttestationReport,
}

impl Sev {
    fn parse(raw: &[u8], vcek: &[u8], ask: &[u8], ark: &[u8]) -> Self {
        let certificate = |der| sev::certs::snp::Certificate::from_der(der).expect("a certificate");
        let ca = ca::Chain { ark: certificate(ark), ask: certificate(ask) };
        let chain = Chain { ca, vek: certificate(vcek) };
        Self { chain, report: AttestationReport::from_bytes(raw).expect("a report") }
    }

    fn verify(&self) {
        black_box((&self.chain, &self.report)).verify().expect("sound");
    }
}

/// The four signatures, with everything parsed beforehand but the TBS bytes, as verifiers have it.
struct ByHand {
    raw: Vec<u8>,
    signature: [u8; 96],
    vcek: Certificate,
    ask: Certificate,
    ark: Certificate,
}

impl ByHand {
    fn parse(raw: &[u8], vcek: &[u8], ask: &[u8], ark: &[u8]) -> Self {
        let certificate = |der| Certificate::from_der(der).expect("a certificate");
        let mut signature = [0; 96];
        for at in 0..48 {
            signature[at] = raw[0x2a0 + 47 - at];
            signature[48 + at] = raw[0x2e8 + 47 - at];
        }
        let (vcek, ask, ark) = (certificate(vcek), certificate(ask), certificate(ark));
        Self { raw: raw.to_vec(), signature, vcek, ask, ark }
    }

    fn verify(&self) {
        for (certificate, issuer) in
            [(&self.ark, &self.ark), (&self.ask, &self.ark), (&self.vcek, &self.ask)]
        {
            let signed = certificate.tbs_certificate().to_der().expect("encodes");
            check(&RSA_PSS_2048_8192_SHA384, issuer, &signed, certificate.signature().raw_bytes());
        }
        check(&ECDSA_P384_SHA384_FIXED, &self.vcek, &self.raw[..0x2a0], &self.signature);
    }
}

fn check(
    algorithm: &'static dyn VerificationAlgorithm,
    issuer: &Certificate,
    signed: &[u8],
    signature: &[u8],
) {
    let key = issuer.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    UnparsedPublicKey::new(algorithm, key).verify(black_box(signed), signature).expect("signed");
}

fn timed(call: impl Fn()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

fn figures(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |part: usize| times[times.len() / part].as_secs_f64() * 1000.0;
    (at(2), at(10))
}

fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("ADYTON_VECTORS").map_or(beside, PathBuf::from);
    folder.join("trustee/snp/genoa-v3-report.bin").is_file().then_some(folder)
}
