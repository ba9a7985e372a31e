//! How one value is sealed: AES-256-GCM under a key of its own, bound to its place.
//!
//! ```text
//! version (1) ‖ salt (32, random) ‖ nonce (12, random) ‖ ciphertext ‖ tag (16)
//! key = HKDF-SHA256(root key, salt, context)      AAD = context
//! context = "adyton.broker.store.v1" and table, row name, epoch, each with its length before it
//! ```
//! The salt makes the key fresh for each write, so a nonce can't repeat under one key. The context
//! keeps a value from being read in any other place than the one it was written to.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::root_key::RootKey;
use super::{Row, StoreError, Table};

const VERSION: u8 = 1;
const SALT_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const LABEL: &[u8] = b"adyton.broker.store.v1";

/// Seals `value` for its place.
pub(super) fn seal(
    root_key: &RootKey,
    table: Table,
    row: Row<'_>,
    value: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let mut salt = [0; SALT_LEN];
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut salt).map_err(|_| StoreError::Random)?;
    getrandom::fill(&mut nonce).map_err(|_| StoreError::Random)?;
    let context = context(table, row);
    let key = sealing_key(root_key, &salt, &context).ok_or(StoreError::Random)?;

    // The buffer holds plaintext until it is encrypted in place, and never grows after that.
    let mut body = Zeroizing::new(Vec::with_capacity(value.len().saturating_add(TAG_LEN)));
    body.extend_from_slice(value);
    let nonce_value = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce_value, Aad::from(&context), &mut *body)
        .map_err(|_| StoreError::Random)?;

    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// Opens what was sealed for this place.
pub(super) fn open(
    root_key: &RootKey,
    table: Table,
    row: Row<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let refusal = || StoreError::NotAuthentic {
        table: table.name(),
        row: row.name.to_owned(),
        epoch: row.epoch,
    };
    let (version, rest) = sealed.split_first().ok_or_else(refusal)?;
    if *version != VERSION {
        return Err(refusal());
    }
    let (salt, rest) = rest.split_first_chunk::<SALT_LEN>().ok_or_else(refusal)?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(refusal)?;
    let context = context(table, row);
    let key = sealing_key(root_key, salt, &context).ok_or_else(refusal)?;

    let mut body = Zeroizing::new(body.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length =
        key.open_in_place(nonce, Aad::from(&context), &mut body).map_err(|_| refusal())?.len();
    body.truncate(length);
    Ok(body)
}

fn sealing_key(root_key: &RootKey, salt: &[u8], context: &[u8]) -> Option<LessSafeKey> {
    let key = root_key.derive(salt, context)?;
    UnboundKey::new(&AES_256_GCM, key.as_slice()).ok().map(LessSafeKey::new)
}

/// Table, name and epoch, framed so that no two places give the same bytes.
fn context(table: Table, row: Row<'_>) -> Vec<u8> {
    let epoch = row.epoch.to_be_bytes();
    let mut context = LABEL.to_vec();
    for part in [table.name().as_bytes(), row.name.as_bytes(), epoch.as_slice()] {
        // Row names are bounded far below 4 GiB by the requests that bring them.
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        context.extend_from_slice(&length.to_be_bytes());
        context.extend_from_slice(part);
    }
    context
}
