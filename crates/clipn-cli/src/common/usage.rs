//! Errors and help of the command line, as clap renders them.

use std::any::TypeId;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::common::terminal::print_line;

/// The command with the environment variables of the arguments that `is_kept` names. An empty variable
/// counts as one that is not set.
pub(crate) fn with_variables(command: Command, is_kept: fn(&str) -> bool) -> Command {
    let argument = |argument: Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        match value {
            Some(value) if value.is_empty() || !is_kept(argument.get_id().as_str()) => {
                argument.env(Resettable::Reset)
            }
            _ => argument,
        }
    };
    command
        .mut_args(argument)
        .mut_subcommands(|subcommand| with_variables(subcommand, is_kept))
}

/// The command whose numbers may be negative, so that one that is out of range is called so and is no unknown flag.
pub(crate) fn with_negative_numbers(command: Command) -> Command {
    let argument = |argument: Arg| {
        let parsed = argument.get_value_parser().type_id();
        let numbers = [
            TypeId::of::<f64>(),
            TypeId::of::<u64>(),
            TypeId::of::<u32>(),
            TypeId::of::<usize>(),
        ];
        if numbers.iter().any(|number| parsed == *number) {
            argument.allow_negative_numbers(true)
        } else {
            argument
        }
    };
    command
        .mut_args(argument)
        .mut_subcommands(with_negative_numbers)
}

/// The command without conflicts between its arguments.
pub(crate) fn without_conflicts(command: Command) -> Command {
    command
        .mut_args(|argument| argument.conflicts_with(Resettable::Reset))
        .mut_subcommands(without_conflicts)
}

/// Prints help and version unchanged, and an error of the command line like every other error; returns the
/// exit code.
pub(crate) fn report(error: &clap::Error, command: &Command) -> u8 {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // If even this cannot be printed, there is nowhere left to report it.
        let _ = error.print();
        return if error.use_stderr() { 2 } else { 0 };
    }
    let rendered = error.render().to_string();
    let problem = Problem::parse(&rendered);
    print_line(format_args!("error: {}", problem.message));
    for tip in &problem.tips {
        print_line(format_args!("hint: {tip}"));
    }
    if let Some(variable) = variable(error, command) {
        print_line(format_args!(
            "hint: the value is that of the environment variable {variable}"
        ));
    }
    print_line(format_args!("hint: {}", where_to_look(error, command)));
    2
}

/// Where the arguments of the given command, or the commands, are listed.
fn where_to_look(error: &clap::Error, program: &Command) -> String {
    let mut path = program.get_name().to_owned();
    let mut command = program;
    for word in std::env::args_os().skip(1) {
        if let Some(found) = command.find_subcommand(&word) {
            path = format!("{path} {}", found.get_name());
            command = found;
        }
    }
    if command.has_subcommands() || error.kind() == ErrorKind::InvalidSubcommand {
        format!("`{path} --help` lists the commands")
    } else {
        format!("`{path} --help` explains the arguments")
    }
}

/// The environment variable that an invalid value is from.
fn variable(error: &clap::Error, command: &Command) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg)?;
    let value = context(ContextKind::InvalidValue)?;
    let flag = argument.split(' ').next()?;
    let is_given = |word: OsString| {
        let word = word.to_string_lossy();
        word.split('=').next() == Some(flag)
    };
    if std::env::args_os().any(is_given) {
        return None;
    }
    let commands = std::iter::once(command).chain(command.get_subcommands());
    let variables = commands
        .flat_map(Command::get_arguments)
        .filter(|known| known.to_string() == *argument)
        .filter_map(Arg::get_env);
    variables
        .filter(|name| {
            std::env::var(name)
                .is_ok_and(|set| set.split(',').any(|part| part == value) || set == *value)
        })
        .map(|name| name.to_string_lossy().into_owned())
        .next()
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
