//! Progress on the terminal.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clipn::progress::Progress;
use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::common::messages::{is_quiet, status};
use crate::common::terminal::printable;
use crate::common::{interrupt, terminal};

/// Time before a stage shows its bar, so that short work shows none.
const DELAY: Duration = Duration::from_secs(1);

/// Bytes from which a download is logged if there is no bar.
const LARGE_DOWNLOAD: u64 = 10_000_000;

/// Progress bar with rate and remaining time on standard error; silent if that is no terminal, and
/// with `--quiet`.
#[derive(Debug, Default)]
pub(crate) struct Bar {
    stage: Mutex<Option<Stage>>,
}

#[derive(Debug)]
struct Stage {
    bar: ProgressBar,
    started: Instant,
}

impl Bar {
    fn with_stage(&self, change: impl FnOnce(&mut Option<Stage>)) {
        // A poisoned lock means that another thread panicked, which is reported elsewhere.
        if let Ok(mut stage) = self.stage.lock() {
            change(&mut stage);
        }
    }
}

impl Bar {
    /// Begins a stage of unknown length.
    pub(crate) fn begin_uncounted(&self, stage: &str) {
        self.start(stage, 0, "{msg} {human_pos} {per_sec}");
    }

    fn start(&self, stage: &str, total: u64, template: &str) {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(printable(stage).into_owned());
        self.end();
        self.with_stage(|current| {
            *current = Some(Stage {
                bar,
                started: Instant::now(),
            });
        });
    }
}

impl Progress for Bar {
    fn begin(&self, stage: &str, total: u64) {
        self.start(
            stage,
            total,
            "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left",
        );
    }

    fn begin_bytes(&self, stage: &str, total: u64) {
        self.start(
            stage,
            total,
            "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left",
        );
        if total >= LARGE_DOWNLOAD && !std::io::stderr().is_terminal() {
            status(format_args!("{stage}: {}", DecimalBytes(total)));
        }
    }

    fn advance(&self, units: u64) {
        self.with_stage(|stage| {
            if let Some(stage) = stage {
                stage.bar.inc(units);
                if stage.bar.is_hidden() && !is_quiet() && stage.started.elapsed() > DELAY {
                    stage.bar.set_draw_target(ProgressDrawTarget::stderr());
                    terminal::show_bar(&stage.bar);
                }
            }
        });
    }

    fn end(&self) {
        self.with_stage(|stage| {
            if let Some(stage) = stage.take() {
                stage.bar.finish_and_clear();
                terminal::forget_bar();
            }
        });
    }

    fn is_cancelled(&self) -> bool {
        interrupt::requested()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}
