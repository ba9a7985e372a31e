//! A fetcher with a clock that tests turn, short waits, and a folder that outlives it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adyton_attestation::claims::{ChipId, Fmspc, SnpProduct, SnpTcb};
use adyton_attestation::endorsement::fetch::{BaseUrl, Services, Statement};
use adyton_attestation::{TrustAnchors, UnixTime};
use adyton_broker::endorsements::cache::DiskCache;
use adyton_broker::endorsements::client::{Client, Timeouts};
use adyton_broker::endorsements::fetcher::Rules;
use adyton_broker::endorsements::{Counters, FetchCause, FetchError, Fetcher};
use adyton_fake_tee::FakeTee;

use super::vendor::Authority;

pub const NOW: u64 = 1_800_000_000;
pub const HOUR: u64 = 3600;

/// Longest real time that a test waits for a service that does not answer.
pub const WAIT: Duration = Duration::from_millis(400);

pub fn tee() -> FakeTee {
    FakeTee::from_seed([3; 32], NOW)
}

pub fn tcb_info() -> Statement {
    Statement::IntelTcbInfo(Fmspc(tee().fmspc()))
}

pub fn vcek_of(product: SnpProduct, chip: u8) -> Statement {
    let tcb = SnpTcb { fmc: None, bootloader: 9, tee: 0, snp: 23, microcode: 72 };
    Statement::AmdVcek { product, chip_id: ChipId([chip; 64]), tcb }
}

pub struct Stand {
    pub fetcher: Arc<Fetcher>,
    pub counters: Counters,
    clock: Arc<AtomicU64>,
}

/// What a stand is set up with.
pub struct Setup<'a> {
    pub folder: &'a Path,
    pub url: &'a str,
    pub authority: Option<&'a Authority>,
    pub wait: Duration,
    pub max_entries: usize,
    /// The simulated machine's root beside the vendors', unless a test takes it away.
    pub anchors: TrustAnchors,
}

impl<'a> Setup<'a> {
    pub fn new(folder: &'a Path, url: &'a str) -> Self {
        let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee().root_der());
        let anchors = anchors.expect("a root");
        Self { folder, url, authority: None, wait: WAIT, max_entries: 64, anchors }
    }

    pub fn start(self) -> Stand {
        let url = BaseUrl::parse(self.url).expect("a URL");
        let services = Services { intel: Some(url.clone()), intel_root_crl: None, amd: Some(url) };
        let ca_file = self.folder.join("ca.pem");
        let other = Authority::new();
        let pem = self.authority.map_or(&other.pem, |authority| &authority.pem);
        std::fs::write(&ca_file, pem).expect("written");
        let timeouts = Timeouts { connect: WAIT, total: WAIT };
        let client = Client::new(Some(&ca_file), timeouts).expect("a client");
        let disk = DiskCache::open(self.folder.join("cache"), self.max_entries).expect("a folder");
        let rules = Rules {
            refresh_after: Duration::from_secs(24 * HOUR),
            max_stale: Duration::from_secs(168 * HOUR),
            wait: self.wait,
            vcek_interval: Duration::from_secs(10),
            max_entries: self.max_entries,
        };
        let clock = Arc::new(AtomicU64::new(NOW));
        let read = Arc::clone(&clock);
        let counters = Counters::default();
        let fetcher = Fetcher::new(
            services,
            client,
            disk,
            self.anchors,
            rules,
            Arc::new(move || UnixTime(read.load(Ordering::SeqCst))),
            counters.clone(),
        );
        Stand { fetcher: Arc::new(fetcher), counters, clock }
    }
}

impl Stand {
    pub fn at(&self, seconds_after_now: u64) {
        self.clock.store(NOW + seconds_after_now, Ordering::SeqCst);
    }

    /// Why a statement can't be had.
    pub async fn cause(&self, statement: &Statement) -> FetchCause {
        let error: Arc<FetchError> = self.fetcher.get(statement).await.expect_err("not to be had");
        error.cause.clone()
    }
}
