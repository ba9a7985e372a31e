//! Evidence from the CoCo guest API, `http://127.0.0.1:8006` in the pod's network namespace.
//!
//! Role: Attester. In: report data. Out: KBS Evidence from `GET /aa/evidence`, and events into the
//! runtime measurement by `POST /aa/aael`. The API answers every process on loopback: Evidence
//! proves the pod, not the caller. It must not be asked for `/aa/token`, which hands out the
//! private key of its TEE key pair to anybody who asks.
//! Against: an API that answers with other report data, and requests that leave the pod.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::loopback_http::{LoopbackAddr, LoopbackError, exchange};
use super::{Attester, AttesterError, RuntimeEvent, confirm};
use crate::binding::ReportData;
use crate::evidence::Tee;
use crate::limits::MAX_EVIDENCE_FILE_LEN;

/// Where a CoCo guest has its API.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8006";

const INFO: &str = "/info";
const EVIDENCE: &str = "/aa/evidence";
const EVENTS: &str = "/aa/aael";
const NAME: &str = "coco";

/// A TDX quote takes up to 30 s when the host's quoting service is slow, and may wait for another.
const EVIDENCE_TIME: Duration = Duration::from_secs(90);
const SHORT_TIME: Duration = Duration::from_secs(10);
const MAX_SHORT_BODY: usize = 64 * 1024;

/// The CoCo guest API as a source of Evidence.
#[derive(Debug)]
pub struct CocoAttester {
    addr: LoopbackAddr,
    tee: Tee,
}

impl CocoAttester {
    /// Asks the API at `base_url` which TEE it runs in.
    ///
    /// # Errors
    /// [`AttesterError::Url`] for anything but `http://` and a loopback address;
    /// [`Unreachable`](AttesterError::Unreachable), [`Forbidden`](AttesterError::Forbidden),
    /// [`NotEnabled`](AttesterError::NotEnabled), [`Status`](AttesterError::Status),
    /// [`Http`](AttesterError::Http), [`Json`](AttesterError::Json) as the API answers;
    /// [`Unsupported`](AttesterError::Unsupported) when it names no TEE or another one.
    pub fn new(base_url: &str) -> Result<Self, AttesterError> {
        #[derive(Deserialize)]
        struct Info {
            tee: Option<String>,
        }
        let addr = LoopbackAddr::from_url(base_url)
            .ok_or_else(|| AttesterError::Url { got: base_url.chars().take(80).collect() })?;
        let body = ask(addr, INFO, INFO, None, SHORT_TIME, MAX_SHORT_BODY)?;
        let info: Info = serde_json::from_slice(&body)
            .map_err(|source| AttesterError::Json { path: INFO, source })?;
        let said = info.tee.unwrap_or_else(|| "no TEE".to_owned());
        let tee = said.parse().map_err(|_| AttesterError::Unsupported {
            attester: NAME,
            got: said.chars().take(32).collect(),
        })?;
        Ok(Self { addr, tee })
    }
}

impl Attester for CocoAttester {
    fn tee(&self) -> Tee {
        self.tee
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn collect(&self, report_data: &ReportData) -> Result<Value, AttesterError> {
        // The API's own description: "use `base64` for URL-safe base64 (no padding)". That
        // alphabet needs no percent-encoding in a query.
        let runtime_data = URL_SAFE_NO_PAD.encode(report_data.as_bytes());
        let target = format!("{EVIDENCE}?runtime_data={runtime_data}&encoding=base64");
        let body = ask(self.addr, EVIDENCE, &target, None, EVIDENCE_TIME, MAX_EVIDENCE_FILE_LEN)?;
        let evidence = serde_json::from_slice(&body)
            .map_err(|source| AttesterError::Json { path: EVIDENCE, source })?;
        confirm(NAME, self.tee, evidence, report_data)
    }

    fn extend_event(&self, event: &RuntimeEvent<'_>) -> Result<(), AttesterError> {
        event.line()?;
        let body = serde_json::to_vec(event)
            .map_err(|source| AttesterError::Json { path: EVENTS, source })?;
        ask(self.addr, EVENTS, EVENTS, Some(&body), SHORT_TIME, MAX_SHORT_BODY).map(drop)
    }
}

fn ask(
    addr: LoopbackAddr,
    path: &'static str,
    target: &str,
    json: Option<&[u8]>,
    time: Duration,
    max_body: usize,
) -> Result<Vec<u8>, AttesterError> {
    let answer = exchange(addr, target, json, time, max_body).map_err(|e| match e {
        LoopbackError::Io(source) => {
            AttesterError::Unreachable { address: addr.to_string(), source }
        }
        LoopbackError::Malformed(reason) => AttesterError::Http { path, reason },
    })?;
    match answer.status {
        200 => Ok(answer.body),
        403 => Err(AttesterError::Forbidden { path }),
        404 => Err(AttesterError::NotEnabled { path }),
        status => Err(AttesterError::Status { path, status, detail: printable(&answer.body) }),
    }
}

fn printable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests;
