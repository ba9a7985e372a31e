//! Every bound on outside bytes, in one place.
//!
//! A parser compares a length, count or depth with a constant from here *before* it takes memory
//! or time for it. The numbers leave room above what real platforms send (named beside each) and
//! stay far below what would hurt a broker that serves thousands.

/// Largest accepted quote in bytes, with zero padding. Real: 4.9 to 5.3 KiB, padded to 8000 by GCP.
pub const MAX_QUOTE_LEN: usize = 16 * 1024;
/// Largest accepted text (hex, base64 or JSON) that carries Evidence, in bytes. An event log of
/// 1 MiB in base64 is the largest part.
pub const MAX_EVIDENCE_FILE_LEN: usize = 2 * 1024 * 1024;
/// Largest accepted event log in bytes, decoded. The ACPI table reserves up to 1 MiB.
pub const MAX_EVENT_LOG_LEN: usize = 1024 * 1024;
/// Events in one event log. Real logs have up to a hundred.
pub const MAX_EVENT_LOG_EVENTS: usize = 1024;
/// Digest algorithms that one event log declares. Firmware for TDX writes one, TPMs have up to five.
pub const MAX_EVENT_LOG_ALGORITHMS: usize = 8;
/// Events that one policy asks for.
pub const MAX_POLICY_EVENTS: usize = 256;
/// Proven content of one event that becomes a claim, in bytes.
pub const MAX_EVENT_CONTENT_LEN: usize = 4096;
/// Certificates in one chain. Intel's have three.
pub const MAX_CHAIN_CERTIFICATES: usize = 6;
/// One certificate in bytes, DER. Intel's PCK certificate has about 1.3 KiB.
pub const MAX_CERTIFICATE_LEN: usize = 8 * 1024;
/// One PEM chain in bytes.
pub const MAX_CERTIFICATE_CHAIN_LEN: usize = 32 * 1024;
/// QE authentication data in bytes. Intel's quoting enclave writes 32.
pub const MAX_QE_AUTH_DATA_LEN: usize = 1024;
/// One certificate revocation list in bytes, DER. Intel's PCK Platform CA list has 3.4 KiB.
pub const MAX_CRL_LEN: usize = 1024 * 1024;
/// TCB info or QE identity, JSON text in bytes. Real: up to 8 KiB.
pub const MAX_TCB_JSON_LEN: usize = 256 * 1024;
/// Good signatures that a cache remembers, 32 bytes each. One platform has about eight.
pub const MAX_CACHED_SIGNATURES: usize = 8192;
/// TCB levels in one TCB info, or of one TDX module or quoting enclave. Intel lists up to twenty.
pub const MAX_TCB_LEVELS: usize = 256;
/// TDX modules in one TCB info. Intel lists three.
pub const MAX_TDX_MODULES: usize = 64;
/// Advisory ids of one TCB level. Intel lists up to thirty.
pub const MAX_ADVISORIES: usize = 256;
/// One file of Endorsements in bytes.
pub const MAX_ENDORSEMENT_BUNDLE_LEN: usize = 16 * 1024 * 1024;
/// One answer of a vendor's service in bytes: a revocation list in hex is the largest.
pub const MAX_ENDORSEMENT_ANSWER_LEN: usize = 2 * MAX_CRL_LEN;
/// Platforms (FMSPC entries) in one bundle. Intel has about a hundred.
pub const MAX_ENDORSEMENT_ENTRIES: usize = 1024;
/// One file of Reference Values or one release policy, TOML in bytes.
pub const MAX_POLICY_LEN: usize = 1024 * 1024;
/// Alternatives for one register in one set of Reference Values.
pub const MAX_REFERENCE_ALTERNATIVES: usize = 256;
/// A name of a set of Reference Values, in bytes.
pub const MAX_NAME_LEN: usize = 128;
/// A trust anchor file in bytes.
pub const MAX_ANCHOR_LEN: usize = 16 * 1024;
/// Extra trust anchors.
pub const MAX_EXTRA_ANCHORS: usize = 16;
/// One HCL report in bytes. Azure's NV index has 2600.
pub const MAX_HCL_REPORT_LEN: usize = 4096;
/// Keys in the var-data of an HCL report. Azure writes one or two.
pub const MAX_HCL_KEYS: usize = 16;
/// One TPMS_ATTEST in bytes. A quote of one bank over a 48-byte digest has 161.
pub const MAX_TPM_ATTEST_LEN: usize = 1024;
/// Qualifying data of a TPM quote in bytes: the largest digest, SHA-512.
pub const MAX_TPM_EXTRA_DATA_LEN: usize = 64;
/// A TPM name in bytes: algorithm and the largest digest.
pub const MAX_TPM_NAME_LEN: usize = 66;
/// A digest of a TPM in bytes: SHA-512.
pub const MAX_TPM_DIGEST_LEN: usize = 64;
/// PCR banks in one selection. Real TPMs have up to five.
pub const MAX_TPM_PCR_SELECTIONS: usize = 16;
/// Bitmap of one PCR selection in bytes. PCs have three, for 24 PCRs.
pub const MAX_TPM_PCR_SELECT_LEN: usize = 4;
/// One command to or response of a TPM in bytes; what Linux and the reference implementation use.
pub const MAX_TPM_MESSAGE_LEN: usize = 4096;
/// Devices in one Attestation. A machine has eight GPUs and four switches.
pub const MAX_DEVICES: usize = 16;
/// One SPDM measurement report in bytes. Real: 4.1 to 4.3 KiB.
pub const MAX_SPDM_REPORT_LEN: usize = 16 * 1024;
/// One Attestation Result as a token, in bytes. Real: 3 KiB for a CPU, 100 KiB with GPU evidence.
pub const MAX_TOKEN_LEN: usize = 512 * 1024;
/// Appraisals in one token. A node with eight GPUs and four switches has 13.
pub const MAX_TOKEN_SUBMODS: usize = 64;
/// Certificates, or keys, whose tokens are believed.
pub const MAX_TOKEN_ANCHORS: usize = 16;
/// A JWK set in bytes.
pub const MAX_TOKEN_KEYS_LEN: usize = 64 * 1024;
/// One certificate with Evidence in it (RA-TLS), DER in bytes. A TLS stack takes 64 KiB at most.
pub const MAX_RA_TLS_CERTIFICATE_LEN: usize = 56 * 1024;
/// The extension with the Evidence, in bytes. A TDX quote takes 10 KiB, an SNP report with chain 25 KiB.
pub const MAX_RA_TLS_EXTENSION_LEN: usize = 48 * 1024;
/// Longest time for which a certificate with Evidence may be valid, in seconds: its Evidence cannot be
/// fresher than that. A week.
pub const MAX_RA_TLS_VALIDITY_SECONDS: u64 = 7 * 24 * 3600;
/// The certificate table that a host hands to an SNP guest, in bytes. Linux takes at most 16 KiB
/// (`SEV_FW_BLOB_MAX_SIZE`), in whole pages.
pub const MAX_CERTIFICATE_TABLE_LEN: usize = 16 * 1024;
/// One policy in Rego, in bytes. Trustee's default has 12 KiB.
pub const MAX_REGO_LEN: usize = 64 * 1024;
