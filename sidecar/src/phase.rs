//! Where the sidecar stands, for everybody who may know: probes, metrics, logs, the report.
//!
//! In: transitions from [`startup`](crate::startup), byte counts from the threads that stage and open.
//! Out: snapshots. It decides nothing: the serving port opens by a [`Ready`](crate::ready::Ready)
//! value, never because of what is written here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use adyton_sealed_weights::Progress;
use serde::Serialize;

/// The stations of a sidecar's life, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Evidence is collected and shown to the broker.
    Attesting,
    /// The broker released the model key.
    KeyReleased,
    /// Chunks are authenticated and opened into memory.
    Opening,
    /// The mTLS port is open.
    Ready,
    /// No new connections; running requests may finish.
    Draining,
    /// Plaintext and keys are gone.
    Wiped,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 6] = [
        Self::Attesting,
        Self::KeyReleased,
        Self::Opening,
        Self::Ready,
        Self::Draining,
        Self::Wiped,
    ];

    /// The word used in logs, metrics and `/readyz?verbose`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attesting => "attesting",
            Self::KeyReleased => "key-released",
            Self::Opening => "opening",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Wiped => "wiped",
        }
    }
}

/// One look at the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseSnapshot {
    /// The current phase.
    pub phase: Phase,
    /// Plaintext bytes opened so far.
    pub bytes: u64,
    /// Plaintext bytes of the whole model; 0 until the manifest is authenticated.
    pub total: u64,
    /// Bytes of ciphertext that were read into the target; nothing is known about them.
    pub staged: u64,
    /// What the target is, once somebody has looked.
    pub target: Option<TargetFacts>,
    /// How huge pages fared, once the weights are open and where the kernel tells.
    pub huge_pages: Option<HugePageCount>,
    /// Why it takes so long, when somebody knows: the last attempt that failed.
    pub waiting_for: Option<String>,
}

/// What the target was found to be before anything was put there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetFacts {
    /// Bytes that the model needs, if its manifest is true.
    pub required_bytes: u64,
    /// Bytes there are: the smaller of the file system's and the machine's free memory.
    pub available_bytes: u64,
    /// The pages that files get, and why.
    pub pages: String,
    /// Whether they are huge.
    pub huge_pages: bool,
}

/// Huge pages for files in memory, of the whole machine, from staging to opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HugePageCount {
    /// As many were given.
    pub given: u64,
    /// So often there was none, and small ones came instead.
    pub missed: u64,
}

/// The shared board.
#[derive(Debug)]
pub struct PhaseBoard {
    now: Mutex<Standing>,
    opened: AtomicBool,
    bytes: AtomicU64,
    total: AtomicU64,
    staged: AtomicU64,
}

#[derive(Debug)]
struct Standing {
    phase: Phase,
    since: Instant,
    waiting_for: Option<String>,
    target: Option<TargetFacts>,
    huge_pages: Option<HugePageCount>,
}

impl Default for PhaseBoard {
    fn default() -> Self {
        Self {
            now: Mutex::new(Standing {
                phase: Phase::Attesting,
                since: Instant::now(),
                waiting_for: None,
                target: None,
                huge_pages: None,
            }),
            opened: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            total: AtomicU64::new(0),
            staged: AtomicU64::new(0),
        }
    }
}

impl PhaseBoard {
    /// Moves to `phase` and logs how long the last one took.
    pub fn enter(&self, phase: Phase) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let last = std::mem::replace(&mut now.phase, phase);
        let took = std::mem::replace(&mut now.since, Instant::now()).elapsed();
        now.waiting_for = None;
        if phase == Phase::Ready {
            self.opened.store(true, Ordering::Release);
        }
        tracing::info!(
            phase = phase.as_str(),
            after = last.as_str(),
            after_seconds = took.as_secs_f64(),
            "phase"
        );
    }

    /// Notes what the target is.
    pub fn target(&self, facts: TargetFacts) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).target = Some(facts);
    }

    /// Counts ciphertext that was read into the target.
    pub fn staged(&self, bytes: u64) {
        self.staged.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes how huge pages fared.
    pub fn huge_pages(&self, count: HugePageCount) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).huge_pages = Some(count);
    }

    /// Notes why the current phase goes on.
    pub fn waiting_for(&self, what: String) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).waiting_for = Some(what);
    }

    /// True once the weights were opened completely, whatever came after.
    pub fn weights_were_opened(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }

    /// What stands there now.
    pub fn snapshot(&self) -> PhaseSnapshot {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        PhaseSnapshot {
            phase: now.phase,
            bytes: self.bytes.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            staged: self.staged.load(Ordering::Relaxed),
            target: now.target.clone(),
            huge_pages: now.huge_pages,
            waiting_for: now.waiting_for.clone(),
        }
    }
}

impl Progress for PhaseBoard {
    fn total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
