//! What a store asks for: lines of `name = value`, in locked memory.
//!
//! In: the bytes of a file or of a resource that the broker released. Out: [`Credentials`], which keeps
//! those bytes where keys are kept and remembers where in them each value stands. A value is copied out
//! for as long as one request is signed.
//!
//! Against: secrets in logs and core files; a misspelt name that would silently mean "no credentials".
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;
use std::ops::Range;

use adyton_sealed_weights::LockedMemory;
use adyton_sealed_weights::locked_memory::LockedMemoryError;
use zeroize::Zeroize;

/// Most bytes of a credentials document.
pub const MAX_CREDENTIALS_BYTES: usize = 16 * 1024;

/// The names that a document may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// S3: access key.
    AccessKeyId,
    /// S3: secret key.
    SecretAccessKey,
    /// S3: token of a temporary key.
    SessionToken,
    /// Azure: the account's shared key.
    AccountKey,
    /// Azure: a shared access signature.
    SasToken,
    /// Everything but S3: `Authorization: Bearer`.
    BearerToken,
    /// Google: the service account's JSON, on one line.
    ServiceAccount,
    /// HTTP and OCI: user.
    Username,
    /// HTTP and OCI: password.
    Password,
}

const FIELDS: [(&str, Field); 9] = [
    ("access_key_id", Field::AccessKeyId),
    ("secret_access_key", Field::SecretAccessKey),
    ("session_token", Field::SessionToken),
    ("account_key", Field::AccountKey),
    ("sas_token", Field::SasToken),
    ("bearer_token", Field::BearerToken),
    ("service_account", Field::ServiceAccount),
    ("username", Field::Username),
    ("password", Field::Password),
];

/// The secrets of one store.
pub struct Credentials {
    bytes: LockedMemory,
    values: Vec<(Field, Range<usize>)>,
}

/// Why a document holds no credentials. It never repeats what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing, or more than [`MAX_CREDENTIALS_BYTES`].
    #[error("credentials of {got} bytes; expected 1 to {MAX_CREDENTIALS_BYTES}")]
    Length {
        /// Bytes that came.
        got: usize,
    },
    /// A line that is no `name = value`, has an unknown name, a second value or none.
    #[error("line {line} of the credentials {fault}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// No place to keep them.
    #[error("there is no locked memory for the credentials")]
    Memory(#[source] LockedMemoryError),
}

impl CredentialsError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Length { .. } | Self::Line { .. } => {
                "write one `name = value` a line, with the names access_key_id, secret_access_key, \
                 session_token, account_key, sas_token, bearer_token, service_account, username, password"
            }
            Self::Memory(error) => error.remedy(),
        }
    }
}

impl Credentials {
    /// Takes the document; `document` holds zeros afterwards.
    ///
    /// # Errors
    /// [`CredentialsError`]
    pub fn take(document: &mut [u8]) -> Result<Self, CredentialsError> {
        let got = document.len();
        if got == 0 || got > MAX_CREDENTIALS_BYTES {
            document.zeroize();
            return Err(CredentialsError::Length { got });
        }
        let bytes = LockedMemory::take(document).map_err(CredentialsError::Memory)?;
        let values = parse(bytes.expose())?;
        Ok(Self { bytes, values })
    }

    /// Is there a value for it?
    pub fn has(&self, field: Field) -> bool {
        self.values.iter().any(|(there, _)| *there == field)
    }

    /// The value, which stays where it is.
    pub(crate) fn value(&self, field: Field) -> Option<&str> {
        let (_, range) = self.values.iter().find(|(there, _)| *there == field)?;
        std::str::from_utf8(self.bytes.expose().get(range.clone())?).ok()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<Field> = self.values.iter().map(|(field, _)| *field).collect();
        f.debug_struct("Credentials").field("has", &names).finish_non_exhaustive()
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<(Field, Range<usize>)>, CredentialsError> {
    let mut values: Vec<(Field, Range<usize>)> = Vec::new();
    let mut at = 0;
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let start = at;
        at += line.len() + 1;
        let wrong = |fault| CredentialsError::Line { line: number + 1, fault };
        let text = std::str::from_utf8(line).map_err(|_| wrong("is not UTF-8"))?;
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        let (name, value) = text.split_once('=').ok_or(wrong("has no `=`"))?;
        let field = FIELDS.iter().find(|(known, _)| *known == name.trim());
        let (_, field) = field.ok_or(wrong("has an unknown name"))?;
        let trimmed = value.trim();
        if trimmed.is_empty() || trimmed.chars().any(char::is_control) {
            return Err(wrong("has no value, or one with control characters"));
        }
        if values.iter().any(|(there, _)| there == field) {
            return Err(wrong("repeats a name"));
        }
        let lead = value.len() - value.trim_start().len();
        let begin = start + name.len() + 1 + lead;
        values.push((*field, begin..begin + trimmed.len()));
    }
    if values.is_empty() {
        return Err(CredentialsError::Line { line: 1, fault: "is the whole of them, and empty" });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Credentials, CredentialsError> {
        Credentials::take(&mut text.as_bytes().to_vec())
    }

    #[test]
    fn values_are_found_by_their_names() {
        let text = "# of the model store\naccess_key_id = AKIA\r\n\nsecret_access_key=a=b/c+d \n";
        let credentials = take(text).unwrap();
        assert_eq!(credentials.value(Field::AccessKeyId), Some("AKIA"));
        assert_eq!(credentials.value(Field::SecretAccessKey), Some("a=b/c+d"));
        assert_eq!(credentials.value(Field::SessionToken), None);
    }

    #[test]
    fn the_document_is_wiped_when_it_is_taken_or_refused() {
        let mut sound = b"password = x".to_vec();
        assert!(Credentials::take(&mut sound).is_ok());
        let mut long = vec![b'a'; MAX_CREDENTIALS_BYTES + 1];
        assert!(matches!(Credentials::take(&mut long), Err(CredentialsError::Length { .. })));
        assert!(sound.iter().chain(&long).all(|byte| *byte == 0));
    }

    #[test]
    fn a_line_that_means_nothing_is_refused_by_its_number() {
        for (text, line, fault) in [
            ("password = x\nsecret", 2, "has no `=`"),
            ("secret_key = x", 1, "has an unknown name"),
            ("password =  ", 1, "has no value, or one with control characters"),
            ("password = x\npassword = y", 2, "repeats a name"),
            ("# nothing", 1, "is the whole of them, and empty"),
        ] {
            match take(text) {
                Err(CredentialsError::Line { line: at, fault: why }) => {
                    assert_eq!((at, why), (line, fault));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn nothing_secret_is_in_the_debug_text() {
        let text = format!("{:?}", take("username = u5er\npassword = 5ecret").unwrap());
        assert!(text.contains("Password") && !text.contains("5ecret") && !text.contains("u5er"));
    }
}
