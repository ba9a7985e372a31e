//! The process keeps its memory to itself: not dumpable, no core files.
//!
//! Against: keys in a core file, and another process of the same user reading `/proc/<pid>/mem`.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::error::StartupError;

/// Hardens this process. Called before a secret is read.
///
/// # Errors
/// [`StartupError::Process`].
pub fn apply() -> Result<(), StartupError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| {
        StartupError::Process { what: "become not dumpable", source: error.into() }
    })?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| StartupError::Process {
        what: "switch off core files",
        source: error.into(),
    })
}
