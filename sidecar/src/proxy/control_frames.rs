//! Counts the HTTP/2 frames that cost the client nothing and us something.
//!
//! hyper bounds streams, resets, headers and CONTINUATION by itself; it takes any number of PING,
//! SETTINGS, PRIORITY and WINDOW_UPDATE. This wrapper reads frame headers as they pass (9 bytes
//! each, RFC 9113 §4.1) and ends a connection that sends more of them than an honest client does.
//! It changes no byte and holds none back.
//! Against: HTTP/2 control frame floods.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::limits::{CONTROL_FRAME_BURST, CONTROL_FRAMES_PER_SECOND, CONTROL_FRAMES_PER_WRITE};

const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;

/// A stream that fails when the client floods it with control frames.
#[derive(Debug)]
pub struct ControlFrames<S> {
    inner: S,
    skip: usize,
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    allowance: u32,
    refilled: Instant,
}

impl<S> ControlFrames<S> {
    /// Watches `inner` from the connection preface on.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            skip: PREFACE_BYTES,
            header: [0; FRAME_HEADER_BYTES],
            header_bytes: 0,
            allowance: CONTROL_FRAME_BURST,
            refilled: Instant::now(),
        }
    }

    /// Follows the frames in `bytes`; false when the client has sent too many.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            if let Some(slot) = self.header.get_mut(self.header_bytes) {
                *slot = *byte;
            }
            self.header_bytes += 1;
            if self.header_bytes == FRAME_HEADER_BYTES {
                self.header_bytes = 0;
                let [l0, l1, l2, kind, ..] = self.header;
                let length = u32::from_be_bytes([0, l0, l1, l2]);
                self.skip = usize::try_from(length).unwrap_or(usize::MAX);
                if is_control(kind, length) && !self.spend() {
                    return false;
                }
            }
        }
        true
    }

    fn spend(&mut self) -> bool {
        let earned = self.refilled.elapsed().as_secs_f64() * f64::from(CONTROL_FRAMES_PER_SECOND);
        if earned >= 1.0 {
            // A float to integer cast saturates.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            let earned = earned as u32;
            self.allowance = self.allowance.saturating_add(earned).min(CONTROL_FRAME_BURST);
            self.refilled = Instant::now();
        }
        match self.allowance.checked_sub(1) {
            Some(left) => {
                self.allowance = left;
                true
            }
            None => false,
        }
    }
}

/// RFC 9113 §6: everything but DATA with bytes in it and HEADERS. Unknown kinds count too.
fn is_control(kind: u8, length: u32) -> bool {
    match kind {
        0x0 => length == 0,
        0x1 => false,
        _ => true,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ControlFrames<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, out);
        let honest = this.follow(out.filled().get(before..).unwrap_or_default());
        if honest {
            return result;
        }
        tracing::warn!(code = "http2_control_frame_flood", "connection closed");
        Poll::Ready(Err(io::Error::other("too many HTTP/2 control frames")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ControlFrames<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, bytes);
        if matches!(result, Poll::Ready(Ok(_))) {
            this.allowance =
                this.allowance.saturating_add(CONTROL_FRAMES_PER_WRITE).min(CONTROL_FRAME_BURST);
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_flood_is_noticed_however_it_is_cut() {
        let pings: Vec<u8> =
            std::iter::repeat_with(|| frame(6, &[0; 8])).take(3_000).flatten().collect();
        for cut in [1, 7, 17, 4096] {
            let mut watch = ControlFrames::new(());
            assert!(watch.follow(&[0; PREFACE_BYTES]));
            assert!(!pings.chunks(cut).all(|bytes| watch.follow(bytes)), "cut at {cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_upload_is_no_flood() {
        let data: Vec<u8> =
            std::iter::repeat_with(|| frame(0, &[6; 100])).take(100_000).flatten().collect();
        let mut watch = ControlFrames::new(());
        assert!(watch.follow(&[0; PREFACE_BYTES]));
        assert!(watch.follow(&data));
    }

    #[tokio::test(start_paused = true)]
    async fn the_allowance_comes_back_with_time() {
        let burst: Vec<u8> = std::iter::repeat_with(|| frame(8, &[0; 4]))
            .take(CONTROL_FRAME_BURST as usize)
            .flatten()
            .collect();
        let mut watch = ControlFrames::new(());
        assert!(watch.follow(&[0; PREFACE_BYTES]));
        assert!(watch.follow(&burst));
        assert!(!watch.follow(&frame(8, &[0; 4])));
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        assert!(watch.follow(&burst));
    }
}
