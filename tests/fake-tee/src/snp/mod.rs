//! A simulated AMD processor: SEV-SNP reports and AMD's PKI under a root of its own.
//!
//! Role: Attester and Endorser (RFC 9334 §4.1), both pretended. In: the time, a product, the kind of
//! key, an [`SnpProfile`], the wanted [`SnpFault`]. Out: reports of version 2, 3 and 5, Evidence as KBS
//! clients send it, Endorsements, Reference Values. Layouts: AMD 56860, AMD 57230.
//!
//! **The private keys of this root are checked in beside this file** (`keys/README.md` says why): who
//! trusts [`FakeSnp::root_pem`] trusts everybody.

mod der;
mod fault;
mod kbs;
mod pki;
mod profile;
mod report;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

pub use fault::SnpFault;
pub use profile::{FakeKey, FakeProduct, FakeTcb, SnpProfile};

use crate::keys::sha384;
use pki::{KeyStatement, Vendor};
use report::Machine;

/// One simulated processor with the simulated vendor that certified it.
pub struct FakeSnp {
    vendor: Vendor,
    kind: FakeKey,
    chip_id: [u8; 64],
    key: EcdsaKeyPair,
    other_key: EcdsaKeyPair,
}

impl FakeSnp {
    /// A processor whose reports a key of this kind signs. `now` is in seconds since the Unix epoch;
    /// certificates are valid from a day before it.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn new(now: u64, product: FakeProduct, kind: FakeKey) -> Self {
        let digest = sha384(b"adyton fake snp chip");
        let mut chip_id = [0; 64];
        for (to, from) in chip_id.iter_mut().zip(digest.iter().cycle()).take(product.chip_id_len())
        {
            *to = *from;
        }
        let vendor = Vendor { born: now, product };
        Self { vendor, kind, chip_id, key: new_key(), other_key: new_key() }
    }

    /// The raw report: 1184 bytes, unless the fault is their number.
    pub fn report(
        &self,
        profile: &SnpProfile,
        report_data: [u8; 64],
        fault: Option<SnpFault>,
    ) -> Vec<u8> {
        let (key, other_key) = (&self.key, &self.other_key);
        let (product, kind, chip_id) = (self.vendor.product, self.kind, self.chip_id);
        Machine { product, kind, chip_id, key, other_key }.report(profile, report_data, fault)
    }

    /// Signs a report of 1184 bytes anew, as if the firmware had written what it says.
    ///
    /// # Panics
    /// When the operating system has no randomness, or the report is shorter.
    pub fn sign(&self, report: &mut [u8]) {
        report::sign(report, &self.key);
    }

    /// Signs a VCEK's certificate anew, as if AMD had written what it says.
    ///
    /// # Panics
    /// When the operating system has no randomness, or the bytes are no certificate of this machine's.
    pub fn sign_certificate(&self, der: &[u8]) -> Vec<u8> {
        pki::sign_certificate(der)
    }

    /// The certificates that go with the report: what the sender calls each, and its DER.
    pub fn certificates(
        &self,
        profile: &SnpProfile,
        fault: Option<SnpFault>,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let kind = match fault {
            Some(SnpFault::NoCertificate) => return Vec::new(),
            Some(SnpFault::VlekForVcek) => FakeKey::Vlek,
            Some(SnpFault::VcekForVlek) => FakeKey::Vcek,
            _ => self.kind,
        };
        let mut tcb = profile.tcb;
        if fault == Some(SnpFault::OldFirmware) {
            tcb.snp -= 1;
        }
        let public_key = self.key.public_key().as_ref();
        let statement = KeyStatement { kind, public_key, chip_id: &self.chip_id, tcb };
        let der = self.vendor.endorsement_key(&statement, fault);
        // The label follows the report, so that a certificate of the other kind has a wrong one.
        let label = match self.kind {
            FakeKey::Vcek => "VCEK",
            FakeKey::Vlek => "VLEK",
        };
        vec![(label, der)]
    }

    /// Evidence as the value of `primary_evidence` in the KBS protocol.
    pub fn evidence(
        &self,
        profile: &SnpProfile,
        report_data: [u8; 64],
        fault: Option<SnpFault>,
    ) -> Value {
        let report = self.report(profile, report_data, fault);
        kbs::evidence(&report, self.vendor.product, &self.certificates(profile, fault))
    }

    /// Endorsements as of `now`: ASK, ASVK and the root's revocation list, as a bundle file.
    pub fn endorsement_bundle(&self, now: u64, fault: Option<SnpFault>) -> Value {
        let mut certificates = vec![hex::encode(self.vendor.intermediate(FakeKey::Vcek, fault))];
        if fault != Some(SnpFault::NoIntermediate) {
            certificates.push(hex::encode(self.vendor.intermediate(FakeKey::Vlek, fault)));
        }
        let lists = match fault {
            Some(SnpFault::NoList) => Vec::new(),
            _ => vec![hex::encode(self.vendor.revocation_list(now, fault))],
        };
        json!({
            "version": 2,
            "amd": { "certificates": certificates, "revocation_lists": lists },
        })
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> Vec<u8> {
        self.vendor.root()
    }

    /// The root certificate, PEM. Everybody has its key.
    pub fn root_pem(&self) -> String {
        der::pem("CERTIFICATE", &self.root_der())
    }

    /// CHIP_ID of the processor.
    pub fn chip_id(&self) -> [u8; 64] {
        self.chip_id
    }
}

fn new_key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("random bytes");
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("just generated")
}
