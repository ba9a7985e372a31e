use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use adyton_fake_tee::{FakeTee, TdProfile};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::digest;

use super::*;
use crate::attester::tpm::Transport;
use crate::attester::tpm::tests::{Scripted, Swtpm};
use crate::claims::{AzureHardwareClaims, Claims, Pcr};
use crate::evidence::hcl::SecureBoot;
use crate::verifier::{AzureError, VerifyError};
use crate::{EndorsementBundle, Evidence, TrustAnchors, UnixTime, Verified, verify};

const NOW: u64 = 1_800_000_000;
const IMPATIENT: Patience =
    Patience { report_reads: 2, pause: Duration::from_millis(1), quotes: 3 };

/// As the KBS protocol has them: a digest of 48 bytes, then zeros.
fn report_data() -> ReportData {
    let mut data = [0x5d; 64];
    data[48..].fill(0);
    ReportData(data)
}

/// The var-data that a paravisor makes of the vTPM's key and the guest's input.
fn var_data(modulus: &[u8; 256], user_data: &[u8]) -> String {
    let mut user_data = user_data.to_vec();
    user_data.resize(64, 0);
    json!({
        "keys": [{ "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB",
                   "n": URL_SAFE_NO_PAD.encode(modulus) }],
        "vm-configuration": { "secure-boot": true, "vmUniqueId": "7D0C" },
        "user-data": hex::encode_upper(user_data),
    })
    .to_string()
}

/// Report data of a hardware report that commits to the var-data.
fn committed(var_data: &str) -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(digest(&SHA256, var_data.as_bytes()).as_ref());
    data
}

/// An HCL report of a TD.
fn hcl(var_data: &str) -> Vec<u8> {
    let mut report = vec![0; 1024];
    report[0] = 0x81;
    report[0x80..0xc0].copy_from_slice(&committed(var_data));
    hcl_of(4, &report, var_data)
}

/// An HCL report of an SNP guest; nobody signed the report in it.
fn snp_hcl(var_data: &str) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0] = 2;
    report[0x50..0x90].copy_from_slice(&committed(var_data));
    hcl_of(2, &report, var_data)
}

fn hcl_of(report_type: u32, report: &[u8], var_data: &str) -> Vec<u8> {
    let var_len = u32::try_from(var_data.len()).unwrap();
    let mut bytes = b"HCLA".to_vec();
    for number in [2, 0x4c0 + 20 + var_len, 2, 0, 0, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend_from_slice(report);
    bytes.resize(0x4c0, 0);
    for number in [20 + var_len, 1, report_type, 1, var_len] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend_from_slice(var_data.as_bytes());
    bytes.extend([0; 16]);
    bytes
}

/// Answers every request with one body and keeps the requests' first lines and headers.
fn imds(status: u16, body: String) -> (Imds, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            while !is_complete(&request) {
                match stream.read(&mut chunk) {
                    Ok(0) | Err(_) => break,
                    Ok(got) => request.extend_from_slice(&chunk[..got]),
                }
            }
            seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body.as_bytes());
        }
    });
    (Imds::from_url(&url).unwrap(), requests)
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// A software TPM as an Azure TD has it, and the machine's quoting service.
struct Machine {
    tee: FakeTee,
    _swtpm: Swtpm,
    tpm: Tpm,
    imds: Imds,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    /// `user_data` are those of the paravisor's report, which a software TPM does not renew.
    fn start(
        user_data: &[u8],
        transport: impl FnOnce(Stream<std::os::unix::net::UnixStream>) -> Tpm,
    ) -> Option<Self> {
        let swtpm = Swtpm::start()?;
        let mut tpm = transport(Stream(swtpm.connect()));
        let modulus = tpm.provision_key(ATTESTATION_KEY);
        let var_data = var_data(&modulus, user_data);
        let report = hcl(&var_data);
        let index = tpm.nv_define(NV_HCL_REPORT, u16::try_from(report.len()).unwrap()).unwrap();
        tpm.nv_write(index, &report).unwrap();
        tpm.extend(4, [0x44; 32]);
        let tee = FakeTee::from_seed([7; 32], NOW);
        let quote = tee.quote(&TdProfile::default(), committed(&var_data));
        let quote = json!({ "quote": URL_SAFE_NO_PAD.encode(quote) }).to_string();
        let (imds, requests) = imds(200, quote);
        Some(Self { tee, _swtpm: swtpm, tpm, imds, requests })
    }

    fn sound(user_data: &[u8]) -> Option<Self> {
        Self::start(user_data, Tpm::new)
    }
}

/// The verdict of a Verifier that trusts the simulated machine's root.
fn judge(
    tee: &FakeTee,
    json: &Value,
    expected: &ReportData,
) -> Result<Verified<Claims>, VerifyError> {
    let evidence = Evidence::parse_kbs(Tee::AzTdxVtpm, json)?;
    let bundle = tee.endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee.root_der()).expect("a root");
    verify(&evidence, &bundle, &anchors, expected, UnixTime(NOW))
}

#[test]
fn evidence_of_a_software_tpm_verifies() {
    let Some(machine) = Machine::sound(&report_data().0) else { return };
    let attester = AzVtpmAttester::with(machine.tpm, machine.imds, IMPATIENT).expect("a machine");
    assert_eq!((attester.tee(), attester.name()), (Tee::AzTdxVtpm, "az-vtpm"));
    // Twice: the second time the index for user data is there already.
    for _ in 0..2 {
        let json = attester.collect(&report_data()).expect("evidence");
        let verified = judge(&machine.tee, &json, &report_data()).expect("a verdict");
        let Claims::AzTdxVtpm(claims) = verified.get() else { panic!("an Azure TD") };
        let mut extended = [0; 64];
        extended[32..].fill(0x44);
        assert_eq!(claims.pcrs[4].0, digest(&SHA256, &extended).as_ref());
        assert_eq!(claims.pcrs[5], Pcr([0; 32]));
        assert_eq!(claims.evidence_version, 2);
        assert_eq!(claims.secure_boot, SecureBoot::On);
        assert_eq!(claims.vm_unique_id.as_deref(), Some("7D0C"));
        assert_eq!(claims.report_data, report_data());
        assert!(matches!(claims.hardware, AzureHardwareClaims::Tdx(_)));
    }
    let requests = machine.requests.lock().unwrap();
    assert!(requests[0].starts_with("POST /acc/tdquote HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("\r\nmetadata: true\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("{\"report\":\"gQAA"), "the TDREPORT: {}", requests[0]);
}

#[test]
fn an_snp_guest_sends_the_vcek_that_the_metadata_service_has() {
    let Some(swtpm) = Swtpm::start() else { return };
    let mut tpm = Tpm::new(Stream(swtpm.connect()));
    let report = snp_hcl(&var_data(&tpm.provision_key(ATTESTATION_KEY), &report_data().0));
    let index = tpm.nv_define(NV_HCL_REPORT, u16::try_from(report.len()).unwrap()).unwrap();
    tpm.nv_write(index, &report).unwrap();
    // Any certificate: the Verifier decides whose it is.
    let tee = FakeTee::from_seed([7; 32], NOW);
    let answer = json!({ "vcekCert": tee.root_pem(), "certificateChain": "", "tcbm": "" });
    let (imds, requests) = imds(200, answer.to_string());
    let attester = AzVtpmAttester::with(tpm, imds, IMPATIENT).expect("a machine");
    assert_eq!(attester.tee(), Tee::AzSnpVtpm);
    let json = attester.collect(&report_data()).expect("evidence");
    assert_eq!(json["vcek"], URL_SAFE.encode(tee.root_der()));
    assert_eq!(json["hcl_report"], URL_SAFE.encode(report));
    let request = &requests.lock().unwrap()[0];
    assert!(request.starts_with("GET /metadata/THIM/amd/certification HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nmetadata: true\r\n"), "{request}");
}

#[test]
fn report_data_without_a_zero_tail_travel_whole() {
    let whole = ReportData([0x64; 64]);
    let Some(machine) = Machine::sound(&whole.0) else { return };
    let attester = AzVtpmAttester::with(machine.tpm, machine.imds, IMPATIENT).expect("a machine");
    let json = attester.collect(&whole).expect("evidence");
    assert!(judge(&machine.tee, &json, &whole).is_ok());
    let mut cut = whole;
    cut.0[48..].fill(0);
    let refused = judge(&machine.tee, &json, &cut).map(|_| ());
    assert!(matches!(refused, Err(VerifyError::Azure(AzureError::ReportData { .. }))));
}

#[test]
fn a_report_of_another_challenge_is_not_sent() {
    let Some(machine) = Machine::sound(&[0x11; 48]) else { return };
    let attester = AzVtpmAttester::with(machine.tpm, machine.imds, IMPATIENT).expect("a machine");
    let refused = attester.collect(&report_data());
    assert!(
        matches!(refused, Err(AttesterError::Azure(AzureAttesterError::UserData { reads: 2 }))),
        "{refused:?}"
    );
}

/// Extends PCR 16 before every reading of PCRs, as long as it may.
struct Meddler {
    inner: Stream<std::os::unix::net::UnixStream>,
    times: u32,
}

impl Transport for Meddler {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let is_pcr_read = command[6..10] == 0x17e_u32.to_be_bytes();
        if is_pcr_read && command.ends_with(&[0xff; 3]) && self.times > 0 {
            self.times -= 1;
            let mut extend = hex::decode("80020000004100000182000000100000000940000009").unwrap();
            extend.extend([0; 5]);
            extend.extend(hex::decode("00000001000b").unwrap());
            extend.extend([0x16; 32]);
            let answer = self.inner.exchange(&extend)?;
            assert_eq!(answer[6..10], [0; 4], "extended: {}", hex::encode(&answer));
        }
        self.inner.exchange(command)
    }
}

#[test]
fn a_pcr_that_moves_makes_another_quote_necessary_but_not_for_ever() {
    for (times, expected) in [(2, None), (u32::MAX, Some(3))] {
        let meddle = |inner| Tpm::new(Meddler { inner, times });
        let Some(machine) = Machine::start(&report_data().0, meddle) else { return };
        let attester = AzVtpmAttester::with(machine.tpm, machine.imds, IMPATIENT).unwrap();
        match (attester.collect(&report_data()), expected) {
            (Ok(json), None) => assert!(judge(&machine.tee, &json, &report_data()).is_ok()),
            (Err(AttesterError::Azure(AzureAttesterError::PcrsMoving { quotes })), Some(3)) => {
                assert_eq!(quotes, 3);
            }
            (other, _) => panic!("{times}: {other:?}"),
        }
    }
}

#[test]
fn an_ordinary_tpm_is_no_azure_machine() {
    let Some(swtpm) = Swtpm::start() else { return };
    let mut tpm = Tpm::new(Stream(swtpm.connect()));
    let (imds, _) = imds(200, String::new());
    let index = tpm.nv_define(NV_USER_DATA, 64).unwrap();
    tpm.nv_write(index, &[0; 64]).unwrap();
    let refused = AzVtpmAttester::with(tpm, imds, IMPATIENT).err();
    assert!(matches!(refused, Some(AzureAttesterError::NoHclReport)), "{refused:?}");
}

#[test]
fn another_use_of_the_index_is_no_hcl_report() {
    let Some(swtpm) = Swtpm::start() else { return };
    let mut tpm = Tpm::new(Stream(swtpm.connect()));
    let (imds, _) = imds(200, String::new());
    let index = tpm.nv_define(NV_HCL_REPORT, 1300).unwrap();
    tpm.nv_write(index, &[0x30; 1300]).unwrap();
    let refused = AzVtpmAttester::with(tpm, imds, IMPATIENT).err();
    assert!(
        matches!(
            refused,
            Some(AzureAttesterError::HclReport(HclFormatError::Magic {
                got: [0x30, 0x30, 0x30, 0x30]
            }))
        ),
        "{refused:?}"
    );
}

#[test]
fn user_data_of_another_size_are_not_written() {
    let Some(mut machine) = Machine::sound(&report_data().0) else { return };
    machine.tpm.nv_define(NV_USER_DATA, 32).unwrap();
    let attester = AzVtpmAttester::with(machine.tpm, machine.imds, IMPATIENT).expect("a machine");
    let refused = attester.collect(&report_data());
    assert!(
        matches!(refused, Err(AttesterError::Azure(AzureAttesterError::UserDataSize { got: 32 }))),
        "{refused:?}"
    );
}

#[test]
fn a_machine_without_the_device_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let refused =
        AzVtpmAttester::new(&folder.path().join("tpmrm0"), "http://169.254.169.254").err();
    assert!(
        matches!(refused, Some(AttesterError::Azure(AzureAttesterError::Device { .. }))),
        "{refused:?}"
    );
    // A broken device: opened, and silent.
    let refused =
        AzVtpmAttester::with(Tpm::new(Scripted::default()), imds(200, String::new()).0, IMPATIENT)
            .err();
    assert!(matches!(refused, Some(AzureAttesterError::Tpm(TpmError::Io { .. }))), "{refused:?}");
}

#[test]
fn the_metadata_service_is_believed_in_nothing_but_its_form() {
    let report = [0; 1024];
    let quote = |status, body: &str| imds(status, body.to_owned()).0.td_quote(&report);
    let vcek = |body: &str| imds(200, body.to_owned()).0.vcek();
    assert_eq!(quote(200, "{\"quote\":\"AQI\"}").expect("unpadded"), [1, 2]);
    assert_eq!(quote(200, "{\"quote\":\"AQI=\"}").expect("padded"), [1, 2]);
    assert!(matches!(
        quote(429, "{}"),
        Err(AzureAttesterError::ImdsStatus { path: "/acc/tdquote", status: 429 })
    ));
    let long = format!("{{\"quote\":\"{}\"}}", "A".repeat(4 * 16 * 1024));
    for body in ["", "{}", "{\"quote\":\"+/+/\"}", "{\"quote\":7}", &long] {
        let refused = quote(200, body);
        assert!(
            matches!(refused, Err(AzureAttesterError::ImdsAnswer { .. })),
            "{body}: {refused:?}"
        );
    }
    let oversize = "A".repeat(1024 * 1024);
    for body in ["{}", "{\"vcekCert\":\"-----BEGIN CERTIFICATE-----\"}", &oversize] {
        let refused = vcek(body);
        assert!(matches!(refused, Err(AzureAttesterError::ImdsAnswer { .. })), "{refused:?}");
    }
    let gone = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let refused = Imds::from_url(&gone).unwrap().vcek();
    assert!(matches!(refused, Err(AzureAttesterError::ImdsUnreachable { .. })), "{refused:?}");
}
