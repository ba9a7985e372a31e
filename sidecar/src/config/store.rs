//! Checks `model.source` and `[model.store]`: an address, how it is reached, and where its credentials come from.
//!
//! Nothing is asked for, and no credentials are read. Against: an address that carries a secret into logs and
//! reports; a tag where a digest was meant; credentials in the environment, for which there is no key.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_attestation::rcar::ResourcePath;
use adyton_model_store::{
    Access, Addressing, PlainHttp, RetryPolicy, Roots, Source, StoreError, StoreSettings, Tags,
    Timeouts,
};

use super::check::Mistakes;
use super::file::StoreSection;
use super::{StoreConfig, StoreCredentials};
use crate::error::chain;

const SOURCE: &str = "model.source";

/// `[model.store]`
pub(super) fn check(section: &StoreSection, mistakes: &mut Mistakes) -> Option<StoreConfig> {
    let endpoint = match section.endpoint.as_deref() {
        None => Some(None),
        Some(text) => match Source::parse(text) {
            Ok(Source::Web(url)) => Some(Some(url)),
            Ok(_) | Err(_) => mistakes.note(
                "model.store.endpoint",
                text,
                "https://host[:port]",
                "write the endpoint's URL without credentials; without TLS it must be on this machine",
            ),
        },
    };
    let roots = match section.ca_file.as_deref() {
        None => Some(Roots::System),
        Some(file) => mistakes.certificates("model.store.ca_file", file).map(Roots::Only),
    };
    let credentials = credentials(section, mistakes);
    let in_flight = mistakes.between("model.store.max_requests", section.max_requests, 1, 256);
    let attempts = mistakes.between("model.store.attempts", section.attempts, 1, 1000);
    let mut seconds =
        |key: &str, value| mistakes.seconds(&format!("model.store.{key}"), value, 1, 3600);
    let connect = seconds("connect_timeout_seconds", section.connect_timeout_seconds);
    let first_byte = seconds("first_byte_timeout_seconds", section.first_byte_timeout_seconds);
    let progress = seconds("stall_timeout_seconds", section.stall_timeout_seconds);
    let retry = RetryPolicy {
        attempts: NonZeroU32::new(u32::try_from(attempts?).ok()?)?,
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_secs(20),
    };
    let settings = StoreSettings {
        region: section.region.clone(),
        endpoint: endpoint?,
        addressing: if section.bucket_in_host { Addressing::VirtualHost } else { Addressing::Path },
        account: section.account.clone(),
        roots: roots?,
        access: Access::Anonymous,
        plain_http: if section.insecure_allow_http {
            PlainHttp::InsecureAllow
        } else {
            PlainHttp::LoopbackOnly
        },
        tags: if section.insecure_allow_tag { Tags::InsecureAllow } else { Tags::Refuse },
        in_flight: NonZeroUsize::new(usize::try_from(in_flight?).ok()?)?,
        timeouts: Timeouts { connect: connect?, first_byte: first_byte?, progress: progress? },
        retry,
    };
    Some(StoreConfig { settings, credentials: credentials? })
}

fn credentials(section: &StoreSection, mistakes: &mut Mistakes) -> Option<StoreCredentials> {
    match (section.credentials_file.as_deref(), section.credentials_kid.as_deref()) {
        (None, None) => Some(StoreCredentials::Nobody),
        (Some(file), None) if Path::new(file).is_file() => {
            Some(StoreCredentials::File(PathBuf::from(file)))
        }
        (Some(file), None) => mistakes.note(
            "model.store.credentials_file",
            file,
            "a file of `name = value` lines",
            "is it mounted here?",
        ),
        (None, Some(uri)) => match ResourcePath::from_uri(uri) {
            Ok(resource) => Some(StoreCredentials::Broker(resource)),
            Err(error) => mistakes.note(
                "model.store.credentials_kid",
                format!("{uri}: {error}"),
                "kbs:///<repository>/<type>/<tag>",
                "take the URI of the resource that holds the credentials",
            ),
        },
        (Some(_), Some(uri)) => mistakes.note(
            "model.store.credentials_kid",
            uri,
            "one of credentials_file and credentials_kid",
            "leave the file out: what the broker releases never lies on a disk",
        ),
    }
}

/// `model.source`, and whether it can be reached like that.
pub(super) fn source(
    text: Option<&str>,
    store: Option<&StoreConfig>,
    mistakes: &mut Mistakes,
) -> Option<Source> {
    let text = mistakes.required(SOURCE, text, "the place of a sealed model")?;
    let source = match Source::parse(text) {
        Ok(source) => source,
        Err(error) => {
            let value = if matches!(error, adyton_model_store::AddressError::Secret { .. }) {
                // It would be repeated in every log line about this mistake.
                format!("(not shown): {error}")
            } else {
                format!("{text}: {error}")
            };
            return mistakes.note(SOURCE, value, "the place of a sealed model", error.remedy());
        }
    };
    if let Some(folder) = source.folder() {
        if folder.join("model.json").is_file() {
            return Some(source);
        }
        return mistakes.note(
            SOURCE,
            text,
            "a folder with model.json",
            "seal a model with `adyton seal`, or mount the folder here",
        );
    }
    match source.check(&store?.settings) {
        Ok(()) => Some(source),
        Err(error) => {
            let expected = match error {
                StoreError::Tag { .. } => "an artifact that is named by its digest",
                _ => "a place that can be reached with the settings of [model.store]",
            };
            mistakes.note(SOURCE, format!("{text}: {}", chain(&error)), expected, error.remedy())
        }
    }
}
