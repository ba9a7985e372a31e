//! Every configuration key: its name, kind, default and meaning. The one list of them.
//!
//! The parser, `--help` and the messages about unknown keys read this table, so a key can't be
//! accepted and undocumented.

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text: an address or a path; it is looked at closer later.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts; in the environment separated by commas.
    List,
    /// A whole number in this range, both ends included.
    Number {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `key` or `table.key`.
    pub key: &'static str,
    /// What a value may be.
    pub kind: Kind,
    /// As it would be written in the environment; empty: not set.
    pub default: &'static str,
    /// One line for `--help`.
    pub meaning: &'static str,
}

impl Setting {
    /// The environment variable that sets it.
    pub fn environment_variable(&self) -> String {
        let name = self.key.to_uppercase().replace('.', "__");
        format!("{}{name}", super::ENVIRONMENT_PREFIX)
    }
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { key, kind, default, meaning }
}

/// All configuration keys.
pub const SETTINGS: &[Setting] = &[
    setting("listen", Kind::Text, "0.0.0.0:8443", "address of the KBS, for guests"),
    setting("admin_listen", Kind::Text, "127.0.0.1:8444", "address of the admin API, or off"),
    setting(
        "state_dir",
        Kind::Text,
        "/var/lib/adyton-broker",
        "folder of store, keys and audit log",
    ),
    setting(
        "server_names",
        Kind::List,
        "localhost,127.0.0.1",
        "names in the self-made server certificate",
    ),
    setting("tls.certificate_file", Kind::Text, "", "PEM chain; without it a self-made CA is used"),
    setting("tls.key_file", Kind::Text, "", "PEM private key of the certificate, mode 0600"),
    setting(
        "token.key_file",
        Kind::Text,
        "",
        "P-256 key (PKCS#8 PEM, mode 0600) that signs tokens; empty: made at each start",
    ),
    setting(
        "token.certificate_file",
        Kind::Text,
        "",
        "PEM chain of that key, leaf first; it stands in each token (x5c)",
    ),
    setting(
        "admin.authentication",
        Kind::List,
        "",
        "token, client-certificate or both; [] switches the admin API off",
    ),
    setting(
        "admin.token_file",
        Kind::Text,
        "",
        "admin token, made on first start; <state_dir>/admin-token",
    ),
    setting("admin.client_ca_file", Kind::Text, "", "PEM CA of the administrators' certificates"),
    setting(
        "endorsements.bundle_files",
        Kind::List,
        "",
        "JSON files with the vendors' Endorsements",
    ),
    setting(
        "endorsements.intel_url",
        Kind::Text,
        "",
        "PCCS or Intel PCS, such as https://api.trustedservices.intel.com; not set: never asked",
    ),
    setting(
        "endorsements.intel_root_crl_url",
        Kind::Text,
        "",
        "whole URL of the list of Intel's root; not set: from the PCCS, or Intel's own",
    ),
    setting(
        "endorsements.amd_url",
        Kind::Text,
        "",
        "AMD KDS or a cache of it, such as https://kdsintf.amd.com; not set: never asked",
    ),
    setting(
        "endorsements.ca_file",
        Kind::Text,
        "",
        "PEM CAs of these services; not set: those of the system",
    ),
    setting(
        "endorsements.timeout_seconds",
        Kind::Number { min: 1, max: 120 },
        "15",
        "longest time of a request to a service, and of a verification's wait for it",
    ),
    setting(
        "endorsements.refresh_hours",
        Kind::Number { min: 1, max: 720 },
        "24",
        "age from which a document or list is asked for again",
    ),
    setting(
        "endorsements.max_stale_hours",
        Kind::Number { min: 1, max: 8760 },
        "168",
        "age until which it is used when that fails; never past the end that its vendor signed",
    ),
    setting(
        "endorsements.amd_vcek_interval_seconds",
        Kind::Number { min: 0, max: 600 },
        "10",
        "time between requests for certificates of AMD processors",
    ),
    setting(
        "endorsements.cache_dir",
        Kind::Text,
        "",
        "folder of what was fetched; <state_dir>/endorsements",
    ),
    setting(
        "endorsements.cache_entries",
        Kind::Number { min: 16, max: 100_000 },
        "4096",
        "most fetched statements that are kept",
    ),
    setting(
        "verifier.insecure_extra_roots",
        Kind::List,
        "",
        "roots beside the vendors'; whoever holds their keys can forge any Evidence",
    ),
    setting(
        "verifier.insecure_paravisor_tds",
        Kind::Word(&["refuse", "accept"]),
        "refuse",
        "TDs of Azure, without SEPT_VE_DISABLE; accepted, the host can inject #VE, and the paravisor \
         decides what that does. A key's policy has to accept them, too",
    ),
    setting(
        "verifier.insecure_amd_revocation",
        Kind::Word(&["require", "waive"]),
        "require",
        "AMD's revocation lists, where none can be had; waived, a revoked ASK or ASVK is not noticed. A \
         key's policy has to accept that, too",
    ),
    setting(
        "session.timeout_seconds",
        Kind::Number { min: 1, max: 3600 },
        "300",
        "from Challenge to the end of the session",
    ),
    setting(
        "session.max_challenges",
        Kind::Number { min: 1, max: 1_000_000 },
        "65536",
        "most open Challenges; then the oldest goes",
    ),
    setting(
        "session.max_attested",
        Kind::Number { min: 1, max: 1_000_000 },
        "4096",
        "most attested sessions; then the oldest goes",
    ),
    setting(
        "limits.connections",
        Kind::Number { min: 1, max: 100_000 },
        "1024",
        "most connections at a time on one listener",
    ),
    setting(
        "limits.request_timeout_seconds",
        Kind::Number { min: 1, max: 600 },
        "30",
        "longest time of one request",
    ),
    setting(
        "limits.drain_seconds",
        Kind::Number { min: 0, max: 600 },
        "20",
        "longest wait for requests in flight after SIGTERM",
    ),
    setting(
        "limits.concurrent_verifications",
        Kind::Number { min: 1, max: 1024 },
        "4",
        "most verifications of Evidence at a time",
    ),
    setting(
        "decisions.kept",
        Kind::Number { min: 1, max: 10_000_000 },
        "10000",
        "decisions with full reasons that the store keeps",
    ),
    setting("log.format", Kind::Word(&["auto", "json", "text"]), "auto", "form of the log lines"),
    setting(
        "log.level",
        Kind::Word(&["error", "warn", "info", "debug"]),
        "info",
        "least severity that is logged",
    ),
];

/// The setting with this key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The known key that is most like `key`, when one is close.
pub(super) fn most_like(key: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (edits(key, setting.key), setting.key))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, key)| key)
}

/// Levenshtein distance; keys are short, and longer ones are cut before they come here.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        row[0] = last;
        for (cell, right) in row[1..].iter_mut().zip(&b) {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = *cell;
            last = substituted.min(last + 1).min(diagonal + 1);
            *cell = last;
        }
    }
    row[b.len()]
}
