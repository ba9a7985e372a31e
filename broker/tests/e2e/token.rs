//! Tokens signed with an operator's key: verified from outside, and refused when the files are wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use adyton_attestation::UnixTime;
use adyton_attestation::ear::{
    ExpectedIssuer, ExpectedTeeKey, TokenAnchors, TokenRefusal, TokenRules, verify,
};
use adyton_broker::broker::{TrustedInputs, now};
use adyton_broker::config::BrokerConfig;
use adyton_broker::ear::TokenKeySource;
use rcgen::{CertificateParams, KeyPair};

use crate::harness::TestBroker;

struct SignerFiles {
    key: PathBuf,
    certificate: PathBuf,
    pem: String,
}

fn signer_files(folder: &Path) -> SignerFiles {
    let pair = KeyPair::generate().expect("key");
    let params = CertificateParams::new(Vec::new()).expect("params");
    let pem = params.self_signed(&pair).expect("certificate").pem();
    let (key, certificate) = (folder.join("token.key"), folder.join("token.pem"));
    std::fs::write(&key, pair.serialize_pem()).expect("written");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("mode");
    std::fs::write(&certificate, &pem).expect("written");
    SignerFiles { key, certificate, pem }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_signed_with_the_operators_key_verifies_outside_the_broker() {
    let folder = tempfile::tempdir().expect("folder");
    let files = signer_files(folder.path());
    let (key_file, certificate_file) = (files.key.clone(), files.certificate.clone());
    let broker = TestBroker::start_changed(|config| {
        config.token_key = TokenKeySource::Files { key_file, certificate_file };
    })
    .await;
    let (cookie, attestation, _) = broker.prepared().await;
    let reply = broker.send_attestation(Some(&cookie), &attestation).await.json();
    let token = reply["token"].as_str().expect("text");

    let anchors = TokenAnchors::default().with_pem(files.pem.as_bytes()).expect("anchors");
    let rules = TokenRules {
        issuer: ExpectedIssuer::Named("adyton-broker"),
        tee_key: ExpectedTeeKey::Is(&attestation.runtime_data.tee_pubkey),
        ..TokenRules::default()
    };
    let at = UnixTime(now().0);
    let verified = verify(token, &anchors, &rules, at).expect("verifies");
    assert!(!verified.is_affirming(), "measurements are appraised for each key, not here");

    let other = signer_files(folder.path());
    let anchors = TokenAnchors::default().with_pem(other.pem.as_bytes()).expect("anchors");
    let refused = verify(token, &anchors, &rules, at).expect_err("another signer");
    assert!(matches!(refused, TokenRefusal::Untrusted { .. }), "{refused}");
}

/// The finding that keeps a broker with these settings from starting.
fn finding(folder: &Path, settings: &str) -> String {
    let text = format!("state_dir = {folder:?}\n{settings}");
    let findings = match BrokerConfig::load(Some((Path::new("f"), &text)), [], []) {
        Ok(config) => TrustedInputs::load(&config).map(|_| ()).expect_err("refused"),
        Err(findings) => findings,
    };
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    format!("{finding:?}")
}

#[test]
fn files_of_the_token_key_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let files = signer_files(folder.path());
    let settings = |key: &Path, certificate: &Path| {
        format!("token.key_file = {key:?}\ntoken.certificate_file = {certificate:?}\n")
    };
    let said = |text: String| finding(folder.path(), &text);

    let alone = said(format!("token.key_file = {:?}\n", files.key));
    assert!(alone.contains("token.certificate_file"), "{alone}");
    let alone = said(format!("token.certificate_file = {:?}\n", files.certificate));
    assert!(alone.contains("token.key_file"), "{alone}");

    let other = folder.path().join("other");
    std::fs::create_dir(&other).expect("folder");
    let other = signer_files(&other);
    let foreign = said(settings(&files.key, &other.certificate));
    assert!(foreign.contains("for another key"), "{foreign}");
    // A certificate where the key should be, readable by its owner only.
    std::fs::set_permissions(&other.certificate, PermissionsExt::from_mode(0o600)).expect("mode");
    let no_key = said(settings(&other.certificate, &files.certificate));
    assert!(no_key.contains("token.key_file"), "{no_key}");
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o644)).expect("mode");
    let open = said(settings(&files.key, &files.certificate));
    assert!(open.contains("token.key"), "{open}");
}
