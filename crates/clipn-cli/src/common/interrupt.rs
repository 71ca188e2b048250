use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::error::CliError;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Turns the first Ctrl-C (or termination signal) into a request that running work ends cleanly; the second ends the
/// program at once.
pub fn install() -> Result<(), CliError> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
