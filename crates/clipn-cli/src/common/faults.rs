//! Faults of the file system for tests, in debug builds only: `CLIPN_TEST_FAULT=kill@12` ends the
//! program like SIGKILL at its twelfth operation that changes what is on disk, `full@12` lets no bytes be
//! written from there on. `CLIPN_TEST_FAULT_LOG` names a file that gets a line for each operation.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clipn::files::{FileLayer, Operation, inject};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Full,
}

#[derive(Debug)]
struct InjectedFault {
    fault: Option<(Fault, u64)>,
    seen: AtomicU64,
    log: Option<Mutex<File>>,
}

/// Injects the fault that the environment names. An invalid one is ignored.
pub(crate) fn inject_from_environment() {
    let fault = std::env::var("CLIPN_TEST_FAULT").ok();
    let log = std::env::var_os("CLIPN_TEST_FAULT_LOG");
    if fault.is_none() && log.is_none() {
        return;
    }
    inject(Box::new(InjectedFault {
        fault: fault.as_deref().and_then(parse),
        seen: AtomicU64::new(0),
        log: log.and_then(|path| File::create(path).ok()).map(Mutex::new),
    }));
}

fn parse(text: &str) -> Option<(Fault, u64)> {
    let (fault, at) = text.split_once('@')?;
    let fault = match fault {
        "kill" => Fault::Kill,
        "full" => Fault::Full,
        _ => return None,
    };
    Some((fault, at.parse().ok()?))
}

impl InjectedFault {
    /// Counts an operation, and returns the fault that it meets.
    fn next(&self, operation: Operation, path: &Path) -> Option<Fault> {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(Ok(mut log)) = self.log.as_ref().map(Mutex::lock) {
            let _ = writeln!(log, "{number} {operation:?} {}", path.display());
        }
        match self.fault? {
            (Fault::Kill, at) if number == at => Some(Fault::Kill),
            (Fault::Full, at) if number >= at && operation == Operation::Write => Some(Fault::Full),
            _ => None,
        }
    }
}

impl FileLayer for InjectedFault {
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.next(operation, path) {
            None => Ok(()),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Kill) => kill(),
        }
    }

    fn write(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        match self.next(Operation::Write, path) {
            None => file.write(bytes),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Kill) => {
                // A kill may hit between the parts of a write.
                let _ = file.write(&bytes[..bytes.len() / 2]);
                kill()
            }
        }
    }
}

fn kill() -> ! {
    #[cfg(unix)]
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    std::process::abort()
}
