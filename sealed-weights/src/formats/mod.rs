//! What may be inside a sealed model.
//!
//! In: a file's name and its plaintext, before anybody else sees it. Out: its [`FileFormat`], or a
//! refusal. Headers of safetensors and GGUF are parsed with bounds; formats that run code when
//! loaded are recognised by name and by content, and refused unless the owner allowed them.
//!
//! Against: a publisher's or a tamperer's model that attacks the inference server's loader.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod gguf;
pub mod pickle;
pub mod safetensors;

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::path::ModelPath;

/// Bytes that can be read at an offset: a source file, an opened file, or a sealed range.
pub trait ReadAt {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// The medium's error, or `UnexpectedEof` past the end.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// A file of a length that is already known.
pub(crate) struct OpenFile<'a> {
    pub(crate) file: &'a std::fs::File,
    pub(crate) len: u64,
}

impl ReadAt for OpenFile<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self.file, buffer, offset)
    }
}

/// What a file of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// Tensors in the safetensors format, header verified.
    Safetensors,
    /// Tensors in the GGUF format, header verified.
    Gguf,
    /// A Python pickle, or a container that PyTorch loads as one.
    Pickle,
    /// A zip archive, whatever is inside.
    Zip,
    /// Python source or byte code.
    Python,
    /// A native executable or shared library.
    NativeCode,
    /// Nothing that is loaded as tensors or run as code by its name or contents.
    Other,
}

impl FileFormat {
    /// The risk of loading it, if there is one.
    pub fn risk(self) -> Option<RiskyFormat> {
        match self {
            Self::Pickle => Some(RiskyFormat::Pickle),
            Self::Zip => Some(RiskyFormat::Zip),
            Self::Python => Some(RiskyFormat::Python),
            Self::NativeCode => Some(RiskyFormat::NativeCode),
            Self::Safetensors | Self::Gguf | Self::Other => None,
        }
    }

    /// The word in manifests and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
            Self::Other => "other",
            Self::Pickle => "pickle",
            Self::Zip => "zip",
            Self::Python => "python",
            Self::NativeCode => "native-code",
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A format that runs, or may run, code in whoever loads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RiskyFormat {
    /// `native-code`: executables and shared libraries.
    NativeCode,
    /// `pickle`: `.bin .pt .pth .pkl .ckpt …`; loading one runs what it says.
    Pickle,
    /// `python`: `.py .pyc …`; run by loaders that trust remote code.
    Python,
    /// `zip`: may hold any of the others.
    Zip,
}

impl RiskyFormat {
    /// Every one, for help texts.
    pub const ALL: [Self; 4] = [Self::NativeCode, Self::Pickle, Self::Python, Self::Zip];

    /// The word in manifests, options and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NativeCode => "native-code",
            Self::Pickle => "pickle",
            Self::Python => "python",
            Self::Zip => "zip",
        }
    }
}

impl fmt::Display for RiskyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<RiskyFormat> for FileFormat {
    fn from(risk: RiskyFormat) -> Self {
        match risk {
            RiskyFormat::NativeCode => Self::NativeCode,
            RiskyFormat::Pickle => Self::Pickle,
            RiskyFormat::Python => Self::Python,
            RiskyFormat::Zip => Self::Zip,
        }
    }
}

/// Not a format that can be allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is not a format that can be allowed; expected native-code, pickle, python or zip")]
pub struct UnknownRiskyFormat {
    /// The word given.
    pub got: String,
}

impl FromStr for RiskyFormat {
    type Err = UnknownRiskyFormat;

    fn from_str(text: &str) -> Result<Self, UnknownRiskyFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| UnknownRiskyFormat { got: crate::key::excerpt(text) })
    }
}

/// Why the contents of a file were refused.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It runs code when loaded and nobody allowed that.
    #[error(
        "the file is {format} ({evidence}), which runs code when loaded and is not allowed by name"
    )]
    NotAllowed {
        /// Which format.
        format: RiskyFormat,
        /// How it was recognised.
        evidence: &'static str,
    },
    /// The manifest lists another format than the contents have.
    #[error("the file is {got}; the manifest lists it as {expected}")]
    Mismatch {
        /// What the manifest says.
        expected: FileFormat,
        /// What the contents are.
        got: FileFormat,
    },
    /// A safetensors file whose header is not sound.
    #[error("the safetensors header was refused")]
    Safetensors(#[from] safetensors::SafetensorsError),
    /// A GGUF file whose header is not sound.
    #[error("the GGUF header was refused")]
    Gguf(#[from] gguf::GgufError),
    /// The bytes could not be read.
    #[error("the contents could not be read")]
    Read(#[from] io::Error),
}

impl FormatError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotAllowed { .. } => {
                "convert the weights to safetensors, or leave the file out; \
                 if its owner trusts the file, allow the format by name when sealing"
            }
            Self::Mismatch { .. } => {
                "seal the model again; its manifest was made by other software"
            }
            Self::Safetensors(_) | Self::Gguf(_) => {
                "write the file again with a sound exporter and seal it again"
            }
            Self::Read(_) => "see the cause",
        }
    }
}

/// Finds out what a file is, by name and by content, and verifies the header of what it claims to be.
///
/// # Errors
/// In this order: [`FormatError::NotAllowed`] by name or content, then
/// [`Safetensors`](FormatError::Safetensors) or [`Gguf`](FormatError::Gguf) for files of those kinds.
pub fn inspect<R: ReadAt + ?Sized>(
    path: &ModelPath,
    contents: &R,
    allowed: &[RiskyFormat],
) -> Result<FileFormat, FormatError> {
    if let Some((risk, evidence)) = pickle::risk_of(path, contents)? {
        if !allowed.contains(&risk) {
            return Err(FormatError::NotAllowed { format: risk, evidence });
        }
        return Ok(risk.into());
    }
    match path.extension().as_str() {
        "safetensors" => {
            safetensors::verify(contents)?;
            Ok(FileFormat::Safetensors)
        }
        "gguf" => {
            gguf::verify(contents)?;
            Ok(FileFormat::Gguf)
        }
        _ if gguf::has_magic(contents)? => {
            gguf::verify(contents)?;
            Ok(FileFormat::Gguf)
        }
        _ => Ok(FileFormat::Other),
    }
}
