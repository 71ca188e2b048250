//! Outputs that would replace what is read.

use std::path::Path;

use crate::common::error::CliError;

/// Rejects an output that is one of the inputs, also with `--force`. An input may be a name that is no file.
pub(crate) fn refuse_inputs<'a>(
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), CliError> {
    let Ok(real) = output.canonicalize() else {
        return Ok(());
    };
    let is_output = |input: &&Path| input.canonicalize().is_ok_and(|input| input == real);
    match inputs.into_iter().find(is_output) {
        None => Ok(()),
        Some(input) => Err(CliError::usage_with_hint(
            format!(
                "the output {} is read as {}",
                output.display(),
                input.display()
            ),
            "give the output another name",
        )),
    }
}
