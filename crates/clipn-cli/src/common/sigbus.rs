//! SIGBUS: the system's answer to reading a mapped file that was cut, or whose disk failed.

use std::io::Write;

use clipn::files::mapped_file_at;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::common::error::CliError;

/// Maximum bytes of a file's name in the message.
const MAX_NAME: usize = 1024;

/// Installs the handler, which reports the file and ends the program with exit code 1.
pub(crate) fn install() -> Result<(), CliError> {
    let action = SigAction::new(
        SigHandler::SigAction(on_sigbus),
        SaFlags::SA_SIGINFO | SaFlags::SA_RESETHAND,
        SigSet::empty(),
    );
    // SAFETY: the handler calls nothing but functions that are safe in handlers of signals, and does
    // not return.
    unsafe { sigaction(Signal::SIGBUS, &action) }
        .map(drop)
        .map_err(|error| CliError::WatchSignals(error.into()))
}

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
