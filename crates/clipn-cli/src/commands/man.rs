//! `clipn man`: manual pages, one per command.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use crate::common::error::CliError;

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write one page per command into this directory, and print the paths; without it, print the
    /// page of the program
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// `clipn man`: prints or writes the pages of `program`.
pub(crate) fn run(args: &ManArgs, program: Command) -> Result<(), CliError> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut out = std::io::stdout().lock();
    match &args.output {
        None => out.write_all(&page(program)?).map_err(CliError::Output),
        Some(directory) => {
            clipn::files::create_directories(directory).map_err(|source| {
                CliError::OutputDirectory {
                    path: directory.clone(),
                    source,
                }
            })?;
            write_pages(&program, directory, &mut out)
        }
    }
}

/// Writes the pages of a command and its subcommands, and prints their paths.
fn write_pages(command: &Command, directory: &Path, out: &mut impl Write) -> Result<(), CliError> {
    let path = directory.join(format!("{}.1", full_name(command)));
    clipn::files::replace(&path, page(command.clone())?).map_err(|source| CliError::WriteFile {
        path: path.clone(),
        source,
    })?;
    writeln!(out, "{}", path.display()).map_err(CliError::Output)?;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| write_pages(command, directory, out))
}

/// The page of one command in roff.
fn page(command: Command) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    Man::new(command)
        .source(concat!("clipn ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(CliError::Output)?;
    Ok(page)
}

/// The name with the names of the commands before it, as in `clipn-classifier-build`.
fn full_name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}
