//! Services of Endorsements on loopback that behave, or misbehave, as a script says.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adyton_fake_tee::FakeTee;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers whole.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// Answers nothing, and keeps the connection.
    Hang,
    /// Sends the head, and then a byte now and then.
    Drip,
    /// Announces more than it sends, and closes.
    CutOff(Vec<u8>),
    /// Sends a body in chunks, without end.
    Endless,
    /// Announces a body of this many bytes.
    Announce(u64),
}

impl Act {
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: b"{}".to_vec() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Answer { status: 200, headers: Vec::new(), body: body.into() }
    }
}

type Script = dyn Fn(&str, usize) -> Act + Send + Sync;

/// A running service. The script gets path with query, and how often that was asked before.
pub struct Vendor {
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Vendor {
    pub async fn start(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::serve("http", None, Arc::new(script)).await
    }

    /// The same over TLS, with a certificate of `authority` for `name`.
    pub async fn start_tls(
        authority: &Authority,
        name: &str,
        script: impl Fn(&str, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::serve("https", Some(authority.acceptor(name)), Arc::new(script)).await
    }

    async fn serve(scheme: &str, tls: Option<TlsAcceptor>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (script, noted, tls) = (Arc::clone(&script), Arc::clone(&noted), tls.clone());
                tokio::spawn(async move {
                    // What the client thinks of the end of a connection is the client's test.
                    let _ = match tls {
                        None => handle(stream, &*script, &noted).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => handle(stream, &*script, &noted).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { url, seen }
    }

    /// Every path that was asked for, in order.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn handle(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Script,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let before = {
        let mut seen = seen.lock().expect("no panic");
        let before = seen.iter().filter(|known| **known == path).count();
        seen.push(path.clone());
        before
    };
    match script(&path, before) {
        Act::Answer { status, headers, body } => {
            let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                text += &format!("{name}: {value}\r\n");
            }
            stream.write_all((text + "\r\n").as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Act::Hang => std::future::pending().await,
        Act::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Act::CutOff(body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len() + 1);
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Act::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
            loop {
                stream.write_all(&chunk).await?;
            }
        }
        Act::Announce(length) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&[b' '; 0x10000]).await?;
            }
        }
    }
    stream.shutdown().await
}

/// What a PCCS of version 4 answers for a simulated machine.
pub fn pccs(tee: &FakeTee, now: u64) -> HashMap<String, Act> {
    let collateral = tee.collateral(now, &[]);
    let text = |member: &str| collateral[member].as_str().expect("text").to_owned();
    let bytes = |member: &str| hex::decode(text(member)).expect("hex");
    let with_chain = |header, member: &str, body: Vec<u8>| Act::Answer {
        status: 200,
        headers: vec![(header, encoded(&text(member)))],
        body,
    };
    let signed = |name: &str, document: &str, signature: &str| {
        let signature = text(signature);
        format!("{{\"{name}\":{},\"signature\":\"{signature}\"}}", text(document)).into_bytes()
    };
    let fmspc = hex::encode_upper(tee.fmspc());
    HashMap::from([
        (
            format!("/tdx/certification/v4/tcb?fmspc={fmspc}"),
            with_chain(
                "TCB-Info-Issuer-Chain",
                "tcb_info_issuer_chain",
                signed("tcbInfo", "tcb_info", "tcb_info_signature"),
            ),
        ),
        (
            "/tdx/certification/v4/qe/identity".to_owned(),
            with_chain(
                "SGX-Enclave-Identity-Issuer-Chain",
                "qe_identity_issuer_chain",
                signed("enclaveIdentity", "qe_identity", "qe_identity_signature"),
            ),
        ),
        (
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der".to_owned(),
            with_chain("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain", bytes("pck_crl")),
        ),
        // A PCCS sends this one in hex.
        ("/sgx/certification/v4/rootcacrl".to_owned(), Act::ok(text("root_ca_crl"))),
    ])
}

/// A script that answers from a table, and 404 for everything else.
pub fn answering(table: HashMap<String, Act>) -> impl Fn(&str, usize) -> Act + Send + Sync {
    move |path, _| table.get(path).cloned().unwrap_or_else(|| Act::status(404))
}

fn encoded(pem: &str) -> String {
    let hex = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    pem.bytes().map(hex).collect()
}

/// The member of a JSON document in a table entry's body, replaced.
pub fn with_body(act: &Act, change: impl FnOnce(String) -> String) -> Act {
    let Act::Answer { status, headers, body } = act.clone() else { panic!("an answer") };
    let body = change(String::from_utf8(body).expect("text")).into_bytes();
    Act::Answer { status, headers, body }
}

/// A VCEK as far as its names and its processor go: nobody verifies it here.
pub fn vcek(product: &str, hardware_id: &[u8]) -> Vec<u8> {
    let mut issuer = CertificateParams::default();
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    issuer.distinguished_name.push(DnType::CommonName, format!("SEV-{product}"));
    let issuer = Issuer::new(issuer, KeyPair::generate().expect("key"));
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.distinguished_name.push(DnType::OrganizationName, "Advanced Micro Devices");
    leaf.distinguished_name.push(DnType::CommonName, "SEV-VCEK");
    let extension = |last: &[u64], content| {
        CustomExtension::from_oid_content(&[&[1, 3, 6, 1, 4, 1, 3704, 1], last].concat(), content)
    };
    // The TCB that `stand::vcek_of` asks for, each level a DER INTEGER.
    let levels = [(1, 9), (2, 0), (3, 23), (8, 72)];
    leaf.custom_extensions = vec![extension(&[4], hardware_id.to_vec())];
    let levels = levels.map(|(number, level)| extension(&[3, number], vec![2, 1, level]));
    leaf.custom_extensions.extend(levels);
    let key = KeyPair::generate().expect("key");
    leaf.signed_by(&key, &issuer).expect("signed").der().to_vec()
}

/// A CA for the servers' certificates.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(name.try_into().expect("a name")),
        }];
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The TCB info of a table, about another platform type.
pub fn other_fmspc(body: String) -> String {
    let mut answer: Value = serde_json::from_str(&body).expect("JSON");
    answer["tcbInfo"]["fmspc"] = "00906EC10000".into();
    answer.to_string()
}
