//! `clipn classifier`: bundles.

mod args;
mod build;
mod change;
mod show;

pub use args::ClassifierCommand;

use std::path::Path;

use clipn::bundle::Bundle;

use crate::common::error::CliError;

/// `clipn classifier`.
pub fn run(command: &ClassifierCommand) -> Result<(), CliError> {
    match command {
        ClassifierCommand::Build(args) => build::run(args),
        ClassifierCommand::Show(args) => show::run(args),
        ClassifierCommand::Add(args) => change::add(args),
        ClassifierCommand::Remove(args) => change::remove(args),
    }
}

/// Refuses to write over something that is there.
fn check_free(path: &Path, force: bool) -> Result<(), CliError> {
    if path.is_dir() {
        return Err(CliError::Usage(format!(
            "{} is a folder; name a file, as shop.clipn",
            path.display()
        )));
    }
    if path.exists() && !force {
        let problem = format!(
            "{} is there already; give --force to replace it, or another name",
            path.display()
        );
        return Err(CliError::Usage(problem));
    }
    Ok(())
}

/// Tells what was written.
fn wrote(bundle: &Bundle, path: &Path) -> Result<(), CliError> {
    show::describe(&mut std::io::stdout().lock(), bundle).map_err(CliError::Output)?;
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    eprintln!("wrote {} ({})", path.display(), crate::common::numbers::bytes(size));
    Ok(())
}
