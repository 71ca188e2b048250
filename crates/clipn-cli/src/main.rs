//! The program `clipn`; everything is in the library of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(clipn_cli::run(std::env::args_os()))
}
