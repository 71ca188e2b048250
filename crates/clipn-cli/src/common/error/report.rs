use clipn::error::{causes, one_line};

use super::CliError;
use super::hints::hints;
use crate::common::terminal::print_line;

/// Prints an error to standard error: `error: …`, a `caused by: …` line for each source, then
/// `hint: …` lines.
pub(crate) fn report(error: &CliError) {
    print_error(error, "");
}

/// Same as [`report`], with the rank whose error it is: `error: rank 2 of 4: …`.
pub(crate) fn report_of_rank(error: &CliError, rank: usize, world_size: usize) {
    print_error(error, &format!("rank {rank} of {world_size}: "));
}

fn print_error(error: &CliError, origin: &str) {
    print_line(format_args!(
        "error: {origin}{}",
        one_line(&error.to_string())
    ));
    for cause in causes(error) {
        print_line(format_args!("caused by: {}", one_line(&cause)));
    }
    for hint in hints(error) {
        print_line(format_args!("hint: {hint}"));
    }
}
