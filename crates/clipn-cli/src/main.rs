//! The program `clipn`: zero-shot classification that knows when to say no.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong use, 130
//! interrupted.

mod args;
mod bench;
mod calibrate;
mod classifier;
mod classify;
mod convert;
mod demo;
mod detector;
mod error;
mod eval;
mod figures;
mod inspect;
mod interrupt;
mod loading;
mod models;
mod progress;
mod recipe;
mod results;
#[cfg(feature = "serve")]
mod serve;
mod table;
mod train;
mod usage;
mod weights;

use std::process::ExitCode;

use clap::Parser;
use clipn::simd::SimdLevel;

use args::{Cli, Command};
use error::CliError;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::tell(&error),
    };
    let prepared = SimdLevel::requested()
        .map_err(CliError::Usage)
        .and_then(|_| interrupt::install());
    match prepared.and_then(|()| dispatch(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` has.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

/// Runs a command to its end.
fn dispatch(command: Command) -> Result<(), CliError> {
    match command {
        Command::Eval(args) => eval::run(&args),
        Command::Results(command) => results::run(&command),
        Command::Classify(args) => classify::run(&args),
        Command::Classifier(command) => classifier::run(&command),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Recipe(args) => recipe::run(&args),
        Command::Demo(args) => demo::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        Command::Bench(mut args) => bench::run(&mut args),
    }
}
