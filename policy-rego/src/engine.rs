//! One evaluation: on a thread of its own, for so long and no longer, with all failures caught.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::Value;

use crate::policy::RegoPolicy;
use crate::refusal::RegoRefusal;

/// How long one evaluation may take. Trustee's default policy takes some milliseconds.
pub const EVALUATION_LIMIT: Duration = Duration::from_secs(1);
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
    contained(|| {
        let failed = |error: &dyn std::fmt::Display| RegoRefusal::Evaluation {
            detail: error.to_string().chars().take(400).collect(),
        };
        let mut engine = policy.engine()?;
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: EVALUATION_LIMIT,
            check_interval: CHECK_INTERVAL,
        });
        let value = |json: &Value| regorus::Value::from_json_str(&json.to_string());
        engine.set_input(value(input).map_err(|error| failed(&error))?);
        engine
            .add_data(value(data).map_err(|error| failed(&error))?)
            .map_err(|error| failed(&error))?;
        let known = value(references).map_err(|error| failed(&error))?;
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

/// Runs work of the interpreter where neither a panic nor a deep recursion reaches the caller.
pub(crate) fn contained<T: Send>(
    work: impl FnOnce() -> Result<T, RegoRefusal> + Send,
) -> Result<T, RegoRefusal> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("rego".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        let broken = |detail: &str| RegoRefusal::Evaluation { detail: detail.to_owned() };
        let thread = thread.map_err(|_| broken("no thread could be started for it"))?;
        thread.join().unwrap_or_else(|_| Err(broken("the interpreter broke off")))
    })
}
