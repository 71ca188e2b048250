//! Locks of what commands keep state in.

use std::path::Path;

use clipn::files::StateLock;

use crate::common::error::CliError;
use crate::common::messages::warning;

/// Warns if a lock does not exclude other processes, and returns it.
pub(crate) fn reported(lock: StateLock) -> StateLock {
    if let Some(why) = lock.warning() {
        warning(why);
    }
    lock
}

/// Locks a bundle that is changed in place, before it is read: otherwise a change by another process
/// meanwhile would be lost. `None` if it is written elsewhere, or does not exist.
pub(crate) fn of_bundle(path: &Path, out: Option<&Path>) -> Result<Option<StateLock>, CliError> {
    let is_same = |out: &Path| match (out.canonicalize(), path.canonicalize()) {
        (Ok(out), Ok(path)) => out == path,
        _ => false,
    };
    match out {
        Some(out) if !is_same(out) => Ok(None),
        _ => of_file(path),
    }
}

/// Locks a file that is replaced as a whole; `None` if it does not exist. The lock ends when the file is
/// replaced.
pub(crate) fn of_file(path: &Path) -> Result<Option<StateLock>, CliError> {
    Ok(StateLock::of_file(path)?.map(reported))
}
