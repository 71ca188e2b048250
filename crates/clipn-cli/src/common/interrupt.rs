//! Ctrl-C and termination signals.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::error::CliError;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler: the first Ctrl-C (or termination signal) requests a clean stop of running
/// work, the second exits at once.
pub(crate) fn install() -> Result<(), CliError> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Whether a stop has been requested.
pub(crate) fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
