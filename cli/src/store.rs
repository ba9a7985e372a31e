//! How a place that is no folder of this machine is reached, from flags.
//!
//! Job: flags to [`StoreSettings`]. A secret is never a flag and never a variable of the environment: credentials
//! are a file of mode 0600, as every secret of this program is.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adyton_model_store::credentials::MAX_CREDENTIALS_BYTES;
use adyton_model_store::{
    Access, Addressing, Credentials, Existing, PlainHttp, Roots, Source, StoreError, StoreSettings,
    Tags,
};
use clap::Args;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::failure::{Exit, Failure};
use crate::file;

const STORE: &str = "Where the model lies, if it is no folder";

/// Flags of every verb that reads or writes a store.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Region of an S3 bucket
    #[arg(long, value_name = "REGION", default_value = "us-east-1", help_heading = STORE)]
    region: String,
    /// Another endpoint than the provider's, https://HOST:PORT
    #[arg(long, value_name = "URL", help_heading = STORE)]
    endpoint: Option<String>,
    /// The endpoint has the bucket in its host's name
    #[arg(long, help_heading = STORE)]
    bucket_in_host: bool,
    /// Storage account, at Azure
    #[arg(long, value_name = "NAME", help_heading = STORE)]
    account: Option<String>,
    /// PEM file of the roots of the store's certificate [default: those of this machine]
    #[arg(long, value_name = "FILE", help_heading = STORE)]
    store_ca: Option<PathBuf>,
    /// File of credentials, `name = value` lines (mode 0600): access_key_id, secret_access_key,
    /// session_token, account_key, sas_token, bearer_token, service_account, username, password
    #[arg(long, value_name = "FILE", help_heading = STORE)]
    credentials_file: Option<PathBuf>,
    /// Ask the store without TLS, although it is not this machine
    #[arg(long, help_heading = STORE)]
    insecure_allow_http: bool,
    /// Requests at once
    #[arg(long, value_name = "N", default_value = "16", help_heading = STORE)]
    max_requests: NonZeroUsize,
}

/// Reads an address.
///
/// # Errors
/// [`Failure`] that names what is wrong with it, and repeats no secret.
pub fn source(text: &str) -> Result<Source, Failure> {
    Source::parse(text).map_err(|error| {
        Failure::because(Exit::Usage, "store.address", "this is not the place of a model", &error)
            .expected("a folder, https://…, s3://…, gs://…, az://…, or oci://…")
            .remedy(error.remedy())
    })
}

impl StoreArgs {
    /// The settings that these flags mean.
    ///
    /// # Errors
    /// [`Failure`] of a flag or a file; nobody was asked.
    pub fn settings(&self) -> Result<StoreSettings, Failure> {
        let endpoint = match self.endpoint.as_deref().map(source) {
            None => None,
            Some(Ok(Source::Web(url))) => Some(url),
            Some(other) => {
                let failure =
                    Failure::new(Exit::Usage, "store.endpoint", "the endpoint is not a URL")
                        .expected("https://HOST:PORT")
                        .remedy("write the URL of the store, without bucket and credentials");
                return Err(match other {
                    Ok(_) => failure.got(self.endpoint.clone().unwrap_or_default()),
                    // It may hold a password, so it is not repeated.
                    Err(_) => failure,
                });
            }
        };
        let access = match &self.credentials_file {
            None => Access::Anonymous,
            Some(path) => Access::Credentials(Arc::new(credentials(path)?)),
        };
        Ok(StoreSettings {
            region: self.region.clone(),
            endpoint,
            addressing: if self.bucket_in_host {
                Addressing::VirtualHost
            } else {
                Addressing::Path
            },
            account: self.account.clone(),
            roots: self.store_ca.as_deref().map_or(Ok(Roots::System), roots)?,
            access,
            plain_http: if self.insecure_allow_http {
                PlainHttp::InsecureAllow
            } else {
                PlainHttp::LoopbackOnly
            },
            tags: Tags::Refuse,
            in_flight: self.max_requests,
            ..StoreSettings::default()
        })
    }
}

/// `--replace`, as the library has it.
pub fn existing(replace: bool) -> Existing {
    if replace { Existing::Replace } else { Existing::Keep }
}

/// A place that cannot be used.
pub fn failure(error: &StoreError) -> Failure {
    Failure::because(Exit::Usage, "store.settings", "the place cannot be used", error)
        .expected("an address, and the settings and credentials that belong to it")
        .remedy(error.remedy())
}

fn credentials(path: &Path) -> Result<Credentials, Failure> {
    let mut bytes = file::read_secret("credentials file", path, MAX_CREDENTIALS_BYTES as u64)?;
    Credentials::take(&mut bytes).map_err(|error| {
        Failure::because(Exit::Usage, "store.credentials", "the credentials cannot be used", &error)
            .expected("`name = value` lines")
            .remedy(error.remedy())
    })
}

fn roots(path: &Path) -> Result<Roots, Failure> {
    let failed = |got: String| {
        Failure::new(Exit::Usage, "store.ca", "the store's roots cannot be read")
            .got(format!("{}: {got}", path.display()))
            .expected("a PEM file with at least one certificate")
            .remedy("export the CA's certificate as PEM")
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("no certificate".to_owned()));
    }
    Ok(Roots::Only(certificates))
}
