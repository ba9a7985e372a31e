//! Bad input at the sidecar's start: each names the step, the value, what was expected and a remedy,
//! ends with its exit code, and leaves nothing in the target folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use adyton_e2e::{Scene, copy_of};
use anyhow::{Result, ensure};

const USAGE: i32 = 2;
const BROKER_UNREACHABLE: i32 = 13;
const INTEGRITY_FAILURE: i32 = 14;

fn expect(ended: &adyton_e2e::Ended, exit: i32, code: &str) -> Result<()> {
    ensure!(
        ended.exit == exit && ended.code.starts_with(code),
        "wanted exit {exit} and {code}, got {}: {}",
        ended.exit,
        ended.said
    );
    Ok(())
}

#[test]
fn an_unknown_configuration_key_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    let ended = scene.refused_sidecar("unknown-key", |plan| {
        plan.extra = "lissten = \"127.0.0.1:1\"\n".to_owned()
    })?;
    expect(&ended, USAGE, "config")
}

#[test]
fn a_missing_client_ca_file_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    let ended = scene
        .refused_sidecar("missing-ca", |plan| plan.client_ca = PathBuf::from("/nowhere/ca.pem"))?;
    expect(&ended, USAGE, "config")?;
    ensure!(ended.said.to_string().contains("/nowhere/ca.pem"), "{}", ended.said);
    Ok(())
}

#[test]
fn a_serving_key_that_others_can_read_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    let key = scene.stage.folder.join("serving.key");
    fs::copy(&scene.clients.key_file, &key)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let certificate = scene.clients.certificate_file.clone();
    let ended = scene.refused_sidecar("readable-key", |plan| {
        plan.tls_extra = format!("certificate_file = {certificate:?}\nkey_file = {key:?}\n");
    })?;
    expect(&ended, USAGE, "config")?;
    ensure!(ended.said.to_string().contains("serving.key"), "{}", ended.said);
    Ok(())
}

#[test]
fn a_target_on_a_disk_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    // The build folder lies on a disk where tests run; a tmpfs there would make this test meaningless.
    let disk =
        tempfile::Builder::new().prefix("adyton-e2e-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let target = disk.path().to_path_buf();
    if rustix::fs::statfs(&target)?.f_type == 0x0102_1994 {
        println!("skipped: the build folder itself lies on a tmpfs");
        return Ok(());
    }
    let ended = scene.refused_sidecar("disk", |plan| plan.target = target)?;
    expect(&ended, USAGE, "config")
}

#[test]
fn a_broker_that_nobody_answers_for_is_unreachable() -> Result<()> {
    let scene = Scene::set()?;
    let ended = scene.refused_sidecar("unreachable", |plan| {
        plan.broker_url = "https://127.0.0.1:9".to_owned();
        plan.broker_extra = "retry_for_seconds = 1\n".to_owned();
    })?;
    expect(&ended, BROKER_UNREACHABLE, "attest.broker-unreachable")
}

#[test]
fn a_broker_with_an_unknown_certificate_gets_no_evidence() -> Result<()> {
    let scene = Scene::set()?;
    let other_ca = scene.clients.ca_file.clone();
    let ended = scene.refused_sidecar("unknown-broker", |plan| plan.broker_ca = other_ca)?;
    ensure!(ended.said.to_string().contains("certificate"), "{}", ended.said);
    ensure!(ended.exit == BROKER_UNREACHABLE, "{}", ended.said);
    Ok(())
}

#[test]
fn a_key_that_does_not_exist_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    let ended = scene.refused_sidecar("no-key", |plan| {
        plan.model_extra = "key = \"kbs:///e2e/model-key/nobody\"\n".to_owned();
    })?;
    ensure!(ended.exit != 0 && ended.said.to_string().contains("nobody"), "{}", ended.said);
    Ok(())
}

#[test]
fn another_model_than_the_named_one_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    let ended = scene
        .refused_sidecar("other-name", |plan| plan.model_extra = "name = \"llama\"\n".to_owned())?;
    expect(&ended, INTEGRITY_FAILURE, "weights.not-the-required-model")
}

#[test]
fn a_model_older_than_the_owner_allows_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    let shown = scene.owner.adyton(&scene.stage, &["policy", "show", adyton_e2e::KEY])?;
    let policy = shown["toml"].as_str().unwrap_or_default().to_owned();
    scene
        .apply_policy(&policy.replace("minimum_model_version = 1", "minimum_model_version = 3"))?;
    let ended = scene.refused_sidecar("too-old", |_| {})?;
    expect(&ended, INTEGRITY_FAILURE, "weights.not-the-required-model")
}

#[test]
fn a_truncated_object_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    let copy = copy_of(&scene.sealed, &scene.stage.folder.join("truncated"))?;
    let object = copy.join("model.safetensors.sealed");
    let bytes = fs::read(&object)?;
    fs::write(&object, &bytes[..bytes.len() - 1])?;
    let ended = scene.refused_sidecar("truncated-object", |plan| plan.sealed = copy)?;
    expect(&ended, INTEGRITY_FAILURE, "weights.object-not-authentic")
}

#[test]
fn two_swapped_objects_are_refused() -> Result<()> {
    let scene = Scene::set()?;
    let copy = copy_of(&scene.sealed, &scene.stage.folder.join("swapped"))?;
    let (a, b) = (copy.join("model.safetensors.sealed"), copy.join("other.safetensors.sealed"));
    let first = fs::read(&a)?;
    fs::rename(&b, &a)?;
    fs::write(&b, first)?;
    let ended = scene.refused_sidecar("swapped-objects", |plan| plan.sealed = copy)?;
    expect(&ended, INTEGRITY_FAILURE, "weights.object-not-authentic")
}

#[test]
fn an_edited_manifest_is_refused() -> Result<()> {
    let scene = Scene::set()?;
    let copy = copy_of(&scene.sealed, &scene.stage.folder.join("edited"))?;
    let manifest = copy.join("model.json");
    let text = fs::read_to_string(&manifest)?;
    let edited = text.replacen("\"version\":2", "\"version\":9", 1).replacen(
        "\"version\": 2",
        "\"version\": 9",
        1,
    );
    ensure!(edited != text, "the manifest has no version to edit: {text}");
    fs::write(&manifest, edited)?;
    let ended = scene.refused_sidecar("edited-manifest", |plan| plan.sealed = copy)?;
    expect(&ended, INTEGRITY_FAILURE, "weights.manifest-not-authentic")
}
