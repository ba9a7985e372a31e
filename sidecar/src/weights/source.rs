//! Where the sealed model comes from, and which key it asks for. Nothing here is trusted yet.

use adyton_sealed_weights::{KeyId, SealedModel};

use super::WeightsError;
use crate::config::{KeyChoice, ModelConfig};

/// Parses `model.json` within its bounds. Blocking.
///
/// # Errors
/// [`WeightsError::Open`]
pub fn load(config: &ModelConfig) -> Result<SealedModel, WeightsError> {
    let sealed = SealedModel::load(&config.source).map_err(WeightsError::Open)?;
    tracing::info!(
        source = %config.source.display(),
        model = sealed.name(),
        version = sealed.version(),
        "sealed model found, not yet authenticated"
    );
    Ok(sealed)
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
