use std::error::Error;

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

/// The error and its causes in one line, joined by `: `, for rows, logs and warnings.
pub(crate) fn chain_in_one_line(error: &dyn Error) -> String {
    let messages: Vec<String> = std::iter::once(error.to_string())
        .chain(causes(error))
        .collect();
    one_line(&messages.join(": "))
}

/// Joins the lines of a message; parsers such as `toml` quote the input over several lines.
fn one_line(message: &str) -> String {
    message.trim_end().replace(['\n', '\r'], " ")
}

/// The messages of the sources, without those that the message before already ends with: some
/// libraries print their source themselves.
fn causes(error: &dyn Error) -> Vec<String> {
    let mut last = error.to_string();
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !last.ends_with(&message) {
            causes.push(message.clone());
            last = message;
        }
        source = error.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("middle: inner")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[test]
    fn a_chain_lists_each_message_once() {
        let error = Outer(Middle(Inner));
        assert_eq!(causes(&error), ["middle: inner"]);
        assert_eq!(chain_in_one_line(&error), "outer: middle: inner");
    }
}
