//! Checks a configuration against the machine, and reports every mistake at once.
//!
//! In: the file's shape. Out: a [`Config`], or all [`Problem`]s. It reads the files it names and
//! asks the kernel about folders; it binds, writes and sends nothing.
//! Against: plaintext on a disk because a mount is not what the manifest says (the host chooses
//! the mounts); a key file that the whole container can read; a hop to the server in clear text
//! over a network.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_attestation::attester::{DetectionOptions, Source};
use adyton_attestation::rcar::ResourcePath;
use adyton_model_store::Roots;
use adyton_sealed_weights::TargetCheck;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::digest;
use super::expose;
use super::file::{
    AttesterSection, BrokerSection, ConfigFile, LimitsSection, ModelSection, TlsSection,
    UpstreamSection,
};
use super::problem::{ConfigError, Problem};
use super::store;
use super::{
    AttesterChoice, AttesterConfig, BrokerConfig, Config, EvidenceInCertificate, ExpectedName,
    KeyChoice, ModelConfig, Opening, Readers, ServingCertificate, TlsConfig, UpstreamConfig,
};
use crate::error::chain;
use crate::hygiene::Swap;
use crate::proxy::authorise::ClientPolicy;
use crate::proxy::limits::Limits;
use crate::upstream::UpstreamAddress;

/// A certificate file larger than this is not one.
const MAX_PEM_BYTES: u64 = 1 << 20;
/// A certificate that lives longer than this outlives the TEE's usual life.
const MAX_CERTIFICATE_DAYS: u64 = 90;
/// With Evidence in it: a week is what Verifiers take (attestation/SPEC.md §13.2), and the certificate
/// begins a little before now.
const MAX_CERTIFICATE_DAYS_WITH_EVIDENCE: u64 = 6;

pub(super) fn check(file: ConfigFile) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::default();
    let listen = mistakes.address("listen", &file.listen);
    let admin_listen = mistakes.address("admin_listen", &file.admin_listen);
    let attester = attester(&file.attester, &mut mistakes);
    let broker = broker(&file.broker, &mut mistakes);
    let model = model(&file.model, &mut mistakes);
    let expose = expose::check(&file.expose, &mut mistakes);
    let upstream = upstream(&file.upstream, &mut mistakes);
    let tls = tls(&file.tls, &mut mistakes);
    let clients = clients(file.clients.allowed_sans.as_deref(), &mut mistakes);
    let limits = limits(&file.limits, &mut mistakes);

    let (
        Some(listen),
        Some(admin_listen),
        Some(attester),
        Some(broker),
        Some(mut model),
        Some(expose),
        Some(upstream),
        Some(tls),
        Some(clients),
        Some(limits),
        true,
    ) = (
        listen,
        admin_listen,
        attester,
        broker,
        model,
        expose,
        upstream,
        tls,
        clients,
        limits,
        mistakes.found.is_empty(),
    )
    else {
        return Err(ConfigError::all(mistakes.found));
    };
    if expose.leaves_the_model_sealed() {
        model.opening = Opening::OnDemand;
    }
    let store_roots = match &model.store.settings.roots {
        Roots::System => &[][..],
        Roots::Only(roots) => roots,
    };
    let effective = digest::effective(&file, &broker.roots, &tls.client_roots, store_roots);
    Ok(Config {
        listen,
        admin_listen,
        swap: if file.insecure_allow_swap { Swap::InsecureAllow } else { Swap::Refuse },
        attester,
        broker,
        model,
        expose,
        upstream,
        tls,
        clients,
        limits,
        effective,
    })
}

/// The mistakes found so far. Each check notes its mistake here and gives `None`.
#[derive(Default)]
pub(super) struct Mistakes {
    found: Vec<Problem>,
}

impl Mistakes {
    pub(super) fn note<T>(
        &mut self,
        key: &str,
        value: impl Display,
        expected: &str,
        remedy: &str,
    ) -> Option<T> {
        self.found.push(Problem {
            key: key.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
            remedy: remedy.to_owned(),
        });
        None
    }

    pub(super) fn required<'a>(
        &mut self,
        key: &str,
        value: Option<&'a str>,
        expected: &str,
    ) -> Option<&'a str> {
        match value {
            Some(value) if !value.is_empty() => Some(value),
            Some(_) => self.note(key, "(empty)", expected, "give it a value"),
            None => self.note(key, "(not set)", expected, "this key is required"),
        }
    }

    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        text.parse().ok().or_else(|| {
            self.note(key, text, "an address and a port", "write it as 0.0.0.0:8443 or [::]:8443")
        })
    }

    pub(super) fn between(&mut self, key: &str, value: u64, least: u64, most: u64) -> Option<u64> {
        if (least..=most).contains(&value) {
            Some(value)
        } else {
            self.note(key, value, &format!("{least} to {most}"), "choose a value in this range")
        }
    }

    pub(super) fn seconds(
        &mut self,
        key: &str,
        value: u64,
        least: u64,
        most: u64,
    ) -> Option<Duration> {
        self.between(key, value, least, most).map(Duration::from_secs)
    }

    /// Certificates of a PEM file; at least one.
    pub(super) fn certificates(
        &mut self,
        key: &str,
        file: &str,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let expected = "a PEM file with at least one certificate";
        let bytes = match read_bounded(Path::new(file)) {
            Ok(bytes) => bytes,
            Err(error) => {
                return self.note(key, format!("{file}: {error}"), expected, "is it mounted here?");
            }
        };
        match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if !certificates.is_empty() => Some(certificates),
            Ok(_) => self.note(key, file, expected, "this file has no CERTIFICATE block"),
            Err(error) => {
                self.note(key, format!("{file}: {error}"), expected, "export the file again as PEM")
            }
        }
    }
}

fn read_bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    let size = std::fs::metadata(file)?.len();
    if size > MAX_PEM_BYTES {
        let text = format!("{size} bytes; a PEM file has at most {MAX_PEM_BYTES}");
        return Err(std::io::Error::other(text));
    }
    std::fs::read(file)
}

fn attester(section: &AttesterSection, mistakes: &mut Mistakes) -> Option<AttesterConfig> {
    let choice = match section.kind.as_str() {
        "auto" => AttesterChoice::Auto,
        kind => match Source::ORDER.into_iter().find(|source| source.name() == kind) {
            Some(source) => AttesterChoice::Only(source),
            None => {
                return mistakes.note(
                    "attester.kind",
                    kind,
                    "auto, tsm, sev-guest, az-vtpm or coco",
                    "there is no simulated attester in this program; tests bring a guest API of their own",
                );
            }
        },
    };
    let places = DetectionOptions {
        tsm_path: PathBuf::from(&section.tsm_path),
        sev_guest_path: PathBuf::from(&section.sev_guest_path),
        tpm_path: PathBuf::from(&section.tpm_path),
        coco_url: section.coco_url.clone(),
        ..DetectionOptions::default()
    };
    Some(AttesterConfig { choice, places })
}

fn broker(section: &BrokerSection, mistakes: &mut Mistakes) -> Option<BrokerConfig> {
    let shape = "https://host[:port][/path]";
    let url = mistakes.required("broker.url", section.url.as_deref(), shape);
    let ca_file =
        mistakes.required("broker.ca_file", section.ca_file.as_deref(), "the broker's CA as PEM");
    let roots = ca_file.and_then(|file| mistakes.certificates("broker.ca_file", file));
    let request_timeout =
        mistakes.seconds("broker.request_timeout_seconds", section.request_timeout_seconds, 1, 600);
    let retry_for =
        mistakes.seconds("broker.retry_for_seconds", section.retry_for_seconds, 0, 7 * 86_400);

    let url = url?;
    let parsed = url.parse::<http::Uri>().ok().filter(|uri| {
        uri.scheme_str() == Some("https")
            && uri.query().is_none()
            && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
    });
    let Some((uri, host)) = parsed.and_then(|uri| uri.host().map(str::to_owned).map(|h| (uri, h)))
    else {
        return mistakes.note(
            "broker.url",
            url,
            shape,
            "keys travel over TLS only; the scheme must be https",
        );
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let Ok(server_name) = ServerName::try_from(host.clone()) else {
        return mistakes.note(
            "broker.url",
            url,
            shape,
            "the host must be a DNS name or an address",
        );
    };
    Some(BrokerConfig {
        url: url.to_owned(),
        port: uri.port_u16().unwrap_or(443),
        base_path: uri.path().trim_end_matches('/').to_owned(),
        host,
        server_name,
        roots: roots?,
        ca_file: PathBuf::from(ca_file?),
        request_timeout: request_timeout?,
        retry_for: retry_for?,
    })
}

fn model(section: &ModelSection, mistakes: &mut Mistakes) -> Option<ModelConfig> {
    let store = store::check(&section.store, mistakes);
    let source = store::source(section.source.as_deref(), store.as_ref(), mistakes);
    let target = mistakes
        .required("model.target", section.target.as_deref(), "a memory-backed folder")
        .and_then(|target| check_target(target, mistakes));
    let key = match section.key.as_deref() {
        None => Some(KeyChoice::FirstRecipient),
        Some(uri) => match ResourcePath::from_uri(uri) {
            Ok(_) => Some(KeyChoice::Named(uri.to_owned())),
            Err(error) => mistakes.note(
                "model.key",
                format!("{uri}: {error}"),
                "kbs:///<repository>/<type>/<tag>",
                "take the URI that `adyton key list` shows",
            ),
        },
    };
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = mistakes
        .between("model.threads", section.threads, 0, 1024)
        .and_then(|threads| usize::try_from(threads).ok())
        .map(|threads| NonZeroUsize::new(threads).unwrap_or(processors));
    let readers = match section.readable_by.as_str() {
        "owner" => Some(Readers::Owner),
        "group" => Some(Readers::Group),
        "everyone" => Some(Readers::Everyone),
        other => mistakes.note(
            "model.readable_by",
            other,
            "owner, group or everyone",
            "choose group or everyone when the inference server runs under another user",
        ),
    };
    Some(ModelConfig {
        readers: readers?,
        opening: Opening::IntoTarget,
        source: source?,
        store: store?,
        target: target?,
        name: section.name.clone().map_or(ExpectedName::AnyUnderThisKey, ExpectedName::Exactly),
        minimum_version: section.minimum_version,
        key: key?,
        threads: threads?,
    })
}

fn check_target(target: &str, mistakes: &mut Mistakes) -> Option<PathBuf> {
    let expected = "an existing folder on tmpfs or ramfs";
    let remedy = "mount a memory-backed volume there (emptyDir with medium: Memory, or a folder \
                  under /dev/shm); plaintext weights never go to a disk";
    let seen = match TargetCheck::probe(Path::new(target)) {
        Err(error) => chain(&error),
        Ok(probe) if !probe.memory_backed => {
            format!("{target}: file system of type {:#x}", probe.filesystem)
        }
        Ok(_) if !Path::new(target).is_dir() => format!("{target}: not a folder"),
        Ok(_) => return Some(PathBuf::from(target)),
    };
    mistakes.note("model.target", seen, expected, remedy)
}

fn upstream(section: &UpstreamSection, mistakes: &mut Mistakes) -> Option<UpstreamConfig> {
    let shape = "http://127.0.0.1:<port> or unix:/path";
    let address =
        mistakes.required("upstream.address", section.address.as_deref(), shape).and_then(|text| {
            UpstreamAddress::parse(text).or_else(|| {
                mistakes.note(
                    "upstream.address",
                    text,
                    shape,
                    "this hop is not encrypted: only loopback and Unix sockets stay in the TEE",
                )
            })
        });
    let health_path = match section.health_path.as_str() {
        path if path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok() => {
            Some(path.to_owned())
        }
        other => mistakes.note(
            "upstream.health_path",
            other,
            "a path that begins with /",
            "use the path on which the server says that it can serve, e.g. /health",
        ),
    };
    let health_interval = mistakes.seconds(
        "upstream.health_interval_seconds",
        section.health_interval_seconds,
        1,
        300,
    );
    let connect_timeout = mistakes.seconds(
        "upstream.connect_timeout_seconds",
        section.connect_timeout_seconds,
        1,
        300,
    );
    let first_byte_timeout = mistakes.seconds(
        "upstream.first_byte_timeout_seconds",
        section.first_byte_timeout_seconds,
        1,
        86_400,
    );
    Some(UpstreamConfig {
        address: address?,
        health_path: health_path?,
        health_interval: health_interval?,
        connect_timeout: connect_timeout?,
        first_byte_timeout: first_byte_timeout?,
    })
}

fn tls(section: &TlsSection, mistakes: &mut Mistakes) -> Option<TlsConfig> {
    let client_roots = mistakes
        .required("tls.client_ca_file", section.client_ca_file.as_deref(), "the clients' CA as PEM")
        .and_then(|file| mistakes.certificates("tls.client_ca_file", file));
    let certificate = match (section.certificate_file.as_deref(), section.key_file.as_deref()) {
        (None, None) => born_here(section, mistakes),
        (Some(_), Some(_)) if section.evidence_in_certificate => mistakes.note(
            "tls.evidence_in_certificate",
            "true",
            "false, where the certificate comes from a file",
            "leave certificate_file and key_file out: then both are born in the TEE",
        ),
        (Some(chain), Some(key)) => {
            let chain = mistakes.certificates("tls.certificate_file", chain);
            let key = check_key_file(key, mistakes);
            match (chain, key) {
                (Some(chain), Some(key_file)) => {
                    Some(ServingCertificate::Files { chain, key_file })
                }
                _ => None,
            }
        }
        (Some(_), None) => mistakes.note(
            "tls.key_file",
            "(not set)",
            "the key of tls.certificate_file",
            "set both, or neither: then a key is born in the TEE",
        ),
        (None, Some(_)) => mistakes.note(
            "tls.certificate_file",
            "(not set)",
            "the certificate of tls.key_file",
            "set both, or neither: then a key is born in the TEE",
        ),
    };
    Some(TlsConfig { client_roots: client_roots?, certificate: certificate? })
}

fn born_here(section: &TlsSection, mistakes: &mut Mistakes) -> Option<ServingCertificate> {
    let (evidence, most) = match section.evidence_in_certificate {
        false => (EvidenceInCertificate::LeftOut, MAX_CERTIFICATE_DAYS),
        true => (EvidenceInCertificate::Included, MAX_CERTIFICATE_DAYS_WITH_EVIDENCE),
    };
    let days = mistakes.between("tls.certificate_days", section.certificate_days, 1, most);
    if section.server_names.is_empty() {
        return mistakes.note("tls.server_names", "[]", "at least one name", "name this server");
    }
    for name in &section.server_names {
        if ServerName::try_from(name.as_str()).is_err() {
            return mistakes.note(
                "tls.server_names",
                name,
                "DNS names and IP addresses",
                "use the names that clients will connect to",
            );
        }
    }
    let server_names = section.server_names.clone();
    Some(ServingCertificate::BornHere { server_names, days: u16::try_from(days?).ok()?, evidence })
}

fn check_key_file(file: &str, mistakes: &mut Mistakes) -> Option<PathBuf> {
    let expected = "a PEM private key that only its owner and group can read";
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) => {
            let value = format!("{file}: {error}");
            return mistakes.note("tls.key_file", value, expected, "is it mounted here?");
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        return mistakes.note(
            "tls.key_file",
            format!("{file}: mode {mode:04o}"),
            expected,
            "chmod 0600, or defaultMode: 0400 on the volume",
        );
    }
    match PrivateKeyDer::from_pem_file(file) {
        Ok(_) => Some(PathBuf::from(file)),
        Err(error) => {
            let value = format!("{file}: {error}");
            mistakes.note("tls.key_file", value, expected, "export the key as unencrypted PKCS#8")
        }
    }
}

fn clients(allowed: Option<&[String]>, mistakes: &mut Mistakes) -> Option<ClientPolicy> {
    let expected = "subject alternative names as DNS:… or URI:…";
    match allowed {
        None => Some(ClientPolicy::EveryClientOfTheCa),
        Some([]) => mistakes.note(
            "clients.allowed_sans",
            "[]",
            expected,
            "an empty list would let nobody in; leave the key out to accept every client of the CA",
        ),
        Some(names) => {
            let strange =
                names.iter().find(|name| !name.starts_with("DNS:") && !name.starts_with("URI:"));
            match strange {
                Some(name) => mistakes.note(
                    "clients.allowed_sans",
                    name,
                    expected,
                    "put the kind of name before it",
                ),
                None => Some(ClientPolicy::OneOf(names.iter().cloned().collect())),
            }
        }
    }
}

fn limits(section: &LimitsSection, mistakes: &mut Mistakes) -> Option<Limits> {
    let mut count = |key: &str, value, least, most| {
        mistakes
            .between(&format!("limits.{key}"), value, least, most)
            .and_then(|value| usize::try_from(value).ok())
    };
    let max_connections = count("max_connections", section.max_connections, 1, 1 << 20);
    let max_body = count("max_body_bytes", section.max_body_bytes, 0, 1 << 40);
    let max_head = count("max_head_bytes", section.max_head_bytes, 1 << 10, 1 << 20);
    let max_headers = count("max_headers", section.max_headers, 8, 1000);
    let streams = count("max_concurrent_streams", section.max_concurrent_streams, 1, 1 << 16);
    let reports = count("max_pending_reports", section.max_pending_reports, 1, 1024);
    let mut time = |key: &str, value| mistakes.seconds(&format!("limits.{key}"), value, 1, 86_400);
    let handshake_timeout = time("handshake_timeout_seconds", section.handshake_timeout_seconds);
    let header_read_timeout =
        time("header_read_timeout_seconds", section.header_read_timeout_seconds);
    let stall_timeout = time("stall_timeout_seconds", section.stall_timeout_seconds);
    let idle_timeout = time("idle_timeout_seconds", section.idle_timeout_seconds);
    let drain_timeout = time("drain_timeout_seconds", section.drain_timeout_seconds);
    Some(Limits {
        max_connections: max_connections?,
        max_body_bytes: u64::try_from(max_body?).ok()?,
        max_head_bytes: max_head?,
        max_headers: max_headers?,
        max_concurrent_streams: u32::try_from(streams?).ok()?,
        max_pending_reports: reports?,
        handshake_timeout: handshake_timeout?,
        header_read_timeout: header_read_timeout?,
        stall_timeout: stall_timeout?,
        idle_timeout: idle_timeout?,
        drain_timeout: drain_timeout?,
    })
}
