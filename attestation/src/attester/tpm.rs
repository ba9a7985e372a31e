//! The few commands of TPM 2.0 that an Azure guest needs, over anything that one can write to and
//! read from.
//!
//! Role: Attester. In: a transport, such as `/dev/tpmrm0`. Out: NV content, PCR values, quotes. Layout:
//! TCG "Trusted Platform Module Library, Part 3: Commands", revision 1.59; numbers are big-endian.
//!
//! ```text
//!  command   tag u16 ‖ size u32 ‖ code u32 ‖ handles ‖ [size u32 ‖ password session] ‖ parameters
//!  response  tag u16 ‖ size u32 ‖ code u32 ‖ [size u32] ‖ parameters ‖ [session]
//! ```
//! Authorisation is the empty password, which is what Azure sets: everybody who may open the device may
//! quote. What a quote proves is decided by the Verifier.
//! Against: a TPM whose answers lie about their lengths, answer another command, or never end.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::{self, Read, Write};
use std::thread::sleep;
use std::time::Duration;

use crate::evidence::azure::PCR_COUNT;
use crate::evidence::tpm::{
    TPM_ALG_RSASSA, TPM_ALG_SHA256, TpmFormatError, TpmReader, TpmSignature, read_selections,
};
use crate::limits::{
    MAX_TPM_ATTEST_LEN, MAX_TPM_DIGEST_LEN, MAX_TPM_MESSAGE_LEN, MAX_TPM_NAME_LEN,
};

const ST_NO_SESSIONS: u16 = 0x8001;
const ST_SESSIONS: u16 = 0x8002;
const RS_PASSWORD: u32 = 0x4000_0009;
/// The owner hierarchy.
pub(super) const RH_OWNER: u32 = 0x4000_0001;

/// A command: its code and its name in the specification.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Command {
    code: u32,
    pub(super) name: &'static str,
}

const NV_DEFINE_SPACE: Command = Command { code: 0x12a, name: "TPM2_NV_DefineSpace" };
const NV_WRITE: Command = Command { code: 0x137, name: "TPM2_NV_Write" };
const NV_READ: Command = Command { code: 0x14e, name: "TPM2_NV_Read" };
const QUOTE: Command = Command { code: 0x158, name: "TPM2_Quote" };
const NV_READ_PUBLIC: Command = Command { code: 0x169, name: "TPM2_NV_ReadPublic" };
const PCR_READ: Command = Command { code: 0x17e, name: "TPM2_PCR_Read" };

/// `TPM_RC_HANDLE` for the first handle: there is no such index.
const RC_HANDLE_1: u32 = 0x18b;
/// `TPM_RC_YIELDED`, `TPM_RC_TESTING`, `TPM_RC_RETRY`: the same command will do in a moment.
const RC_AGAIN: [u32; 3] = [0x908, 0x90a, 0x922];
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Bits of TPMA_NV (Part 2, §13.4).
const NV_OWNER_WRITE: u32 = 1 << 1;
const NV_AUTH_WRITE: u32 = 1 << 2;
const NV_OWNER_READ: u32 = 1 << 17;
const NV_AUTH_READ: u32 = 1 << 18;
/// Bytes of NV content in one command; every TPM takes as many (TPM_PT_NV_BUFFER_MAX ≥ 512).
const NV_CHUNK: u16 = 512;

/// Why a TPM did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The transport failed.
    #[error("{command} could not be sent or answered")]
    Io {
        /// The command.
        command: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The TPM refused.
    #[error("{command} was refused with response code {code:#05x}")]
    Refused {
        /// The command.
        command: &'static str,
        /// `TPM_RC`, Part 2, §6.6.
        code: u32,
    },
    /// The answer is none.
    #[error("the answer to {command} is malformed")]
    Malformed {
        /// The command.
        command: &'static str,
        /// Where and why.
        #[source]
        source: TpmFormatError,
    },
    /// The answer contradicts itself or the question.
    #[error("the answer to {command} is refused: {reason}")]
    Contradictory {
        /// The command.
        command: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Neither the owner nor the index itself may be used with an empty password.
    #[error("NV index {index:#010x} may not be {wish} with the attributes {attributes:#010x}")]
    NvAttributes {
        /// The index.
        index: u32,
        /// `read` or `written`.
        wish: &'static str,
        /// TPMA_NV.
        attributes: u32,
    },
}

/// One command there, one response back.
pub(super) trait Transport: Send {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

/// A device file, or a stream: one write is one command.
pub(super) struct Stream<S>(pub(super) S);

impl<S: Read + Write + Send> Transport for Stream<S> {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        // The kernel takes a command in one write and gives the response in one read, unless the
        // buffer is short; a socket may give it in parts.
        self.0.write_all(command)?;
        let mut response = Vec::new();
        let mut chunk = [0_u8; MAX_TPM_MESSAGE_LEN];
        loop {
            let got = match self.0.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            response.extend_from_slice(chunk.get(..got).unwrap_or_default());
            if response.len() > MAX_TPM_MESSAGE_LEN {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let size = response.get(2..6).and_then(|size| <[u8; 4]>::try_from(size).ok());
            if size.is_some_and(|size| response.len() >= as_usize(u32::from_be_bytes(size))) {
                return Ok(response);
            }
        }
    }
}

/// A TPM.
pub(super) struct Tpm {
    transport: Box<dyn Transport>,
}

/// What NV_ReadPublic says about an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NvIndex {
    handle: u32,
    attributes: u32,
    pub(super) size: u16,
}

/// A quote as the TPM gave it: TPMS_ATTEST and the signature over it.
pub(super) struct Quoted {
    pub(super) message: Vec<u8>,
    pub(super) signature: TpmSignature,
}

impl Tpm {
    pub(super) fn new(transport: impl Transport + 'static) -> Self {
        Self { transport: Box::new(transport) }
    }

    /// Looks an index up; `None` when there is no such index.
    pub(super) fn nv_index(&mut self, handle: u32) -> Result<Option<NvIndex>, TpmError> {
        let answer = match self.run(NV_READ_PUBLIC, &[handle], Authorisation::None, &[]) {
            Err(TpmError::Refused { code: RC_HANDLE_1, .. }) => return Ok(None),
            answer => answer?,
        };
        let read = |answer: &[u8]| {
            let mut input = TpmReader::new(answer);
            let mut public = TpmReader::new(input.sized("nvPublic", MAX_TPM_MESSAGE_LEN)?);
            input.sized("nvName", MAX_TPM_NAME_LEN)?;
            input.finish("answer")?;
            let stated = public.u32("nvIndex")?;
            public.u16("nameAlg")?;
            let attributes = public.u32("attributes")?;
            public.sized("authPolicy", MAX_TPM_DIGEST_LEN)?;
            let size = public.u16("dataSize")?;
            public.finish("nvPublic")?;
            Ok((stated, attributes, size))
        };
        let (stated, attributes, size) = read(&answer).map_err(malformed(NV_READ_PUBLIC))?;
        if stated != handle {
            return Err(contradictory(NV_READ_PUBLIC, "it is about another index"));
        }
        Ok(Some(NvIndex { handle, attributes, size }))
    }

    /// Defines an index that the owner may write and read.
    pub(super) fn nv_define(&mut self, handle: u32, size: u16) -> Result<NvIndex, TpmError> {
        let attributes = NV_OWNER_WRITE | NV_OWNER_READ;
        let mut public = Vec::new();
        public.extend(handle.to_be_bytes());
        public.extend(TPM_ALG_SHA256.to_be_bytes());
        public.extend(attributes.to_be_bytes());
        public.extend(sized(&[]));
        public.extend(size.to_be_bytes());
        let parameters = [sized(&[]), sized(&public)].concat();
        self.run(NV_DEFINE_SPACE, &[RH_OWNER], Authorisation::EmptyPassword, &parameters)?;
        Ok(NvIndex { handle, attributes, size })
    }

    /// Writes from the start of an index.
    pub(super) fn nv_write(&mut self, index: NvIndex, bytes: &[u8]) -> Result<(), TpmError> {
        let by = index.authorised_by("written", NV_OWNER_WRITE, NV_AUTH_WRITE)?;
        let mut offset = 0_u16;
        for chunk in bytes.chunks(usize::from(NV_CHUNK)) {
            let parameters = [sized(chunk), offset.to_be_bytes().to_vec()].concat();
            self.run(NV_WRITE, &[by, index.handle], Authorisation::EmptyPassword, &parameters)?;
            offset = offset.saturating_add(NV_CHUNK);
        }
        Ok(())
    }

    /// Reads the first `len` bytes of an index.
    pub(super) fn nv_read(&mut self, index: NvIndex, len: u16) -> Result<Vec<u8>, TpmError> {
        let by = index.authorised_by("read", NV_OWNER_READ, NV_AUTH_READ)?;
        let mut content = Vec::new();
        let mut offset = 0_u16;
        while offset < len {
            let wanted = NV_CHUNK.min(len.saturating_sub(offset));
            let parameters = [wanted.to_be_bytes(), offset.to_be_bytes()].concat();
            let handles = [by, index.handle];
            let answer = self.run(NV_READ, &handles, Authorisation::EmptyPassword, &parameters)?;
            let read = |answer| {
                let mut input = TpmReader::new(answer);
                let chunk = input.sized("data", usize::from(NV_CHUNK))?.to_vec();
                input.finish("answer").map(|()| chunk)
            };
            let chunk = read(&answer).map_err(malformed(NV_READ))?;
            if chunk.len() != usize::from(wanted) {
                return Err(contradictory(
                    NV_READ,
                    "it has another number of bytes than asked for",
                ));
            }
            content.extend(chunk);
            offset = offset.saturating_add(wanted);
        }
        Ok(content)
    }

    /// Quotes PCRs 0 to 23 of the SHA-256 bank with the key at `key`.
    pub(super) fn quote(&mut self, key: u32, qualifying_data: &[u8]) -> Result<Quoted, TpmError> {
        let mut parameters = sized(qualifying_data);
        parameters.extend(TPM_ALG_RSASSA.to_be_bytes());
        parameters.extend(TPM_ALG_SHA256.to_be_bytes());
        parameters.extend(selection([0xff; 3]));
        let answer = self.run(QUOTE, &[key], Authorisation::EmptyPassword, &parameters)?;
        let read = |answer| {
            let mut input = TpmReader::new(answer);
            let message = input.sized("quoted", MAX_TPM_ATTEST_LEN)?.to_vec();
            Ok(Quoted { message, signature: TpmSignature::parse(input.rest())? })
        };
        read(&answer).map_err(malformed(QUOTE))
    }

    /// Reads PCRs 0 to 23 of the SHA-256 bank. A TPM gives a few at a time and says which.
    pub(super) fn pcrs(&mut self) -> Result<[[u8; 32]; PCR_COUNT], TpmError> {
        let mut values = [None; PCR_COUNT];
        loop {
            let mut wanted = [0_u8; 3];
            for (number, _) in values.iter().enumerate().filter(|(_, value)| value.is_none()) {
                if let Some(byte) = wanted.get_mut(number / 8) {
                    *byte |= 1 << (number % 8);
                }
            }
            if wanted == [0; 3] {
                let read: Vec<[u8; 32]> = values.into_iter().flatten().collect();
                return read.try_into().map_err(|_| contradictory(PCR_READ, "PCRs are missing"));
            }
            let answer = self.run(PCR_READ, &[], Authorisation::None, &selection(wanted))?;
            let (given, digests) = read_pcrs(&answer).map_err(malformed(PCR_READ))?;
            let numbers: Vec<usize> = (0..PCR_COUNT).filter(|n| is_set(given, *n)).collect();
            if numbers.is_empty() || numbers.len() != digests.len() {
                return Err(contradictory(PCR_READ, "it has no value, or too many"));
            }
            for (number, digest) in numbers.into_iter().zip(digests) {
                match values.get_mut(number) {
                    Some(value @ None) if is_set(wanted, number) => *value = Some(digest),
                    _ => return Err(contradictory(PCR_READ, "it has PCRs that nobody asked for")),
                }
            }
        }
    }

    /// Sends one command and gives the parameters of its response.
    pub(super) fn run(
        &mut self,
        command: Command,
        handles: &[u32],
        authorisation: Authorisation,
        parameters: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let request = request(command, handles, authorisation, parameters);
        let mut left = ATTEMPTS;
        loop {
            let response = self
                .transport
                .exchange(&request)
                .map_err(|source| TpmError::Io { command: command.name, source })?;
            match answer(command, authorisation, &response) {
                Err(TpmError::Refused { code, .. }) if RC_AGAIN.contains(&code) && left > 1 => {
                    left = left.saturating_sub(1);
                    sleep(PAUSE);
                }
                answer => return answer,
            }
        }
    }
}

impl NvIndex {
    /// The handle under whose empty password the index may be used: the owner's, else its own.
    fn authorised_by(self, wish: &'static str, owner: u32, own: u32) -> Result<u32, TpmError> {
        let Self { handle: index, attributes, .. } = self;
        if attributes & owner != 0 {
            Ok(RH_OWNER)
        } else if attributes & own != 0 {
            Ok(index)
        } else {
            Err(TpmError::NvAttributes { index, wish, attributes })
        }
    }
}

/// How a command is authorised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Authorisation {
    None,
    /// One password session with the empty password.
    EmptyPassword,
}

fn request(
    command: Command,
    handles: &[u32],
    authorisation: Authorisation,
    parameters: &[u8],
) -> Vec<u8> {
    let mut body = Vec::new();
    handles.iter().for_each(|handle| body.extend(handle.to_be_bytes()));
    let tag = match authorisation {
        Authorisation::None => ST_NO_SESSIONS,
        Authorisation::EmptyPassword => {
            body.extend(9_u32.to_be_bytes());
            body.extend(RS_PASSWORD.to_be_bytes());
            body.extend([0; 5]); // no nonce, no attributes, no password
            ST_SESSIONS
        }
    };
    body.extend_from_slice(parameters);
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX).saturating_add(10);
    let mut request = tag.to_be_bytes().to_vec();
    request.extend(size.to_be_bytes());
    request.extend(command.code.to_be_bytes());
    request.extend(body);
    request
}

/// The parameters of a response, after its header, sizes and tag were held against each other.
fn answer(
    command: Command,
    authorisation: Authorisation,
    response: &[u8],
) -> Result<Vec<u8>, TpmError> {
    let mut input = TpmReader::new(response);
    let mut header = || Ok((input.u16("tag")?, input.u32("size")?, input.u32("code")?));
    let (tag, size, code) = header().map_err(malformed(command))?;
    if as_usize(size) != response.len() {
        return Err(contradictory(command, "it is longer or shorter than it says"));
    }
    if code != 0 {
        return Err(TpmError::Refused { command: command.name, code });
    }
    match authorisation {
        Authorisation::None if tag == ST_NO_SESSIONS => Ok(input.rest().to_vec()),
        Authorisation::EmptyPassword if tag == ST_SESSIONS => {
            let mut read = || {
                let len = as_usize(input.u32("parameter size")?);
                let parameters = input.bytes("parameters", len)?.to_vec();
                // No nonce, attributes, no HMAC: nothing that a password session could prove.
                input.sized("nonce", MAX_TPM_DIGEST_LEN)?;
                input.u8("session attributes")?;
                input.sized("hmac", MAX_TPM_DIGEST_LEN)?;
                input.finish("response").map(|()| parameters)
            };
            read().map_err(malformed(command))
        }
        Authorisation::None | Authorisation::EmptyPassword => {
            Err(contradictory(command, "its tag is not that of the command"))
        }
    }
}

type PcrAnswer = ([u8; 3], Vec<[u8; 32]>);

fn read_pcrs(answer: &[u8]) -> Result<PcrAnswer, TpmFormatError> {
    let mut input = TpmReader::new(answer);
    input.u32("pcrUpdateCounter")?;
    let selections = read_selections(&mut input)?;
    let given = match selections.as_slice() {
        [only] if only.hash == TPM_ALG_SHA256 => only.bitmap.as_slice().try_into().ok(),
        _ => None,
    };
    let count = as_usize(input.u32("pcrValues count")?);
    if count > PCR_COUNT {
        let (field, limit) = ("pcrValues count", PCR_COUNT);
        return Err(TpmFormatError::TooLarge { field, got: count, limit });
    }
    let mut digests = Vec::new();
    for _ in 0..count {
        let digest = input.sized("pcrValues", MAX_TPM_DIGEST_LEN)?;
        let needed = 32;
        let left = digest.len();
        let truncated = TpmFormatError::Truncated { field: "pcrValues", needed, left };
        digests.push(<[u8; 32]>::try_from(digest).map_err(|_| truncated)?);
    }
    input.finish("answer")?;
    // Another bank, or none: as if it had given no value.
    Ok((given.unwrap_or_default(), digests))
}

/// TPML_PCR_SELECTION of one bank, SHA-256.
fn selection(bitmap: [u8; 3]) -> Vec<u8> {
    let mut bytes = 1_u32.to_be_bytes().to_vec();
    bytes.extend(TPM_ALG_SHA256.to_be_bytes());
    bytes.push(3);
    bytes.extend(bitmap);
    bytes
}

fn is_set(bitmap: [u8; 3], number: usize) -> bool {
    bitmap.get(number / 8).is_some_and(|byte| byte & (1 << (number % 8)) != 0)
}

/// TPM2B.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [len.to_be_bytes().as_slice(), bytes].concat()
}

fn as_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn malformed(command: Command) -> impl Fn(TpmFormatError) -> TpmError {
    move |source| TpmError::Malformed { command: command.name, source }
}

fn contradictory(command: Command, reason: &'static str) -> TpmError {
    TpmError::Contradictory { command: command.name, reason }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
pub(super) mod tests;
