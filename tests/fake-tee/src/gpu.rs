//! A simulated Hopper GPU: SPDM measurement reports and a certificate chain under a root of its own.
//!
//! Role: Attester and Endorser of a device, both pretended. In: the time, a nonce, the wanted
//! [`GpuFault`]. Out: device Evidence as KBS clients send it, and the two sets of Reference Values that
//! it matches. Layout: DMTF DSP0274 1.1, §10.11; opaque fields and names as Hopper devices have them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

mod fault;

pub use fault::GpuFault;

use crate::keys::sha384;
use crate::pki::DAY;

/// TCG DICE composite device id.
const DICE: &[u64] = &[2, 23, 133, 5, 4, 1];
/// Measurements of a Hopper report.
const MEASUREMENTS: u8 = 64;
/// Those that the driver's manifest calls active; indices of the manifest, from 0.
const DRIVER_INDICES: [usize; 4] = [7, 21, 35, 40];
/// Those that the VBIOS's manifest calls active.
const VBIOS_INDICES: [usize; 3] = [1, 2, 9];

struct Node {
    key: KeyPair,
    params: CertificateParams,
    pem: String,
}

/// One simulated GPU with the simulated vendor that certified it.
pub struct FakeGpu {
    born: u64,
    root: Node,
    other_root: Node,
}

impl FakeGpu {
    /// A GPU under a root that nobody has seen before. `now` is in seconds since the Unix epoch.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn new(now: u64) -> Self {
        let root = || node("Simulated Device Identity CA", None, now, Shape::Ca, None);
        Self { born: now, root: root(), other_root: root() }
    }

    /// The root certificate, PEM.
    pub fn root_pem(&self) -> String {
        self.root.pem.clone()
    }

    /// Evidence over `nonce` as the value of the `nvidia` member of `additional_evidence`.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn evidence(&self, nonce: [u8; 32], fault: Option<GpuFault>) -> Value {
        let is = |wanted| fault == Some(wanted);
        let root = if is(GpuFault::OtherRoot) { &self.other_root } else { &self.root };
        let provisioner_name = match is(GpuFault::OtherIdentity) {
            true => "NVIDIA LS_10 Provisioner ICA 1",
            false => "NVIDIA GH100 Provisioner ICA 1",
        };
        let middle = match fault {
            Some(GpuFault::IntermediateIsNoCa) => Shape::Leaf,
            Some(GpuFault::IntermediateForListsOnly) => Shape::CaForLists,
            _ => Shape::Ca,
        };
        let identity = node("NVIDIA GH100 Identity", None, self.born, Shape::Ca, Some(root));
        let provisioner = node(provisioner_name, None, self.born, middle, Some(&identity));
        let chip = Some("4F2A0C5E1B7D9A3355").filter(|_| !is(GpuFault::NoChipSerial));
        let brom = node("GH100 A01 GSP BROM", chip, self.born, Shape::Ca, Some(&provisioner));
        let shape = match fault {
            Some(GpuFault::NoFirmwareId) => Shape::Leaf,
            Some(GpuFault::ExpiredLeaf) => Shape::ExpiredFirmware(firmware_id()),
            Some(GpuFault::OtherFirmwareId) => Shape::Firmware(sha384(b"other firmware")),
            Some(GpuFault::CriticalExtension) => Shape::CriticalFirmware(firmware_id()),
            _ => Shape::Firmware(firmware_id()),
        };
        let leaf = node("GH100 A01 GSP FMC LF", Some("77"), self.born, shape, Some(&brom));
        let chain =
            [&leaf, &brom, &provisioner, &identity, root].map(|node| node.pem.as_str()).concat();

        let asked = if is(GpuFault::OtherNonce) { [0xa5; 32] } else { nonce };
        let mut report = report(asked, fault);
        let signer = if is(GpuFault::OtherKey) { &brom.key } else { &leaf.key };
        let signature = sign(signer, &report);
        report.extend(signature);
        match fault {
            Some(GpuFault::FlippedMeasurement) => report[37 + 8 + 20] ^= 1,
            Some(GpuFault::Truncated) => report.truncate(report.len() - 1),
            Some(GpuFault::Oversized) => report.resize(20_000, 0),
            Some(GpuFault::TrailingBytes) => report.extend([0, 0, 7]),
            _ => {}
        }
        let arch = match fault {
            Some(GpuFault::OtherArchitecture) => "BLACKWELL",
            Some(GpuFault::UnknownArchitecture) => "PASCAL",
            _ => "HOPPER",
        };
        let certificate = match is(GpuFault::NoCertificates) {
            true => Value::Null,
            false => STANDARD.encode(chain).into(),
        };
        json!({ "device_evidence_list": [{
            "arch": arch,
            "uuid": "unknown",
            "evidence": hex::encode(report),
            "certificate": certificate,
        }] })
    }

    /// The sets of Reference Values that a sound report matches, as TOML: driver, VBIOS.
    pub fn reference_values() -> [String; 2] {
        let set = |name: &str, version: &str, indices: &[usize]| {
            let lines: String = indices
                .iter()
                .map(|index| format!("{index} = [\"{}\"]\n", hex::encode(measurement(*index))))
                .collect();
            format!(
                "name = \"fake-gpu-{name}\"\ntee = \"nvidia\"\ncomponent = \"{name}\"\n\
                 version = \"{version}\"\n\n[measurements]\n{lines}"
            )
        };
        [
            set("driver", "550.90.07", &DRIVER_INDICES),
            set("vbios", "96.00.9f.00.01", &VBIOS_INDICES),
        ]
    }
}

#[derive(Clone, Copy)]
enum Shape {
    Ca,
    CaForLists,
    Leaf,
    Firmware([u8; 48]),
    ExpiredFirmware([u8; 48]),
    CriticalFirmware([u8; 48]),
}

fn node(name: &str, serial: Option<&str>, born: u64, shape: Shape, issuer: Option<&Node>) -> Node {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("random bytes");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(serial) = serial {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial);
    }
    params.distinguished_name.push(DnType::OrganizationName, "Adyton fake TEE, not a vendor");
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(born - DAY);
    let lifetime = match shape {
        Shape::ExpiredFirmware(_) => 0,
        _ => 3650 * DAY,
    };
    params.not_after = epoch + Duration::from_secs(born - DAY + lifetime);
    match shape {
        Shape::Ca => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        Shape::CaForLists => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::CrlSign];
        }
        Shape::Leaf => params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        Shape::Firmware(id) | Shape::ExpiredFirmware(id) | Shape::CriticalFirmware(id) => {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let extension = CustomExtension::from_oid_content(DICE, composite_device_id(id));
            params.custom_extensions = vec![extension];
        }
    }
    if matches!(shape, Shape::CriticalFirmware(_)) {
        let mut unknown =
            CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 99], vec![0x05, 0x00]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    }
    let certificate = match issuer {
        None => params.self_signed(&key),
        Some(issuer) => params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)),
    }
    .expect("the certificate's own parameters are well-formed");
    Node { pem: certificate.pem(), params, key }
}

/// `SEQUENCE { 1, SEQUENCE {} (a key nobody reads), SEQUENCE { sha384, OCTET STRING } }`.
fn composite_device_id(firmware_id: [u8; 48]) -> Vec<u8> {
    let mut fwid =
        vec![0x30, 61, 0x06, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x04, 48];
    fwid.extend(firmware_id);
    let mut members = vec![0x02, 1, 1, 0x30, 0];
    members.extend(fwid);
    let len = u8::try_from(members.len()).expect("68 bytes");
    [vec![0x30, len], members].concat()
}

fn sign(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let key =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &key.serialize_der(), &random)
            .expect("a P-384 key");
    key.sign(&random, message).expect("random bytes").as_ref().to_vec()
}

fn measurement(index: usize) -> [u8; 48] {
    sha384(format!("adyton fake gpu {index}").as_bytes())
}

fn firmware_id() -> [u8; 48] {
    sha384(b"adyton fake gpu firmware")
}

/// Request and response without signature.
fn report(nonce: [u8; 32], fault: Option<GpuFault>) -> Vec<u8> {
    let version = if fault == Some(GpuFault::SpdmVersion) { 0x12 } else { 0x11 };
    let mut out = vec![version, 0xe0, 0x01, 0xff];
    out.extend(nonce);
    out.push(0);

    let mut record = Vec::new();
    for number in 1..=MEASUREMENTS {
        let index = usize::from(number) - 1;
        let stated = match (fault, number) {
            (Some(GpuFault::BlockTwice), 2) => 1,
            _ => number,
        };
        record.extend([stated, 1, 51, 0, 1, 48, 0]);
        record.extend(match (fault, index) {
            (Some(GpuFault::OtherDriverMeasurement), 21) => [0xee; 48],
            _ => measurement(index),
        });
    }
    out.extend([0x11, 0x60, 0, 0, MEASUREMENTS]);
    out.extend(&u32::try_from(record.len()).expect("3520 bytes").to_le_bytes()[..3]);
    out.extend(record);
    out.extend([0x5a; 32]);

    let vbios = match fault {
        Some(GpuFault::OtherVbiosVersion) => [0, 0x9f, 0, 0x96, 2, 0, 0, 0],
        _ => [0, 0x9f, 0, 0x96, 1, 0, 0, 0],
    };
    let mut opaque = Vec::new();
    let mut field = |id: u16, bytes: &[u8]| {
        opaque.extend(id.to_le_bytes());
        opaque.extend(u16::try_from(bytes.len()).expect("short").to_le_bytes());
        opaque.extend(bytes);
    };
    let left_out = match fault {
        Some(GpuFault::NoVbiosVersion) => 6,
        Some(GpuFault::NoBoard) => 15,
        Some(GpuFault::NoDriverVersion) => 3,
        Some(GpuFault::NoNvdec0) => 11,
        Some(GpuFault::NoReportedFirmwareId) => 20,
        _ => 0,
    };
    let fields: [(u16, &[u8]); 7] = [
        (6, &vbios),
        (15, b"882\0\0\0\0\0\0"),
        (17, b"1010\0"),
        (18, b"0200\0"),
        (3, b"550.90.07\0"),
        // NVDEC 0 is disabled: measurement 35 does not count.
        (11, &[0x55]),
        (20, &firmware_id()),
    ];
    for (id, bytes) in fields.into_iter().filter(|(id, _)| *id != left_out) {
        field(id, bytes);
    }
    out.extend(u16::try_from(opaque.len()).expect("short").to_le_bytes());
    out.extend(opaque);
    out
}
