//! `clipn classifier`: builds, shows and changes bundles.

mod args;
mod build;
mod change;
mod show;

pub(crate) use args::ClassifierCommand;

use std::path::Path;

use clipn::bundle::Bundle;

use crate::common::error::CliError;
use crate::common::messages::status;
use crate::common::terminal::Escaped;

/// `clipn classifier`.
pub(crate) fn run(command: &ClassifierCommand) -> Result<(), CliError> {
    match command {
        ClassifierCommand::Build(args) => build::run(args),
        ClassifierCommand::Show(args) => show::run(args),
        ClassifierCommand::Add(args) => change::add(args),
        ClassifierCommand::Remove(args) => change::remove(args),
    }
}

/// Prints the contents and the size of a written bundle.
fn report_written(bundle: &Bundle, path: &Path) -> Result<(), CliError> {
    show::describe(&mut Escaped(std::io::stdout().lock()), bundle).map_err(CliError::Output)?;
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    status(format_args!(
        "wrote {} ({})",
        path.display(),
        crate::common::numbers::bytes(size)
    ));
    Ok(())
}
