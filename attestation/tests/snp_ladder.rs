//! The SNP ladder on simulated processors: sound Evidence of every product is accepted, each fault is
//! refused at its own rung with its own code, by the Verifier or by the appraisal.
//!
//! AMD's real reports and certificates are in `snp_real_vectors.rs`; they show no fault that AMD would
//! have had to sign.

#![allow(clippy::result_large_err, reason = "a test may carry a whole refusal")]

use std::net::TcpListener;
use std::sync::LazyLock;

use adyton_attestation::appraisal::{GuestRestriction, MinimumTcb, PlatformProperty};
use adyton_attestation::attester::{Attester as _, CocoAttester};
use adyton_attestation::claims::{
    AnchorUsed, ChipId, SigningKey, SnpClaims, SnpProduct, SnpRevocation,
};
use adyton_attestation::evidence::SnpEvidence;
use adyton_attestation::evidence::snp::PresentedCertificates;
use adyton_attestation::evidence::snp::certificates::CertificateLabel;
use adyton_attestation::verifier::{
    AmdRevocation, DebugGuests, Outcome, SignatureCache, SnpError, VerifyError, VerifyOptions,
    replay_with, verify_cached, verify_with,
};
use adyton_attestation::{
    AppraisalPolicy, Claims, EndorsementBundle, Evidence, Reason, ReferenceValues, ReportData, Tee,
    TrustAnchors, UnixTime, Verified, appraise,
};
use adyton_fake_tee::{FakeKey, FakeProduct, FakeSnp, GuestApi, SnpFault, SnpProfile};

const NOW: u64 = 1_800_000_000;
const DATA: [u8; 64] = [0x5c; 64];

/// Sound endorsements of each product: making them costs three RSA signatures.
static SOUND: LazyLock<Vec<(FakeProduct, EndorsementBundle, TrustAnchors)>> = LazyLock::new(|| {
    let of = |product| {
        let machine = FakeSnp::new(NOW, product, FakeKey::Vcek);
        (product, bundle(&machine, None), anchors(&machine))
    };
    FakeProduct::ALL.map(of).into()
});

fn bundle(machine: &FakeSnp, fault: Option<SnpFault>) -> EndorsementBundle {
    let text = machine.endorsement_bundle(NOW, fault).to_string();
    EndorsementBundle::parse(text.as_bytes()).expect("a bundle")
}

fn anchors(machine: &FakeSnp) -> TrustAnchors {
    TrustAnchors::vendor().with_insecure_extra_root(&machine.root_der()).expect("a root")
}

fn sound(product: FakeProduct) -> (&'static EndorsementBundle, &'static TrustAnchors) {
    let (_, bundle, anchors) = SOUND.iter().find(|(of, ..)| *of == product).expect("each product");
    (bundle, anchors)
}

/// The report with the certificates beside it; `Err` when it does not even parse.
fn evidence(
    machine: &FakeSnp,
    profile: &SnpProfile,
    fault: Option<SnpFault>,
) -> Result<SnpEvidence, Reason> {
    let raw = machine.report(profile, DATA, fault);
    let evidence = SnpEvidence::parse(&raw).map_err(|error| error.reason())?;
    Ok(match machine.certificates(profile, fault).first() {
        None => evidence,
        Some((label, der)) => {
            let label = match *label {
                "VCEK" => CertificateLabel::Vcek,
                "VLEK" => CertificateLabel::Vlek,
                other => panic!("{other}"),
            };
            let one = PresentedCertificates::one(label, der).expect("short");
            evidence.with_certificates(one)
        }
    })
}

fn verified(
    evidence: SnpEvidence,
    bundle: &EndorsementBundle,
    anchors: &TrustAnchors,
    options: &VerifyOptions,
) -> Result<Verified<Claims>, SnpError> {
    let evidence = Evidence::Snp(evidence);
    match verify_with(&evidence, bundle, anchors, &ReportData(DATA), UnixTime(NOW), options) {
        Ok(verified) => Ok(verified),
        Err(VerifyError::Snp(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

fn claims(verified: &Verified<Claims>) -> &SnpClaims {
    match verified.get() {
        Claims::Snp(claims) => claims,
        other => panic!("{other:?}"),
    }
}

/// The whole way of one fault through parser and Verifier.
fn outcome(fault: SnpFault) -> Result<Verified<Claims>, Reason> {
    let (product, key) = fault.machine();
    let machine = FakeSnp::new(NOW, product, key);
    let evidence = evidence(&machine, &SnpProfile::default(), Some(fault))?;
    let (_, anchors) = sound(product);
    let bundle = bundle(&machine, Some(fault));
    verified(evidence, &bundle, anchors, &VerifyOptions::default()).map_err(|error| error.reason())
}

fn assert_complete(reason: &Reason) {
    for part in [&reason.rung, &reason.claim, &reason.expected, &reason.got, &reason.remedy] {
        assert!(!part.is_empty(), "{reason:?}");
    }
    assert!(reason.code.starts_with("snp."), "{reason:?}");
}

#[test]
fn sound_evidence_of_every_product_version_and_kind_of_key_is_verified() {
    for product in FakeProduct::ALL {
        let (bundle, anchors) = sound(product);
        for kind in [FakeKey::Vcek, FakeKey::Vlek] {
            let machine = FakeSnp::new(NOW, product, kind);
            for version in [2, 3, 5] {
                let profile = SnpProfile { version, ..SnpProfile::default() };
                let json = machine.evidence(&profile, DATA, None);
                let evidence = SnpEvidence::parse_kbs(&json).expect("what a KBS client sends");
                let verified = verified(evidence, bundle, anchors, &VerifyOptions::default())
                    .unwrap_or_else(|e| panic!("{product:?} {kind:?} {version}: {e:?}"));
                let claims = claims(&verified);
                assert_eq!(claims.product.as_str(), product.name());
                assert_eq!(claims.report_version, version);
                assert_eq!(claims.measurement.0, profile.measurement);
                assert_eq!(claims.chip_id, ChipId(machine.chip_id()));
                assert_eq!(claims.reported_tcb.fmc.is_some(), product == FakeProduct::Turin);
                assert_eq!(claims.reported_tcb.snp, profile.tcb.snp);
                assert_eq!(claims.cpuid.is_some(), version >= 3);
                assert_eq!(claims.current_mitigations.is_some(), version >= 5);
                let (key, csp) = match kind {
                    FakeKey::Vcek => (SigningKey::Vcek, None),
                    FakeKey::Vlek => (SigningKey::Vlek, Some("fake-cloud")),
                };
                assert_eq!(claims.key_info.signing_key(), Some(key));
                assert_eq!(claims.csp_id.as_deref(), csp);
                assert_eq!(claims.revocation, SnpRevocation::Checked);
                assert!(matches!(claims.root, AnchorUsed::InsecureExtra { .. }));
            }
        }
    }
}

#[test]
fn every_fault_is_refused_at_its_own_rung_with_its_own_code() {
    for &(fault, rung, code) in SnpFault::ALL.iter().filter(|(fault, ..)| !fault.is_for_appraisal())
    {
        let reason = outcome(fault).map(|_| ()).expect_err(&format!("{fault:?} is refused"));
        assert_eq!((reason.rung.as_str(), &*reason.code), (rung, code), "{fault:?}: {reason:?}");
        assert_complete(&reason);
    }
}

#[test]
fn the_guest_api_gives_our_attester_evidence_that_our_verifier_takes() {
    let machine = FakeSnp::new(NOW, FakeProduct::Turin, FakeKey::Vcek);
    let api = GuestApi::snp(machine, SnpProfile::default(), None);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || api.serve(&listener));
    let attester = CocoAttester::new(&url).expect("the API answers");
    assert_eq!(attester.tee(), Tee::Snp);
    let json = attester.collect(&ReportData(DATA)).expect("Evidence over our report data");
    let evidence = SnpEvidence::parse_kbs(&json).expect("SNP Evidence");
    let (bundle, anchors) = sound(FakeProduct::Turin);
    let got = verified(evidence, bundle, anchors, &VerifyOptions::default()).expect("verified");
    assert_eq!(claims(&got).product, SnpProduct::Turin);
}

#[test]
fn every_rung_has_a_fault() {
    for rung in (1..=18).map(|number| format!("S{number}")) {
        assert!(SnpFault::ALL.iter().any(|(_, of, _)| *of == rung), "{rung}");
    }
}

// ---- What the Verifier decides besides single faults ----

#[test]
fn a_simulated_processor_is_not_believed_without_its_root() {
    let machine = FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek);
    let evidence = evidence(&machine, &SnpProfile::default(), None).expect("a report");
    let (bundle, _) = sound(FakeProduct::Genoa);
    let vendor = TrustAnchors::vendor();
    let got = verified(evidence, bundle, &vendor, &VerifyOptions::default());
    assert!(matches!(got.map(|_| ()), Err(SnpError::Chain { .. })));
}

#[test]
fn a_root_of_one_product_says_nothing_about_another() {
    for (product, other) in
        [(FakeProduct::Genoa, FakeProduct::Turin), (FakeProduct::Turin, FakeProduct::Milan)]
    {
        let machine = FakeSnp::new(NOW, product, FakeKey::Vcek);
        let evidence = evidence(&machine, &SnpProfile::default(), None).expect("a report");
        let (bundle, _) = sound(product);
        let (_, anchors) = sound(other);
        let got = verified(evidence, bundle, anchors, &VerifyOptions::default());
        assert!(matches!(got.map(|_| ()), Err(SnpError::Chain { .. })), "{product:?}");
    }
}

#[test]
fn an_unusable_list_may_be_waived_and_a_revoked_key_may_not() {
    let waive =
        VerifyOptions { amd_revocation: AmdRevocation::InsecureWaive, ..VerifyOptions::default() };
    let machine = FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek);
    let (_, anchors) = sound(FakeProduct::Genoa);
    for fault in [
        SnpFault::NoList,
        SnpFault::ExpiredList,
        SnpFault::FutureList,
        SnpFault::TamperedList,
        SnpFault::ListOfOtherRoot,
        SnpFault::ListOfOtherIssuer,
        SnpFault::Pkcs1List,
        SnpFault::PartialList,
        SnpFault::ListOfTwoAlgorithms,
        SnpFault::RevokedAsk,
    ] {
        let evidence = evidence(&machine, &SnpProfile::default(), None).expect("a report");
        let got = verified(evidence, &bundle(&machine, Some(fault)), anchors, &waive);
        match got {
            Ok(verified) if fault != SnpFault::RevokedAsk => {
                assert_eq!(claims(&verified).revocation, SnpRevocation::InsecureWaived);
                assert_eq!(codes(verified, &policy()), ["snp.revocation.waived"], "{fault:?}");
            }
            Ok(_) => panic!("a revoked key was accepted"),
            Err(error) => assert_eq!(error.reason().code, "snp.revocation.revoked", "{fault:?}"),
        }
    }
}

#[test]
fn a_key_on_a_list_that_is_not_current_is_revoked_even_where_lists_are_waived() {
    const FORTY_DAYS: u64 = 40 * 24 * 60 * 60;
    let waive =
        VerifyOptions { amd_revocation: AmdRevocation::InsecureWaive, ..VerifyOptions::default() };
    let machine = FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek);
    let (_, anchors) = sound(FakeProduct::Genoa);
    // Lists count for thirty days: one has ended, the other has not begun.
    for made in [NOW - FORTY_DAYS, NOW + FORTY_DAYS] {
        for (fault, options, expected) in [
            (Some(SnpFault::RevokedAsk), waive, Some("snp.revocation.revoked")),
            (Some(SnpFault::RevokedAsk), VerifyOptions::default(), Some("snp.revocation.revoked")),
            (None, waive, None),
        ] {
            let text = machine.endorsement_bundle(made, fault).to_string();
            let bundle = EndorsementBundle::parse(text.as_bytes()).expect("a bundle");
            let evidence = evidence(&machine, &SnpProfile::default(), None).expect("a report");
            let got = verified(evidence, &bundle, anchors, &options);
            let code = got.err().map(|error| error.reason().code);
            assert_eq!(code.as_deref(), expected, "list of {made}, {fault:?}");
        }
    }
}

#[test]
fn a_debuggable_guest_passes_the_verifier_on_request_only_and_then_fails_the_appraisal() {
    let leave = VerifyOptions {
        debug_guests: DebugGuests::InsecureLeaveToAppraisal,
        ..VerifyOptions::default()
    };
    let machine = FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek);
    let (bundle, anchors) = sound(FakeProduct::Genoa);
    let evidence = evidence(&machine, &SnpProfile::default(), Some(SnpFault::Debug)).expect("one");
    let verified = verified(evidence, bundle, anchors, &leave).expect("left to the appraisal");
    assert!(claims(&verified).policy.debug_allowed());
    assert_eq!(codes(verified, &policy()), ["snp.policy.debug"]);
}

#[test]
fn a_replay_passes_every_rung_of_sound_evidence_and_fails_each_fault_at_its_own() {
    let options = VerifyOptions::default();
    for &(fault, rung, code) in SnpFault::ALL {
        let (product, key) = fault.machine();
        let machine = FakeSnp::new(NOW, product, key);
        let (_, anchors) = sound(product);
        // What does not parse, and what only a challenge shows, no replay sees.
        let Ok(evidence) = evidence(&machine, &SnpProfile::default(), Some(fault)) else {
            continue;
        };
        let evidence = Evidence::Snp(evidence);
        let bundle = bundle(&machine, Some(fault));
        let ladder = replay_with(&evidence, &bundle, anchors, UnixTime(NOW), &options);
        if fault.is_for_appraisal() || rung == "S18" {
            assert!(ladder.all_passed(), "{fault:?}: {ladder:?}");
            continue;
        }
        let found = ladder.rungs.iter().find(|found| found.id == rung).expect("every rung");
        match (&found.outcome, fault) {
            (Outcome::Failed(reason), _) => assert_eq!(reason.code, code, "{fault:?}"),
            // A replay shows a debuggable guest as what somebody may have waived.
            (Outcome::Waived(reason), SnpFault::Debug) => assert_eq!(reason.code, code),
            (other, _) => panic!("{fault:?}: {other:?}"),
        }
        assert!(fault == SnpFault::Debug || ladder.claims.is_none(), "{fault:?}");
    }
}

// ---- Appraisal ----

/// Asks for everything that the default profile has.
fn policy() -> AppraisalPolicy {
    let tcb = SnpProfile::default().tcb;
    let minimum = |fmc| MinimumTcb {
        fmc,
        bootloader: tcb.bootloader,
        tee: tcb.tee,
        snp: tcb.snp,
        microcode: tcb.microcode,
    };
    let mut policy =
        AppraisalPolicy { reference_values: vec!["fake-snp".into()], ..AppraisalPolicy::default() };
    policy.snp.minimum_tcb = [
        (SnpProduct::Milan, minimum(None)),
        (SnpProduct::Genoa, minimum(None)),
        (SnpProduct::Turin, minimum(Some(tcb.fmc))),
    ]
    .into();
    policy.snp.platform = [
        PlatformProperty::NoSmt,
        PlatformProperty::Tsme,
        PlatformProperty::Ecc,
        PlatformProperty::NoRapl,
        PlatformProperty::CiphertextHiding,
        PlatformProperty::NoTio,
    ]
    .into();
    policy.snp.guest_restrictions = RESTRICTIONS.map(|(restriction, ..)| restriction).into();
    policy.snp.minimum_abi = (1, 51);
    policy.snp.required_mitigations = 0b111;
    policy.validate().expect("a policy that can be meant");
    policy
}

/// Each restriction with the bits of the guest policy that undo it, and the code.
const RESTRICTIONS: [(GuestRestriction, u64, &str); 7] = [
    (GuestRestriction::NoSmt, 1 << 16, "snp.policy.smt"),
    (GuestRestriction::SingleSocket, 1 << 20, "snp.policy.single-socket"),
    (GuestRestriction::NoCxl, 1 << 21, "snp.policy.cxl"),
    (GuestRestriction::Aes256Xts, 1 << 22, "snp.policy.aes-256-xts"),
    (GuestRestriction::NoRapl, 1 << 23, "snp.policy.rapl"),
    (GuestRestriction::CiphertextHiding, 1 << 24, "snp.policy.ciphertext-hiding"),
    (GuestRestriction::NoPageSwap, 1 << 25, "snp.policy.page-swap"),
];

fn reasons(verified: Verified<Claims>, policy: &AppraisalPolicy) -> Vec<Reason> {
    let set = SnpProfile::default().reference_values();
    let sets = [ReferenceValues::parse_toml(&set).expect("a set")];
    let refusal = appraise(verified, &sets, policy, UnixTime(NOW)).map(|_| ()).err();
    let reasons = refusal.map(|refusal| refusal.reasons).unwrap_or_default();
    reasons.iter().for_each(assert_complete);
    reasons
}

fn codes(verified: Verified<Claims>, policy: &AppraisalPolicy) -> Vec<String> {
    reasons(verified, policy).iter().map(|reason| reason.code.to_string()).collect()
}

/// A sound machine's guest, verified.
fn guest(product: FakeProduct, kind: FakeKey, profile: &SnpProfile) -> Verified<Claims> {
    let machine = FakeSnp::new(NOW, product, kind);
    let (bundle, anchors) = sound(product);
    let evidence = evidence(&machine, profile, None).expect("a report");
    verified(evidence, bundle, anchors, &VerifyOptions::default()).expect("verified")
}

#[test]
fn a_guest_that_matches_is_accepted_on_genoa_and_turin_with_either_key() {
    for product in [FakeProduct::Genoa, FakeProduct::Turin] {
        for kind in [FakeKey::Vcek, FakeKey::Vlek] {
            let guest = guest(product, kind, &SnpProfile::default());
            assert_eq!(codes(guest, &policy()), [""; 0], "{product:?} {kind:?}");
        }
    }
}

#[test]
fn milan_is_off_until_the_policy_names_it() {
    let milan = || guest(FakeProduct::Milan, FakeKey::Vcek, &SnpProfile::default());
    let refused = reasons(milan(), &policy());
    assert_eq!(
        refused.iter().map(|told| &*told.code).collect::<Vec<_>>(),
        ["snp.product.not-allowed"]
    );
    assert!(refused[0].remedy.contains("2605.12990"), "{refused:?}");
    let mut accepting = policy();
    accepting.snp.allowed_products.insert(SnpProduct::Milan);
    assert_eq!(codes(milan(), &accepting), [""; 0]);
}

#[test]
fn every_fault_of_the_guest_or_machine_is_refused_by_the_appraisal_and_nothing_else_is() {
    let policy = policy();
    for &(fault, rung, code) in SnpFault::ALL.iter().filter(|(fault, ..)| fault.is_for_appraisal())
    {
        let verified = outcome(fault).unwrap_or_else(|e| panic!("{fault:?} is genuine: {e:?}"));
        let reasons = reasons(verified, &policy);
        let told: Vec<_> = reasons.iter().map(|told| (told.rung.as_str(), &*told.code)).collect();
        assert_eq!(told, [(rung, code)], "{fault:?}");
    }
}

#[test]
fn a_guest_policy_without_a_restriction_is_refused_where_the_owner_asks_for_it() {
    for (restriction, bit, code) in RESTRICTIONS {
        let profile = SnpProfile::default();
        let profile = SnpProfile { policy: profile.policy ^ bit, ..profile };
        let guest = guest(FakeProduct::Genoa, FakeKey::Vcek, &profile);
        assert_eq!(codes(guest, &policy()), [code], "{restriction:?}");
    }
    let profile = SnpProfile { policy: 0x03d2_0132, ..SnpProfile::default() };
    let guest = guest(FakeProduct::Genoa, FakeKey::Vcek, &profile);
    assert_eq!(codes(guest, &policy()), ["snp.policy.abi"]);
}

#[test]
fn each_component_of_the_tcb_counts() {
    let components: [fn(&mut MinimumTcb); 5] = [
        |tcb| *tcb.fmc.as_mut().expect("Turin") += 1,
        |tcb| tcb.bootloader += 1,
        |tcb| tcb.tee += 1,
        |tcb| tcb.snp += 1,
        |tcb| tcb.microcode += 1,
    ];
    for (index, raise) in components.iter().enumerate() {
        let mut policy = policy();
        raise(policy.snp.minimum_tcb.get_mut(&SnpProduct::Turin).expect("named"));
        let guest = guest(FakeProduct::Turin, FakeKey::Vcek, &SnpProfile::default());
        let expected = ["snp.tcb.below-minimum", "snp.tcb.launched-below-minimum"];
        assert_eq!(codes(guest, &policy), expected, "component {index}");
    }
    let mut silent = policy();
    silent.snp.minimum_tcb.clear();
    let guest = guest(FakeProduct::Turin, FakeKey::Vcek, &SnpProfile::default());
    assert_eq!(codes(guest, &silent), ["snp.tcb.no-minimum"]);
}

#[test]
fn chips_clouds_and_old_reports_are_refused_where_the_owner_lists_others() {
    let mut others = policy();
    others.snp.allowed_chip_ids = [ChipId([7; 64])].into();
    others.snp.allowed_csp_ids = ["another".to_owned()].into();
    let profile = SnpProfile::default();
    let vcek = guest(FakeProduct::Genoa, FakeKey::Vcek, &profile);
    assert_eq!(codes(vcek, &others), ["snp.chip.not-allowed"]);
    let vlek = guest(FakeProduct::Genoa, FakeKey::Vlek, &profile);
    assert_eq!(codes(vlek, &others), ["snp.chip.not-allowed", "snp.csp.not-allowed"]);
    let old = SnpProfile { version: 2, ..profile };
    let mut policy = policy();
    policy.snp.required_mitigations = 0;
    let old = guest(FakeProduct::Genoa, FakeKey::Vcek, &old);
    assert_eq!(codes(old, &policy), ["snp.report.old-version"]);
}

// ---- Every byte ----

#[test]
fn every_flipped_byte_of_a_report_is_refused() {
    let machine = FakeSnp::new(NOW, FakeProduct::Turin, FakeKey::Vcek);
    let (bundle, anchors) = sound(FakeProduct::Turin);
    let profile = SnpProfile::default();
    let raw = machine.report(&profile, DATA, None);
    let (_, der) = machine.certificates(&profile, None).remove(0);
    let certificates = PresentedCertificates::one(CertificateLabel::Vcek, &der).expect("short");
    let cache = SignatureCache::new();
    for at in 0..raw.len() {
        let mut bytes = raw.clone();
        bytes[at] ^= 0x01;
        let Ok(evidence) = SnpEvidence::parse(&bytes) else { continue };
        let evidence = Evidence::Snp(evidence.with_certificates(certificates.clone()));
        let (data, now) = (ReportData(DATA), UnixTime(NOW));
        let options = VerifyOptions::default();
        let got = verify_cached(&evidence, bundle, anchors, &data, now, &options, &cache);
        assert!(matches!(got.map(|_| ()), Err(VerifyError::Snp(_))), "byte {at:#x}");
    }
}
