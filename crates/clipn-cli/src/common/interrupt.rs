//! Ctrl-C, termination signals and closed pipes: what requests a stop.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::common::distributed;
use crate::common::error::{self, CliError};
use crate::common::messages::note;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static PIPE_CLOSED: AtomicBool = AtomicBool::new(false);
static NOTICED: AtomicBool = AtomicBool::new(false);
/// Whether the program waits for what does not look for requests to stop.
static UNSTOPPABLE: AtomicBool = AtomicBool::new(false);
/// Whether running work has seen the request to stop.
static OBSERVED: AtomicBool = AtomicBool::new(false);
/// Whether work that has seen the request may take its time, as to write a checkpoint.
static STOPS_SLOWLY: AtomicBool = AtomicBool::new(false);

/// Whether work is in steps of any length, and looks for requests between them.
static IN_LONG_STEPS: AtomicBool = AtomicBool::new(false);
/// Time of the first signal.
static FIRST_SIGNAL: OnceLock<Instant> = OnceLock::new();
/// Exit code after a notice of the program's end, if work is abandoned.
static NOTICE_CODE: AtomicU8 = AtomicU8::new(error::INTERRUPTED);

/// Time within which signals count as one. A terminal and a launcher both pass a Ctrl-C on, and Slurm sends
/// SIGTERM twice at a preemption, 20 ms apart.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// Time after which a requested stop exits at once: work may wait for a file or a pipe that never comes.
const STOP_TIMEOUT: Duration = Duration::from_millis(1800);

/// Installs the handler: the first Ctrl-C, SIGTERM or SIGHUP requests a clean stop of running work,
/// which has two seconds for it; the second exits at once. A SIGHUP that was ignored when the program started, as `nohup` does,
/// stays without effect.
pub(crate) fn install() -> Result<(), CliError> {
    #[cfg(unix)]
    match hangup::is_ignored() {
        Some(true) => hangup::block()?,
        Some(false) => {}
        // This fails if a signal is not at its default. A program starts without handlers, so that
        // signal is ignored: take it for SIGHUP.
        None => match ctrlc::try_set_handler(on_signal) {
            Err(ctrlc::Error::MultipleHandlers) => hangup::block()?,
            installed => return Ok(installed?),
        },
    }
    ctrlc::set_handler(on_signal)?;
    Ok(())
}

fn on_signal() {
    let first = *FIRST_SIGNAL.get_or_init(Instant::now);
    let is_repeated = INTERRUPTED.swap(true, Ordering::SeqCst);
    if is_repeated && first.elapsed() < ONE_SIGNAL {
        return;
    }
    if is_repeated || UNSTOPPABLE.load(Ordering::SeqCst) {
        exit();
    }
    let watchdog = std::thread::Builder::new().name("stop".to_owned());
    let watch = || {
        std::thread::sleep(STOP_TIMEOUT);
        let is_seen = OBSERVED.load(Ordering::SeqCst);
        if IN_LONG_STEPS.load(Ordering::SeqCst) {
            if !is_seen {
                note("the run stops after this step; another signal abandons it");
            }
        } else if !(STOPS_SLOWLY.load(Ordering::SeqCst) && is_seen) {
            // On a thread of its own: what waits may hold the terminal.
            std::thread::spawn(|| eprintln!("error: interrupted; work in progress was abandoned"));
            std::thread::sleep(Duration::from_millis(50));
            exit();
        }
    };
    if watchdog.spawn(watch).is_err() {
        exit();
    }
}

fn exit() -> ! {
    let code = match is_noticed() {
        true => NOTICE_CODE.load(Ordering::SeqCst),
        false => error::INTERRUPTED,
    };
    distributed::abort_all(code.into());
    std::process::exit(code.into())
}

/// Sets the exit code of work that is abandoned after a notice: what has been saved can be resumed.
pub(crate) fn set_notice_code(code: u8) {
    NOTICE_CODE.store(code, Ordering::SeqCst);
}

/// Runs work in steps of any length, which looks for requests to stop between them: a stop waits for the
/// end of a step. A second signal still exits at once.
pub(crate) fn in_long_steps<R>(work: impl FnOnce() -> R) -> R {
    IN_LONG_STEPS.store(true, Ordering::SeqCst);
    let result = work();
    IN_LONG_STEPS.store(false, Ordering::SeqCst);
    result
}

/// Lets work that has seen a request to stop take its time: a run writes a checkpoint, a server finishes
/// its requests. A second signal still exits at once.
pub(crate) fn allow_slow_stop() {
    STOPS_SLOWLY.store(true, Ordering::SeqCst);
}

/// Signals by which the system announces that it will end the program soon: SIGUSR1 and SIGTERM, as
/// Slurm sends them before a time limit or a preemption. Each requests a stop.
pub(crate) struct Notices {
    #[cfg(unix)]
    signals: nix::sys::signal::SigSet,
}

#[cfg(unix)]
impl Notices {
    /// Blocks the signals in this thread and in all that it starts, so that they stay pending until
    /// [`watch`](Self::watch) takes them. Must be called before the first thread is started.
    pub(crate) fn block() -> Result<Self, CliError> {
        use nix::sys::signal::{SigSet, Signal};

        let mut signals = SigSet::empty();
        signals.add(Signal::SIGUSR1);
        signals.add(Signal::SIGTERM);
        signals
            .thread_block()
            .map_err(|error| CliError::WatchSignals(error.into()))?;
        Ok(Self { signals })
    }

    /// Starts the thread that waits for the signals. Must be called after [`install`], whose blocked
    /// signals the thread has to block too.
    pub(crate) fn watch(self) -> Result<(), CliError> {
        use nix::sys::signal::Signal;

        let watch = move || {
            let mut received = Received::default();
            while let Ok(signal) = self.signals.wait() {
                let is_interrupted = INTERRUPTED.load(Ordering::SeqCst);
                NOTICED.store(true, Ordering::SeqCst);
                let is_repeated = received.is_repeated(signal == Signal::SIGTERM, is_interrupted);
                if is_repeated || !is_interrupted {
                    on_signal();
                }
            }
        };
        let watcher = std::thread::Builder::new().name("notices".to_owned());
        watcher.spawn(watch).map_err(CliError::WatchSignals)?;
        Ok(())
    }
}

/// The notices so far.
#[cfg(unix)]
#[derive(Default)]
struct Received {
    any: bool,
    sigterm: bool,
}

#[cfg(unix)]
impl Received {
    /// Whether a notice ends the program at once: a second SIGTERM, or one after a Ctrl-C. SIGUSR1 may come
    /// repeatedly, and the SIGTERM of a time limit after it.
    fn is_repeated(&mut self, is_sigterm: bool, is_interrupted: bool) -> bool {
        let after_ctrl_c = is_interrupted && !self.any;
        let is_repeated = is_sigterm && (self.sigterm || after_ctrl_c);
        self.any = true;
        self.sigterm |= is_sigterm;
        is_repeated
    }
}

#[cfg(not(unix))]
impl Notices {
    pub(crate) fn block() -> Result<Self, CliError> {
        Ok(Self {})
    }

    pub(crate) fn watch(self) -> Result<(), CliError> {
        Ok(())
    }
}

/// Whether the system gave notice of the program's end.
pub(crate) fn is_noticed() -> bool {
    NOTICED.load(Ordering::SeqCst)
}

/// Runs `work`, which does not look for requests to stop: the first signal exits at once meanwhile.
pub(crate) fn exit_at_once_during<R>(work: impl FnOnce() -> R) -> R {
    UNSTOPPABLE.store(true, Ordering::SeqCst);
    let result = work();
    UNSTOPPABLE.store(false, Ordering::SeqCst);
    result
}

/// Requests a stop because the reader of standard error has gone.
pub(crate) fn close_pipe() {
    PIPE_CLOSED.store(true, Ordering::SeqCst);
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether the reader of standard error has gone.
pub(crate) fn is_pipe_closed() -> bool {
    PIPE_CLOSED.load(Ordering::SeqCst)
}

/// Whether a stop has been requested.
pub(crate) fn requested() -> bool {
    let is_requested = INTERRUPTED.load(Ordering::SeqCst);
    if is_requested {
        OBSERVED.store(true, Ordering::SeqCst);
    }
    is_requested
}

#[cfg(unix)]
mod hangup {
    use nix::sys::signal::{SigSet, Signal};

    use crate::common::error::CliError;

    /// Whether SIGHUP is ignored. `None` if the system does not report it in proc(5), as only Linux
    /// does.
    pub(super) fn is_ignored() -> Option<bool> {
        from_status(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Reads the mask of ignored signals, whose lowest bit is signal 1.
    fn from_status(status: &str) -> Option<bool> {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        Some(mask >> (Signal::SIGHUP as u32 - 1) & 1 == 1)
    }

    /// Blocks SIGHUP in this thread and all that it starts. The handler that the other signals share
    /// replaces the ignored disposition, but is never called for a blocked signal.
    pub(super) fn block() -> Result<(), CliError> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGHUP);
        signals
            .thread_block()
            .map_err(|error| CliError::BlockSignal(error.into()))
    }

    #[cfg(test)]
    mod tests {
        use super::from_status;

        #[test]
        fn reads_the_mask_of_ignored_signals() {
            let status =
                |mask: &str| format!("Name:\tclipn\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
            assert_eq!(from_status(&status("0000000000000001")), Some(true));
            assert_eq!(from_status(&status("0000000000001006")), Some(false));
            assert_eq!(from_status("Name:\tclipn\n"), None);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_second_sigterm_ends_at_once_but_not_the_first_after_a_notice() {
        const SIGUSR1: bool = false;
        const SIGTERM: bool = true;
        let repeated = |signals: &[bool], after_ctrl_c: bool| {
            let mut received = Received::default();
            let each = signals.iter().enumerate();
            each.map(|(index, &signal)| received.is_repeated(signal, after_ctrl_c || index > 0))
                .collect::<Vec<bool>>()
        };
        assert_eq!(
            repeated(&[SIGUSR1, SIGUSR1, SIGTERM, SIGUSR1, SIGTERM], false),
            [false, false, false, false, true]
        );
        assert_eq!(repeated(&[SIGTERM, SIGTERM], false), [false, true]);
        assert_eq!(repeated(&[SIGTERM], true), [true]);
        assert_eq!(repeated(&[SIGUSR1, SIGTERM], true), [false, false]);
    }
}
