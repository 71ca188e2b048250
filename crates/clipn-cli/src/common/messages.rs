//! Messages on standard error other than errors, and how much of them is printed.

use std::fmt::Display;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::Args;
use clipn::dataset::SkippedFiles;

use crate::common::terminal::print_line;
#[cfg(feature = "serve")]
use crate::common::terminal::printable;

/// Flags for the messages on standard error, valid before and after the name of a command.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct MessageArgs {
    /// Print neither progress nor notes; warnings, errors and results remain
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        display_order = 900
    )]
    pub quiet: bool,
    /// Print the choices made: weights, architecture, templates, instruction set, threads
    #[arg(short, long, global = true, display_order = 901)]
    pub verbose: bool,
}

/// Amount of messages on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only: what other ranks of a run print is rank 0's to say
    Silent,
    /// Warnings and errors
    Quiet,
    /// Also progress and notes
    Normal,
    /// Also the choices made
    Verbose,
}

static CURRENT: AtomicU8 = AtomicU8::new(Verbosity::Normal as u8);

impl MessageArgs {
    /// The verbosity that the flags select, if any. `--quiet` wins over a `--verbose` on the other
    /// side of the name of the command.
    pub(crate) fn verbosity(self) -> Option<Verbosity> {
        match self {
            Self { quiet: true, .. } => Some(Verbosity::Quiet),
            Self { verbose: true, .. } => Some(Verbosity::Verbose),
            Self { .. } => None,
        }
    }
}

impl Verbosity {
    /// Verbosity of the whole program.
    pub(crate) fn current() -> Self {
        [Self::Silent, Self::Quiet, Self::Normal]
            .into_iter()
            .find(|&level| level as u8 == CURRENT.load(Ordering::Relaxed))
            .unwrap_or(Self::Verbose)
    }

    /// Sets the verbosity of the whole program, and returns the one before.
    pub(crate) fn set(self) -> Self {
        let before = Self::current();
        CURRENT.store(self as u8, Ordering::Relaxed);
        before
    }
}

/// Whether progress and notes are off.
pub(crate) fn is_quiet() -> bool {
    Verbosity::current() <= Verbosity::Quiet
}

/// Kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Warning,
    Hint,
    Note,
    Status,
}

/// Whether messages go to the log of the server, whose lines have one form.
#[cfg(feature = "serve")]
static LOGGED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Sends messages to the installed log from now on.
#[cfg(feature = "serve")]
pub(crate) fn log() {
    LOGGED.store(true, Ordering::Relaxed);
}

fn print(kind: Kind, text: impl Display) {
    if Verbosity::current() == Verbosity::Silent {
        return;
    }
    #[cfg(feature = "serve")]
    if LOGGED.load(Ordering::Relaxed) {
        let text = text.to_string();
        let text = printable(text.trim_start_matches('\n'));
        match kind {
            Kind::Warning | Kind::Hint => tracing::warn!("{text}"),
            Kind::Note | Kind::Status => tracing::info!("{text}"),
        }
        return;
    }
    match kind {
        Kind::Warning => print_line(format_args!("warning: {text}")),
        Kind::Hint => print_line(format_args!("hint: {text}")),
        Kind::Note => print_line(format_args!("note: {text}")),
        Kind::Status => print_line(text),
    }
}

/// Prints a warning, at every verbosity but that of ranks other than 0: results may be wrong or
/// incomplete.
pub(crate) fn warning(text: impl Display) {
    print(Kind::Warning, text);
}

/// Prints advice that belongs to a warning.
pub(crate) fn hint(text: impl Display) {
    print(Kind::Hint, text);
}

/// Prints a note, unless quiet.
pub(crate) fn note(text: impl Display) {
    if !is_quiet() {
        print(Kind::Note, text);
    }
}

/// Prints a note of the files that are no images, if there are any; `of` is empty, or ` of` and
/// where they are.
pub(crate) fn note_of_skipped(of: &str, skipped: &SkippedFiles) {
    match skipped.total() {
        0 => {}
        1 => note(format_args!(
            "skipped 1 file{of} that is no image: {skipped}"
        )),
        n => note(format_args!(
            "skipped {n} files{of} that are no images: {skipped}"
        )),
    }
}

/// Prints a choice that the program made, if verbose.
pub(crate) fn detail(text: impl Display) {
    if Verbosity::current() == Verbosity::Verbose {
        print(Kind::Note, text);
    }
}

/// Prints a line about the progress of a command, unless quiet.
pub(crate) fn status(text: impl Display) {
    if !is_quiet() {
        print(Kind::Status, text);
    }
}
