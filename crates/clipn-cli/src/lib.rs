//! The program `clipn` as a library of one function, [`run`]: zero-shot classification that knows when to say no.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 success,
//! 1 failure, 2 wrong usage, 130 interrupted, 141 if the reader of the output has gone.

mod cli;
mod commands;
mod common;
mod world;

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::CommandFactory;
use clipn::simd::SimdLevel;

use cli::Cli;
use common::error::{CliError, report};
use common::usage;

/// Exit code if the reader of the output has gone, as `head` does: that of a program that SIGPIPE
/// ends.
pub(crate) const CLOSED_PIPE: u8 = 128 + 13;

/// Command that starts the program, if it is not the executable of this process.
static LAUNCHER: OnceLock<Vec<OsString>> = OnceLock::new();

/// Sets the command that starts the program, for a package whose process is another program's, such as
/// Python's. `clipn bench` measures in processes of its own. Only the first call has an effect.
pub fn set_launcher(command: impl IntoIterator<Item = impl Into<OsString>>) {
    let command = command.into_iter().map(Into::into).collect();
    // A second launcher would be the same.
    let _ = LAUNCHER.set(command);
}

/// The command that starts the program, and its first arguments.
pub(crate) fn program() -> std::io::Result<Vec<OsString>> {
    match LAUNCHER.get() {
        Some(command) => Ok(command.clone()),
        None => Ok(vec![std::env::current_exe()?.into()]),
    }
}

/// Runs the program with the words of a command line, the first of them its name, and returns the exit
/// code. It is for the program itself and for packages that have it in them: it prints to standard output
/// and standard error, and handles the signals of the process.
///
/// ```
/// assert_eq!(clipn_cli::run(["clipn", "--version"]), 0);
/// assert_eq!(clipn_cli::run(["clipn", "no-such-command"]), 2);
/// ```
#[must_use]
pub fn run(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> u8 {
    #[cfg(debug_assertions)]
    common::faults::inject_from_environment();
    let cli = match Cli::parse_words(words) {
        Ok(cli) => cli,
        Err(error) => {
            let mut command = Cli::command();
            command.build();
            return usage::report(&error, &command);
        }
    };
    let prepared = SimdLevel::requested()
        .map_err(|error| CliError::Usage {
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
        })
        .and_then(|_| cli.prepare_signals());
    match prepared.and_then(|()| cli::run(cli)) {
        Ok(()) => 0,
        Err(error) if error.is_closed_pipe() => CLOSED_PIPE,
        Err(error) => {
            report(&error);
            error.exit_status()
        }
    }
}
