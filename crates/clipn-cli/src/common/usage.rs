use std::process::ExitCode;

use clap::error::ErrorKind;

/// Prints help and version as they are, and an error of the command line in one line like every other error.
pub fn tell(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // Nobody is left to tell where even this cannot be printed.
        let _ = error.print();
        return if error.use_stderr() {
            ExitCode::from(2)
        } else {
            ExitCode::SUCCESS
        };
    }
    eprintln!("{}", one_line(&error.render().to_string()));
    ExitCode::from(2)
}

/// The message without the usage that follows it, and where to find that.
pub fn one_line(message: &str) -> String {
    let lines = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let said = lines.take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    format!(
        "{}; `clipn help` lists the commands, and each has --help",
        said.collect::<Vec<_>>().join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_left_out_and_lines_are_joined() {
        let message = "error: the following were not provided:\n  --model <M>\n\nUsage: clipn eval --model <M>\n\nFor more";
        assert_eq!(
            one_line(message),
            "error: the following were not provided: --model <M>; `clipn help` lists the commands, and each has --help"
        );
    }
}
