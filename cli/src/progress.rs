//! A progress bar on a terminal, nothing anywhere else.
//!
//! Job: shows bytes done of bytes in all while sealing or opening. Out: stderr only, and only when a person
//! is watching; a pipe gets no carriage returns.

use std::time::Duration;

use adyton_sealed_weights::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::Console;

/// A bar, or silence.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar with a `verb` in front, if the console draws progress.
    pub fn new(console: &Console<'_>, verb: &'static str) -> Self {
        let target = if console.draws_progress() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_prefix(verb);
        let template = "{prefix} {bar:32} {binary_bytes:>11} of {binary_total_bytes:<11} \
                        {binary_bytes_per_sec:>13} {eta:>4}";
        // The template is a constant; if it were wrong, the default bar would do.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Removes the bar, so that what follows starts on a clean line.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn total(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
