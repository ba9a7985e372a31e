//! The KBS's side of RCAR as a chain of states.
//!
//! Role: the front of the Verifier. In: the KBC's messages and a fresh nonce. Out: the Challenge,
//! and [`Presented`]: parsed Evidence together with the report data it must carry, which were
//! computed here from *our* nonce and the parsed key. The nonce is used up by the first
//! Attestation, whether it is accepted or not.
//! Against: replay of an Attestation, runtime data that differ between hash and use, sample TEEs.

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::canonical::{device_nonce, primary_report_data};
use super::message::{Attestation, ChallengeMessage, InitData, Request, refuse_structure};
use super::tee_key::TeePublicKey;
use super::{PROTOCOL_VERSION, RcarError};
use crate::binding::ReportData;
use crate::challenge::Nonce;
use crate::evidence::nvidia_gpu::GpuEvidence;
use crate::evidence::{Evidence, Tee};
use crate::limits::MAX_EVIDENCE_FILE_LEN;

/// A session between Challenge and Attestation. Neither `Clone` nor reusable: the nonce counts once.
#[derive(Debug)]
pub struct AwaitingAttestation {
    tee: Tee,
    nonce: String,
}

/// An Attestation that answers our Challenge. An allegation: nothing in it is verified yet.
#[derive(Debug)]
pub struct Presented {
    /// The Evidence, parsed.
    pub evidence: Evidence,
    /// Evidence of GPUs beside the TEE, parsed.
    pub devices: Vec<GpuEvidence>,
    /// The report data that the Evidence must carry for the nonce and the key to be bound.
    pub expected: ReportData,
    /// The nonce that the Evidence of every device must carry.
    pub device_nonce: [u8; 32],
    /// The key to which secrets go *after* the Evidence was verified over `expected`.
    pub tee_key: TeePublicKey,
    /// The guest's init-data with their digest. Measured only if the digest stands in the Evidence.
    pub init_data: Option<PresentedInitData>,
}

/// Init-data of a guest and the digest that the hardware must have signed.
#[derive(Debug)]
pub struct PresentedInitData {
    /// As they were sent.
    pub document: InitData,
    /// Digest of the body under the algorithm that it names.
    pub digest: Vec<u8>,
}

/// Answers a Request with a Challenge over `nonce`, which must be fresh.
///
/// # Errors
/// [`RcarError::Version`] for any version but 0.4.0, then [`RcarError::Tee`] for a TEE that is not
/// supported, sample TEEs among them.
pub fn on_request(
    request: &Request,
    nonce: Nonce,
) -> Result<(ChallengeMessage, AwaitingAttestation), RcarError> {
    //= attestation/SPEC.md#3.1
    //# A KBS MUST refuse any version but 0.4.0, and any TEE that it cannot verify.
    if request.version != PROTOCOL_VERSION {
        let got = request.version.chars().take(32).collect();
        return Err(RcarError::Version { got });
    }
    let tee: Tee = request.tee.parse().map_err(RcarError::Tee)?;
    let nonce = nonce.to_base64();
    let challenge = ChallengeMessage { nonce: nonce.clone(), extra_params: "".into() };
    Ok((challenge, AwaitingAttestation { tee, nonce }))
}

impl AwaitingAttestation {
    /// The TEE of the Request.
    #[must_use]
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// Takes the Attestation and uses the nonce up.
    ///
    /// # Errors
    /// In this order: [`RcarError::Nonce`], [`RcarError::AdditionalEvidence`],
    /// [`RcarError::TooManyMembers`], [`RcarError::DeviceKind`], [`RcarError::DeviceEvidence`], [`RcarError::InitData`],
    /// [`RcarError::Evidence`].
    pub fn on_attestation(self, attestation: &Attestation) -> Result<Presented, RcarError> {
        //= attestation/SPEC.md#3.1
        //# The nonce is compared as the string it is, in constant time.
        let said = attestation.runtime_data.nonce.as_bytes();
        if !bool::from(said.ct_eq(self.nonce.as_bytes())) {
            return Err(RcarError::Nonce);
        }
        let additional = &attestation.tee_evidence.additional_evidence;
        let devices = devices(additional)?;
        let init_data = match &attestation.init_data {
            Some(document) => {
                let digest = document.digest()?;
                Some(PresentedInitData { document: document.clone(), digest })
            }
            None => None,
        };
        let evidence = Evidence::parse_kbs(self.tee, &attestation.tee_evidence.primary_evidence)
            .map_err(RcarError::Evidence)?;
        let tee_key = attestation.runtime_data.tee_pubkey.clone();
        //= attestation/SPEC.md#2.1
        //# A Verifier MUST compute the expected report data from the nonce it issued and the key it parsed.
        let expected = primary_report_data(&self.nonce, &tee_key, additional);
        let device_nonce = device_nonce(&self.nonce, &tee_key);
        Ok(Presented { evidence, devices, expected, device_nonce, tee_key, init_data })
    }
}

/// The devices in the text of `additional_evidence`, `{"nvidia":{…}}`; none when it is empty. A kind of
/// device that nobody here verifies is refused: a guest that meant to prove it would else be served
/// without anybody having looked at it.
fn devices(additional: &str) -> Result<Vec<GpuEvidence>, RcarError> {
    if additional.is_empty() {
        return Ok(Vec::new());
    }
    if additional.len() > MAX_EVIDENCE_FILE_LEN {
        return Err(RcarError::AdditionalEvidence);
    }
    // In the body it is one string, so the body's own count has not seen what is inside.
    refuse_structure("additional_evidence", additional.as_bytes())?;
    let kinds: Map<String, Value> =
        serde_json::from_str(additional).map_err(|_| RcarError::AdditionalEvidence)?;
    if let Some(other) = kinds.keys().find(|kind| *kind != "nvidia") {
        return Err(RcarError::DeviceKind { got: other.chars().take(64).collect() });
    }
    match kinds.get("nvidia") {
        Some(list) => GpuEvidence::parse_list(list).map_err(RcarError::DeviceEvidence),
        None => Ok(Vec::new()),
    }
}
