//! A simulated Azure TD: a vTPM with a key of its own over the simulated hardware of `fake-tee`.
//!
//! In: what each part says. Out: `primary_evidence` of `az-tdx-vtpm`, signed anew, so that a case can
//! change one thing and leave every signature sound.

use std::sync::LazyLock;

use adyton_attestation::{EndorsementBundle, TrustAnchors};
use adyton_fake_tee::{FakeTee, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaEncoding, RsaKeyPair};
use serde_json::{Value, json};

/// When everything happens, in seconds since the Unix epoch.
pub const NOW: u64 = 1_800_000_000;

const KEY: &[u8] = include_bytes!("attestation_key.der");
const OTHER_KEY: &[u8] = include_bytes!("other_key.der");

/// What the parts of the machine say. The default is a sound machine.
#[derive(Clone)]
pub struct Machine {
    pub version: u64,
    /// The guest's report data: qualifying data, and the start of user-data.
    pub extra_data: Vec<u8>,
    pub user_data: Option<Vec<u8>>,
    /// TPML_PCR_SELECTION without its count.
    pub selections: Vec<Vec<u8>>,
    pub pcrs: Vec<[u8; 32]>,
    /// The digest in the quote; that of `pcrs`, unless a case says otherwise.
    pub pcr_digest: Option<Vec<u8>>,
    pub attest_type: u16,
    pub magic: u32,
    /// Who signs the quote, and how.
    pub signer: Signer,
    /// The TD under the paravisor.
    pub td: TdProfile,
    /// Report data of the TD quote; SHA-256 of the var-data, unless a case says otherwise.
    pub td_quote_data: Option<[u8; 64]>,
    /// Report data of the TDREPORT in the HCL report, likewise.
    pub td_report_data: Option<[u8; 64]>,
}

/// Who signs a quote.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The key in the var-data.
    AttestationKey,
    /// A key that is in nobody's var-data.
    OtherKey,
    /// The key in the var-data, with SHA-384.
    AttestationKeySha384,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            version: 2,
            extra_data: vec![0x42; 48],
            user_data: Some([vec![0x42; 48], vec![0; 16]].concat()),
            selections: vec![vec![0x00, 0x0b, 3, 0xff, 0xff, 0xff]],
            pcrs: (0..24).map(|i| [i; 32]).collect(),
            pcr_digest: None,
            attest_type: 0x8018,
            magic: 0xff54_4347,
            signer: Signer::AttestationKey,
            td: TdProfile::default(),
            td_quote_data: None,
            td_report_data: None,
        }
    }
}

/// The hardware.
pub static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([0xa2; 32], NOW));

/// The hardware's endorsements.
pub static BUNDLE: LazyLock<EndorsementBundle> = LazyLock::new(|| {
    let bundle = TEE.endorsement_bundle(NOW, &[]).to_string();
    EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle")
});

/// The hardware's root, which nobody else trusts.
pub static ANCHORS: LazyLock<TrustAnchors> = LazyLock::new(|| {
    TrustAnchors::vendor().with_insecure_extra_root(TEE.root_der()).expect("a root")
});

impl Machine {
    /// The Evidence, with every signature made over what the fields say.
    pub fn evidence(&self) -> Value {
        let var_data = self.var_data();
        let mut committed = [0; 64];
        committed[..32].copy_from_slice(digest(&SHA256, var_data.as_bytes()).as_ref());
        let message = self.attest();
        let td_quote = TEE.quote(&self.td, self.td_quote_data.unwrap_or(committed));
        let hcl = hcl(&var_data, &self.td_report_data.unwrap_or(committed));
        json!({
            "version": self.version,
            "tpm_quote": {
                "signature": hex::encode(self.sign(&message)),
                "message": hex::encode(message),
                "pcrs": self.pcrs.iter().map(hex::encode).collect::<Vec<_>>(),
            },
            "hcl_report": URL_SAFE.encode(hcl),
            "td_quote": URL_SAFE.encode(td_quote),
        })
    }

    fn var_data(&self) -> String {
        // RSAPublicKey, DER: nine bytes of headers before the modulus, five of exponent after it.
        let modulus = key(KEY).public().as_ref()[9..265].to_vec();
        let mut var_data = json!({
            "keys": [{ "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB",
                       "n": URL_SAFE_NO_PAD.encode(modulus) }],
            "vm-configuration": { "secure-boot": true, "vmUniqueId": "A2" },
        });
        if let Some(user_data) = &self.user_data {
            var_data["user-data"] = hex::encode_upper(user_data).into();
        }
        var_data.to_string()
    }

    fn attest(&self) -> Vec<u8> {
        let sized = |bytes: &[u8]| {
            let len = u16::try_from(bytes.len()).expect("short");
            [&len.to_be_bytes(), bytes].concat()
        };
        let all = self.pcrs.concat();
        let digest = digest(&SHA256, &all).as_ref().to_vec();
        let count = u32::try_from(self.selections.len()).expect("few");
        [
            self.magic.to_be_bytes().to_vec(),
            self.attest_type.to_be_bytes().to_vec(),
            sized(&[0x0b; 34]),
            sized(&self.extra_data),
            vec![0; 16],
            vec![1],
            vec![0x20; 8],
            count.to_be_bytes().to_vec(),
            self.selections.concat(),
            sized(self.pcr_digest.as_ref().unwrap_or(&digest)),
        ]
        .concat()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let (der, encoding): (_, &'static dyn RsaEncoding) = match self.signer {
            Signer::AttestationKey => (KEY, &RSA_PKCS1_SHA256),
            Signer::OtherKey => (OTHER_KEY, &RSA_PKCS1_SHA256),
            Signer::AttestationKeySha384 => (KEY, &RSA_PKCS1_SHA384),
        };
        let key = key(der);
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("signed");
        signature
    }
}

fn key(der: &[u8]) -> RsaKeyPair {
    RsaKeyPair::from_der(der).expect("an RSA key of 2048 bits")
}

fn hcl(var_data: &str, report_data: &[u8; 64]) -> Vec<u8> {
    let var_len = u32::try_from(var_data.len()).expect("short");
    let mut bytes = b"HCLA".to_vec();
    for number in [2, 0x4c0 + 20 + var_len, 2, 0, 0, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(0x4c0, 0);
    bytes[0x20] = 0x81;
    bytes[0xa0..0xe0].copy_from_slice(report_data);
    for number in [20 + var_len, 1, 4, 1, var_len] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend_from_slice(var_data.as_bytes());
    bytes.resize(2600, 0);
    bytes
}
