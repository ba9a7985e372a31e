//! Whose certificates are trusted: those that were named, or the operating system's.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::settings::Roots;

/// Where distributions keep the bundle.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there are no roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The operating system has no bundle.
    #[error("the system has no certificates in {}", BUNDLES.join(", "))]
    NoBundle,
    /// A bundle without one certificate that can be used.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A root that was named and is none.
    #[error("a root certificate cannot be used")]
    Root(#[source] rustls::Error),
}

/// The roots as rustls wants them.
pub(super) fn load(roots: &Roots) -> Result<RootCertStore, RootsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Only(named) => {
            for root in named {
                store.add(root.clone()).map_err(RootsError::Root)?;
            }
        }
        Roots::System => {
            let path = BUNDLES.iter().map(Path::new).find(|path| path.is_file());
            let path = path.ok_or(RootsError::NoBundle)?;
            let found = CertificateDer::pem_file_iter(path).into_iter().flatten().flatten();
            // Bundles carry roots with extensions that webpki does not read; the others serve.
            let (added, _) = store.add_parsable_certificates(found);
            if added == 0 {
                return Err(RootsError::Empty { path: path.to_owned() });
            }
        }
    }
    Ok(store)
}
