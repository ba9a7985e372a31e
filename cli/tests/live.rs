//! `adyton verify URL` against a stub sidecar with simulated Evidence in real formats.

mod stand;

use std::fs;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use stand::sidecar::{Lie, sidecar};

#[test]
fn a_sidecar_without_reference_values_is_genuine_and_not_compared() {
    let ran = sidecar(Lie::None).verify(&[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("warning: INSECURE: trusts the extra root"), "{}", ran.err);
    assert!(
        ran.out.contains("✓  report over our nonce, the server's key and this connection\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("✓ TEE under an INSECURE root (nothing is known about hardware), measurements not compared"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("INSECURE: the sidecar says: insecure_swap\n"), "{}", ran.out);
    assert!(ran.out.contains("keys in memfd_secret; SWAP on\n"), "{}", ran.out);
    assert!(
        ran.out.contains("binding        channel\n") || ran.out.contains("channel\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains('\u{1b}'));
}

#[test]
fn a_sidecar_whose_measurements_match_is_accepted_and_its_certificate_saved() {
    let sidecar = sidecar(Lie::None);
    let ran = sidecar.verify(&[
        "--reference-values",
        "references.toml",
        "--manifest-digest",
        &"04".repeat(32),
        "--save-certificate",
        "models.pem",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json = ran.json();
    assert_eq!(json["verified"], true);
    assert_eq!(json["appraisal"], "accepted");
    assert_eq!(json["binding"], "channel");
    assert_eq!(json["model"]["version"], 3);
    assert_eq!(json["insecure"].as_array().map(Vec::len), Some(2));
    let saved = fs::read(sidecar.stand.path("models.pem")).expect("saved");
    let saved = CertificateDer::from_pem_slice(&saved).expect("PEM");
    assert_eq!(saved, sidecar.certificate);
}

#[test]
fn other_measurements_end_with_11_and_save_nothing() {
    let sidecar = sidecar(Lie::None);
    let text = fs::read_to_string(sidecar.stand.path("references.toml")).expect("references");
    let table: toml::Table = text.parse().expect("TOML");
    let mrtd = table["mrtd"][0].as_str().expect("a measurement").to_owned();
    sidecar.stand.write("references.toml", text.replace(&mrtd, &"ee".repeat(48)).as_bytes());
    let ran = sidecar.verify(&[
        "--reference-values",
        "references.toml",
        "--save-certificate",
        "models.pem",
    ]);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(ran.out.contains(", but not what was expected.\n"), "{}", ran.out);
    assert!(ran.err.contains("error[appraisal.refused]"), "{}", ran.err);
    assert!(ran.err.contains("mrtd"), "{}", ran.err);
    assert!(!sidecar.stand.path("models.pem").exists());
}

#[test]
fn another_model_ends_with_11() {
    let ran =
        sidecar(Lie::None).verify(&["--manifest-digest", &"ff".repeat(32), "--output", "json"]);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert_eq!(ran.error()["reasons"][0]["code"], "model.manifest-digest");
}

#[test]
fn a_model_older_than_the_policy_allows_ends_with_11() {
    let sidecar = sidecar(Lie::None);
    let text = fs::read_to_string(sidecar.stand.path("references.toml")).expect("references");
    let table: toml::Table = text.parse().expect("TOML");
    let name = table["name"].as_str().expect("a name");
    let policy = format!(
        "key = \"kbs:///acme/model-key/llama\"\nminimum_model_version = 4\n[appraisal]\n\
         reference_values = [\"{name}\"]\n"
    );
    sidecar.stand.write("release.toml", policy.as_bytes());
    let ran = sidecar.verify(&[
        "--reference-values",
        "references.toml",
        "--policy",
        "release.toml",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert_eq!(ran.error()["reasons"][0]["code"], "model.version");
}

#[test]
fn a_replayed_report_is_refused() {
    let ran = sidecar(Lie::OldNonce).verify(&["--output", "json"]);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert_eq!(ran.json()["verified"], false);
    assert_eq!(ran.error()["reasons"][0]["code"], "report.nonce");
}

#[test]
fn a_report_for_another_server_key_is_refused() {
    let ran = sidecar(Lie::OtherKey).verify(&["--output", "json"]);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert_eq!(ran.error()["reasons"][0]["code"], "report.serving-key");
}

#[test]
fn a_relayed_report_is_refused_at_level_channel() {
    let ran = sidecar(Lie::OtherConnection).verify(&["--output", "json"]);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert_eq!(ran.error()["reasons"][0]["rung"], "T18");
}

#[test]
fn a_report_bound_less_than_asked_is_refused_and_accepted_only_by_name() {
    let sidecar = sidecar(Lie::WeakerBinding);
    let ran = sidecar.verify(&["--output", "json"]);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert_eq!(ran.error()["reasons"][0]["code"], "report.binding");
    let ran = sidecar.verify(&["--binding", "certificate"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("a relay through another TEE is possible"), "{}", ran.out);
}

#[test]
fn without_the_extra_root_simulated_evidence_is_refused() {
    let sidecar = sidecar(Lie::None);
    let ran = sidecar.stand.run(&[
        "verify",
        &sidecar.server.url,
        "--client-cert",
        "me.pem",
        "--client-key",
        "me.key",
        "--bundle",
        "bundle.json",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert_eq!(ran.error()["reasons"][0]["rung"], "T2");
}

#[test]
fn without_endorsements_the_exit_code_is_12() {
    let sidecar = sidecar(Lie::None);
    let ran = sidecar.stand.run(&[
        "verify",
        &sidecar.server.url,
        "--client-cert",
        "me.pem",
        "--client-key",
        "me.key",
        "--insecure-extra-root",
        "root.pem",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 12, "{ran:?}");
    assert_eq!(ran.error()["code"], "endorsements.missing");
}

#[test]
fn without_a_client_certificate_the_remedy_names_the_flags() {
    let sidecar = sidecar(Lie::None);
    let ran = sidecar.stand.run(&[
        "verify",
        &sidecar.server.url,
        "--bundle",
        "bundle.json",
        "--insecure-extra-root",
        "root.pem",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 13, "{ran:?}");
    let error = ran.error();
    assert_eq!(error["code"], "sidecar.client-certificate");
    assert!(error["remedy"].as_str().is_some_and(|said| said.contains("--client-cert")), "{error}");
}

#[test]
fn a_pinned_machine_or_key_is_accepted_and_another_one_refused() {
    let sidecar = sidecar(Lie::None);
    let spki = adyton_client::spki_sha256(&sidecar.certificate).expect("X.509 v3");
    let key = format!("spki:{}", hex::encode(spki));
    let ran = sidecar.verify(&["--pin", &sidecar.ppid, "--pin", &key]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for (pin, code) in [
        (format!("ppid:{}", "00".repeat(16)), "instance.machine"),
        (format!("chip-id:{}", "00".repeat(64)), "instance.machine"),
        (format!("spki:{}", "00".repeat(32)), "instance.serving-key"),
    ] {
        let ran = sidecar.verify(&["--pin", &pin, "--output", "json"]);
        assert_eq!(ran.code, 11, "{ran:?}");
        assert_eq!(ran.error()["reasons"][0]["code"], code);
    }
    let ran = sidecar.verify(&["--pin", "ppid:zz"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("expected ppid:<32 hex digits>"), "{}", ran.err);
}

#[test]
fn a_machine_is_remembered_on_first_use_and_a_change_is_refused() {
    let sidecar = sidecar(Lie::None);
    let ran = sidecar.verify(&["--known-peers", "known"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("first contact with localhost:"), "{}", ran.err);
    let remembered = fs::read_to_string(sidecar.stand.path("known")).expect("written");
    assert!(remembered.contains(&sidecar.ppid), "{remembered}");
    assert_eq!(sidecar.verify(&["--known-peers", "known"]).code, 0);
    assert_eq!(fs::read_to_string(sidecar.stand.path("known")).expect("read"), remembered);

    let other = remembered.replace(&sidecar.ppid, &format!("ppid:{}", "00".repeat(16)));
    sidecar.stand.write("known", other.as_bytes());
    let ran = sidecar.verify(&["--known-peers", "known", "--output", "json"]);
    assert_eq!(ran.code, 11, "{ran:?}");
    let reason = &ran.error()["reasons"][0];
    assert_eq!(reason["code"], "instance.changed");
    assert!(reason["remedy"].as_str().is_some_and(|said| said.contains("ANOTHER MACHINE")));
    assert_eq!(fs::read_to_string(sidecar.stand.path("known")).expect("read"), other, "kept");
}

#[test]
fn nothing_is_remembered_of_a_peer_that_was_refused_or_could_be_relayed() {
    let sidecar = sidecar(Lie::None);
    let ran = sidecar.verify(&["--known-peers", "known", "--manifest-digest", &"00".repeat(32)]);
    assert_eq!(ran.code, 11, "{ran:?}");
    assert!(!sidecar.stand.path("known").exists());
    let ran = sidecar.verify(&["--known-peers", "known", "--binding", "certificate"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    sidecar.stand.write("known", b"localhost:1 nonsense\n");
    let ran = sidecar.verify(&["--known-peers", "known", "--output", "json"]);
    assert_eq!(ran.error()["code"], "known-peers");
}
