//! The program `clipn`.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the program with these words, the first of them its name; returns the exit code. `launcher` is the
/// command that starts it.
#[pyfunction]
pub(crate) fn run_program(py: Python<'_>, launcher: Vec<OsString>, words: Vec<OsString>) -> u8 {
    clipn_cli::set_launcher(launcher);
    py.detach(|| clipn_cli::run(words))
}
