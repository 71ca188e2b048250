//! The messages of an error and of its sources. Errors of these crates do not print their sources:
//! code that stores or shows an error as text prints the chain.
//!
//! ```
//! use clipn_base::error::chain_in_one_line;
//!
//! let error = std::io::Error::other("disk full");
//! assert_eq!(chain_in_one_line(&error), "disk full");
//! ```

use std::error::Error;

/// Returns the error and its causes in one line, joined by `: `, for rows, logs and responses.
#[must_use]
pub fn chain_in_one_line(error: &(dyn Error + 'static)) -> String {
    let messages: Vec<String> = std::iter::once(error.to_string())
        .chain(causes(error))
        .collect();
    one_line(&messages.join(": "))
}

/// Joins the lines of a message; parsers such as `toml` quote the input over several lines.
#[must_use]
pub fn one_line(message: &str) -> String {
    message.trim_end().replace(['\n', '\r'], " ")
}

/// Returns the messages of the sources, the nearest first, without those that the message before
/// already ends with: some libraries print their source themselves.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
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
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Message(&'static str, Option<Box<Message>>);

    impl fmt::Display for Message {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Message {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    fn caused_by(message: &'static str, source: Message) -> Message {
        Message(message, Some(Box::new(source)))
    }

    #[test]
    fn a_chain_lists_each_message_once() {
        let middle = caused_by("middle: inner", Message("inner", None));
        let error = caused_by("outer", middle);
        assert_eq!(causes(&error), ["middle: inner"]);
        assert_eq!(chain_in_one_line(&error), "outer: middle: inner");
    }

    #[test]
    fn lines_are_joined() {
        let error = caused_by("outer", Message("line 1\nline 2\n", None));
        assert_eq!(chain_in_one_line(&error), "outer: line 1 line 2");
    }
}
