//! Signals about files: SIGBUS, the system's answer to reading a mapped file that was cut, or whose disk
//! failed, and SIGXFSZ, its answer to writing beyond the maximum size of a file (`ulimit -f`).

use std::io::Write;

use clipn::files::mapped_file_at;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::common::error::CliError;

/// Maximum bytes of a file's name in the message.
const MAX_NAME: usize = 1024;

/// Installs the handlers. SIGBUS reports the file and ends the program with exit code 1. SIGXFSZ, which
/// ends a program without a message, does nothing: the write fails with an error then.
pub(crate) fn install() -> Result<(), CliError> {
    let on_bus = SigAction::new(
        SigHandler::SigAction(on_sigbus),
        SaFlags::SA_SIGINFO | SaFlags::SA_RESETHAND,
        SigSet::empty(),
    );
    // A handler, since child processes would inherit that the signal is ignored.
    let on_size = SigAction::new(
        SigHandler::Handler(on_sigxfsz),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for (signal, action) in [(Signal::SIGBUS, on_bus), (Signal::SIGXFSZ, on_size)] {
        // SAFETY: the handlers call nothing but functions that are safe in handlers of signals.
        unsafe { sigaction(signal, &action) }
            .map_err(|error| CliError::WatchSignals(error.into()))?;
    }
    Ok(())
}

extern "C" fn on_sigxfsz(_: libc::c_int) {}

extern "C" fn on_sigbus(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system passes a valid pointer to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    // A buffer on the stack: a handler must not allocate.
    let mut message = [0; MAX_NAME + 512];
    let length = {
        let mut left = &mut message[..];
        let full = left.len();
        let _ = match mapped_file_at(address) {
            Some(path) => {
                let mut end = path.len().min(MAX_NAME);
                while !path.is_char_boundary(end) {
                    end -= 1;
                }
                left.write_all(b"error: cannot read ")
                    .and_then(|()| left.write_all(&path.as_bytes()[..end]))
            }
            None => left.write_all(b"error: cannot read a file that is mapped into memory"),
        };
        let _ = left.write_all(
            b": it was cut by another program while it was in use, or its disk failed (SIGBUS)\n\
              hint: replace files by renaming new ones over them, or give --copy-weights\n",
        );
        full - left.len()
    };
    // SAFETY: the buffer is valid for its length, and both functions are safe in handlers of signals.
    unsafe {
        libc::write(2, message.as_ptr().cast(), length);
        libc::_exit(1);
    }
}
