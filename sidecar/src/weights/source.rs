//! Where the sealed model comes from, and which key it asks for. Nothing here is trusted yet.
//!
//! The place is a folder, or anything that `adyton-model-store` reads. Its credentials are read from a file here,
//! or were released by the broker before ([`Attested::store_credentials`](crate::release::Attested)); either way
//! they rest in locked memory until the storage falls.

use std::path::Path;
use std::sync::Arc;

use adyton_model_store::credentials::MAX_CREDENTIALS_BYTES;
use adyton_model_store::{Access, Credentials, StoreSettings};
use adyton_sealed_weights::{KeyId, SealedModel};
use zeroize::Zeroizing;

use super::WeightsError;
use crate::config::{KeyChoice, ModelConfig, StoreCredentials};

/// Credentials that did not come from a file.
#[derive(Debug, Clone)]
pub enum FromBroker {
    /// The configuration does not ask for any.
    NotAskedFor,
    /// The broker released these.
    Released(Arc<Credentials>),
}

/// Parses `model.json` within its bounds. Blocking.
///
/// # Errors
/// [`WeightsError::Credentials`], [`WeightsError::Store`], [`WeightsError::Open`]
pub fn load(config: &ModelConfig, released: &FromBroker) -> Result<SealedModel, WeightsError> {
    let access = match (&config.store.credentials, released) {
        (_, FromBroker::Released(credentials)) => Access::Credentials(Arc::clone(credentials)),
        (StoreCredentials::File(path), FromBroker::NotAskedFor) => {
            Access::Credentials(Arc::new(read(path)?))
        }
        (StoreCredentials::Nobody | StoreCredentials::Broker(_), FromBroker::NotAskedFor) => {
            Access::Anonymous
        }
    };
    let settings = StoreSettings { access, ..config.store.settings.clone() };
    let storage = config.source.storage(&settings).map_err(WeightsError::Store)?;
    let sealed = SealedModel::load_from(storage).map_err(WeightsError::Open)?;
    tracing::info!(
        source = %config.source,
        model = sealed.name(),
        version = sealed.version(),
        "sealed model found, not yet authenticated"
    );
    Ok(sealed)
}

fn read(path: &Path) -> Result<Credentials, WeightsError> {
    use std::io::Read;

    // One byte more than allowed, so that what is too long is seen to be.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_CREDENTIALS_BYTES + 1));
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_CREDENTIALS_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| WeightsError::CredentialsFile { path: path.to_owned(), source })?;
    Credentials::take(&mut bytes).map_err(WeightsError::Credentials)
}

/// The key to ask for: the configured one, or that of the first recipient. A manifest that lies
/// about its recipients gets a key under which its MAC does not verify.
///
/// # Errors
/// [`WeightsError::NoRecipient`]
pub fn choose_key(sealed: &SealedModel, choice: &KeyChoice) -> Result<KeyId, WeightsError> {
    let mut listed = sealed.recipients().iter().map(|recipient| recipient.kid());
    let found = match choice {
        KeyChoice::FirstRecipient => listed.next(),
        // The newest epoch: an older one is kept only for sidecars that still hold it.
        KeyChoice::Named(uri) => {
            listed.filter(|kid| kid.uri() == uri).max_by_key(|kid| kid.epoch())
        }
    };
    found.cloned().ok_or_else(|| WeightsError::NoRecipient {
        wanted: match choice {
            KeyChoice::FirstRecipient => "any".to_owned(),
            KeyChoice::Named(uri) => uri.clone(),
        },
        listed: sealed.recipients().iter().map(|recipient| recipient.kid().to_string()).collect(),
    })
}
