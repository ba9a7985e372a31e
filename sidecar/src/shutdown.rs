//! The wish to end, from SIGTERM or SIGINT to everybody who must act on it.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A wish that can be waited for any number of times, before or after it came.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<Wish>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Run,
    End,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Wish::Run)))
    }
}

impl Shutdown {
    /// Listens for SIGTERM and SIGINT from now on. Needs a runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::default();
        for (kind, name) in
            [(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")]
        {
            let mut signals = signal(kind)?;
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                if signals.recv().await.is_some() {
                    tracing::info!(signal = name, "asked to end");
                    shutdown.request();
                }
            });
        }
        Ok(shutdown)
    }

    /// Asks everybody to end.
    pub fn request(&self) {
        self.0.send_replace(Wish::End);
    }

    /// Ends when somebody asked.
    pub async fn requested(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|wish| *wish == Wish::End).await;
    }

    /// Has somebody asked?
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() == Wish::End
    }
}
