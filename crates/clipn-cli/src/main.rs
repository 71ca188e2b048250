//! The program `clipn`: zero-shot classification that knows when to say no.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 success,
//! 1 failure, 2 wrong usage, 130 interrupted, 141 if the reader of the output has gone.

mod cli;
mod commands;
mod common;
mod world;

use std::process::ExitCode;

use clap::CommandFactory;
use clipn::simd::SimdLevel;

use cli::Cli;
use common::error::{CliError, report};
use common::usage;

/// Exit code if the reader of the output has gone, as `head` does: that of a program that SIGPIPE
/// ends.
pub(crate) const CLOSED_PIPE: u8 = 128 + 13;

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    common::faults::inject_from_environment();
    let cli = match Cli::parse_words(std::env::args_os()) {
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::from(CLOSED_PIPE),
        Err(error) => {
            report(&error);
            error.exit_code()
        }
    }
}
