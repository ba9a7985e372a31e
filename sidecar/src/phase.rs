//! Where the sidecar stands, for everybody who may know: probes, metrics, logs, the report.
//!
//! In: transitions from [`startup`](crate::startup), byte counts from the opening threads.
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
    /// Why it takes so long, when somebody knows: the last attempt that failed.
    pub waiting_for: Option<String>,
}

/// The shared board.
#[derive(Debug)]
pub struct PhaseBoard {
    now: Mutex<Standing>,
    opened: AtomicBool,
    bytes: AtomicU64,
    total: AtomicU64,
}

#[derive(Debug)]
struct Standing {
    phase: Phase,
    since: Instant,
    waiting_for: Option<String>,
}

impl Default for PhaseBoard {
    fn default() -> Self {
        Self {
            now: Mutex::new(Standing {
                phase: Phase::Attesting,
                since: Instant::now(),
                waiting_for: None,
            }),
            opened: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }
}

impl PhaseBoard {
    /// Moves to `phase` and logs how long the last one took.
    pub fn enter(&self, phase: Phase) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let last = std::mem::replace(
            &mut *now,
            Standing { phase, since: Instant::now(), waiting_for: None },
        );
        if phase == Phase::Ready {
            self.opened.store(true, Ordering::Release);
        }
        tracing::info!(
            phase = phase.as_str(),
            after = last.phase.as_str(),
            after_seconds = last.since.elapsed().as_secs_f64(),
            "phase"
        );
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
