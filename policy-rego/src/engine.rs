//! One evaluation: on a thread of its own, for so long and no longer, with all failures caught.
//!
//! The interpreter looks at the clock between its steps, and ends by itself. One step, a single call of a
//! builtin, it can't interrupt; so whoever waits does so for [`HARD_LIMIT`] and then leaves the thread to
//! itself. Of such threads there may be [`MAX_LEFT`] at once; with more, nothing is evaluated, which is a
//! refusal, until one of them ends. What goes in is bounded, too ([`MAX_INPUT_LEN`]).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::Value;

use crate::policy::RegoPolicy;
use crate::refusal::RegoRefusal;

/// How long one evaluation may take. Trustee's default policy takes some milliseconds.
pub const EVALUATION_LIMIT: Duration = Duration::from_secs(1);
/// How long anybody waits for one, whatever the interpreter is doing.
pub const HARD_LIMIT: Duration = Duration::from_secs(5);
/// Claims and data of one evaluation as JSON, in bytes each. A TD with the longest event log that is read
/// has a quarter of that.
pub const MAX_INPUT_LEN: usize = 4 * 1024 * 1024;
/// Evaluations that may go on although nobody waits for them any more.
const MAX_LEFT: usize = 4;
/// Steps between two looks at the clock.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(32).unwrap();
/// Stack of an evaluation, in bytes. The interpreter recurses over the policy's expressions, whose
/// nesting the parser bounds.
const STACK: usize = 64 * 1024 * 1024;

/// The whole document `data.policy`: each rule of the policy that is defined, by name.
///
/// `references` answers `query_reference_value` and is `data.reference`. A name that it does not have
/// is undefined and not null, so that no comparison with it holds.
pub(crate) fn evaluate(
    policy: &RegoPolicy,
    input: &Value,
    data: &Value,
    references: &Value,
) -> Result<Value, RegoRefusal> {
    let bounded = |what, value: &Value| {
        let json = value.to_string();
        match json.len() {
            got if got > MAX_INPUT_LEN => {
                Err(RegoRefusal::InputTooLong { what, got, limit: MAX_INPUT_LEN })
            }
            _ => Ok(json),
        }
    };
    let input = bounded("input", input)?;
    let data = bounded("data", data)?;
    let references = bounded("reference values", references)?;
    let policy = policy.clone();
    contained(move || {
        let failed = |error: &dyn std::fmt::Display| RegoRefusal::Evaluation {
            detail: error.to_string().chars().take(400).collect(),
        };
        let mut engine = policy.engine()?;
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: EVALUATION_LIMIT,
            check_interval: CHECK_INTERVAL,
        });
        let value = regorus::Value::from_json_str;
        engine.set_input(value(&input).map_err(|error| failed(&error))?);
        engine
            .add_data(value(&data).map_err(|error| failed(&error))?)
            .map_err(|error| failed(&error))?;
        let known = value(&references).map_err(|error| failed(&error))?;
        engine
            .add_extension(
                "query_reference_value".to_owned(),
                1,
                Box::new(move |arguments: Vec<regorus::Value>| {
                    let found = match (arguments.first(), known.as_object()) {
                        (Some(name), Ok(known)) => known.get(name).cloned(),
                        _ => None,
                    };
                    Ok(found.unwrap_or(regorus::Value::Undefined))
                }),
            )
            .map_err(|error| failed(&error))?;
        let started = Instant::now();
        let results = engine.eval_query("data.policy".to_owned(), false).map_err(|error| {
            match started.elapsed() >= EVALUATION_LIMIT {
                true => RegoRefusal::TooSlow,
                false => failed(&error),
            }
        })?;
        let document = results.result.first().and_then(|result| result.expressions.first());
        let document = document.ok_or(RegoRefusal::Undefined { rule: "policy" })?;
        let json = document.value.to_json_str().map_err(|error| failed(&error))?;
        serde_json::from_str(&json).map_err(|error| failed(&error))
    })
}

/// Runs work of the interpreter where neither a panic nor a deep recursion nor a call that does not end
/// reaches the caller.
pub(crate) fn contained<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RegoRefusal> + Send + 'static,
) -> Result<T, RegoRefusal> {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    contained_for(HARD_LIMIT, &LEFT, work)
}

fn contained_for<T: Send + 'static>(
    limit: Duration,
    left: &'static AtomicUsize,
    work: impl FnOnce() -> Result<T, RegoRefusal> + Send + 'static,
) -> Result<T, RegoRefusal> {
    if left.load(Ordering::Acquire) >= MAX_LEFT {
        return Err(RegoRefusal::Busy { left: MAX_LEFT });
    }
    let broken = |detail: &str| RegoRefusal::Evaluation { detail: detail.to_owned() };
    let (done, result) = mpsc::sync_channel(1);
    let place = Arc::new(Place { left, is_left: AtomicUsize::new(0) });
    let inside = Arc::clone(&place);
    std::thread::Builder::new()
        .name("rego".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let _inside = inside;
            // Nobody may be waiting any more.
            let _ = done.send(work());
        })
        .map_err(|_| broken("no thread could be started for it"))?;
    match result.recv_timeout(limit) {
        Ok(result) => result,
        // The thread ended without a word: it panicked.
        Err(RecvTimeoutError::Disconnected) => Err(broken("the interpreter broke off")),
        Err(RecvTimeoutError::Timeout) => {
            place.leave();
            Err(RegoRefusal::TooSlow)
        }
    }
}

/// Counts a thread as left from the moment when nobody waits for it until it ends.
struct Place {
    left: &'static AtomicUsize,
    is_left: AtomicUsize,
}

impl Place {
    fn leave(&self) {
        self.is_left.store(1, Ordering::Release);
        self.left.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Place {
    // Runs with the last of the two sides.
    fn drop(&mut self) {
        self.left.fetch_sub(self.is_left.load(Ordering::Acquire), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_end_is_left_and_too_much_of_it_stops_all() {
        static LEFT: AtomicUsize = AtomicUsize::new(0);
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        for _ in 0..MAX_LEFT {
            let held = Arc::clone(&held);
            let endless = move || {
                // Until the sender is dropped.
                let _ = held.lock().expect("not poisoned").recv();
                Ok(())
            };
            let refused = contained_for(Duration::ZERO, &LEFT, endless);
            assert_eq!(refused, Err(RegoRefusal::TooSlow));
        }
        let refused = contained_for(HARD_LIMIT, &LEFT, || Ok(()));
        assert_eq!(refused, Err(RegoRefusal::Busy { left: MAX_LEFT }));
        drop(hold);
        while LEFT.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(contained_for(HARD_LIMIT, &LEFT, || Ok(1)), Ok(1));
    }

    #[test]
    fn work_that_panics_is_a_refusal() {
        static LEFT: AtomicUsize = AtomicUsize::new(0);
        let refused = contained_for(HARD_LIMIT, &LEFT, || -> Result<(), _> { panic!("as wanted") });
        let detail = "the interpreter broke off".to_owned();
        assert_eq!(refused, Err(RegoRefusal::Evaluation { detail }));
    }
}
