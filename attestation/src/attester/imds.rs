//! Azure's instance metadata service (IMDS): the VCEK of the machine, and TD quotes.
//!
//! Role: Attester. In: nothing, or a TDREPORT. Out: certificate or quote, which the Verifier believes
//! no more for coming from here. The service is at a link-local address of the host; plain HTTP, since
//! nothing secret is asked and nothing answered is trusted. No other address is ever asked.
//! Against: requests that leave the machine, answers without end.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use der::{DecodePem as _, Encode as _};
use serde::Deserialize;
use serde_json::json;
use x509_cert::Certificate;

use super::azure::AzureAttesterError;
use super::loopback_http::{LoopbackAddr, LoopbackError, request};
use crate::evidence::hcl::TD_REPORT_LEN;
use crate::limits::{MAX_CERTIFICATE_CHAIN_LEN, MAX_QUOTE_LEN};

/// Where Azure has it.
pub const DEFAULT_IMDS_URL: &str = "http://169.254.169.254";

const AMD_CERTIFICATION: &str = "/metadata/THIM/amd/certification";
const TD_QUOTE: &str = "/acc/tdquote";
/// The service refuses requests without it, which a redirected browser would send.
const METADATA: (&str, &str) = ("metadata", "true");
const TIME: Duration = Duration::from_secs(30);
/// A quote in base64, or two chains in PEM, and JSON around it.
const MAX_BODY: usize = 4 * MAX_CERTIFICATE_CHAIN_LEN;

/// The service, at its own address or, for tests, on loopback.
#[derive(Debug, Clone, Copy)]
pub(super) struct Imds(SocketAddr);

impl Imds {
    /// Parses `http://169.254.169.254[:port][/]`, or a URL on loopback.
    pub(super) fn from_url(url: &str) -> Result<Self, AzureAttesterError> {
        let refused = || AzureAttesterError::ImdsUrl { got: url.chars().take(80).collect() };
        let rest = url.strip_prefix("http://").ok_or_else(refused)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let addr = authority
            .parse::<SocketAddr>()
            .or_else(|_| authority.parse().map(|ip: IpAddr| SocketAddr::new(ip, 80)));
        //= attestation/SPEC.md#9.4
        //# An Attester MUST NOT ask any address for VCEK or TD quote but 169.254.169.254 and, for tests, loopback.
        match addr {
            Ok(addr) if addr.ip() == Ipv4Addr::new(169, 254, 169, 254) => Ok(Self(addr)),
            _ => LoopbackAddr::from_url(url).map(|addr| Self(addr.into())).ok_or_else(refused),
        }
    }

    /// The VCEK of this machine, DER.
    pub(super) fn vcek(self) -> Result<Vec<u8>, AzureAttesterError> {
        #[derive(Deserialize)]
        struct Certificates {
            #[serde(rename = "vcekCert")]
            vcek: String,
        }
        let body = self.ask(AMD_CERTIFICATION, None)?;
        let refused = |reason| AzureAttesterError::ImdsAnswer { path: AMD_CERTIFICATION, reason };
        let certificates: Certificates = serde_json::from_slice(&body)
            .map_err(|_| refused("it is no JSON object with `vcekCert`"))?;
        Certificate::from_pem(certificates.vcek.trim())
            .and_then(|certificate| certificate.to_der())
            .map_err(|_| refused("`vcekCert` is not a certificate in PEM"))
    }

    /// A quote that the host's quoting enclave makes of a TDREPORT.
    pub(super) fn td_quote(
        self,
        report: &[u8; TD_REPORT_LEN],
    ) -> Result<Vec<u8>, AzureAttesterError> {
        #[derive(Deserialize)]
        struct Quote {
            quote: String,
        }
        let question = json!({ "report": URL_SAFE_NO_PAD.encode(report) }).to_string();
        let body = self.ask(TD_QUOTE, Some(question.as_bytes()))?;
        let refused = |reason| AzureAttesterError::ImdsAnswer { path: TD_QUOTE, reason };
        let answer: Quote = serde_json::from_slice(&body)
            .map_err(|_| refused("it is no JSON object with `quote`"))?;
        let text = answer.quote;
        let quote = URL_SAFE_NO_PAD
            .decode(&text)
            .or_else(|_| URL_SAFE.decode(&text))
            .map_err(|_| refused("`quote` is not base64url"))?;
        if quote.len() > MAX_QUOTE_LEN {
            return Err(refused("`quote` is longer than allowed"));
        }
        Ok(quote)
    }

    fn ask(self, path: &'static str, json: Option<&[u8]>) -> Result<Vec<u8>, AzureAttesterError> {
        let answer =
            request(self.0, path, &[METADATA], json, TIME, MAX_BODY).map_err(
                |error| match error {
                    LoopbackError::Io(source) => {
                        AzureAttesterError::ImdsUnreachable { address: self.0, source }
                    }
                    LoopbackError::Malformed(reason) => {
                        AzureAttesterError::ImdsAnswer { path, reason }
                    }
                },
            )?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(AzureAttesterError::ImdsStatus { path, status }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_but_the_services_own_and_loopback_is_asked() {
        for url in ["http://169.254.169.254", "http://169.254.169.254/", "http://127.0.0.1:8080"] {
            assert!(Imds::from_url(url).is_ok(), "{url}");
        }
        for url in [
            "http://169.254.169.253",
            "http://192.0.2.1",
            "https://169.254.169.254",
            "http://169.254.169.254/metadata",
            "http://169.254.169.254@192.0.2.1",
            "http://metadata.example",
        ] {
            let refused = Imds::from_url(url);
            assert!(
                matches!(&refused, Err(AzureAttesterError::ImdsUrl { got }) if got == url),
                "{url}"
            );
        }
    }
}
