use clipn::error::{causes, one_line};

use super::CliError;
use super::hints::hints;

/// Prints an error to standard error: `error: …`, a `caused by: …` line for each source, then
/// `hint: …` lines.
pub(crate) fn report(error: &CliError) {
    eprintln!("error: {}", one_line(&error.to_string()));
    for cause in causes(error) {
        eprintln!("caused by: {}", one_line(&cause));
    }
    for hint in hints(error) {
        eprintln!("hint: {hint}");
    }
}
