//! How often a service is asked: a rate, a burst, a pause that the service ordered, a bounded queue.
//!
//! Time is an argument, so that each rule can be tested by a table. Generic cell rate algorithm: one
//! moment says everything about the past.

use std::time::Duration;

use tokio::time::Instant;

/// The rules of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceRules {
    /// Time between requests in the long run.
    pub interval: Duration,
    /// Requests that may go at once after a quiet time; at least 1.
    pub burst: u32,
    /// Requests that may wait for their turn.
    pub max_waiting: u32,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull {
    /// How long until a place will be free.
    pub retry_after: Duration,
}

/// When the next request may go.
#[derive(Debug)]
pub struct Pace {
    rules: PaceRules,
    /// When everything that was let go would be done at the rate of `interval`.
    paid_until: Option<Instant>,
    /// No request goes before this.
    pause: Option<Instant>,
}

impl Pace {
    /// A service that was not asked yet.
    pub fn new(rules: PaceRules) -> Self {
        Self { rules, paid_until: None, pause: None }
    }

    /// Takes the next turn: the moment at which the request may go, not before `now`.
    ///
    /// # Errors
    /// [`QueueFull`] when as many as allowed wait already.
    pub fn take_turn(&mut self, now: Instant) -> Result<Instant, QueueFull> {
        let PaceRules { interval, burst, max_waiting } = self.rules;
        let paid_until = self.paid_until.unwrap_or(now).max(now);
        let credit = interval.saturating_mul(burst.saturating_sub(1));
        let at = paid_until.checked_sub(credit).unwrap_or(now).max(now);
        // A pause is no queue: places are counted from its end.
        let open = self.pause(now).unwrap_or(now);
        let longest = interval.saturating_mul(max_waiting);
        let wait = at.saturating_duration_since(open);
        if wait > longest {
            return Err(QueueFull { retry_after: wait.saturating_sub(longest) });
        }
        self.paid_until = paid_until.checked_add(interval);
        Ok(at)
    }

    /// The service asked for a pause.
    pub fn pause_until(&mut self, until: Instant) {
        let until = self.pause.map_or(until, |pause| pause.max(until));
        self.pause = Some(until);
        // After it the turns go on at the rate, without a burst.
        let credit = self.rules.interval.saturating_mul(self.rules.burst.saturating_sub(1));
        let paid_until = until.checked_add(credit).unwrap_or(until);
        self.paid_until = Some(self.paid_until.map_or(paid_until, |paid| paid.max(paid_until)));
    }

    /// Until when nobody may go, if a pause is on at `now`. Asked again by whoever had a turn before the
    /// pause was ordered.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.pause.filter(|pause| *pause > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KDS: PaceRules =
        PaceRules { interval: Duration::from_secs(10), burst: 1, max_waiting: 3 };

    fn seconds(since: Instant, at: Instant) -> u64 {
        (at - since).as_secs()
    }

    #[test]
    fn one_goes_in_ten_seconds_and_the_rest_wait_in_order_until_the_queue_is_full() {
        let start = Instant::now();
        let mut pace = Pace::new(KDS);
        let turns: Vec<_> = (0..5).map(|_| pace.take_turn(start)).collect();
        let at: Vec<_> = turns.iter().flatten().map(|at| seconds(start, *at)).collect();
        assert_eq!(at, [0, 10, 20, 30]);
        assert_eq!(turns[4], Err(QueueFull { retry_after: Duration::from_secs(10) }));
        // Ten seconds later there is one place again, behind the others.
        let later = start + Duration::from_secs(10);
        assert_eq!(seconds(start, pace.take_turn(later).expect("a place")), 40);
        assert!(pace.take_turn(later).is_err());
    }

    #[test]
    fn after_a_quiet_time_there_is_no_more_than_one_burst() {
        let start = Instant::now();
        let rules = PaceRules { interval: Duration::from_secs(1), burst: 4, max_waiting: 100 };
        let mut pace = Pace::new(rules);
        let mut at = |now| seconds(start, pace.take_turn(now).expect("a place"));
        assert_eq!([at(start), at(start), at(start), at(start), at(start)], [0, 0, 0, 0, 1]);
        let later = start + Duration::from_secs(1000);
        assert_eq!(
            [at(later), at(later), at(later), at(later), at(later)],
            [1000, 1000, 1000, 1000, 1001]
        );
    }

    #[test]
    fn a_pause_holds_everybody_and_the_longest_counts() {
        let start = Instant::now();
        let mut pace = Pace::new(KDS);
        pace.pause_until(start + Duration::from_secs(60));
        pace.pause_until(start + Duration::from_secs(5));
        let turns = [pace.take_turn(start), pace.take_turn(start)];
        assert_eq!(turns.map(|at| seconds(start, at.expect("a place"))), [60, 70]);
        assert!(pace.pause(start + Duration::from_secs(59)).is_some());
        assert!(pace.pause(start + Duration::from_secs(60)).is_none());
    }
}
