//! `clipn completions`: completion scripts of shells.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::common::error::CliError;

#[derive(Debug, Args)]
#[command(after_long_help = LONG_HELP)]
pub(crate) struct CompletionsArgs {
    /// Shell that reads the script
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `clipn completions`: prints the completion script of `program`.
pub(crate) fn run(args: &CompletionsArgs, mut program: Command) -> Result<(), CliError> {
    let name = program.get_name().to_owned();
    // The generator panics if it cannot write, which memory always can.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, name, &mut script);
    std::io::stdout()
        .lock()
        .write_all(&script)
        .map_err(CliError::Output)
}

const LONG_HELP: &str = "\
Save the script where the shell looks for completions, for example:

  bash        clipn completions bash > ~/.local/share/bash-completion/completions/clipn
  zsh         clipn completions zsh > \"${fpath[1]}/_clipn\"
  fish        clipn completions fish > ~/.config/fish/completions/clipn.fish
  elvish      clipn completions elvish >> ~/.config/elvish/rc.elv
  powershell  clipn completions powershell >> $PROFILE";
