//! Lines on standard error and standard output that do not mix with a progress bar.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Mutex;

use indicatif::ProgressBar;

use crate::common::interrupt;

/// The bar that is drawn now.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Makes lines go above this bar from now on.
pub(crate) fn show_bar(bar: &ProgressBar) {
    set_bar(Some(bar.clone()));
}

/// Forgets the bar. The caller clears it.
pub(crate) fn forget_bar() {
    set_bar(None);
}

fn set_bar(bar: Option<ProgressBar>) {
    // A poisoned lock means that another thread panicked, which is reported elsewhere.
    if let Ok(mut current) = BAR.lock() {
        *current = bar;
    }
}

/// Calls a function that writes to the terminal, while no bar is drawn on it.
pub(crate) fn without_bar<T>(write: impl FnOnce() -> T) -> T {
    // Do not keep the lock: the function may print further lines.
    let bar = BAR.lock().ok().and_then(|bar| bar.clone());
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Prints a line to standard error. If its reader has gone, as `head` does, the work is stopped;
/// other failures have nowhere to be reported.
pub(crate) fn print_line(text: impl Display) {
    let line = format!("{text}\n");
    let printed = without_bar(|| io::stderr().write_all(line.as_bytes()));
    if printed.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        interrupt::close_pipe();
    }
}
