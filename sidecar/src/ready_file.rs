//! `--ready-file`: tells whoever started us which addresses are open. Ports may have been 0.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The file, written anew at each step and never half.
#[derive(Debug, Clone)]
pub struct ReadyFile {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Clone, Serialize)]
struct Content {
    admin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
}

impl ReadyFile {
    /// Writes the admin address.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin(path: &Path, admin: SocketAddr) -> io::Result<Self> {
        let content = Content { admin: format!("http://{admin}"), proxy: None };
        let file = Self { path: path.to_owned(), content };
        file.write()?;
        Ok(file)
    }

    /// Adds the address of the mTLS port.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn serving(&mut self, proxy: SocketAddr) -> io::Result<()> {
        self.content.proxy = Some(format!("https://{proxy}"));
        self.write()
    }

    /// Beside and renamed: a reader sees all or nothing.
    fn write(&self) -> io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        std::fs::write(&beside, serde_json::to_vec(&self.content)?)?;
        std::fs::rename(&beside, &self.path)
    }
}
