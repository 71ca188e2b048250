//! Threads of forked processes. A fork copies the memory of a process but not its threads: work that is given to
//! those of the parent would wait forever.

use std::process;
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::errors::exception;

/// Process that used the global threads first.
static FIRST: OnceLock<u32> = OnceLock::new();

/// Threads of the current process, with its id, if it was forked.
static FORKED: Mutex<Option<(u32, &'static ThreadPool)>> = Mutex::new(None);

fn is_forked() -> bool {
    let current = process::id();
    *FIRST.get_or_init(|| current) != current
}

/// Refuses work on the global threads in a forked process.
pub(crate) fn check() -> PyResult<()> {
    if !is_forked() {
        return Ok(());
    }
    Err(exception(
        "ProcessError",
        "this process was forked after clipn had started its threads, which a fork does not copy",
        Some(
            "start processes with multiprocessing.get_context(\"spawn\"), or use clipn first in them",
        ),
    ))
}

/// Runs work that uses no threads but those of the pool it is called in: the global ones, or in a forked process
/// its own.
pub(crate) fn install<T: Send>(work: impl FnOnce() -> T + Send) -> PyResult<T> {
    if !is_forked() {
        return Ok(work());
    }
    let current = process::id();
    let mut forked = FORKED.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = match *forked {
        Some((owner, pool)) if owner == current => pool,
        _ => {
            let pool = ThreadPoolBuilder::new().build();
            let pool = pool.map_err(|error| {
                exception(
                    "ProcessError",
                    &format!("cannot start threads: {error}"),
                    None,
                )
            })?;
            // Never dropped: after another fork, waiting for its threads would never end.
            let pool: &ThreadPool = Box::leak(Box::new(pool));
            *forked = Some((current, pool));
            pool
        }
    };
    drop(forked);
    Ok(pool.install(work))
}
