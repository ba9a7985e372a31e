//! Certificates for tests.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

/// A CA and the means to sign with it.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A leaf with its key, both PEM.
pub struct Leaf {
    pub certificate: String,
    pub key: String,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        Self(CertifiedIssuer::self_signed(params, key).expect("certificate"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn leaf(&self, common_name: &str, sans: Vec<SanType>) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = sans;
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.0).expect("certificate");
        Leaf { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn server(&self) -> Leaf {
        let dns = SanType::DnsName("localhost".try_into().expect("name"));
        self.leaf("broker", vec![dns, SanType::IpAddress([127, 0, 0, 1].into())])
    }

    pub fn client(&self, name: &str) -> Leaf {
        let uri = SanType::URI(format!("spiffe://acme/{name}").try_into().expect("uri"));
        self.leaf(name, vec![SanType::DnsName(name.try_into().expect("name")), uri])
    }
}
