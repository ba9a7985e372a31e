//! `model.json`: what a sealed model consists of.
//!
//! In: bytes from whoever stores the model. Out: a [`Manifest`] whose every field is within its
//! bounds; still an allegation until its MAC was verified with the content key. It reads no files.
//!
//! Against: manifests that are edited, mixed from two versions, rolled back, or made to exhaust the
//! reader.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::collections::HashSet;

use ring::hmac;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::canonical::canonical;
use crate::chunked::{COMMITMENT_LEN, Commitment, SALT_LEN, Salt};
use crate::formats::{FileFormat, RiskyFormat};
use crate::key::{ContentKey, KeyId, ModelId, excerpt};
use crate::limits::{
    MAX_FILE_BYTES, MAX_FILES, MAX_JSON_INTEGER, MAX_MANIFEST_BYTES, MAX_NAME_BYTES, MAX_RECIPIENTS,
};
use crate::locked_memory::{Wiped, scrub_stack};
use crate::path::{ModelPath, PathError};
use crate::recipient::{Recipient, base64_bytes};

/// The value of the member `adyton`: format and version.
pub const FORMAT: &str = "sealed-model/1";

const MAC_LABEL: &[u8] = b"adyton.sealed-model.v1.manifest\0";
const MAC_LEN: usize = 64;

/// Why `model.json` was refused before any key was used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than any manifest may be.
    #[error("the manifest has {got} bytes; expected at most {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// Bytes of the file.
        got: u64,
    },
    /// Not JSON, or members missing, unknown, twice or of the wrong type.
    #[error("the manifest is not the JSON that was expected")]
    Json(#[source] serde_json::Error),
    /// Another format, or a version of the format that this reader does not know.
    #[error("the manifest is of format `{got}`; expected `{FORMAT}`")]
    Format {
        /// What the manifest says.
        got: String,
    },
    /// A name that breaks the rule of SPEC.md §5.1.
    #[error(
        "the model name `{got}` is not 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_`, `-`, `/`"
    )]
    Name {
        /// The name, cut to a readable length.
        got: String,
    },
    /// A number over its bound, or a list that is too long or empty.
    #[error("`{field}` is {got}; expected {expected}")]
    Bound {
        /// Which member.
        field: &'static str,
        /// The rule.
        expected: String,
        /// What the manifest says.
        got: u64,
    },
    /// Formats that are not listed in alphabetical order, or twice.
    #[error("`allowed_formats` is not in alphabetical order, or names a format twice")]
    AllowedFormats,
    /// A path that breaks a rule.
    #[error("a path in the manifest was refused")]
    Path(#[from] PathError),
    /// Two files whose names are equal, differ only in case, or of which one is a folder of the other.
    #[error("the paths `{first}` and `{second}` collide")]
    Collision {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Two recipients for the same key.
    #[error("two recipients for `{kid}`")]
    DuplicateRecipient {
        /// The key both name.
        kid: KeyId,
    },
    /// A file whose format runs code when loaded, which the manifest does not allow by name.
    #[error("`{path}` is listed as {format}, which the manifest does not allow")]
    FormatNotAllowed {
        /// The file.
        path: ModelPath,
        /// Its format.
        format: RiskyFormat,
    },
}

impl ManifestError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Format { .. } => {
                "use a reader that knows this format, or seal the model again with this version"
            }
            Self::Name { .. } => "choose a name like `acme/kjv-4m`",
            Self::Path(source) => source.remedy(),
            Self::FormatNotAllowed { .. } => {
                "seal the model again and allow the format by name, if its owner means it"
            }
            Self::Collision { .. } => {
                "rename one of the two files in the source folder and seal again"
            }
            Self::TooLarge { .. }
            | Self::Json(_)
            | Self::Bound { .. }
            | Self::AllowedFormats
            | Self::DuplicateRecipient { .. } => {
                "fetch the sealed model again; if it stays so, it was not made by this software or was edited"
            }
        }
    }
}

/// The manifest's MAC does not fit: it was edited, or the content key is another model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the MAC of the manifest does not fit its contents")]
pub struct MacMismatch;

/// One plaintext file of the model and the object that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    pub(crate) path: ModelPath,
    pub(crate) size: u64,
    pub(crate) format: FileFormat,
    #[serde(with = "base64_bytes")]
    pub(crate) salt: Salt,
    #[serde(with = "base64_bytes")]
    pub(crate) commitment: Commitment,
    #[serde(with = "base64_bytes")]
    pub(crate) tag_table_sha256: [u8; 32],
}

impl FileEntry {
    /// Where the file lies in the model.
    pub fn path(&self) -> &ModelPath {
        &self.path
    }

    /// Bytes of plaintext.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the file is; checked against its contents when sealed and when opened.
    pub fn format(&self) -> FileFormat {
        self.format
    }
}

/// The manifest as it stands in `model.json`, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    adyton: String,
    name: String,
    version: u64,
    model_id: ModelId,
    allowed_formats: Vec<RiskyFormat>,
    files: Vec<FileEntry>,
    recipients: Vec<Recipient>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<Mac>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Mac(#[serde(with = "base64_bytes")] [u8; MAC_LEN]);

/// A manifest within its bounds. Whether it is authentic is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest(Wire);

/// What the writer of a manifest decides.
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) model_id: ModelId,
    pub(crate) allowed_formats: Vec<RiskyFormat>,
    pub(crate) files: Vec<FileEntry>,
    pub(crate) recipients: Vec<Recipient>,
}

impl Manifest {
    /// Parses `model.json`.
    ///
    /// # Errors
    /// In this order: [`ManifestError::TooLarge`], [`Format`](ManifestError::Format),
    /// [`Json`](ManifestError::Json), then the rules of SPEC.md §5 in the order of the members.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        /// Read first and alone, so that a later version is called by its name.
        #[derive(Deserialize)]
        struct Marker {
            adyton: String,
        }
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { got: bytes.len() as u64 });
        }
        let Marker { adyton } = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        if adyton != FORMAT {
            return Err(ManifestError::Format { got: excerpt(&adyton) });
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        if wire.mac.is_none() {
            return Err(ManifestError::Json(serde::de::Error::missing_field("mac")));
        }
        wire.verify_bounds()?;
        Ok(Self(wire))
    }

    /// Makes a manifest and its MAC.
    ///
    /// # Errors
    /// As [`parse`](Self::parse): nothing is written that would not be read.
    pub(crate) fn seal(draft: Draft, content_key: &ContentKey) -> Result<Self, ManifestError> {
        let mut wire = Wire {
            adyton: FORMAT.to_owned(),
            name: draft.name,
            version: draft.version,
            model_id: draft.model_id,
            allowed_formats: draft.allowed_formats,
            files: draft.files,
            recipients: draft.recipients,
            mac: None,
        };
        wire.allowed_formats.sort();
        wire.allowed_formats.dedup();
        wire.verify_bounds()?;
        let tag = hmac::sign(mac_key(content_key, &wire.model_id).get(), &wire.canonical()?);
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(tag.as_ref());
        wire.mac = Some(Mac(mac));
        Ok(Self(wire))
    }

    /// Verifies the MAC with the content key, in constant time.
    ///
    /// # Errors
    /// [`MacMismatch`].
    //= sealed-weights/SPEC.md#5.4
    //# A reader MUST verify the MAC before it uses any member but `recipients` and `model_id`.
    pub(crate) fn authenticate(&self, content_key: &ContentKey) -> Result<(), MacMismatch> {
        let bytes = self.0.canonical().map_err(|_| MacMismatch)?;
        let Some(Mac(mac)) = &self.0.mac else {
            return Err(MacMismatch);
        };
        hmac::verify(mac_key(content_key, &self.0.model_id).get(), &bytes, mac)
            .map_err(|_| MacMismatch)
    }

    /// The bytes of `model.json`: indented, with a line feed at the end.
    ///
    /// # Errors
    /// [`ManifestError::Json`] never occurs for a manifest of ours; [`ManifestError::TooLarge`].
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = serde_json::to_vec_pretty(&self.0).map_err(ManifestError::Json)?;
        bytes.push(b'\n');
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { got: bytes.len() as u64 });
        }
        Ok(bytes)
    }

    /// The model's name, chosen by its owner.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The model's version; rises by the owner's word, never falls.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// The id of this sealed version.
    pub fn model_id(&self) -> ModelId {
        self.0.model_id
    }

    /// Formats that run code when loaded and that the owner allowed by name.
    pub fn allowed_formats(&self) -> &[RiskyFormat] {
        &self.0.allowed_formats
    }

    /// The files, in the order of the manifest.
    pub fn files(&self) -> &[FileEntry] {
        &self.0.files
    }

    /// Those who can open the model.
    pub fn recipients(&self) -> &[Recipient] {
        &self.0.recipients
    }

    /// Plaintext bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        // Within u64: `verify_bounds` refuses a sum above 2^53 - 1.
        self.0.files.iter().map(|file| file.size).sum()
    }

    /// This manifest with other recipients and a new MAC: how a key is rotated or a broker added.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn with_recipients(
        &self,
        recipients: Vec<Recipient>,
        content_key: &ContentKey,
    ) -> Result<Self, ManifestError> {
        let Wire { name, version, model_id, allowed_formats, files, .. } = self.0.clone();
        Self::seal(
            Draft { name, version, model_id, allowed_formats, files, recipients },
            content_key,
        )
    }
}

/// Refuses a model name outside the rule of SPEC.md §5.1.
pub(crate) fn verify_name(name: &str) -> Result<(), ManifestError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
        return Err(ManifestError::Name { got: excerpt(name) });
    }
    Ok(())
}

impl Wire {
    fn verify_bounds(&self) -> Result<(), ManifestError> {
        let bound =
            |field, expected: String, got: u64| Err(ManifestError::Bound { field, expected, got });
        verify_name(&self.name)?;
        if self.version == 0 || self.version > MAX_JSON_INTEGER {
            return bound("version", format!("1 to {MAX_JSON_INTEGER}"), self.version);
        }
        if self.files.is_empty() || self.files.len() > MAX_FILES {
            return bound("files", format!("1 to {MAX_FILES} entries"), self.files.len() as u64);
        }
        if self.recipients.is_empty() || self.recipients.len() > MAX_RECIPIENTS {
            let expected = format!("1 to {MAX_RECIPIENTS} entries");
            return bound("recipients", expected, self.recipients.len() as u64);
        }
        if !self.allowed_formats.is_sorted_by(|earlier, later| earlier < later) {
            return Err(ManifestError::AllowedFormats);
        }
        let mut total = 0_u64;
        for file in &self.files {
            if file.size > MAX_FILE_BYTES {
                return bound("size", format!("at most {MAX_FILE_BYTES}"), file.size);
            }
            total = total.saturating_add(file.size);
            if let Some(format) = file.format.risk()
                && !self.allowed_formats.contains(&format)
            {
                return Err(ManifestError::FormatNotAllowed { path: file.path.clone(), format });
            }
        }
        if total > MAX_JSON_INTEGER {
            return bound("sum of sizes", format!("at most {MAX_JSON_INTEGER}"), total);
        }
        self.verify_collisions()?;
        let mut kids = HashSet::new();
        for recipient in &self.recipients {
            if !kids.insert(recipient.kid()) {
                return Err(ManifestError::DuplicateRecipient { kid: recipient.kid().clone() });
            }
        }
        Ok(())
    }

    fn verify_collisions(&self) -> Result<(), ManifestError> {
        let mut files = HashSet::new();
        let mut folders = HashSet::new();
        for file in &self.files {
            let key = file.path.collision_key();
            // Folders by their exact spelling: `A/x` and `a/y` would be one folder when case folds.
            for parent in file.path.parents() {
                folders.insert((parent.to_lowercase(), parent));
            }
            if !files.insert(key.clone()) {
                let first = self.files.iter().find(|other| other.path.collision_key() == key);
                return Err(collision(
                    first.map_or("", |other| other.path.as_str()),
                    file.path.as_str(),
                ));
            }
        }
        let mut folded = std::collections::HashMap::new();
        for (key, spelling) in folders {
            if files.contains(&key) {
                return Err(collision(&key, spelling));
            }
            if let Some(other) = folded.insert(key, spelling) {
                return Err(collision(other, spelling));
            }
        }
        Ok(())
    }

    fn canonical(&self) -> Result<Vec<u8>, ManifestError> {
        let without_mac = Self { mac: None, ..self.clone() };
        let value = serde_json::to_value(without_mac).map_err(ManifestError::Json)?;
        canonical(&value).map_err(|error| ManifestError::Json(serde::ser::Error::custom(error)))
    }
}

fn collision(first: &str, second: &str) -> ManifestError {
    ManifestError::Collision { first: excerpt(first), second: excerpt(second) }
}

//= sealed-weights/SPEC.md#5.4
//# MAC key = HKDF-Expand-SHA512(PRK = content key, info = "adyton.sealed-model.v1.manifest" ‖ 0x00 ‖ model id, L = 64)
#[allow(clippy::expect_used, reason = "no byte from outside decides a length")]
fn mac_key(content_key: &ContentKey, model_id: &ModelId) -> Wiped<hmac::Key> {
    struct Length;
    impl ring::hkdf::KeyType for Length {
        fn len(&self) -> usize {
            MAC_LEN
        }
    }
    let prk = ring::hkdf::Prk::new_less_safe(ring::hkdf::HKDF_SHA512, content_key.expose());
    let mut derived = Zeroizing::new([0; MAC_LEN]);
    prk.expand(&[MAC_LABEL, &model_id.0], Length)
        .and_then(|okm| okm.fill(derived.as_mut()))
        .expect("64 bytes are within HKDF-SHA512's 16,320 and the buffer has that length");
    drop(Wiped::new(prk));
    let key = Wiped::new(hmac::Key::new(hmac::HMAC_SHA512, derived.as_ref()));
    scrub_stack();
    key
}

/// Binds a file to its model and place. SPEC.md §4.1.
//= sealed-weights/SPEC.md#4.1
//# context = "adyton.sealed-model.v1.file" ‖ 0x00 ‖ model id ‖ path in UTF-8
pub(crate) fn file_context(model_id: &ModelId, path: &ModelPath) -> Vec<u8> {
    [b"adyton.sealed-model.v1.file\0", &model_id.0[..], path.as_str().as_bytes()].concat()
}

const _: () = assert!(SALT_LEN == 24 && COMMITMENT_LEN == 32);
