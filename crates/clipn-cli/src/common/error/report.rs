use clipn::error::{causes, one_line};

use super::CliError;
use super::hints::hints;
use crate::common::terminal::printable;

/// Prints an error to standard error: `error: …`, a `caused by: …` line for each source, then
/// `hint: …` lines.
pub(crate) fn report(error: &CliError) {
    let line = |message: &str| printable(&one_line(message)).into_owned();
    eprintln!("error: {}", line(&error.to_string()));
    for cause in causes(error) {
        eprintln!("caused by: {}", line(&cause));
    }
    for hint in hints(error) {
        eprintln!("hint: {}", line(&hint));
    }
}
