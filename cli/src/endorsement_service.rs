//! Requests to the vendors' services of Endorsements, one connection each.
//!
//! In: a [`Statement`] and the operator's [`Services`]. Out: a [`Part`], read and held against what was
//! asked for. Must not: follow redirects or proxies, send credentials, read without a bound, or ask
//! anybody but the configured services.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::endorsement::fetch::{
    Answer, AnswerError, BaseUrl, Part, Scheme, Services, Statement,
};
use adyton_attestation::limits::MAX_ENDORSEMENT_ANSWER_LEN;
use bytes::Bytes;
use http::Request;
use http::header::{HOST, RETRY_AFTER};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::{Exit, Failure};
use crate::file;

/// Longest time of one request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest file of CAs that is read.
const CA_LIMIT: u64 = 4 * 1024 * 1024;
/// Where systems keep the CAs that they trust, PEM.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Asks configured services.
pub struct EndorsementService {
    services: Services,
    tls: TlsConnector,
}

impl EndorsementService {
    /// Trusts the CAs in `ca_file`, or the system's.
    ///
    /// # Errors
    /// [`Failure`] when the file can't be used.
    pub fn new(services: Services, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::because(Exit::Internal, "tls", "TLS", &error))?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { services, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Asks for one statement.
    ///
    /// # Errors
    /// [`Failure`] with exit code 12 when it can't be had, and what to do.
    pub async fn get(&self, statement: &Statement) -> Result<Part, Failure> {
        let Some((base, path)) = self.services.target(statement) else {
            return Err(Failure::new(
                Exit::Usage,
                "endorsements.no-service",
                format!("no service is known for {statement}"),
            )
            .remedy("give its URL with --intel-url or --amd-url"));
        };
        let url = self.services.url(statement).unwrap_or_default();
        let unavailable = |got: String, remedy: &str| {
            Failure::new(
                Exit::EndorsementsUnavailable,
                "endorsements.unavailable",
                format!("{statement} could not be fetched"),
            )
            .expected(format!("an answer from {url}"))
            .got(got)
            .remedy(remedy)
        };
        let asked = tokio::time::timeout(TIMEOUT, self.exchange(&base, &path, statement)).await;
        let (answer, retry_after) = match asked {
            Ok(Ok(answered)) => answered,
            Ok(Err(got)) => {
                let remedy =
                    "check the URL, the network, and the service's certificate (--ca-file)";
                return Err(unavailable(got, remedy));
            }
            Err(_) => {
                let got = format!("no answer within {} s", TIMEOUT.as_secs());
                return Err(unavailable(got, "try again later"));
            }
        };
        statement.read(&answer).map_err(|error| {
            let got = match (&error, retry_after) {
                (AnswerError::Throttled, Some(pause)) => format!("{error}; try again in {pause} s"),
                (_, _) => error.to_string(),
            };
            unavailable(got, error.remedy())
        })
    }

    async fn exchange(
        &self,
        base: &BaseUrl,
        path: &str,
        statement: &Statement,
    ) -> Result<(Answer, Option<String>), String> {
        let tcp = TcpStream::connect((base.host(), base.port())).await;
        let tcp = tcp.map_err(|error| error.to_string())?;
        match base.scheme() {
            Scheme::HttpOnLoopback => send(tcp, base, path, statement).await,
            Scheme::Https => {
                let name = match base.host().parse::<IpAddr>() {
                    Ok(ip) => ServerName::from(ip),
                    Err(_) => ServerName::try_from(base.host().to_owned())
                        .map_err(|error| error.to_string())?,
                };
                let tls = self.tls.connect(name, tcp).await.map_err(|error| error.to_string())?;
                send(tls, base, path, statement).await
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    base: &BaseUrl,
    path: &str,
    statement: &Statement,
) -> Result<(Answer, Option<String>), String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    // Driven beside the request, so that dropping this future drops the connection.
    let exchange = async move {
        let request = Request::get(path)
            .header(HOST, base.authority())
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(text)?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let retry_after = header(RETRY_AFTER.as_str());
        let issuer_chain = statement.chain_headers().iter().find_map(|name| header(name));
        let status = response.status().as_u16();
        let body = match status {
            200 => {
                let limited = Limited::new(response.into_body(), MAX_ENDORSEMENT_ANSWER_LEN);
                let body = limited.collect().await.map_err(|error| {
                    match error.is::<LengthLimitError>() {
                        true => format!("more than {MAX_ENDORSEMENT_ANSWER_LEN} bytes"),
                        false => error.to_string(),
                    }
                })?;
                body.to_bytes().to_vec()
            }
            _ => Vec::new(),
        };
        Ok((Answer { status, issuer_chain, body }, retry_after))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let mut connected = true;
    loop {
        tokio::select! {
            result = &mut exchange => return result,
            // When the connection ends, the exchange says what that means for it.
            _ = &mut connection, if connected => connected = false,
        }
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let path = match ca_file {
        Some(path) => path.to_owned(),
        None => {
            let mut known = SYSTEM_CA_FILES.iter().map(PathBuf::from);
            known.find(|path| path.is_file()).unwrap_or_else(|| SYSTEM_CA_FILES[0].into())
        }
    };
    let pem = file::read("CA file", &path, CA_LIMIT)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut roots = RootCertStore::empty();
    // System files hold certificates of all ages; what rustls can't use as a root is left out.
    let (added, _) = roots.add_parsable_certificates(certificates.unwrap_or_default());
    if added == 0 {
        return Err(Failure::new(
            Exit::Usage,
            "endorsements.ca-file",
            format!("the CA file {} holds no CA certificate in PEM", path.display()),
        )
        .expected("the CAs that the services' certificates lead to")
        .remedy("name another file with --ca-file, or install the system's CA certificates"));
    }
    Ok(roots)
}
