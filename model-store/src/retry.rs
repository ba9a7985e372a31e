//! When to ask again: exponential pauses with jitter, and an end.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::time::Duration;

use crate::fault::Fault;
use crate::settings::RetryPolicy;

/// The failures of one read.
pub(crate) struct Retry<'a> {
    policy: &'a RetryPolicy,
    failures: u32,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Bytes came: what failed before does not count any more.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Sleeps until it is time to ask again.
    ///
    /// # Errors
    /// The fault itself, when it is final or came too often.
    pub(crate) async fn after(&mut self, fault: Fault) -> Result<(), Fault> {
        self.failures += 1;
        if !fault.may_be_retried() || self.failures >= self.policy.attempts.get() {
            return Err(fault);
        }
        let pause = self.pause(&fault, random());
        tracing::info!(
            fault = fault.code(),
            reason = %fault,
            failures = self.failures,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the store is asked again"
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Half of the exponential pause, and a random part of the other half; what the server asks for if
    /// that is longer. Never more than the longest.
    fn pause(&self, fault: &Fault, random: u32) -> Duration {
        let doubled = 1_u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.policy.first_pause.saturating_mul(doubled).min(self.policy.longest_pause);
        let jittered = whole / 2 + (whole / 2).mul_f64(f64::from(random) / f64::from(u32::MAX));
        match fault {
            Fault::Busy { retry_after: Some(asked), .. } => {
                jittered.max((*asked).min(self.policy.longest_pause))
            }
            _ => jittered,
        }
    }
}

/// Without a random number, every client waits the longest: still no retry storm at the shortest.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempts: NonZeroU32::new(64).unwrap(),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(20),
        }
    }

    fn after(failures: u32, retry_after: Option<u64>, random: u32) -> Duration {
        let policy = policy();
        let retry = Retry { policy: &policy, failures };
        let retry_after = retry_after.map(Duration::from_secs);
        retry.pause(&Fault::Busy { status: 503, said: String::new(), retry_after }, random)
    }

    #[test]
    fn pauses_double_and_end_at_the_longest() {
        assert_eq!(after(1, None, u32::MAX), Duration::from_millis(100));
        assert_eq!(after(2, None, u32::MAX), Duration::from_millis(200));
        assert_eq!(after(5, None, u32::MAX), Duration::from_millis(1600));
        for failures in [9, 32, 33, 60] {
            assert_eq!(after(failures, None, u32::MAX), Duration::from_secs(20));
        }
    }

    #[test]
    fn jitter_takes_up_to_half_of_a_pause() {
        assert_eq!(after(3, None, 0), Duration::from_millis(200));
        assert!(after(3, None, u32::MAX / 2) < Duration::from_millis(301));
    }

    #[test]
    fn a_server_may_ask_for_more_time_but_not_for_ever() {
        assert_eq!(after(1, Some(7), 0), Duration::from_secs(7));
        assert_eq!(after(1, Some(0), 0), Duration::from_millis(50));
        assert_eq!(after(1, Some(86_400), 0), Duration::from_secs(20));
    }
}
