//! A stub sidecar with simulated Evidence in real formats, honest or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use adyton_attestation::Tee;
use adyton_attestation::binding::{BindingLevel, ChannelBinding, ReportBinding};
use adyton_attestation::challenge::Nonce;
use adyton_attestation::report::{AttestationReport, KeyMemory, Protections, ReportedModel};
use adyton_fake_tee::{FakeTee, TdProfile};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Answer, Authority, Clients, Exchange, Leaf, Ran, Said, Server, Stand};

/// How the stub departs from an honest sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lie {
    None,
    /// Evidence over another nonce.
    OldNonce,
    /// Evidence and report of another connection's server key.
    OtherKey,
    /// Evidence over the exporter value of another connection: a relay.
    OtherConnection,
    /// Bound to the certificate although the channel was asked for.
    WeakerBinding,
}

pub struct Sidecar {
    pub stand: Stand,
    pub server: Server,
    pub ppid: String,
    pub certificate: CertificateDer<'static>,
    /// A copy of the serving key, for a host that stole it.
    pub key: PrivateKeyDer<'static>,
    lie: Arc<AtomicU8>,
}

/// A sidecar that answers nothing but who it is.
pub fn sidecar(lie: Lie) -> Sidecar {
    sidecar_with(lie, |exchange| -> Said { panic!("nothing else is asked: {}", exchange.target) })
}

/// A sidecar that answers `serve` to what is not a question about itself.
pub fn sidecar_with(
    lie: Lie,
    serve: impl Fn(&Exchange) -> Said + Send + Sync + 'static,
) -> Sidecar {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let tee = FakeTee::new(now);
    let stand = Stand::new();
    stand.write("root.pem", tee.root_pem().as_bytes());
    stand.write("bundle.json", tee.endorsement_bundle(now, &[]).to_string().as_bytes());
    stand.write("references.toml", tee.reference_values(&TdProfile::default()).as_bytes());
    let clients = Authority::new("client CA");
    let (certificate, key, _) = clients.issue(&["me"], ClientAuth);
    stand.write("me.pem", certificate.as_bytes());
    stand.write_secret("me.key", key.as_bytes());
    let (_, _, Leaf { certificate, key }) =
        Authority::new("nobody").issue(&["localhost"], ServerAuth);
    let spki = adyton_client::spki_sha256(&certificate).expect("X.509 v3");
    let leaf = Leaf { certificate: certificate.clone(), key: key.clone_key() };
    let ppid = format!("ppid:{}", hex::encode(tee.ppid()));
    let lie = Arc::new(AtomicU8::new(lie as u8));
    let told = Arc::clone(&lie);
    let server =
        Server::start(leaf, Clients::IssuedBy(clients.der.clone()), move |exchange| match exchange
            .is_question()
        {
            true => report(exchange, &tee, spki, Lie::of(told.load(Ordering::SeqCst))).into(),
            false => serve(exchange),
        });
    Sidecar { stand, server, ppid, certificate, key, lie }
}

impl Lie {
    fn of(number: u8) -> Self {
        let all = [
            Self::None,
            Self::OldNonce,
            Self::OtherKey,
            Self::OtherConnection,
            Self::WeakerBinding,
        ];
        all.into_iter().find(|lie| *lie as u8 == number).expect("a lie")
    }
}

fn report(exchange: &Exchange, tee: &FakeTee, spki: [u8; 32], lie: Lie) -> Answer {
    let nonce = match lie {
        Lie::OldNonce => Nonce::from_bytes([1; 32]),
        _ => Nonce::parse_base64url(&exchange.query("nonce").expect("a nonce")).expect("a nonce"),
    };
    let spki_sha256 = if lie == Lie::OtherKey { [2; 32] } else { spki };
    let asked = exchange.query("bind");
    let channel = match (asked.as_deref(), lie) {
        (_, Lie::WeakerBinding) | (Some("certificate"), _) => ChannelBinding::Certificate,
        (_, Lie::OtherConnection) => ChannelBinding::Exporter([3; 32]),
        _ => ChannelBinding::Exporter(exchange.exporter),
    };
    let binding = ReportBinding {
        nonce: &nonce,
        spki_sha256,
        manifest_digest: [4; 32],
        config_digest: [5; 32],
        channel,
    };
    let report = AttestationReport {
        version: 1,
        tee: Tee::Tdx,
        nonce: nonce.to_base64url(),
        binding: channel.level(),
        evidence: tee.primary_evidence(&TdProfile::default(), binding.report_data().0, &[]),
        spki_sha256,
        manifest_digest: [4; 32],
        config_digest: [5; 32],
        model: ReportedModel {
            name: "llama".into(),
            version: 3,
            id: "06".repeat(16),
            kid: "kbs:///acme/model-key/llama?epoch=1".into(),
        },
        protections: Protections {
            key_memory: KeyMemory::MemfdSecret,
            dumpable: false,
            core_files: false,
            swap: true,
        },
        phase: "ready".into(),
        insecure: vec!["insecure_swap".into()],
        software: "stub 0".into(),
    };
    let level = if channel == ChannelBinding::Certificate {
        BindingLevel::Certificate
    } else {
        BindingLevel::Channel
    };
    assert_eq!(report.binding, level);
    (200, serde_json::to_string(&report).expect("JSON"))
}

impl Sidecar {
    /// From now on it lies like this.
    pub fn tell(&self, lie: Lie) {
        self.lie.store(lie as u8, Ordering::SeqCst);
    }

    pub fn verify(&self, more: &[&str]) -> Ran {
        let base = [
            "verify",
            &self.server.url,
            "--client-cert",
            "me.pem",
            "--client-key",
            "me.key",
            "--bundle",
            "bundle.json",
            "--insecure-extra-root",
            "root.pem",
        ];
        self.stand.run(&[&base[..], more].concat())
    }
}
