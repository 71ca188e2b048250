//! Errors and help of the command line, as clap renders them.

use std::process::ExitCode;

use clap::error::ErrorKind;

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
    eprintln!("error: {}", one_line(&error.render().to_string()));
    eprintln!("hint: `clipn help` lists the commands; each has --help");
    ExitCode::from(2)
}

/// Clap's message in one line, without its prefix `error: ` and the usage after it.
pub(crate) fn one_line(message: &str) -> String {
    let lines = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take_while(|line| {
            !line.starts_with("Usage:") && !line.starts_with("For more information")
        });
    let joined = lines.collect::<Vec<_>>().join(" ");
    match joined.strip_prefix("error: ") {
        Some(message) => message.to_owned(),
        None => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_usage_and_joins_lines() {
        let message = "error: the following were not provided:\n  --model <M>\n\n\
                       Usage: clipn eval --model <M>\n\nFor more";
        assert_eq!(
            one_line(message),
            "the following were not provided: --model <M>"
        );
    }
}
