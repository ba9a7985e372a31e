//! AMD's real certificates: read as the KDS answers, sorted by what they say, found by what a report
//! says, and carried in a bundle.
//!
//! The vectors are not part of the project; see `real/mod.rs` for where they are looked for.

use std::path::Path;

use adyton_attestation::claims::{ChipId, SnpProduct, SnpTcb};
use adyton_attestation::endorsement::amd::AmdCertificateKind;
use adyton_attestation::endorsement::fetch::{
    AmdSigner, Answer, AnswerError, Part, Statement, assemble, missing,
};
use adyton_attestation::endorsement::{EndorsementError, ItemKind};
use adyton_attestation::{EndorsementBundle, UnixTime};
use serde_json::json;

mod real;

use real::{read, vectors};

/// Within the life of the certificates that are used here.
const NOW: UnixTime = UnixTime(1_750_500_000);

fn answer(folder: &Path, name: &str) -> Answer {
    let body = read(folder, name);
    Answer { status: 200, issuer_chain: None, body }
}

/// The statement that a VCEK is the answer to, as its own extensions say.
fn statement(folder: &Path, name: &str, product: SnpProduct) -> (Statement, Part) {
    let answer = answer(folder, name);
    let part = Part::AmdVcek { product, der: answer.body.clone() };
    let bundle = assemble([&part]).expect("one certificate");
    let certificate = bundle.amd().certificates().next().expect("one");
    let AmdCertificateKind::Vcek { product: said, hardware_id, tcb } = certificate.kind() else {
        panic!("{:?}", certificate.kind());
    };
    assert_eq!(*said, product);
    let mut chip_id = [0; 64];
    let tail = hardware_id.len().min(64);
    chip_id[..tail].copy_from_slice(&hardware_id[hardware_id.len() - tail..]);
    let statement = Statement::AmdVcek { product, chip_id: ChipId(chip_id), tcb: *tcb };
    let read = statement.read(&answer).expect("its own answer");
    assert_eq!(read, part);
    (statement, read)
}

#[test]
fn every_chain_of_amd_is_read_under_its_product_and_no_other() {
    let Some(folder) = vectors() else { return };
    for (name, product, signer) in [
        ("go-sev-guest/ask_ark_milan.pem", SnpProduct::Milan, AmdSigner::Vcek),
        ("go-sev-guest/ask_ark_milan_vlek.pem", SnpProduct::Milan, AmdSigner::Vlek),
        ("go-sev-guest/ask_ark_genoa.pem", SnpProduct::Genoa, AmdSigner::Vcek),
        ("go-sev-guest/ask_ark_genoa_vlek.pem", SnpProduct::Genoa, AmdSigner::Vlek),
        ("go-sev-guest/ask_ark_turin_vcek.pem", SnpProduct::Turin, AmdSigner::Vcek),
        ("go-sev-guest/ask_ark_turin_vlek.pem", SnpProduct::Turin, AmdSigner::Vlek),
    ] {
        let answer = answer(&folder, name);
        for asked in [SnpProduct::Milan, SnpProduct::Genoa, SnpProduct::Turin] {
            for as_signer in [AmdSigner::Vcek, AmdSigner::Vlek] {
                let statement = Statement::AmdChain(asked, as_signer);
                let read = statement.read(&answer);
                if (asked, as_signer) != (product, signer) {
                    assert!(matches!(read, Err(AnswerError::Subject { .. })), "{name}: {read:?}");
                    continue;
                }
                let bundle = assemble([&read.unwrap_or_else(|e| panic!("{name}: {e}"))]);
                let bundle = bundle.expect("a chain");
                assert_eq!(bundle.amd().intermediates(product, signer).count(), 1, "{name}");
                assert_eq!(missing(&[statement], &bundle, NOW), [], "{name}");
            }
        }
    }
}

#[test]
fn a_processors_certificate_is_found_by_processor_and_tcb() {
    let Some(folder) = vectors() else { return };
    for (name, product) in
        [("sev/vcek_milan.der", SnpProduct::Milan), ("sev/vcek_turin.der", SnpProduct::Turin)]
    {
        let (statement, part) = statement(&folder, name, product);
        let bundle = assemble([&part]).expect("one certificate");
        let Statement::AmdVcek { chip_id, tcb, .. } = statement else { panic!("a VCEK") };
        assert_eq!(tcb.fmc.is_some(), product == SnpProduct::Turin, "{name}: {tcb}");
        assert_eq!(missing(std::slice::from_ref(&statement), &bundle, NOW), [], "{name}");
        let other_tcb = SnpTcb { snp: tcb.snp + 1, ..tcb };
        let other_chip = ChipId(chip_id.0.map(|byte| !byte));
        for wanted in [
            Statement::AmdVcek { product, chip_id, tcb: other_tcb },
            Statement::AmdVcek { product, chip_id: other_chip, tcb },
            Statement::AmdVcek { product: SnpProduct::Genoa, chip_id, tcb },
        ] {
            assert_eq!(missing(std::slice::from_ref(&wanted), &bundle, NOW), [wanted], "{name}");
        }
        let expired = UnixTime(NOW.0 + 20 * 365 * 86_400);
        assert_eq!(
            missing(std::slice::from_ref(&statement), &bundle, expired),
            [statement],
            "{name}"
        );
    }
}

#[test]
fn amds_part_of_a_bundle_goes_through_a_file_and_is_listed() {
    let Some(folder) = vectors() else { return };
    let chain = Statement::AmdChain(SnpProduct::Milan, AmdSigner::Vcek)
        .read(&answer(&folder, "go-sev-guest/ask_ark_milan.pem"))
        .expect("a chain");
    let (_, vcek) = statement(&folder, "sev/vcek_milan.der", SnpProduct::Milan);
    let bundle = assemble([&chain, &vcek]).expect("fits");
    let again = EndorsementBundle::parse(bundle.to_json().as_bytes()).expect("our own");
    assert_eq!(again.to_json(), bundle.to_json());
    let items = again.items();
    let kinds: Vec<ItemKind> = items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds, [ItemKind::AmdChain, ItemKind::AmdChain, ItemKind::AmdVcek]);
    assert_eq!(items[0].subject, "ASK of Milan");
    assert_eq!(items[1].subject, "ARK of Milan");
    assert!(items.iter().all(|item| item.freshness(NOW).counts()), "{items:?}");
    let twice = again.clone().merge(bundle).expect("fits");
    assert_eq!(twice.len(), 3);
    assert_eq!(twice.pruned(UnixTime(NOW.0 + 100 * 365 * 86_400)).len(), 0);
}

#[test]
fn what_is_no_certificate_or_list_of_amds_is_refused_by_its_member() {
    let refusal = |amd: serde_json::Value| {
        let bundle = json!({ "version": 2, "amd": amd }).to_string();
        EndorsementBundle::parse(bundle.as_bytes()).expect_err("refused")
    };
    let member = |error: &EndorsementError| match error {
        EndorsementError::Member { member, .. } => *member,
        other => panic!("{other:?}"),
    };
    for text in ["zz", "", "3000"] {
        let error = refusal(json!({ "certificates": [text] }));
        assert_eq!(member(&error), "amd.certificates", "{text}");
        let error = refusal(json!({ "revocation_lists": [text] }));
        assert_eq!(member(&error), "amd.revocation_lists", "{text}");
    }
    let long = "30".repeat(9000);
    assert!(matches!(
        refusal(json!({ "certificates": [long] })),
        EndorsementError::TooLarge { what: "AMD certificate", .. }
    ));
    let many = vec![""; 1025];
    assert!(matches!(refusal(json!({ "certificates": many })), EndorsementError::Json(_)));
}
