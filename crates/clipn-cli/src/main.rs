//! The program `clipn`: zero-shot classification that knows when to say no.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 success,
//! 1 failure, 2 wrong usage, 130 interrupted.

mod cli;
mod commands;
mod common;
mod world;

use std::process::ExitCode;

use clipn::simd::SimdLevel;

use cli::Cli;
use common::error::{CliError, report};
use common::{interrupt, usage};

fn main() -> ExitCode {
    let cli = match Cli::parse_words(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let prepared = SimdLevel::requested()
        .map_err(|error| CliError::Usage {
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
        })
        .and_then(|_| interrupt::install());
    match prepared.and_then(|()| cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe early, as `head` does.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(&error);
            error.exit_code()
        }
    }
}
