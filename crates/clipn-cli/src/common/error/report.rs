use clipn::error::{causes, one_line};

use super::CliError;
use super::hints::hints;
use crate::common::terminal::print_line;

/// Prints an error to standard error: `error: …`, a `caused by: …` line for each source, then
/// `hint: …` lines.
pub(crate) fn report(error: &CliError) {
    print_line(format_args!("error: {}", one_line(&error.to_string())));
    for cause in causes(error) {
        print_line(format_args!("caused by: {}", one_line(&cause)));
    }
    for hint in hints(error) {
        print_line(format_args!("hint: {hint}"));
    }
}
