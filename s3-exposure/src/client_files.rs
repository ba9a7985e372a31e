//! What the inference server is handed: credentials and where to use them, in files that its S3 client reads.
//!
//! In: [`Credentials`], an [`Endpoint`], a folder that only we and the server mount. Out: `credentials` and
//! `config` as AWS's clients know them, and `s3.env` with the variables that point to them. Each appears whole or
//! not at all, `s3.env` last; all are removed again. The secret stands in `credentials` only.
//! Against: a reader of half a file; a link in the folder that leads elsewhere; a secret in an environment.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::signature::Credentials;
use crate::socket::{Access, Endpoint};

const CREDENTIALS: &str = "credentials";
const CONFIG: &str = "config";
const ENVIRONMENT: &str = "s3.env";

/// The files, as long as this value lives.
#[derive(Debug)]
pub struct ClientFiles {
    folder: PathBuf,
}

/// Why the files are not there.
#[derive(Debug, thiserror::Error)]
pub enum ClientFilesError {
    /// A path that cannot stand in a file of variables.
    #[error(
        "the folder {0:?} has spaces, quotes or other letters than A-Z, a-z, 0-9 and / . _ -; choose another"
    )]
    Folder(PathBuf),
    /// The folder cannot be written to.
    #[error("cannot write {file} in {folder}")]
    Write {
        /// Which file.
        file: &'static str,
        /// Where.
        folder: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl ClientFiles {
    /// Writes them, in the place of those of an earlier start.
    ///
    /// # Errors
    /// [`ClientFilesError`]
    pub fn write(
        folder: &Path,
        access: Access,
        credentials: &Credentials,
        endpoint: &Endpoint,
        model_url: &str,
    ) -> Result<Self, ClientFilesError> {
        let shown = folder.to_str().filter(|text| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        });
        let shown = shown.ok_or_else(|| ClientFilesError::Folder(folder.to_owned()))?;
        let files = Self { folder: folder.to_owned() };
        let secret = credentials.expose_secret();
        let mut text = Zeroizing::new(Vec::with_capacity(256));
        text.extend_from_slice(b"[default]\naws_access_key_id = ");
        text.extend_from_slice(credentials.access_key().as_bytes());
        text.extend_from_slice(b"\naws_secret_access_key = ");
        text.extend_from_slice(secret);
        text.extend_from_slice(b"\n");
        files.put(CREDENTIALS, &text, access)?;
        files.put(CONFIG, config(endpoint).as_bytes(), access)?;
        files.put(ENVIRONMENT, environment(shown, endpoint, model_url).as_bytes(), access)?;
        Ok(files)
    }

    fn put(
        &self,
        file: &'static str,
        bytes: &[u8],
        access: Access,
    ) -> Result<(), ClientFilesError> {
        let temporary = self.folder.join(format!(".{file}.new"));
        let put = || -> io::Result<()> {
            match std::fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mode = access.file_mode();
            // `create_new` follows no link.
            let mut new: File =
                OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
            // Whatever the umask is.
            new.set_permissions(std::fs::Permissions::from_mode(mode))?;
            new.write_all(bytes)?;
            std::fs::rename(&temporary, self.folder.join(file))
        };
        put().map_err(|source| {
            let _ = std::fs::remove_file(&temporary);
            ClientFilesError::Write { file, folder: self.folder.clone(), source }
        })
    }
}

impl Drop for ClientFiles {
    fn drop(&mut self) {
        for file in [ENVIRONMENT, CONFIG, CREDENTIALS] {
            let _ = std::fs::remove_file(self.folder.join(file));
        }
    }
}

fn config(endpoint: &Endpoint) -> String {
    let mut text = "[default]\nregion = us-east-1\n".to_owned();
    if let Endpoint::Loopback(address) = endpoint {
        text.push_str(&format!("endpoint_url = http://{address}\n"));
    }
    text.push_str("s3 =\n    addressing_style = path\n    signature_version = s3v4\n");
    text
}

fn environment(folder: &str, endpoint: &Endpoint, model_url: &str) -> String {
    let mut text = format!(
        "AWS_SHARED_CREDENTIALS_FILE={folder}/{CREDENTIALS}\nAWS_CONFIG_FILE={folder}/{CONFIG}\n\
         AWS_REGION=us-east-1\nAWS_DEFAULT_REGION=us-east-1\nAWS_EC2_METADATA_DISABLED=true\n\
         RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING=0\nADYTON_MODEL_URL={model_url}\n"
    );
    match endpoint {
        Endpoint::Loopback(address) => {
            text.push_str(&format!("AWS_ENDPOINT_URL=http://{address}\n"));
        }
        Endpoint::UnixSocket { path, .. } => {
            text.push_str(&format!("ADYTON_S3_SOCKET={}\n", path.display()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::Loopback("127.0.0.1:9000".parse().unwrap())
    }

    #[test]
    fn the_files_have_their_mode_and_go_with_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::generate().unwrap();
        for (access, mode) in [(Access::Owner, 0o600), (Access::Group, 0o640)] {
            let files =
                ClientFiles::write(folder.path(), access, &credentials, &endpoint(), "s3://b/m/");
            for file in [CREDENTIALS, CONFIG, ENVIRONMENT] {
                let facts = std::fs::metadata(folder.path().join(file)).unwrap();
                assert_eq!(facts.permissions().mode() & 0o777, mode, "{file}");
            }
            drop(files.unwrap());
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_secret_stands_in_one_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::generate().unwrap();
        let secret = String::from_utf8(credentials.expose_secret().to_vec()).unwrap();
        let _files = ClientFiles::write(
            folder.path(),
            Access::Owner,
            &credentials,
            &endpoint(),
            "s3://b/m/",
        );
        let text = |file| std::fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(text(CREDENTIALS).contains(&format!("aws_secret_access_key = {secret}\n")));
        assert!(text(CONFIG).contains("endpoint_url = http://127.0.0.1:9000\n"));
        assert!(text(ENVIRONMENT).contains("AWS_ENDPOINT_URL=http://127.0.0.1:9000\n"));
        assert!(!text(CONFIG).contains(&secret) && !text(ENVIRONMENT).contains(&secret));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, b"keep me").unwrap();
        for name in [CREDENTIALS, ".credentials.new"] {
            std::os::unix::fs::symlink(&victim, folder.path().join(name)).unwrap();
        }
        let credentials = Credentials::generate().unwrap();
        let files = ClientFiles::write(
            folder.path(),
            Access::Owner,
            &credentials,
            &endpoint(),
            "s3://b/m/",
        );
        files.unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"keep me");
    }

    #[test]
    fn a_folder_that_cannot_stand_in_variables_is_refused() {
        let folder = Path::new("/run/a b");
        let credentials = Credentials::generate().unwrap();
        let refused =
            ClientFiles::write(folder, Access::Owner, &credentials, &endpoint(), "s3://b/");
        assert!(matches!(refused, Err(ClientFilesError::Folder(at)) if at == folder));
    }
}
