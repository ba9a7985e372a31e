use std::os::unix::fs::PermissionsExt;

use super::*;

fn names() -> Vec<String> {
    vec!["localhost".into(), "127.0.0.1".into()]
}

fn write_pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().expect("key");
    let certificate =
        CertificateParams::new(names()).expect("names").self_signed(&key).expect("certificate");
    let paths = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    fs::write(&paths.0, certificate.pem()).expect("written");
    secret_file::create(&paths.1, key.serialize_pem().as_bytes()).expect("written");
    paths
}

fn load(certificate_file: &Path, key_file: &Path) -> Result<ServerIdentity, TlsError> {
    let source = TlsSource::Files {
        certificate_file: certificate_file.to_owned(),
        key_file: key_file.to_owned(),
    };
    ServerIdentity::load(&source, &[], Path::new("/nonexistent"))
}

#[test]
fn the_own_ca_is_made_once_and_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let load = || ServerIdentity::load(&TlsSource::SelfMade, &names(), folder.path());
    let first = load().expect("made");
    let pem = fs::read(&first.trust_file).expect("CA");
    let second = load().expect("loaded");
    assert_eq!(fs::read(&second.trust_file).expect("CA"), pem);
    let key_file = folder.path().join("tls/ca.key");
    assert_eq!(fs::metadata(key_file).expect("key").permissions().mode() & 0o777, 0o600);
    assert_ne!(first.key.cert[0], second.key.cert[0], "the server certificate is new each time");
}

#[test]
fn half_a_ca_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let load = || ServerIdentity::load(&TlsSource::SelfMade, &names(), folder.path());
    load().expect("made");
    fs::remove_file(folder.path().join("tls/ca.key")).expect("removed");
    assert!(matches!(load(), Err(TlsError::HalfCa { .. })));
}

#[test]
fn a_ca_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let load = || ServerIdentity::load(&TlsSource::SelfMade, &names(), folder.path());
    load().expect("made");
    let key_file = folder.path().join("tls/ca.key");
    fs::set_permissions(key_file, fs::Permissions::from_mode(0o640)).expect("chmod");
    let error = load().expect_err("readable");
    let open = matches!(error, TlsError::SecretFile(SecretFileError::OpenToOthers { .. }));
    assert!(open, "{error:?}");
}

#[test]
fn a_certificate_with_its_key_is_accepted() {
    let folder = tempfile::tempdir().expect("folder");
    let (certificate, key) = write_pair(folder.path(), "a");
    assert_eq!(load(&certificate, &key).expect("accepted").trust_file, certificate);
}

#[test]
fn a_certificate_with_another_key_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let (certificate, _) = write_pair(folder.path(), "a");
    let (_, key) = write_pair(folder.path(), "b");
    assert!(matches!(load(&certificate, &key), Err(TlsError::Mismatch { .. })));
}

#[test]
fn swapped_files_are_refused_without_quoting_the_key() {
    let folder = tempfile::tempdir().expect("folder");
    let (certificate, key) = write_pair(folder.path(), "a");
    assert!(matches!(load(&key, &key), Err(TlsError::Certificate { .. })));
    fs::set_permissions(&certificate, fs::Permissions::from_mode(0o600)).expect("chmod");
    assert!(matches!(load(&certificate, &certificate), Err(TlsError::Key { .. })));
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let (certificate, key) = write_pair(folder.path(), "a");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
    let error = load(&certificate, &key).expect_err("readable");
    assert!(matches!(error, TlsError::SecretFile(SecretFileError::OpenToOthers { .. })));
}
