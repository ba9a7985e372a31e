//! The simulated vendor of SNP processors: root, intermediates, endorsement keys, revocation list.
//!
//! In: the time of birth, the product, a fault. Out: certificates with the names, extensions and
//! signatures that AMD's have (AMD 57230, §3.1 and tables 8 to 11), under a root of its own.

use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA384, RSA_PSS_SHA384, RsaEncoding, RsaKeyPair};

use crate::pki::DAY;
use crate::snp::der::{Critical, bits, extension, integer, oid, sequence, time, tlv};
use crate::snp::{FakeKey, FakeProduct, FakeTcb, SnpFault};

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
/// AMD's arc. What follows: 1 structVersion, 2 productName, 3.x SPLs, 4 hwID, 5 cspID.
const AMD: [u64; 8] = [1, 3, 6, 1, 4, 1, 3704, 1];
const ROOT_LIFETIME: u64 = 25 * 365 * DAY;
const KEY_LIFETIME: u64 = 7 * 365 * DAY;
const ASK_SERIAL: u64 = 0x02_0002;
const ASVK_SERIAL: u64 = 0x02_0003;

/// Whose RSA key.
#[derive(Clone, Copy)]
enum Authority {
    Ark,
    Ask,
    Asvk,
    /// A root of the same name, for forgeries.
    OtherArk,
}

/// How a certificate or list is signed.
#[derive(Clone, Copy)]
enum Padding {
    /// As AMD does: RSASSA-PSS, SHA-384, MGF1 of SHA-384, salt of 48 bytes.
    Pss,
    /// RSASSA-PKCS1-v1_5.
    Pkcs1,
}

/// From when to when, in seconds since the Unix epoch.
type Validity = (u64, u64);

impl Authority {
    fn key(self) -> RsaKeyPair {
        let pkcs8: &[u8] = match self {
            Self::Ark => include_bytes!("keys/ark.pk8.der"),
            Self::Ask => include_bytes!("keys/ask.pk8.der"),
            Self::Asvk => include_bytes!("keys/asvk.pk8.der"),
            Self::OtherArk => include_bytes!("keys/other_ark.pk8.der"),
        };
        RsaKeyPair::from_pkcs8(pkcs8).expect("the checked-in keys are RSA keys")
    }

    /// `SEQUENCE { signed, algorithm, signature }`.
    fn sign(self, signed: Vec<u8>, padding: Padding) -> Vec<u8> {
        let key = self.key();
        let mut signature = vec![0; key.public().modulus_len()];
        let encoding: &dyn RsaEncoding = match padding {
            Padding::Pss => &RSA_PSS_SHA384,
            Padding::Pkcs1 => &RSA_PKCS1_SHA384,
        };
        key.sign(encoding, &SystemRandom::new(), &signed, &mut signature).expect("random bytes");
        sequence(&[signed, padding.algorithm(), bits(&signature)])
    }

    /// SubjectPublicKeyInfo.
    fn public_key(self) -> Vec<u8> {
        let algorithm = sequence(&[oid(&[1, 2, 840, 113549, 1, 1, 1]), tlv(0x05, &[])]);
        sequence(&[algorithm, bits(self.key().public_key().as_ref())])
    }
}

impl Padding {
    /// AlgorithmIdentifier. RFC 4055, §3.1 and §5.
    fn algorithm(self) -> Vec<u8> {
        match self {
            Self::Pkcs1 => sequence(&[oid(&[1, 2, 840, 113549, 1, 1, 12]), tlv(0x05, &[])]),
            Self::Pss => {
                let sha384 = sequence(&[oid(&[2, 16, 840, 1, 101, 3, 4, 2, 2]), tlv(0x05, &[])]);
                let mgf1 = sequence(&[oid(&[1, 2, 840, 113549, 1, 1, 8]), sha384.clone()]);
                let parameters = sequence(&[
                    tlv(0xa0, &sha384),
                    tlv(0xa1, &mgf1),
                    tlv(0xa2, &integer(48)),
                    tlv(0xa3, &integer(1)),
                ]);
                sequence(&[oid(&[1, 2, 840, 113549, 1, 1, 10]), parameters])
            }
        }
    }
}

/// A name as AMD writes it, with its order and string types.
fn name(common_name: &str) -> Vec<u8> {
    let part =
        |id: &[u64], tag, text: &str| tlv(0x31, &sequence(&[oid(id), tlv(tag, text.as_bytes())]));
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    sequence(&[
        part(&[2, 5, 4, 11], UTF8, "Engineering"),
        part(&[2, 5, 4, 6], PRINTABLE, "US"),
        part(&[2, 5, 4, 7], UTF8, "Santa Clara"),
        part(&[2, 5, 4, 8], UTF8, "CA"),
        part(&[2, 5, 4, 10], UTF8, "Advanced Micro Devices"),
        part(COMMON_NAME, UTF8, common_name),
    ])
}

struct Certificate<'a> {
    serial: u64,
    subject: &'a str,
    issuer: &'a str,
    validity: Validity,
    public_key: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

impl Certificate<'_> {
    fn signed_by(self, authority: Authority, padding: Padding) -> Vec<u8> {
        let (from, until) = self.validity;
        let tbs = sequence(&[
            tlv(0xa0, &integer(2)),
            integer(self.serial),
            padding.algorithm(),
            name(self.issuer),
            sequence(&[time(from), time(until)]),
            name(self.subject),
            self.public_key,
            tlv(0xa3, &sequence(&self.extensions)),
        ]);
        authority.sign(tbs, padding)
    }
}

fn ca_extensions() -> Vec<Vec<u8>> {
    // keyCertSign and cRLSign.
    ca_for(0b0000_0110)
}

fn ca_for(usage: u8) -> Vec<Vec<u8>> {
    let usage = tlv(0x03, &[1, usage]);
    vec![constraints(Ca::Yes), extension(KEY_USAGE, Critical::Yes, &usage)]
}

#[derive(Clone, Copy)]
enum Ca {
    Yes,
    No,
}

fn constraints(ca: Ca) -> Vec<u8> {
    let members = match ca {
        Ca::Yes => vec![tlv(0x01, &[0xff])],
        Ca::No => Vec::new(),
    };
    extension(BASIC_CONSTRAINTS, Critical::Yes, &sequence(&members))
}

/// The certificate with a new signature of the ASK over its first part, which begins behind four bytes of
/// tag and length, and has four of its own.
pub(super) fn sign_certificate(der: &[u8]) -> Vec<u8> {
    let len = usize::from(u16::from_be_bytes([der[6], der[7]]));
    Authority::Ask.sign(der[4..8 + len].to_vec(), Padding::Pss)
}

fn flip_last_byte(mut der: Vec<u8>) -> Vec<u8> {
    if let Some(last) = der.last_mut() {
        *last ^= 1;
    }
    der
}

/// The simulated vendor of one product line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vendor {
    pub(super) born: u64,
    pub(super) product: FakeProduct,
}

/// What an endorsement key's certificate speaks about.
pub(super) struct KeyStatement<'a> {
    pub(super) kind: FakeKey,
    /// 97 bytes, uncompressed point of P-384.
    pub(super) public_key: &'a [u8],
    pub(super) chip_id: &'a [u8],
    pub(super) tcb: FakeTcb,
}

impl Vendor {
    fn since_birth(self, lifetime: u64) -> Validity {
        (self.born - DAY, self.born - DAY + lifetime)
    }

    fn root_name(self) -> String {
        format!("ARK-{}", self.product.name())
    }

    fn intermediate_name(self, kind: FakeKey) -> String {
        match kind {
            FakeKey::Vcek => format!("SEV-{}", self.product.name()),
            FakeKey::Vlek => format!("SEV-VLEK-{}", self.product.name()),
        }
    }

    /// The root's certificate, DER.
    pub(super) fn root(self) -> Vec<u8> {
        let root = self.root_name();
        Certificate {
            serial: 0x02_0000,
            subject: &root,
            issuer: &root,
            validity: self.since_birth(ROOT_LIFETIME),
            public_key: Authority::Ark.public_key(),
            extensions: ca_extensions(),
        }
        .signed_by(Authority::Ark, Padding::Pss)
    }

    /// ASK or ASVK, DER.
    pub(super) fn intermediate(self, kind: FakeKey, fault: Option<SnpFault>) -> Vec<u8> {
        let (serial, authority) = match kind {
            FakeKey::Vcek => (ASK_SERIAL, Authority::Ask),
            FakeKey::Vlek => (ASVK_SERIAL, Authority::Asvk),
        };
        let expired = match kind {
            FakeKey::Vcek => fault == Some(SnpFault::ExpiredAsk),
            FakeKey::Vlek => fault == Some(SnpFault::ExpiredAsvk),
        };
        let lifetime = if expired { DAY - 1 } else { ROOT_LIFETIME };
        let (signer, padding) = match fault {
            Some(SnpFault::OtherRoot) => (Authority::OtherArk, Padding::Pss),
            Some(SnpFault::Pkcs1Intermediate) => (Authority::Ark, Padding::Pkcs1),
            _ => (Authority::Ark, Padding::Pss),
        };
        let der = Certificate {
            serial,
            subject: &self.intermediate_name(kind),
            issuer: &self.root_name(),
            validity: self.since_birth(lifetime),
            public_key: authority.public_key(),
            extensions: match fault {
                Some(SnpFault::IntermediateIsNoCa) => vec![constraints(Ca::No)],
                Some(SnpFault::IntermediateForListsOnly) => ca_for(0b0000_0010),
                _ => ca_extensions(),
            },
        }
        .signed_by(signer, padding);
        match fault {
            Some(SnpFault::FlippedIntermediateSignature) => flip_last_byte(der),
            _ => der,
        }
    }

    /// VCEK or VLEK, DER.
    pub(super) fn endorsement_key(self, of: &KeyStatement<'_>, fault: Option<SnpFault>) -> Vec<u8> {
        let is = |wanted| fault == Some(wanted);
        let (subject, mut signer) = match of.kind {
            FakeKey::Vcek => ("SEV-VCEK", Authority::Ask),
            FakeKey::Vlek => ("SEV-VLEK", Authority::Asvk),
        };
        if is(SnpFault::SignedByRoot) {
            signer = Authority::Ark;
        }
        let issuer = match fault {
            Some(SnpFault::UnknownIssuerName) => "SEV-Rome".to_owned(),
            Some(SnpFault::IssuerOfOtherKind) => self.intermediate_name(FakeKey::Vlek),
            _ => self.intermediate_name(of.kind),
        };
        let validity = match fault {
            Some(SnpFault::ExpiredKey) => self.since_birth(DAY - 1),
            Some(SnpFault::FutureKey) => (self.born + DAY, self.born + KEY_LIFETIME),
            _ => self.since_birth(KEY_LIFETIME),
        };
        let algorithm = sequence(&[oid(&[1, 2, 840, 10045, 2, 1]), oid(&[1, 3, 132, 0, 34])]);
        let padding = if is(SnpFault::Pkcs1Signature) { Padding::Pkcs1 } else { Padding::Pss };
        let der = Certificate {
            serial: 0,
            subject,
            issuer: &issuer,
            validity,
            public_key: sequence(&[algorithm, bits(of.public_key)]),
            extensions: self.statements(of, fault),
        }
        .signed_by(signer, padding);
        if is(SnpFault::FlippedKeySignature) { flip_last_byte(der) } else { der }
    }

    /// AMD's own extensions.
    fn statements(self, of: &KeyStatement<'_>, fault: Option<SnpFault>) -> Vec<Vec<u8>> {
        let is = |wanted| fault == Some(wanted);
        let amd =
            |arcs: &[u64], value: &[u8]| extension(&[&AMD, arcs].concat(), Critical::No, value);
        let ia5 = |text: &str| tlv(0x16, text.as_bytes());
        let mut all = vec![amd(&[1], &integer(1))];
        if is(SnpFault::KeyIsCa) {
            all.push(constraints(Ca::Yes));
        }
        if is(SnpFault::CriticalExtension) {
            all.push(extension(&[&AMD[..], &[99]].concat(), Critical::Yes, &integer(1)));
        }
        let product = match (fault, of.kind) {
            (Some(SnpFault::OtherProductName), _) => "Milan-B0".to_owned(),
            (_, FakeKey::Vcek) => format!("{}-B0", self.product.name()),
            (_, FakeKey::Vlek) => self.product.name().to_owned(),
        };
        if !is(SnpFault::NoProductName) {
            all.push(amd(&[2], &ia5(&product)));
        }
        let level = |number: u8, faulty| integer(u64::from(number) + u64::from(is(faulty)));
        let tcb = of.tcb;
        all.push(amd(&[3, 1], &level(tcb.bootloader, SnpFault::BootloaderSpl)));
        all.push(amd(&[3, 2], &level(tcb.tee, SnpFault::TeeSpl)));
        if !is(SnpFault::NoSnpSpl) {
            all.push(amd(&[3, 3], &level(tcb.snp, SnpFault::SnpSpl)));
        }
        all.push(amd(&[3, 8], &level(tcb.microcode, SnpFault::MicrocodeSpl)));
        if self.product == FakeProduct::Turin {
            all.push(amd(&[3, 9], &level(tcb.fmc, SnpFault::FmcSpl)));
        }
        match of.kind {
            FakeKey::Vcek if is(SnpFault::NoHardwareId) => {}
            FakeKey::Vcek => {
                let mut id = of.chip_id[..self.product.chip_id_len()].to_vec();
                if is(SnpFault::OtherChip) {
                    id = id.iter().map(|byte| !byte).collect();
                }
                all.push(amd(&[4], &id));
                if is(SnpFault::ChipTwice) {
                    all.push(amd(&[4], &[0xee; 64]));
                }
            }
            FakeKey::Vlek if is(SnpFault::NoCspId) => {}
            FakeKey::Vlek => all.push(amd(&[5], &ia5("fake-cloud"))),
        }
        all
    }

    /// The root's revocation list as of `now`, DER.
    pub(super) fn revocation_list(self, now: u64, fault: Option<SnpFault>) -> Vec<u8> {
        let (issued, until) = match fault {
            Some(SnpFault::ExpiredList) => (now - 10 * DAY, now - 1),
            Some(SnpFault::FutureList) => (now + 1, now + 10 * DAY),
            _ => (now - 3600, now + 30 * DAY),
        };
        let (signer, padding) = match fault {
            Some(SnpFault::ListOfOtherRoot) => (Authority::OtherArk, Padding::Pss),
            Some(SnpFault::Pkcs1List) => (Authority::Ark, Padding::Pkcs1),
            _ => (Authority::Ark, Padding::Pss),
        };
        let revoked = match fault {
            Some(SnpFault::RevokedAsk) => ASK_SERIAL,
            Some(SnpFault::RevokedAsvk) => ASVK_SERIAL,
            // Somebody else's: an empty list would hide that entries are read.
            _ => 0x0f_0000,
        };
        let mut extensions = vec![extension(&[2, 5, 29, 20], Critical::No, &integer(1))];
        if fault == Some(SnpFault::PartialList) {
            // IssuingDistributionPoint: onlyContainsUserCerts.
            let users = sequence(&[tlv(0x81, &[0xff])]);
            extensions.push(extension(&[2, 5, 29, 28], Critical::Yes, &users));
        }
        let mut issuer = name(&self.root_name());
        if fault == Some(SnpFault::ListOfOtherIssuer) {
            let country = issuer.windows(2).position(|two| two == b"US").expect("a country");
            issuer[country + 1] = b'T';
        }
        let stated = match fault {
            Some(SnpFault::ListOfTwoAlgorithms) => Padding::Pkcs1,
            _ => padding,
        };
        let tbs = sequence(&[
            integer(1),
            stated.algorithm(),
            issuer,
            time(issued),
            time(until),
            sequence(&[sequence(&[integer(revoked), time(issued)])]),
            tlv(0xa0, &sequence(&extensions)),
        ]);
        let list = signer.sign(tbs, padding);
        if fault == Some(SnpFault::TamperedList) { flip_last_byte(list) } else { list }
    }
}
