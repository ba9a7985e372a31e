//! The programs of the quickstart as real processes: started, awaited, and always stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long any program may take until it says it is ready, or to end when asked.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Set by Ctrl-C or SIGTERM; whoever waits for a program gives up then, and everything is torn down.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and SIGTERM end the run in order, not at once.
///
/// # Errors
/// When the handlers can't be installed.
pub fn end_in_order_when_interrupted() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM, which then count as heard.
pub fn wait_for_interrupt() {
    while !INTERRUPTED.swap(false, Ordering::Relaxed) {
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Where the built programs and the run's files lie.
#[derive(Debug)]
pub struct Stage {
    /// Folder of the built programs.
    pub programs: PathBuf,
    /// Folder of this run; configuration, logs, keys of the client.
    pub folder: PathBuf,
}

impl Stage {
    /// A command for one of our programs.
    pub fn command(&self, program: &str) -> Command {
        Command::new(self.programs.join(program))
    }

    /// Starts `program`; it ends at the latest when the returned value is dropped.
    ///
    /// # Errors
    /// When the program can't be started or its log can't be created.
    pub fn start(&self, name: &str, program: &str, arguments: &[&str]) -> Result<Actor> {
        let log_path = self.folder.join(format!("{name}.log"));
        let log =
            File::create(&log_path).with_context(|| format!("create {}", log_path.display()))?;
        let child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        Ok(Actor { name: name.to_owned(), child, log_path, ended: None })
    }
}

/// A running program.
#[derive(Debug)]
pub struct Actor {
    name: String,
    child: Child,
    log_path: PathBuf,
    ended: Option<ExitStatus>,
}

impl Actor {
    /// The name in the story, such as `broker`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the program has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_path).unwrap_or_default()
    }

    /// Waits until `ready_file` holds JSON that `wanted` accepts.
    ///
    /// # Errors
    /// When the program ends before that, or takes too long; the error carries the end of its log.
    pub fn wait_until<T>(
        &mut self,
        ready_file: &Path,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        self.poll(&format!("write {}", ready_file.display()), || {
            let json: Value = serde_json::from_slice(&fs::read(ready_file).ok()?).ok()?;
            wanted(&json)
        })
    }

    /// Looks again and again until `look` finds something.
    ///
    /// # Errors
    /// When the program ends before that, or takes too long; the error carries the end of its log.
    pub fn poll<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                bail!(
                    "{} ended with {status} before it did: {what}\n{}",
                    self.name,
                    self.last_lines()
                );
            }
            if INTERRUPTED.load(Ordering::Relaxed) {
                bail!("interrupted while {} was to {what}", self.name);
            }
            if began.elapsed() > PATIENCE {
                bail!("{} did not {what} within {PATIENCE:?}\n{}", self.name, self.last_lines());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits for the program to end by itself and returns its exit code.
    ///
    /// # Errors
    /// When it does not end in time, or was killed by a signal.
    pub fn wait_for_exit(&mut self) -> Result<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                return status
                    .code()
                    .with_context(|| format!("{} was ended by a signal ({status})", self.name));
            }
            if began.elapsed() > PATIENCE {
                bail!("{} did not end within {PATIENCE:?}\n{}", self.name, self.last_lines());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Asks the program to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// As [`wait_for_exit`](Self::wait_for_exit).
    pub fn stop(&mut self) -> Result<i32> {
        self.signal(Signal::TERM);
        self.wait_for_exit()
    }

    fn signal(&self, signal: Signal) {
        if self.ended.is_none()
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            // It may have ended a moment ago; then there is nobody left to tell.
            let _ = kill_process(pid, signal);
        }
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if self.ended.is_some() || matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
