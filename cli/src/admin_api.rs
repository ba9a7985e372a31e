//! The broker's admin API, as far as the CLI uses it.
//!
//! Job: one method a call; statuses become errors that say what to do. In: [`BrokerSettings`]. Out: parsed
//! replies. Must not: log or print the token, retry a write, follow a redirect.
//! Against: a token in an error message; a reply that is believed without its shape having been read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rustls::ClientConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::file::{self, FileError};
use crate::https::{self, Address, Call, HttpsError, Party};
use crate::settings::{AdminCredential, BrokerSettings};
use crate::tls::{self, TlsFileError};

/// How long the broker may take for one answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest token file.
const TOKEN_LIMIT: u64 = 4096;

/// Why the broker's admin API gave no result.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Transport.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// Certificate or key files.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// The token file could not be read.
    #[error(transparent)]
    Token(#[from] FileError),
    /// The token file holds something else than a token.
    #[error("the admin token file {} holds no token", path.display())]
    NoToken {
        /// The file.
        path: std::path::PathBuf,
    },
    /// The broker answered with an error.
    #[error("the broker refused to {doing}")]
    Refused {
        /// What was asked, as an infinitive.
        doing: &'static str,
        /// HTTP status.
        status: StatusCode,
        /// The broker's own code, message and remedy, if it gave them.
        said: Option<Said>,
    },
    /// The reply is not what this version understands.
    #[error("the broker's answer to {doing} could not be read")]
    Reply {
        /// What was asked.
        doing: &'static str,
        /// The parser's word.
        #[source]
        source: serde_json::Error,
    },
}

/// The body of an admin error.
#[derive(Clone, Debug, Deserialize)]
pub struct Said {
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do.
    #[serde(default)]
    pub remedy: String,
}

#[derive(Deserialize)]
struct SaidBody {
    error: Said,
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let message = error.to_string();
        match error {
            AdminError::Https(error) => error.into(),
            AdminError::Tls(error) => error.into(),
            AdminError::Token(error) => error.into(),
            AdminError::NoToken { .. } => Self::new(Exit::Usage, "broker.token-file", message)
                .expected("one line of visible ASCII characters")
                .remedy("name the file that the broker wrote: STATE_DIR/admin-token"),
            AdminError::Refused { status, said, .. } => refused(message, status, said),
            AdminError::Reply { source, .. } => Self::new(Exit::Malformed, "broker.reply", message)
                .expected("an answer of the admin API, version 1")
                .remedy("check that --broker names the admin listener and that both versions agree")
                .caused_by(&source),
        }
    }
}

/// A refusal in words for people at a command line. What the broker says of requests and endpoints is for
/// programs; only where it speaks of the content that was sent its own remedy is the better one.
fn refused(message: String, status: StatusCode, said: Option<Said>) -> Failure {
    let said_code = said.as_ref().map(|said| said.code.as_str()).unwrap_or_default();
    let (exit, code, expected, remedy) = match status {
        StatusCode::UNAUTHORIZED => (
            Exit::PolicyDenied,
            "broker.unauthenticated",
            "a token or certificate that this broker admits",
            "check --admin-token-file (STATE_DIR/admin-token of this broker), or the admin certificate",
        ),
        StatusCode::FORBIDDEN => (
            Exit::PolicyDenied,
            "broker.forbidden",
            "a credential that may do this",
            "use another token or certificate",
        ),
        StatusCode::NOT_FOUND => (
            Exit::Usage,
            "broker.not-found",
            "a name that the broker knows",
            match said_code.split('.').next() {
                Some("key") => "adyton key list shows the keys; adyton key create KID makes one",
                Some("policy") => "put one into force: adyton policy apply FILE",
                Some("decision") => "adyton explain lists the decisions",
                _ => "check that --broker names the admin listener, and not the KBS's",
            },
        ),
        StatusCode::CONFLICT => (
            Exit::Usage,
            "broker.conflict",
            "a name that is not in use",
            "use the one that exists, or choose another name",
        ),
        StatusCode::BAD_REQUEST
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::PAYLOAD_TOO_LARGE => (
            Exit::Malformed,
            "broker.bad-request",
            "input that the broker accepts",
            said.as_ref().map_or("correct the input", |said| said.remedy.as_str()),
        ),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE => (
            Exit::BrokerUnreachable,
            "broker.busy",
            "a broker that can answer now",
            "try again later",
        ),
        _ => (Exit::Internal, "broker.error", "success", "look at the broker's log"),
    };
    let got = match &said {
        Some(said) => format!("{} ({}, {})", said.message, said.code, status.as_u16()),
        None => format!("HTTP status {status}"),
    };
    Failure::new(exit, code, message).got(got).expected(expected).remedy(remedy)
}

/// A connection recipe for one broker.
pub struct AdminApi {
    address: Address,
    config: Arc<ClientConfig>,
    authorization: Option<HeaderValue>,
}

impl AdminApi {
    /// Reads the files that `settings` name; nothing is sent yet.
    ///
    /// # Errors
    /// [`AdminError::Https`] for the URL, then [`AdminError::Tls`], [`AdminError::Token`], [`AdminError::NoToken`].
    pub fn new(settings: &BrokerSettings) -> Result<Self, AdminError> {
        let address = Address::parse(Party::Broker, &settings.url)?;
        let (identity, authorization) = match &settings.credential {
            AdminCredential::Certificate(identity) => (Some(identity), None),
            AdminCredential::TokenFile(path) => {
                let bytes = file::read_secret("admin token file", path, TOKEN_LIMIT)?;
                let no_token = || AdminError::NoToken { path: path.clone() };
                let token = bytes.trim_ascii();
                if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
                    return Err(no_token());
                }
                let mut line = Zeroizing::new(Vec::with_capacity(token.len() + 7));
                line.extend_from_slice(b"Bearer ");
                line.extend_from_slice(token);
                // Sensitive: kept out of Debug output and of header compression tables.
                let mut value = HeaderValue::from_bytes(&line).map_err(|_| no_token())?;
                value.set_sensitive(true);
                (None, Some(value))
            }
        };
        Ok(Self { address, config: tls::pinned(&settings.ca_file, identity)?, authorization })
    }

    /// GET; `query` pairs are encoded here.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, AdminError> {
        let mut target = path.to_owned();
        if !query.is_empty() {
            target.push('?');
            target.push_str(
                &form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish(),
            );
        }
        self.call(doing, Method::GET, target, None).await
    }

    /// POST or PUT of a body.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        body: (&'static str, Vec<u8>),
    ) -> Result<T, AdminError> {
        let (media_type, bytes) = body;
        let body = Some((media_type, Bytes::from(bytes)));
        self.call(doing, method, path.to_owned(), body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        method: Method,
        target: String,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<T, AdminError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let stream = https::connect(&self.address, Arc::clone(&self.config)).await?;
        let call = Call { method, target, headers, body };
        let reply = https::exchange(&self.address, stream, call, REPLY_TIMEOUT).await?;
        if !reply.status.is_success() {
            return Err(AdminError::Refused {
                doing,
                status: reply.status,
                said: serde_json::from_slice::<SaidBody>(&reply.body).ok().map(|body| body.error),
            });
        }
        serde_json::from_slice(&reply.body).map_err(|source| AdminError::Reply { doing, source })
    }
}

/// The media type of policies and Reference Values.
pub const TOML: &str = "application/toml";

/// The media type of everything else.
pub const JSON: &str = "application/json";
