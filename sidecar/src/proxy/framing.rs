//! A strict reading of HTTP/1.1 request framing, before any other parser sees the bytes.
//!
//! In: bytes as they come from TLS. Out: the same bytes, whole heads at a time, or a
//! [`Violation`]. It does no IO; [`gate`](super::gate) feeds it. It accepts a subset of RFC 9112
//! on which no two parsers disagree, so what hyper and the inference server read is what was
//! judged here.
//!
//! ```text
//!            ┌──────────── no body ────────────┐
//!            ▼                                 │
//!   Head ── blank line ── strict parse ──┬─────┤
//!            ▲                           ├─ Length(n) ── n bytes ──► Head
//!            └─────────── Trailers ◄── 0 ┴─ ChunkSize ⇄ ChunkData ─ ChunkEnd
//! ```
//! Against: request smuggling and response desync.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use bytes::BytesMut;

/// A request that two parsers could read differently, or that exceeds a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A line that ends in LF without CR.
    #[error("a line ends in a bare line feed")]
    BareLineFeed,
    /// CR that no LF follows.
    #[error("a carriage return stands alone")]
    BareCarriageReturn,
    /// NUL, DEL or another control byte in a head.
    #[error("the head holds a control byte")]
    ControlByte,
    /// The request line is not `method SP target SP HTTP/1.1`.
    #[error("the request line is malformed")]
    RequestLine,
    /// Another version than HTTP/1.1 on a connection that agreed on it.
    #[error("the version is not HTTP/1.1")]
    Version,
    /// CONNECT or TRACE.
    #[error("the method is refused here")]
    Method,
    /// The target is neither a path, nor an absolute URI, nor `*` of OPTIONS.
    #[error("the request target is malformed")]
    Target,
    /// The absolute URI names another host than Host.
    #[error("the request target names another host than the Host header")]
    TargetHostMismatch,
    /// A header line without a colon, or with a name that is no token.
    #[error("a header line is malformed")]
    HeaderLine,
    /// White space between name and colon.
    #[error("white space stands before a colon")]
    SpaceBeforeColon,
    /// A header continued on the next line.
    #[error("a header is folded over two lines")]
    ObsoleteFold,
    /// No Host header, more than one, or one that is no host.
    #[error("there must be exactly one valid Host header")]
    Host,
    /// Content-Length that is no single decimal number.
    #[error("Content-Length is not one decimal number")]
    ContentLength,
    /// More than one Content-Length or Transfer-Encoding line.
    #[error("a length header stands twice")]
    DuplicateLength,
    /// Content-Length and Transfer-Encoding together.
    #[error("Content-Length and Transfer-Encoding stand together")]
    BothLengths,
    /// Transfer-Encoding that is not exactly `chunked`.
    #[error("Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// `Content_Length` and the like: some servers read it as the real one.
    #[error("a framing header is spelled with an underscore")]
    FramingUnderscore,
    /// An attempt to change to clear-text HTTP/2.
    #[error("an upgrade to h2c is refused")]
    UpgradeH2c,
    /// A chunk size that is no short hexadecimal number, or has extensions.
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// A chunk that does not end where its size says.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// More bytes in a head, or its trailers, than allowed.
    #[error("the head is too large")]
    HeadTooLarge,
    /// More header lines than allowed.
    #[error("the head has too many header lines")]
    TooManyHeaders,
    /// The head did not arrive in time.
    #[error("the head did not arrive in time")]
    HeadTooSlow,
}

impl Violation {
    /// Stable code for bodies, logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::BareLineFeed => "bare_line_feed",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::ControlByte => "control_byte",
            Self::RequestLine => "request_line",
            Self::Version => "http_version",
            Self::Method => "method_refused",
            Self::Target => "request_target",
            Self::TargetHostMismatch => "target_host_mismatch",
            Self::HeaderLine => "header_line",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::ObsoleteFold => "obsolete_fold",
            Self::Host => "host",
            Self::ContentLength => "content_length",
            Self::DuplicateLength => "duplicate_length",
            Self::BothLengths => "both_lengths",
            Self::TransferEncoding => "transfer_encoding",
            Self::FramingUnderscore => "framing_underscore",
            Self::UpgradeH2c => "upgrade_h2c",
            Self::ChunkSize => "chunk_size",
            Self::ChunkEnd => "chunk_end",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::HeadTooSlow => "head_too_slow",
        }
    }
}

/// Bounds of one head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes, the blank line included.
    pub bytes: usize,
    /// Header lines, the request line not counted.
    pub lines: usize,
}

/// What the bytes so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Between two requests; nothing of the next one has come.
    BetweenRequests,
    /// Inside a head.
    InHead,
    /// Inside a body or its trailers.
    InBody,
}

/// Follows one connection from request to request.
#[derive(Debug)]
pub struct Scanner {
    limits: HeadLimits,
    state: State,
    line: LineScan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
}

/// How far the lines at the front of the raw bytes have been looked at.
#[derive(Debug, Default, Clone, Copy)]
struct LineScan {
    seen: usize,
    line_start: usize,
    lines: usize,
    last: u8,
}

/// `16^8` bytes, 4 GiB, in one chunk are more than any body limit; longer sizes hide overflows.
const MAX_CHUNK_SIZE_DIGITS: usize = 8;

enum Body {
    None,
    Length(u64),
    Chunked,
}

impl Scanner {
    /// Stands before the first request of a connection.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head, line: LineScan::default() }
    }

    /// Moves judged bytes from `raw` to `clean`, as many as can be judged. A head moves only as a
    /// whole. How the bytes were cut into reads makes no difference.
    ///
    /// # Errors
    /// The first [`Violation`]; the connection must not be read further.
    pub fn advance(&mut self, raw: &mut BytesMut, clean: &mut BytesMut) -> Result<(), Violation> {
        loop {
            match self.state {
                State::Head => {
                    let Some(end) = self.find_blank_line(raw, Lines::Head)? else {
                        return Ok(());
                    };
                    let head = raw.split_to(end);
                    self.state = match parse_head(&head)? {
                        Body::None | Body::Length(0) => State::Head,
                        Body::Length(length) => State::Length(length),
                        Body::Chunked => State::ChunkSize,
                    };
                    clean.extend_from_slice(&head);
                }
                State::Length(left) => {
                    let Some(left) = pass(raw, clean, left) else {
                        return Ok(());
                    };
                    self.state = if left == 0 { State::Head } else { State::Length(left) };
                }
                State::ChunkSize => {
                    let Some((size, end)) = chunk_size(raw)? else {
                        return Ok(());
                    };
                    clean.extend_from_slice(&raw.split_to(end));
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                }
                State::ChunkData(left) => {
                    let Some(left) = pass(raw, clean, left) else {
                        return Ok(());
                    };
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                }
                State::ChunkEnd => {
                    let Some(end) = raw.get(..2) else {
                        return match raw.first() {
                            None | Some(b'\r') => Ok(()),
                            Some(_) => Err(Violation::ChunkEnd),
                        };
                    };
                    if end != b"\r\n" {
                        return Err(Violation::ChunkEnd);
                    }
                    clean.extend_from_slice(&raw.split_to(2));
                    self.state = State::ChunkSize;
                }
                State::Trailers => {
                    let Some(end) = self.find_blank_line(raw, Lines::Trailers)? else {
                        return Ok(());
                    };
                    let trailers = raw.split_to(end);
                    for line in lines(&trailers) {
                        let (name, _) = header_line(line)?;
                        if framing_name(name).is_some() {
                            return Err(Violation::HeaderLine);
                        }
                    }
                    clean.extend_from_slice(&trailers);
                    self.state = State::Head;
                }
            }
        }
    }

    /// Where the bytes so far end; `raw` is what [`advance`](Self::advance) left.
    pub fn position(&self, raw: &[u8]) -> Position {
        match self.state {
            State::Head if raw.is_empty() => Position::BetweenRequests,
            State::Head => Position::InHead,
            State::Length(_)
            | State::ChunkSize
            | State::ChunkData(_)
            | State::ChunkEnd
            | State::Trailers => Position::InBody,
        }
    }

    /// Finds the end of the lines at the front of `raw`, and judges each byte on the way, so that
    /// a head that will never end in CR LF CR LF is refused at once and not waited for.
    fn find_blank_line(&mut self, raw: &[u8], kind: Lines) -> Result<Option<usize>, Violation> {
        let scan = &mut self.line;
        for &byte in raw.get(scan.seen..).unwrap_or_default() {
            let position = scan.seen;
            scan.seen = position.saturating_add(1);
            if scan.seen > self.limits.bytes {
                return Err(Violation::HeadTooLarge);
            }
            if scan.last == b'\r' && byte != b'\n' {
                return Err(Violation::BareCarriageReturn);
            }
            match byte {
                b'\n' if scan.last != b'\r' => return Err(Violation::BareLineFeed),
                b'\n' => {
                    let blank = position == scan.line_start.saturating_add(1);
                    if blank {
                        let end = scan.seen;
                        let first_line = scan.lines == 0;
                        *scan = LineScan::default();
                        return match (kind, first_line) {
                            (Lines::Head, true) => Err(Violation::RequestLine),
                            _ => Ok(Some(end)),
                        };
                    }
                    scan.lines = scan.lines.saturating_add(1);
                    scan.line_start = scan.seen;
                    let request_line = match kind {
                        Lines::Head => 1,
                        Lines::Trailers => 0,
                    };
                    if scan.lines > self.limits.lines.saturating_add(request_line) {
                        return Err(Violation::TooManyHeaders);
                    }
                }
                b'\r' | b'\t' => {}
                0..=0x1f | 0x7f => return Err(Violation::ControlByte),
                _ => {}
            }
            scan.last = byte;
        }
        Ok(None)
    }
}

#[derive(Clone, Copy)]
enum Lines {
    Head,
    Trailers,
}

/// Passes up to `left` body bytes; what remains, or nothing when no byte was there.
fn pass(raw: &mut BytesMut, clean: &mut BytesMut, left: u64) -> Option<u64> {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(raw.len());
    if count == 0 {
        return None;
    }
    clean.extend_from_slice(&raw.split_to(count));
    Some(left.saturating_sub(count as u64))
}

/// The size line at the front: its number and its length with CR LF. No extensions: nobody needs
/// them, and parsers differ on how they end.
fn chunk_size(raw: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    let digits = raw.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > MAX_CHUNK_SIZE_DIGITS {
        return Err(Violation::ChunkSize);
    }
    match (raw.get(digits), raw.get(digits.saturating_add(1))) {
        (None, _) => return Ok(None),
        (Some(b'\r'), None) if digits > 0 => return Ok(None),
        (Some(b'\r'), Some(b'\n')) if digits > 0 => {}
        _ => return Err(Violation::ChunkSize),
    }
    let text = raw.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
    let size =
        text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(Violation::ChunkSize)?;
    Ok(Some((size, digits.saturating_add(2))))
}

/// The lines of a block whose every LF follows a CR; the blank line at its end is left out.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

/// Judges one head and says what body follows.
fn parse_head(head: &[u8]) -> Result<Body, Violation> {
    let mut lines = lines(head);
    let (method, target) = request_line(lines.next().unwrap_or_default())?;

    let mut host = None;
    let mut length = None;
    let mut chunked = None;
    for line in lines {
        let (name, value) = header_line(line)?;
        match framing_name(name) {
            Some(Framing::Host) => {
                let value = if is_host(value) { Ok(value) } else { Err(Violation::Host) };
                once(&mut host, value?, Violation::Host)?;
            }
            Some(Framing::ContentLength) => {
                once(&mut length, content_length(value)?, Violation::DuplicateLength)?;
            }
            Some(Framing::TransferEncoding) => {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::TransferEncoding);
                }
                once(&mut chunked, (), Violation::DuplicateLength)?;
            }
            Some(Framing::Underscored) => return Err(Violation::FramingUnderscore),
            Some(Framing::Http2Settings) => return Err(Violation::UpgradeH2c),
            Some(Framing::Upgrade) => {
                let offers_h2c = value
                    .split(|byte| *byte == b',')
                    .any(|offer| offer.trim_ascii().to_ascii_lowercase().starts_with(b"h2c"));
                if offers_h2c {
                    return Err(Violation::UpgradeH2c);
                }
            }
            None => {}
        }
    }
    let host = host.ok_or(Violation::Host)?;
    check_target(method, target, host)?;
    match (length, chunked) {
        (Some(_), Some(())) => Err(Violation::BothLengths),
        (Some(length), None) => Ok(Body::Length(length)),
        (None, Some(())) => Ok(Body::Chunked),
        (None, None) => Ok(Body::None),
    }
}

fn once<T>(slot: &mut Option<T>, value: T, twice: Violation) -> Result<(), Violation> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(twice),
    }
}

fn request_line(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Violation::RequestLine);
    };
    if method.is_empty() || method.len() > 32 || !method.iter().copied().all(is_token) {
        return Err(Violation::RequestLine);
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Violation::RequestLine);
    }
    if version != b"HTTP/1.1" {
        let another = version.starts_with(b"HTTP/");
        return Err(if another { Violation::Version } else { Violation::RequestLine });
    }
    Ok((method, target))
}

/// Name and trimmed value. The scan has refused control bytes already.
fn header_line(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Violation::ObsoleteFold);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Violation::HeaderLine)?;
    let (name, value) = line.split_at_checked(colon).ok_or(Violation::HeaderLine)?;
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Err(Violation::SpaceBeforeColon);
    }
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Violation::HeaderLine);
    }
    Ok((name, value.get(1..).unwrap_or_default().trim_ascii()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Host,
    ContentLength,
    TransferEncoding,
    Upgrade,
    Http2Settings,
    /// One of the first three with `_` for `-`.
    Underscored,
}

fn framing_name(name: &[u8]) -> Option<Framing> {
    const NAMES: [(&[u8], Framing); 5] = [
        (b"host", Framing::Host),
        (b"content-length", Framing::ContentLength),
        (b"transfer-encoding", Framing::TransferEncoding),
        (b"upgrade", Framing::Upgrade),
        (b"http2-settings", Framing::Http2Settings),
    ];
    let (_, framing) = NAMES.into_iter().find(|(known, _)| {
        known.len() == name.len()
            && known.iter().zip(name).all(|(known, byte)| {
                let byte = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
                *known == byte
            })
    })?;
    Some(if name.contains(&b'_') { Framing::Underscored } else { framing })
}

fn content_length(value: &[u8]) -> Result<u64, Violation> {
    // 18 digits fit into a u64 whatever they are.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Violation::ContentLength);
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Violation::ContentLength)
}

/// Is this one `host[:port]`? Lists, user names, paths and spaces are not.
pub(super) fn is_host(value: &[u8]) -> bool {
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    };
    !value.is_empty()
        && value.len() <= 255
        && value.iter().all(allowed)
        && std::str::from_utf8(value).is_ok_and(|text| text.parse::<http::uri::Authority>().is_ok())
}

fn check_target(method: &[u8], target: &[u8], host: &[u8]) -> Result<(), Violation> {
    if method == b"CONNECT" || method == b"TRACE" {
        return Err(Violation::Method);
    }
    if target.contains(&b'#') {
        return Err(Violation::Target);
    }
    if target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS") {
        return Ok(());
    }
    let rest = target
        .strip_prefix(b"http://".as_slice())
        .or_else(|| target.strip_prefix(b"https://".as_slice()))
        .ok_or(Violation::Target)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    if authority.eq_ignore_ascii_case(host) { Ok(()) } else { Err(Violation::TargetHostMismatch) }
}

/// RFC 9110 §5.6.2, `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
