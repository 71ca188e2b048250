use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clipn::progress::Progress;
use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::common::interrupt;

/// How long a stage runs before its bar appears, so that short work shows none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that take so long that they are told of where there is no bar.
const LARGE: u64 = 10_000_000;

/// A bar with rate and time left on standard error; silent where that is not a terminal.
#[derive(Debug, Default)]
pub struct Bar {
    stage: Mutex<Option<Stage>>,
}

#[derive(Debug)]
struct Stage {
    bar: ProgressBar,
    started: Instant,
}

impl Bar {
    fn with_stage(&self, change: impl FnOnce(&mut Option<Stage>)) {
        // A poisoned lock means another thread panicked, which the program reports by itself.
        if let Ok(mut stage) = self.stage.lock() {
            change(&mut stage);
        }
    }
}

impl Bar {
    /// A stage of which nobody knows how long it is.
    pub fn begin_uncounted(&self, stage: &str) {
        self.start(stage, 0, "{msg} {human_pos} {per_sec}");
    }

    fn start(&self, stage: &str, total: u64, template: &str) {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(stage.to_owned());
        self.with_stage(|current| {
            *current = Some(Stage {
                bar,
                started: Instant::now(),
            })
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
        if total >= LARGE && !std::io::stderr().is_terminal() {
            eprintln!("{stage}: {}", DecimalBytes(total));
        }
    }

    fn advance(&self, units: u64) {
        self.with_stage(|stage| {
            if let Some(stage) = stage {
                stage.bar.inc(units);
                if stage.bar.is_hidden() && stage.started.elapsed() > PATIENCE {
                    stage.bar.set_draw_target(ProgressDrawTarget::stderr());
                }
            }
        });
    }

    fn end(&self) {
        self.with_stage(|stage| {
            if let Some(stage) = stage.take() {
                stage.bar.finish_and_clear();
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
