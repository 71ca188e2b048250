//! Errors and help of the command line, as clap renders them.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::common::terminal::printable;

/// Prints help and version unchanged, and an error of the command line like every other error.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // If even this cannot be printed, there is nowhere left to report it.
        let _ = error.print();
        return if error.use_stderr() {
            ExitCode::from(2)
        } else {
            ExitCode::SUCCESS
        };
    }
    let rendered = error.render().to_string();
    let problem = Problem::parse(&rendered);
    eprintln!("error: {}", printable(&problem.message));
    for tip in &problem.tips {
        eprintln!("hint: {}", printable(tip));
    }
    eprintln!("hint: `clipn help` lists the commands; each has --help");
    ExitCode::from(2)
}

/// The problem that a message of clap describes, with its tips, in one line.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let Problem { message, tips } = Problem::parse(&rendered);
    match tips.as_slice() {
        [] => message,
        tips => format!("{message} ({})", tips.join("; ")),
    }
}

/// A message of clap, without its prefix `error: ` and the usage after it.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    message: String,
    /// Similar names, mostly.
    tips: Vec<String>,
}

impl Problem {
    fn parse(rendered: &str) -> Self {
        let lines = rendered
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .take_while(|line| {
                !line.starts_with("Usage:") && !line.starts_with("For more information")
            });
        let (tips, message): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with(TIP));
        let message = message.join(" ");
        Self {
            message: message
                .strip_prefix("error: ")
                .unwrap_or(&message)
                .to_owned(),
            tips: tips
                .into_iter()
                .map(|tip| tip.trim_start_matches(TIP).to_owned())
                .collect(),
        }
    }
}

/// Start of a line with advice.
const TIP: &str = "tip: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_usage_and_joins_lines() {
        let message = "error: the following were not provided:\n  --model <M>\n\n\
                       Usage: clipn eval --model <M>\n\nFor more";
        assert_eq!(
            Problem::parse(message),
            Problem {
                message: "the following were not provided: --model <M>".to_owned(),
                tips: Vec::new()
            }
        );
    }

    #[test]
    fn tips_are_no_part_of_the_message() {
        let message = "error: unexpected argument '--modl' found\n\n  tip: a similar argument \
                       exists: '--model'\n\nUsage: clipn eval";
        assert_eq!(
            Problem::parse(message),
            Problem {
                message: "unexpected argument '--modl' found".to_owned(),
                tips: vec!["a similar argument exists: '--model'".to_owned()]
            }
        );
    }
}
