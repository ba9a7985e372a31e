//! The body of a request: bytes in memory, or a file that is read while it is sent.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use object_store::client::HttpRequestBody;

/// Bytes of a file that are in memory at once.
const READ_AT_ONCE: u64 = 256 * 1024;

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) enum Outgoing {
    Bytes(HttpRequestBody),
    File(FileBody),
}

/// A file, of the length that it had.
#[derive(Debug, Clone)]
pub(crate) struct FileBody {
    file: Arc<File>,
    at: u64,
    len: u64,
}

impl Outgoing {
    pub(crate) fn empty() -> Self {
        Self::Bytes(HttpRequestBody::empty())
    }

    pub(crate) fn bytes(bytes: Bytes) -> Self {
        Self::Bytes(bytes.into())
    }

    pub(crate) fn file(file: File, len: u64) -> Self {
        Self::File(FileBody { file: Arc::new(file), at: 0, len })
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.content_length() as u64,
            Self::File(file) => file.len,
        }
    }
}

impl FileBody {
    /// Blocking: a file of this machine, in small pieces, for a command that does nothing else.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let len = (self.len - self.at).min(READ_AT_ONCE);
        if len == 0 {
            return Ok(None);
        }
        let mut bytes = BytesMut::zeroed(usize::try_from(len).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut bytes, self.at)?;
        self.at += len;
        Ok(Some(bytes.freeze()))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Bytes(bytes) => Pin::new(bytes)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Self::File(file) => {
                let next = file.next().transpose();
                Poll::Ready(next.map(|bytes| bytes.map(Frame::data).map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_end_stream(),
            Self::File(file) => file.at == file.len,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => bytes.size_hint(),
            Self::File(file) => SizeHint::with_exact(file.len - file.at),
        }
    }
}
