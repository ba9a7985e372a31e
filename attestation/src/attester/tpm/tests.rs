use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;

const CREATE_PRIMARY: Command = Command { code: 0x131, name: "TPM2_CreatePrimary" };
const EVICT_CONTROL: Command = Command { code: 0x120, name: "TPM2_EvictControl" };
const PCR_EXTEND: Command = Command { code: 0x182, name: "TPM2_PCR_Extend" };

/// A software TPM in a process of its own. It ends with the value.
pub(in crate::attester) struct Swtpm {
    child: Child,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Swtpm {
    /// Starts one, or says why the test is skipped. In CI its absence is an error.
    pub(in crate::attester) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("tpm");
        let started = std::process::Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", folder.path().display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
                assert!(!in_ci, "CI is set, but swtpm does not start: {error}");
                println!("skipped: swtpm does not start: {error} (Debian package swtpm)");
                return None;
            }
        };
        Some(Self { child, socket, _folder: folder })
    }

    /// A connection; the software TPM serves one at a time.
    pub(in crate::attester) fn connect(&self) -> UnixStream {
        let began = Instant::now();
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => return stream,
                Err(error) if began.elapsed() > Duration::from_secs(20) => panic!("swtpm: {error}"),
                Err(_) => sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tpm {
    /// Makes a restricted RSA-2048 signing key in the owner hierarchy, as Azure's AK is one, puts it
    /// at `persistent`, and gives its modulus.
    pub(in crate::attester) fn provision_key(&mut self, persistent: u32) -> [u8; 256] {
        // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign.
        let attributes: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 16 | 1 << 18;
        let mut public = vec![0x00, 0x01, 0x00, 0x0b]; // RSA, SHA-256
        public.extend(attributes.to_be_bytes());
        public.extend(sized(&[]));
        public.extend([0x00, 0x10, 0x00, 0x14, 0x00, 0x0b, 0x08, 0x00]); // NULL, RSASSA, SHA-256, 2048
        public.extend(0_u32.to_be_bytes());
        public.extend(sized(&[]));
        let sensitive = sized(&[sized(&[]), sized(&[])].concat());
        let parameters = [sensitive, sized(&public), sized(&[]), vec![0; 4]].concat();
        let request =
            request(CREATE_PRIMARY, &[RH_OWNER], Authorisation::EmptyPassword, &parameters);
        let response = self.transport.exchange(&request).expect("an answer");
        let mut input = TpmReader::new(&response);
        input.u16("tag").unwrap();
        input.u32("size").unwrap();
        assert_eq!(input.u32("code").unwrap(), 0, "TPM2_CreatePrimary");
        let key = input.u32("objectHandle").unwrap();
        input.u32("parameter size").unwrap();
        let mut public = TpmReader::new(input.sized("outPublic", 1024).unwrap());
        public.bytes("up to authPolicy", 8).unwrap();
        public.sized("authPolicy", 64).unwrap();
        public.bytes("parameters", 12).unwrap();
        let modulus = public.sized("unique", 256).unwrap().try_into().expect("2048 bits");
        let parameters = persistent.to_be_bytes();
        self.run(EVICT_CONTROL, &[RH_OWNER, key], Authorisation::EmptyPassword, &parameters)
            .expect("a persistent key");
        modulus
    }

    pub(in crate::attester) fn extend(&mut self, pcr: u32, digest: [u8; 32]) {
        let mut parameters = 1_u32.to_be_bytes().to_vec();
        parameters.extend(TPM_ALG_SHA256.to_be_bytes());
        parameters.extend(digest);
        self.run(PCR_EXTEND, &[pcr], Authorisation::EmptyPassword, &parameters).expect("extended");
    }
}

/// Answers with what it was given, one after the other, and keeps the requests.
#[derive(Clone, Default)]
pub(in crate::attester) struct Scripted {
    answers: Arc<Mutex<Vec<Vec<u8>>>>,
    pub(in crate::attester) requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Scripted {
    pub(in crate::attester) fn new(answers: &[Vec<u8>]) -> Self {
        let answers = Arc::new(Mutex::new(answers.iter().rev().cloned().collect()));
        Self { answers, requests: Arc::default() }
    }
}

impl Transport for Scripted {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.requests.lock().unwrap().push(command.to_vec());
        self.answers.lock().unwrap().pop().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

fn response(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 10).unwrap();
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

/// A response whose parameters come with a password session.
fn with_session(parameters: &[u8]) -> Vec<u8> {
    let len = u32::try_from(parameters.len()).unwrap();
    response(ST_SESSIONS, 0, &[&len.to_be_bytes()[..], parameters, &[0, 0, 1, 0, 0]].concat())
}

fn index(attributes: u32) -> NvIndex {
    NvIndex { handle: 0x0140_0001, attributes, size: 8 }
}

fn nv_public(handle: u32) -> Vec<u8> {
    let mut public = handle.to_be_bytes().to_vec();
    public.extend(TPM_ALG_SHA256.to_be_bytes());
    public.extend((NV_OWNER_READ).to_be_bytes());
    public.extend(sized(&[]));
    public.extend(8_u16.to_be_bytes());
    response(ST_NO_SESSIONS, 0, &[sized(&public), sized(&[7; 34])].concat())
}

#[test]
fn an_index_is_looked_up_and_absence_is_no_error() {
    let mut tpm = Tpm::new(Scripted::new(&[
        nv_public(0x0140_0001),
        response(ST_NO_SESSIONS, RC_HANDLE_1, &[]),
        nv_public(0x0140_0002),
    ]));
    let found = tpm.nv_index(0x0140_0001).expect("an answer").expect("an index");
    assert_eq!(found, index(NV_OWNER_READ));
    assert_eq!(tpm.nv_index(0x0140_0001).expect("an answer"), None);
    let other = tpm.nv_index(0x0140_0001);
    assert!(matches!(other, Err(TpmError::Contradictory { .. })), "{other:?}");
}

#[test]
fn a_command_is_written_as_the_specification_says() {
    let transport = Scripted::new(&[with_session(&sized(&[1; 8]))]);
    let requests = Arc::clone(&transport.requests);
    let read = Tpm::new(transport).nv_read(index(NV_OWNER_READ), 8).expect("eight bytes");
    assert_eq!(read, [1; 8]);
    let expected = concat!(
        "8002", "00000023", "0000014e", "40000001", "01400001", "00000009", "40000009", "0000",
        "00", "0000", "0008", "0000"
    );
    assert_eq!(hex::encode(&requests.lock().unwrap()[0]), expected);
}

#[test]
fn an_index_is_used_by_its_owner_else_by_itself_else_not() {
    for (attributes, by) in [(NV_OWNER_READ | NV_AUTH_READ, "40000001"), (NV_AUTH_READ, "01400001")]
    {
        let transport = Scripted::new(&[with_session(&sized(&[1; 8]))]);
        let requests = Arc::clone(&transport.requests);
        Tpm::new(transport).nv_read(index(attributes), 8).expect("eight bytes");
        assert_eq!(hex::encode(&requests.lock().unwrap()[0][10..14]), by);
    }
    let refused = Tpm::new(Scripted::default()).nv_read(index(NV_OWNER_WRITE), 8);
    assert!(matches!(refused, Err(TpmError::NvAttributes { wish: "read", .. })), "{refused:?}");
    let refused = Tpm::new(Scripted::default()).nv_write(index(NV_OWNER_READ), &[0]);
    assert!(matches!(refused, Err(TpmError::NvAttributes { wish: "written", .. })), "{refused:?}");
}

#[test]
fn a_busy_tpm_is_asked_again_but_not_for_ever() {
    let busy = response(ST_NO_SESSIONS, 0x922, &[]);
    let mut answers = vec![busy.clone(); 3];
    answers.push(with_session(&sized(&[1; 8])));
    let read = Tpm::new(Scripted::new(&answers)).nv_read(index(NV_OWNER_READ), 8);
    assert_eq!(read.expect("eight bytes"), [1; 8]);
    let transport = Scripted::new(&vec![busy; 50]);
    let requests = Arc::clone(&transport.requests);
    let refused = Tpm::new(transport).nv_read(index(NV_OWNER_READ), 8);
    assert!(matches!(refused, Err(TpmError::Refused { code: 0x922, .. })), "{refused:?}");
    assert_eq!(requests.lock().unwrap().len(), 10);
}

#[test]
fn answers_that_contradict_themselves_are_refused() {
    let good = with_session(&sized(&[1; 8]));
    let mut too_long = good.clone();
    too_long.push(0);
    let mut untagged = good.clone();
    untagged[..2].copy_from_slice(&ST_NO_SESSIONS.to_be_bytes());
    for answer in [too_long, untagged, with_session(&sized(&[1; 7])), with_session(&sized(&[]))] {
        let refused = Tpm::new(Scripted::new(&[answer])).nv_read(index(NV_OWNER_READ), 8);
        assert!(matches!(refused, Err(TpmError::Contradictory { .. })), "{refused:?}");
    }
    for len in 0..good.len() {
        let refused =
            Tpm::new(Scripted::new(&[good[..len].to_vec()])).nv_read(index(NV_OWNER_READ), 8);
        assert!(
            matches!(refused, Err(TpmError::Contradictory { .. } | TpmError::Malformed { .. })),
            "{len}: {refused:?}"
        );
    }
    let refused = Tpm::new(Scripted::default()).nv_read(index(NV_OWNER_READ), 8);
    assert!(matches!(refused, Err(TpmError::Io { .. })), "{refused:?}");
}

/// An answer to TPM2_PCR_Read with `values` for the PCRs in `bitmap`.
fn pcr_answer(hash: u16, bitmap: [u8; 3], values: &[[u8; 32]]) -> Vec<u8> {
    let mut body = 5_u32.to_be_bytes().to_vec();
    body.extend(1_u32.to_be_bytes());
    body.extend(hash.to_be_bytes());
    body.push(3);
    body.extend(bitmap);
    body.extend(u32::try_from(values.len()).unwrap().to_be_bytes());
    values.iter().for_each(|value| body.extend(sized(value)));
    response(ST_NO_SESSIONS, 0, &body)
}

#[test]
fn pcrs_are_read_until_all_are_there() {
    let eight = |from: u8| -> Vec<[u8; 32]> { (from..from + 8).map(|i| [i; 32]).collect() };
    let transport = Scripted::new(&[
        pcr_answer(TPM_ALG_SHA256, [0xff, 0, 0], &eight(0)),
        pcr_answer(TPM_ALG_SHA256, [0, 0, 0xff], &eight(16)),
        pcr_answer(TPM_ALG_SHA256, [0, 0xff, 0], &eight(8)),
    ]);
    let requests = Arc::clone(&transport.requests);
    let read = Tpm::new(transport).pcrs().expect("24 values");
    assert_eq!(read, std::array::from_fn(|i| [u8::try_from(i).unwrap(); 32]));
    let asked: Vec<String> =
        requests.lock().unwrap().iter().map(|request| hex::encode(&request[17..])).collect();
    assert_eq!(asked, ["ffffff", "00ffff", "00ff00"]);
}

#[test]
fn pcr_values_that_nobody_asked_for_or_too_few_are_refused() {
    let one = [[1; 32]];
    for answers in [
        vec![pcr_answer(TPM_ALG_SHA256, [0; 3], &[])],
        vec![pcr_answer(0x0004, [1, 0, 0], &one)],
        vec![pcr_answer(TPM_ALG_SHA256, [3, 0, 0], &one)],
        vec![pcr_answer(TPM_ALG_SHA256, [1, 0, 0], &[])],
        // PCR 0 twice.
        vec![
            pcr_answer(TPM_ALG_SHA256, [1, 0, 0], &one),
            pcr_answer(TPM_ALG_SHA256, [1, 0, 0], &one),
        ],
    ] {
        let refused = Tpm::new(Scripted::new(&answers)).pcrs();
        assert!(matches!(refused, Err(TpmError::Contradictory { .. })), "{refused:?}");
    }
}

/// Gives its bytes in pieces, or for ever.
struct Pieces(Vec<u8>, usize);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(self.0.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Ok(len)
    }
}

impl Write for Pieces {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_response_in_pieces_is_put_together_and_an_endless_one_cut_off() {
    let whole = with_session(&sized(&[1; 8]));
    for piece in [1, 5, 10, 1000] {
        assert_eq!(Stream(Pieces(whole.clone(), piece)).exchange(&[0]).expect("a response"), whole);
    }
    let endless = Stream(Pieces(vec![0xff; 100_000], 4096)).exchange(&[0]);
    assert_eq!(endless.expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
    let broken = Stream(Pieces(whole[..20].to_vec(), 4096)).exchange(&[0]);
    assert_eq!(broken.expect_err("cut").kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_software_tpm_is_read_written_and_quotes() {
    let Some(swtpm) = Swtpm::start() else { return };
    let mut tpm = Tpm::new(Stream(swtpm.connect()));
    assert_eq!(tpm.nv_index(0x0140_0002).expect("an answer"), None);
    let content: Vec<u8> = (0..1500_u16).map(|i| i.to_be_bytes()[1]).collect();
    let index = tpm.nv_define(0x0140_0002, 1500).expect("an index");
    tpm.nv_write(index, &content).expect("written");
    let found = tpm.nv_index(0x0140_0002).expect("an answer").expect("an index");
    assert_eq!(found.size, 1500);
    assert_eq!(tpm.nv_read(found, 1500).expect("content"), content);
    assert_eq!(tpm.nv_read(found, 4).expect("content"), content[..4]);

    tpm.provision_key(0x8100_0003);
    tpm.extend(4, [0x44; 32]);
    let pcrs = tpm.pcrs().expect("24 values");
    assert_ne!(pcrs[4], [0; 32]);
    assert_eq!(pcrs[5], [0; 32]);
    assert_eq!(pcrs[17], [0xff; 32], "for a late launch that never came");
    assert!(tpm.quote(0x8100_0003, &[1; 48]).is_ok());
    let refused = tpm.quote(0x8100_0004, &[1; 48]).err();
    assert!(matches!(refused, Some(TpmError::Refused { command: "TPM2_Quote", .. })));
}
