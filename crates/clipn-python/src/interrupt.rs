//! Long work on another thread, while this one reports progress and reacts to Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clipn::progress::Progress;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::process;

/// Time between two looks at signals and progress.
const POLL: Duration = Duration::from_millis(50);

/// Passes progress to a Python function `callback(stage, done, total)`, on the thread that called into
/// the library.
pub(crate) struct Reporter {
    callback: Option<Py<PyAny>>,
    state: Mutex<State>,
    is_cancelled: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct State {
    stage: String,
    done: u64,
    total: u64,
    is_new: bool,
}

impl Reporter {
    pub(crate) fn new(callback: Option<Py<PyAny>>) -> Self {
        Self {
            callback,
            state: Mutex::default(),
            is_cancelled: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole, even if another thread panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, py: Python<'_>) -> PyResult<()> {
        let Some(callback) = &self.callback else {
            return Ok(());
        };
        let state = {
            let mut state = self.state();
            if !std::mem::take(&mut state.is_new) {
                return Ok(());
            }
            state.clone()
        };
        callback.call1(py, (state.stage, state.done, state.total))?;
        Ok(())
    }
}

impl Progress for Reporter {
    fn begin(&self, stage: &str, total: u64) {
        *self.state() = State {
            stage: stage.to_owned(),
            done: 0,
            total,
            is_new: true,
        };
    }

    fn advance(&self, units: u64) {
        let mut state = self.state();
        state.done += units;
        state.is_new = true;
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// Signals the end of the work, also if it panics.
#[derive(Default)]
struct Finished {
    flag: Mutex<bool>,
    changed: Condvar,
}

impl Finished {
    fn set(&self) {
        *self.flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for the end, for a short time; returns whether it has come.
    fn wait(&self) -> bool {
        let flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        if *flag {
            return true;
        }
        let waited = self.changed.wait_timeout(flag, POLL);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

struct SetOnDrop<'a>(&'a Finished);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Runs work without the GIL on a thread of its own. Ctrl-C and an exception of the callback cancel the
/// work, and are raised once it has stopped. An error in a process that was forked.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    reporter: &Reporter,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    process::check()?;
    run_in_any_process(py, reporter, work)
}

/// Same as [`run`], for work that is safe in a forked process, as that of [`process::install`] is.
pub(crate) fn run_in_any_process<T: Send>(
    py: Python<'_>,
    reporter: &Reporter,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    let finished = Finished::default();
    std::thread::scope(|scope| {
        let handle = scope.spawn(|| {
            let _guard = SetOnDrop(&finished);
            work()
        });
        let mut interrupt = None;
        while !py.detach(|| finished.wait()) {
            if interrupt.is_none()
                && let Err(error) = py.check_signals().and_then(|()| reporter.report(py))
            {
                reporter.is_cancelled.store(true, Ordering::Relaxed);
                interrupt = Some(error);
            }
        }
        let result = py.detach(|| handle.join());
        if let Some(error) = interrupt {
            return Err(error);
        }
        let result = result.map_err(|_| PyRuntimeError::new_err("a worker thread panicked"))?;
        reporter.report(py)?;
        Ok(result)
    })
}
