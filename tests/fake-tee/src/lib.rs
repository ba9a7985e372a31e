//! A simulated TEE: real-format TDX, SNP and Azure vTPM Evidence and Endorsements under roots of its own.
//!
//! Role: Attester and Endorser (RFC 9334 §4.1), both pretended. In: a seed, the time, a
//! [`TdProfile`], the wanted [`Fault`]s. Out: quotes v4/v5, collateral and reference values which
//! an unmodified Verifier accepts, once it is told to trust [`FakeTee::root_pem`]. So tests and the
//! quickstart run the code of production, and the product needs no test mode.
//! It protects nothing, proves nothing, and shares no code with the product it tests.
//!
//! ```
//! use adyton_fake_tee::{FakeTee, TdProfile};
//!
//! let now = 1_800_000_000;
//! let tee = FakeTee::new(now);
//! let quote = tee.quote(&TdProfile::default(), [7; 64]);
//! let collateral = tee.collateral(now, &[]);
//! assert_eq!(quote[0], 4);
//! assert!(collateral["tcb_info"].is_string());
//! ```

mod azure;
mod collateral;
mod event_log;
mod fault;
mod gpu;
mod guest_api;
mod keys;
mod pki;
mod profile;
mod quote;
mod reference_values;
mod sgx_extension;
mod sibling;
mod snp;
mod state;
mod tcb;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub use azure::{AzureFault, AzureProfile, FakeAzure, FakeHardware, QuoteSigner};
pub use event_log::{FakeEvent, FakeEventLog};
pub use fault::{Fault, Site, UnknownFault};
pub use gpu::{FakeGpu, GpuFault};
pub use guest_api::GuestApi;
pub use profile::{
    ATTRIBUTE_DEBUG, ATTRIBUTE_MIGRATABLE, ATTRIBUTE_PERF_PROFILING, ATTRIBUTE_SEPT_VE_DISABLE,
    QuoteFormat, TdProfile,
};
pub use snp::{FakeKey, FakeProduct, FakeSnp, FakeTcb, SnpFault, SnpProfile};
pub use state::{StateError, StateFiles, write_whole};

use keys::sha256;
use pki::Pki;
use quote::QuotingEnclave;
use sgx_extension::Platform;

/// One simulated machine with the simulated vendor that certified it.
///
/// Two values made from the same seed and moment of birth are the same machine, byte for byte.
pub struct FakeTee {
    seed: [u8; 32],
    born: u64,
    pki: Pki,
    /// The same names under another root, for forgeries.
    other: Pki,
    quoting_enclave: QuotingEnclave,
}

impl FakeTee {
    /// A new machine with a root that nobody has seen before.
    ///
    /// `now` is in seconds since the Unix epoch, here and everywhere in this crate. Certificates
    /// are valid from a day before it.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn new(now: u64) -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        Self::from_seed(seed, now)
    }

    /// The machine that a seed and its moment of birth define.
    pub fn from_seed(seed: [u8; 32], born: u64) -> Self {
        let other_seed = sha256(&[b"other root", &seed[..]].concat());
        Self {
            pki: Pki::derive(&seed, born, platform(&seed)),
            other: Pki::derive(&other_seed, born, platform(&seed)),
            quoting_enclave: QuotingEnclave::derive(&seed),
            seed,
            born,
        }
    }

    /// A sound quote. `report_data` is what the guest asked to have signed.
    pub fn quote(&self, profile: &TdProfile, report_data: [u8; 64]) -> Vec<u8> {
        self.faulty_quote(profile, report_data, &[])
    }

    /// A quote with those of the `faults` that concern [`Site::Evidence`].
    pub fn faulty_quote(
        &self,
        profile: &TdProfile,
        report_data: [u8; 64],
        faults: &[Fault],
    ) -> Vec<u8> {
        let pki = if faults.contains(&Fault::OtherRoot) { &self.other } else { &self.pki };
        self.quoting_enclave.quote(pki, profile, report_data, faults)
    }

    /// Signs header and body of a quote anew, as if the TDX module had written what they say. They are the
    /// first `signed_len` bytes.
    ///
    /// # Panics
    /// When the quote ends before its signature does.
    pub fn sign_quote(&self, quote: &mut [u8], signed_len: usize) {
        self.quoting_enclave.sign(quote, signed_len);
    }

    /// Signs TCB info or QE identity, whatever the text says: `r ‖ s`.
    pub fn sign_document(&self, text: &str) -> [u8; 64] {
        self.pki.tcb_signer.key.sign_raw(text.as_bytes())
    }

    /// The quote as a KBS client sends it: `{"cc_eventlog": …, "quote": "<base64>"}`, with the event log in
    /// base64, or null when the profile has none.
    ///
    /// # Panics
    /// When a fault is one of an event log and the profile has none.
    pub fn primary_evidence(
        &self,
        profile: &TdProfile,
        report_data: [u8; 64],
        faults: &[Fault],
    ) -> Value {
        let quote = self.faulty_quote(profile, report_data, faults);
        let of_log = faults.iter().any(|fault| fault.site() == Site::EventLog);
        assert!(!of_log || profile.event_log.is_some(), "there is no event log to make faults in");
        let log =
            profile.event_log.as_ref().map(|log| STANDARD.encode(log.to_faulty_table(faults)));
        json!({ "cc_eventlog": log, "quote": STANDARD.encode(quote) })
    }

    /// Endorsements for this machine, issued an hour before `now` and valid for 30 days, with
    /// those of the `faults` that concern [`Site::Endorsements`]. Members are those of
    /// `QuoteCollateralV3`; there is no `pck_certificate_chain`, the quote carries it.
    pub fn collateral(&self, now: u64, faults: &[Fault]) -> Value {
        collateral::collateral(&self.pki, &self.other, now, faults)
    }

    /// [`collateral`](Self::collateral) inside the file format of an endorsement bundle.
    pub fn endorsement_bundle(&self, now: u64, faults: &[Fault]) -> Value {
        json!({ "version": 1, "tdx": [self.collateral(now, faults)] })
    }

    /// The reference values that `profile` matches, as a TOML file.
    pub fn reference_values(&self, profile: &TdProfile) -> String {
        reference_values::to_toml(profile)
    }

    /// The root certificate, PEM.
    pub fn root_pem(&self) -> String {
        self.pki.root.pem()
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> &[u8] {
        self.pki.root.der()
    }

    /// FMSPC of the machine.
    pub fn fmspc(&self) -> [u8; 6] {
        self.pki.platform.fmspc
    }

    /// Platform provisioning id of the machine.
    pub fn ppid(&self) -> [u8; 16] {
        self.pki.platform.ppid
    }

    /// The moment of birth, in seconds since the Unix epoch.
    pub fn born(&self) -> u64 {
        self.born
    }
}

fn platform(seed: &[u8; 32]) -> Platform {
    let id = |name: &[u8]| -> [u8; 16] {
        sha256(&[name, seed].concat())[..16].try_into().expect("16 of 32 bytes")
    };
    Platform {
        ppid: id(b"ppid"),
        component_svns: tcb::COMPONENT_SVNS,
        pce_svn: tcb::PCE_SVN,
        pce_id: tcb::PCE_ID,
        fmspc: tcb::FMSPC,
        instance_id: id(b"platform instance"),
    }
}
