//! Where the broker is and how to speak to it: flags over environment over the configuration file.
//!
//! Job: merges the three sources into [`BrokerSettings`]. In: [`Globals`], the optional TOML file. Out:
//! settings in which every secret is a path. Must not: accept unknown keys, or a token itself.
//! Against: a misspelt key that silently leaves a default in force; a token in argv or the environment.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::arguments::Globals;
use crate::failure::{Exit, Failure};
use crate::file::{self, FileError};
use crate::tls::ClientIdentity;

/// The longest configuration file that is read.
const CONFIG_LIMIT: u64 = 64 * 1024;

/// The configuration file; paths in it are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    broker: Option<String>,
    broker_ca: Option<PathBuf>,
    admin_token_file: Option<PathBuf>,
    admin_cert_file: Option<PathBuf>,
    admin_key_file: Option<PathBuf>,
}

/// How the CLI shows the broker that it may give orders.
#[derive(Clone, Debug)]
pub enum AdminCredential {
    /// A bearer token in this file (0600).
    TokenFile(PathBuf),
    /// A certificate of the broker's admin CA.
    Certificate(ClientIdentity),
}

/// All that is needed to reach the broker's admin listener.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// `https://host:port`.
    pub url: String,
    /// The pinned CA.
    pub ca_file: PathBuf,
    /// Token or certificate.
    pub credential: AdminCredential,
}

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The configuration file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not TOML, or has unknown or mistyped keys.
    #[error("the configuration file {} is not valid", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's word, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A needed setting is in none of the sources.
    #[error("{what} was not given")]
    Missing {
        /// The setting in words.
        what: &'static str,
        /// Its flag.
        flag: &'static str,
        /// Its environment variable.
        variable: &'static str,
        /// Its key in the file.
        key: &'static str,
    },
    /// A certificate without its key, or the other way round.
    #[error("an admin certificate needs both its files")]
    HalfIdentity,
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let message = error.to_string();
        match error {
            SettingsError::File(error) => error.into(),
            SettingsError::Syntax { source, .. } => Self::new(Exit::Usage, "config.syntax", message)
                .expected(
                    "broker, broker_ca, admin_token_file, admin_cert_file, admin_key_file; nothing else",
                )
                .remedy("correct the line that is named")
                .caused_by(source.as_ref()),
            SettingsError::Missing { flag, variable, key, .. } => {
                Self::new(Exit::Usage, "broker.settings", message)
                    .expected(format!("{flag}, or {variable}, or `{key}` in the configuration file"))
                    .remedy(format!("add {flag}"))
            }
            SettingsError::HalfIdentity => Self::new(Exit::Usage, "broker.settings", message)
                .expected("--admin-cert-file together with --admin-key-file")
                .remedy("give both, or use --admin-token-file"),
        }
    }
}

impl BrokerSettings {
    /// Merges flags and environment (already in `globals`) with the configuration file.
    ///
    /// # Errors
    /// [`SettingsError`], in the order of its variants.
    pub fn load(globals: &Globals) -> Result<Self, SettingsError> {
        let file = match &globals.config {
            Some(path) => ConfigFile::read(path)?,
            None => match default_path().filter(|path| path.exists()) {
                Some(path) => ConfigFile::read(&path)?,
                None => ConfigFile::default(),
            },
        };
        let missing =
            |what, flag, variable, key| SettingsError::Missing { what, flag, variable, key };
        let url = globals.broker.clone().or(file.broker).ok_or_else(|| {
            missing("the broker's URL", "--broker URL", "ADYTON_BROKER", "broker")
        })?;
        let ca_file = globals.broker_ca.clone().or(file.broker_ca).ok_or_else(|| {
            missing("the broker's CA file", "--broker-ca FILE", "ADYTON_BROKER_CA", "broker_ca")
        })?;
        // A credential on the command line or in the environment replaces either kind in the file.
        let given = Credentials {
            token: globals.admin_token_file.clone(),
            certificate: globals.admin_cert_file.clone(),
            key: globals.admin_key_file.clone(),
        };
        let filed = Credentials {
            token: file.admin_token_file,
            certificate: file.admin_cert_file,
            key: file.admin_key_file,
        };
        let credential = match given.choose()? {
            Some(credential) => Some(credential),
            None => filed.choose()?,
        };
        let credential = credential.ok_or_else(|| {
            missing(
                "a credential for the broker's admin listener",
                "--admin-token-file FILE (or --admin-cert-file with --admin-key-file)",
                "ADYTON_ADMIN_TOKEN_FILE",
                "admin_token_file",
            )
        })?;
        Ok(Self { url, ca_file, credential })
    }
}

struct Credentials {
    token: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Credentials {
    /// The certificate if there is one, because it cannot be copied off a request; else the token.
    fn choose(self) -> Result<Option<AdminCredential>, SettingsError> {
        match (self.certificate, self.key, self.token) {
            (Some(certificate), Some(key), _) => {
                Ok(Some(AdminCredential::Certificate(ClientIdentity { certificate, key })))
            }
            (None, None, token) => Ok(token.map(AdminCredential::TokenFile)),
            _ => Err(SettingsError::HalfIdentity),
        }
    }
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let bytes = file::read("configuration file", path, CONFIG_LIMIT)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut config: Self = toml::from_str(&text).map_err(|source| SettingsError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for entry in [
            &mut config.broker_ca,
            &mut config.admin_token_file,
            &mut config.admin_cert_file,
            &mut config.admin_key_file,
        ] {
            *entry = entry.take().map(|relative| folder.join(relative));
        }
        Ok(config)
    }
}

/// `$XDG_CONFIG_HOME/adyton/config.toml`, else `~/.config/adyton/config.toml`.
fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match set("XDG_CONFIG_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(set("HOME")?).join(".config"),
    };
    Some(base.join("adyton").join("config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globals(config: &Path) -> Globals {
        Globals { config: Some(config.to_owned()), ..Globals::default() }
    }

    fn config(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).expect("write");
        (folder, path)
    }

    #[test]
    fn paths_in_the_file_are_relative_to_it_and_flags_win() {
        let (folder, path) = config(
            "broker = \"https://file:1\"\nbroker_ca = \"ca.pem\"\nadmin_token_file = \"/abs/token\"\n",
        );
        let mut flags = globals(&path);
        flags.broker = Some("https://flag:2".into());
        let settings = BrokerSettings::load(&flags).expect("complete");
        assert_eq!(settings.url, "https://flag:2");
        assert_eq!(settings.ca_file, folder.path().join("ca.pem"));
        match settings.credential {
            AdminCredential::TokenFile(path) => assert_eq!(path, Path::new("/abs/token")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let (_folder, path) = config("broker = \"https://x\"\nbroker_certificate = \"ca.pem\"\n");
        match BrokerSettings::load(&globals(&path)) {
            Err(SettingsError::Syntax { source, .. }) => {
                let text = source.to_string();
                assert!(text.contains("line 2") && text.contains("broker_certificate"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_named_with_flag_variable_and_key() {
        let (_folder, path) = config("broker = \"https://x\"\n");
        match BrokerSettings::load(&globals(&path)) {
            Err(SettingsError::Missing { flag, variable, key, .. }) => {
                assert_eq!(
                    (flag, variable, key),
                    ("--broker-ca FILE", "ADYTON_BROKER_CA", "broker_ca")
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let (_folder, path) =
            config("broker = \"https://x\"\nbroker_ca = \"ca.pem\"\nadmin_cert_file = \"c.pem\"\n");
        assert!(matches!(BrokerSettings::load(&globals(&path)), Err(SettingsError::HalfIdentity)));
    }
}
