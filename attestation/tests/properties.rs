//! What holds for all bytes: no parser panics, and no changed byte is believed.

use std::sync::LazyLock;
use std::thread;

use adyton_attestation::{
    EndorsementBundle, Evidence, ReferenceValues, ReleasePolicy, ReportData, Tee, TrustAnchors,
    UnixTime, replay, verify,
};
use adyton_fake_tee::{FakeTee, QuoteFormat, TdProfile};
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

const NOW: u64 = 1_800_000_000;
const REPORT_DATA: ReportData = ReportData([0x5a; 64]);

struct Sound {
    quotes: Vec<Vec<u8>>,
    endorsements: EndorsementBundle,
    bundle_text: String,
    anchors: TrustAnchors,
}

static SOUND: LazyLock<Sound> = LazyLock::new(|| {
    let tee = FakeTee::from_seed([9; 32], NOW);
    let bundle_text = tee.endorsement_bundle(NOW, &[]).to_string();
    let quotes = [QuoteFormat::V4, QuoteFormat::V5Td15]
        .map(|format| tee.quote(&TdProfile { format, ..TdProfile::default() }, REPORT_DATA.0));
    Sound {
        quotes: quotes.into(),
        endorsements: EndorsementBundle::parse(bundle_text.as_bytes()).expect("a bundle"),
        bundle_text,
        anchors: TrustAnchors::vendor().with_insecure_extra_root(tee.root_der()).expect("a root"),
    }
});

fn is_believed(bytes: &[u8]) -> bool {
    let Ok(evidence) = Evidence::parse_file(bytes) else {
        return false;
    };
    verify(&evidence, &SOUND.endorsements, &SOUND.anchors, &REPORT_DATA, UnixTime(NOW)).is_ok()
}

/// The certificates in a quote as DER, to tell a changed chain from changed white space.
fn chain(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let Ok(Evidence::Tdx(evidence)) = Evidence::parse_file(bytes) else {
        return None;
    };
    CertificateDer::pem_slice_iter(&evidence.quote().signature.pck_chain_pem)
        .map(|der| der.ok().map(|der| der.to_vec()))
        .collect()
}

#[test]
fn every_flipped_byte_of_a_quote_is_refused() {
    let quote = &SOUND.quotes[0];
    assert!(is_believed(quote));
    thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for at in (half..quote.len()).step_by(2) {
                    let mut changed = quote.clone();
                    changed[at] ^= 1;
                    assert!(!is_believed(&changed), "byte {at} is not protected");
                }
            });
        }
    });
}

#[test]
fn no_changed_character_of_signed_collateral_is_believed() {
    let evidence = Evidence::parse_file(&SOUND.quotes[0]).expect("sound");
    let bundle: Value = serde_json::from_str(&SOUND.bundle_text).expect("JSON");
    for member in [
        "tcb_info",
        "tcb_info_signature",
        "qe_identity",
        "qe_identity_signature",
        "root_ca_crl",
        "pck_crl",
    ] {
        let original = bundle["tdx"][0][member].as_str().expect("text");
        for at in (0..original.len()).step_by(5) {
            let mut changed = original.as_bytes().to_vec();
            changed[at] ^= 1;
            let mut bundle = bundle.clone();
            bundle["tdx"][0][member] = String::from_utf8(changed).expect("ASCII").into();
            let Ok(endorsements) = EndorsementBundle::parse(bundle.to_string().as_bytes()) else {
                continue;
            };
            let result =
                verify(&evidence, &endorsements, &SOUND.anchors, &REPORT_DATA, UnixTime(NOW));
            assert!(result.is_err(), "{member}: character {at} is not protected");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Evidence::parse_file(&bytes);
        let _ = EndorsementBundle::parse(&bytes);
        let _ = TrustAnchors::vendor().with_insecure_extra_root(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = ReferenceValues::parse_toml(&text);
        let _ = ReleasePolicy::parse_toml(&text);
        let _ = Evidence::parse_kbs(Tee::Tdx, &serde_json::json!({ "quote": text }));
    }

    #[test]
    fn a_quote_with_any_bit_flipped_is_refused(
        (which, at, bit) in (0..2_usize, any::<prop::sample::Index>(), 0..8_u8)
    ) {
        let mut changed = SOUND.quotes[which].clone();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        prop_assert!(!is_believed(&changed));
    }

    #[test]
    fn a_quote_with_a_piece_replaced_is_refused_and_replays(
        (which, at, piece) in (
            0..2_usize,
            any::<prop::sample::Index>(),
            proptest::collection::vec(any::<u8>(), 1..64),
        )
    ) {
        let original = &SOUND.quotes[which];
        let mut changed = original.clone();
        let at = at.index(changed.len());
        for (target, byte) in changed[at..].iter_mut().zip(&piece) {
            *target = *byte;
        }
        prop_assume!(&changed != original);
        if let Ok(evidence) = Evidence::parse_file(&changed) {
            let ladder = replay(&evidence, &SOUND.endorsements, &SOUND.anchors, UnixTime(NOW));
            prop_assert_eq!(ladder.all_passed(), is_believed(&changed) || is_replayed(&changed));
        }
        // A line break inside PEM may become a space; the chain is the same then.
        prop_assert!(!is_believed(&changed) || chain(&changed) == chain(original));
    }

    #[test]
    fn a_quote_cut_anywhere_is_refused(at in any::<prop::sample::Index>()) {
        let quote = &SOUND.quotes[0];
        prop_assert!(!is_believed(&quote[..at.index(quote.len())]));
    }

    #[test]
    fn changed_collateral_is_parsed_or_refused(
        (at, byte) in (any::<prop::sample::Index>(), any::<u8>())
    ) {
        let mut changed = SOUND.bundle_text.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(endorsements) = EndorsementBundle::parse(&changed) {
            let evidence = Evidence::parse_file(&SOUND.quotes[0]).expect("sound");
            let _ = verify(&evidence, &endorsements, &SOUND.anchors, &REPORT_DATA, UnixTime(NOW));
        }
    }
}

/// Whether everything but the report data is in order.
fn is_replayed(bytes: &[u8]) -> bool {
    let Ok(evidence) = Evidence::parse_file(bytes) else {
        return false;
    };
    let expected = evidence.report_data();
    verify(&evidence, &SOUND.endorsements, &SOUND.anchors, &expected, UnixTime(NOW)).is_ok()
}
