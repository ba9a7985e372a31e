//! The client's side of mutual TLS: a certificate authority of its own and one client certificate.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Where the files lie.
#[derive(Debug)]
pub struct ClientCertificates {
    /// What the sidecar is told to trust.
    pub ca_file: PathBuf,
    /// The client's certificate.
    pub certificate_file: PathBuf,
    /// The client's key, readable by its owner only.
    pub key_file: PathBuf,
}

impl ClientCertificates {
    /// Makes an authority and a certificate for `spiffe://quickstart/client` in `folder`.
    ///
    /// # Errors
    /// When a key can't be made or a file can't be written.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "Adyton quickstart client CA");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;

        let mut client = CertificateParams::new(Vec::new())?;
        client.distinguished_name.push(DnType::CommonName, "quickstart client");
        client.subject_alt_names.push(SanType::URI("spiffe://quickstart/client".try_into()?));
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate()?;
        let issuer = Issuer::new(authority, authority_key);
        let client_certificate = client.signed_by(&client_key, &issuer)?;

        let made = Self {
            ca_file: folder.join("client-ca.pem"),
            certificate_file: folder.join("client.pem"),
            key_file: folder.join("client.key"),
        };
        fs::write(&made.ca_file, authority_certificate.pem())?;
        fs::write(&made.certificate_file, client_certificate.pem())?;
        let mut key = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&made.key_file)
            .with_context(|| format!("create {}", made.key_file.display()))?;
        std::io::Write::write_all(&mut key, client_key.serialize_pem().as_bytes())?;
        Ok(made)
    }
}
