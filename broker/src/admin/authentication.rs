//! Who is an administrator: whoever has the token, or a certificate that the TLS layer verified.
//!
//! The token is 32 random bytes in a file that is made 0600 on first start. It is compared by
//! digest, in constant time; only the digest stays in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::config::{AdminAuthentication, ClientCertificates, TokenAuthentication};
use crate::error::Finding;
use crate::http::Peer;
use crate::respond::{AdminRefusal, KbsRefusal};
use crate::secret_file::{self, SecretFileError};

/// Shortest token that is accepted from a file, in characters.
const MIN_TOKEN_CHARACTERS: usize = 32;

/// Why a token file was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It is open to others, unreadable or can't be made.
    #[error("the admin token file was refused")]
    SecretFile(#[from] SecretFileError),
    /// Its content is no token.
    #[error("{} holds no token", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

impl TokenFileError {
    /// What is wrong and what to do, for the operator.
    pub fn finding(&self) -> Finding {
        let step = "configuration key `admin.token_file`";
        match self {
            Self::SecretFile(error) => Finding { step: step.into(), ..error.finding() },
            Self::NoToken { path } => Finding::new(
                step,
                path.display().to_string(),
                "one line of at least 32 visible ASCII characters",
                "remove the file to have a new token made, or write a longer one",
            ),
        }
    }
}

/// Decides who is an administrator.
#[derive(Debug)]
pub struct Administrators {
    token_digest: Option<[u8; 32]>,
    certificates: bool,
}

/// The name of an administrator, for the audit log.
#[derive(Clone, Debug)]
pub struct Administrator(Arc<str>);

impl Administrator {
    /// `token@<address>` or `certificate:<sha256>@<address>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Administrators {
    /// Loads the token, or makes one.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub fn load(authentication: &AdminAuthentication) -> Result<Self, TokenFileError> {
        let token_digest = match &authentication.token {
            TokenAuthentication::Off => None,
            TokenAuthentication::File(path) => Some(load_or_make(path)?),
        };
        let certificates = authentication.client_certificates != ClientCertificates::Off;
        Ok(Self { token_digest, certificates })
    }

    fn recognise(&self, peer: &Peer, authorization: Option<&HeaderValue>) -> Option<Administrator> {
        let address = peer.as_str();
        if let (true, Some(certificate)) = (self.certificates, peer.certificate_digest()) {
            return Some(Administrator(format!("certificate:{certificate}@{address}").into()));
        }
        let (scheme, token) = authorization?.to_str().ok()?.split_once(' ')?;
        let given = digest_of(token.trim().as_bytes());
        let right = self.token_digest.as_ref()?.ct_eq(&given);
        let right = bool::from(right) && scheme.eq_ignore_ascii_case("bearer");
        right.then(|| Administrator(format!("token@{address}").into()))
    }
}

/// Lets administrators through, and nobody else. Runs before a body is read.
pub async fn required(
    State(administrators): State<Arc<Administrators>>,
    peer: Peer,
    mut request: Request,
    next: Next,
) -> Response {
    match administrators.recognise(&peer, request.headers().get(AUTHORIZATION)) {
        Some(administrator) => {
            request.extensions_mut().insert(administrator);
            next.run(request).await
        }
        None => {
            tracing::warn!(peer = peer.as_str(), "an admin request was not authenticated");
            let refusal = AdminRefusal::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "no valid admin token or client certificate",
                "send the token from the broker's admin token file as `Authorization: Bearer`, or \
                 use a certificate of the configured admin CA",
            );
            let kbs = request.uri().path().starts_with("/kbs/v0/");
            let mut response = match kbs {
                true => KbsRefusal::NotAdministrator.into_response(),
                false => refusal.into_response(),
            };
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            response
        }
    }
}

fn load_or_make(path: &Path) -> Result<[u8; 32], TokenFileError> {
    let bytes = match secret_file::read(path) {
        Err(SecretFileError::Missing { .. }) => {
            make(path)?;
            secret_file::read(path)?
        }
        other => other?,
    };
    let token = bytes.trim_ascii();
    if token.len() < MIN_TOKEN_CHARACTERS || !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenFileError::NoToken { path: path.to_owned() });
    }
    Ok(digest_of(token))
}

fn make(path: &Path) -> Result<(), SecretFileError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| SecretFileError::Io {
        path: path.to_owned(),
        action: "filled with random bytes",
        source: std::io::Error::other(error),
    })?;
    let mut text = Zeroizing::new(hex::encode(bytes.as_slice()));
    text.push('\n');
    secret_file::create(path, text.as_bytes())
}

fn digest_of(token: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("admin-token");
        let first = load_or_make(&path).expect("made");
        assert_eq!(load_or_make(&path).expect("loaded"), first);
        let text = fs::read_to_string(&path).expect("text");
        assert_eq!(text.trim().len(), 64);
        assert_eq!(fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_token_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("admin-token");
        load_or_make(&path).expect("made");
        fs::set_permissions(&path, Permissions::from_mode(0o604)).expect("chmod");
        let error = load_or_make(&path).expect_err("readable");
        let open =
            matches!(error, TokenFileError::SecretFile(SecretFileError::OpenToOthers { .. }));
        assert!(open, "{error:?}");
    }

    #[test]
    fn a_short_or_empty_token_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        for (name, text) in [("a", ""), ("b", "short"), ("c", "thirty-two characters with a\0nul")]
        {
            let path = folder.path().join(name);
            secret_file::create(&path, text.as_bytes()).expect("written");
            let error = load_or_make(&path).expect_err("no token");
            assert!(matches!(error, TokenFileError::NoToken { .. }), "{error:?}");
        }
    }
}
