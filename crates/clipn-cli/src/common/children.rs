//! Children of process 1 of a container: every process of the container whose parent has ended.

use nix::sys::signal::{SigHandler, Signal, signal};

use crate::common::error::CliError;

/// Makes the system discard ended children, if this is process 1. Otherwise they would stay as zombies, since
/// nothing waits for them.
pub(crate) fn discard_as_first_process() -> Result<(), CliError> {
    if std::process::id() != 1 {
        return Ok(());
    }
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }
        .map(drop)
        .map_err(|error| CliError::WatchSignals(error.into()))
}
