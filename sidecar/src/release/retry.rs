//! Waits between attempts: longer each time, never at the same moment as other sidecars.

use std::time::Duration;

use tokio::time::Instant;

use super::{ReleaseError, Watchers};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// One series of attempts.
pub(super) struct Retry<'a> {
    deadline: Instant,
    pause: Duration,
    attempts: u32,
    watchers: &'a Watchers,
}

impl<'a> Retry<'a> {
    pub(super) fn new(retry_for: Duration, watchers: &'a Watchers) -> Self {
        Self { deadline: Instant::now() + retry_for, pause: FIRST_PAUSE, attempts: 0, watchers }
    }

    /// Returns when the next attempt is due.
    ///
    /// # Errors
    /// `error` itself when it may not be retried, or when its time is over.
    pub(super) async fn after(&mut self, error: ReleaseError) -> Result<(), ReleaseError> {
        self.attempts += 1;
        if !error.may_be_retried() {
            self.watchers.metrics.broker_attempt("refused");
            return Err(error);
        }
        self.watchers.metrics.broker_attempt("retry");
        let pause = jittered(self.pause);
        if Instant::now() + pause > self.deadline {
            return Err(error);
        }
        let said = crate::error::chain(&error);
        tracing::warn!(
            attempt = self.attempts,
            pause_seconds = pause.as_secs_f64(),
            error = said,
            "the broker is asked again"
        );
        self.watchers.board.waiting_for(said);
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Half of it to all of it.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0; 1];
    // Without randomness all sidecars wait alike; that is no reason to fail.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause.mul_f64(f64::from(byte[0]) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_between_half_and_whole() {
        for _ in 0..1000 {
            let pause = jittered(LONGEST_PAUSE);
            assert!(pause >= LONGEST_PAUSE / 2 && pause <= LONGEST_PAUSE, "{pause:?}");
        }
    }
}
