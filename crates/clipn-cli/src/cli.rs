//! The command line: its commands, and their dispatch. Only `main.rs` imports this module.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clipn::count::count;
use clipn::simd::SimdLevel;

use crate::commands::bench::{self, BenchArgs};
use crate::commands::benchmark::{self, BenchmarkCommand};
use crate::commands::calibrate::{self, CalibrateArgs};
use crate::commands::classifier::{self, ClassifierCommand};
use crate::commands::classify::{self, ClassifyArgs};
use crate::commands::completions::{self, CompletionsArgs};
use crate::commands::convert::{self, ConvertArgs};
use crate::commands::demo::{self, DemoArgs};
use crate::commands::devices::{self, DevicesArgs};
use crate::commands::embed::{self, EmbedCommand};
use crate::commands::eval::{self, EvalArgs};
use crate::commands::inspect::{self, InspectArgs};
use crate::commands::man::{self, ManArgs};
use crate::commands::metrics::{self, MetricsArgs};
use crate::commands::models::{self, ModelsArgs};
use crate::commands::recipe::{self, RecipeArgs, StepAction};
use crate::commands::results::{self, ResultsCommand};
#[cfg(feature = "serve")]
use crate::commands::serve::{self, ServeArgs};
use crate::commands::train::{self, TrainArgs};
use crate::common::error::CliError;
#[cfg(unix)]
use crate::common::file_signals;
use crate::common::interrupt::{self, Notices};
use crate::common::messages::{MessageArgs, Verbosity, detail};
use crate::common::usage;
use crate::common::version::long_version;

/// Zero-shot classification that knows when to say no (CLIPN).
#[derive(Debug, Parser)]
#[command(name = "clipn", version, long_version = long_version(), arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub messages: MessageArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure how well a model separates in-distribution from out-of-distribution images
    Eval(Box<EvalArgs>),
    /// List the built-in benchmarks, or compare data with one of them
    #[command(subcommand)]
    Benchmark(BenchmarkCommand),
    /// Merge the results of several runs into mean ± standard deviation, or show saved results
    #[command(subcommand)]
    Results(ResultsCommand),
    /// Compute AUROC, AUPR and FPR of scores that any program wrote, from CSV or NumPy files
    Metrics(Box<MetricsArgs>),
    /// Assign one of your labels, or "unknown", to each image
    Classify(Box<ClassifyArgs>),
    /// Write the features of images or texts to a file for NumPy, pandas and other programs
    #[command(subcommand)]
    Embed(EmbedCommand),
    /// Build, show and change bundles: a classifier for deployment in one file
    #[command(subcommand)]
    Classifier(ClassifierCommand),
    /// Calibrate the threshold of a bundle on your images
    Calibrate(CalibrateArgs),
    /// Serve classification over HTTP: JSON, a test page, health and metrics
    #[cfg(feature = "serve")]
    Serve(Box<ServeArgs>),
    /// Show what a weights file contains: format, architecture, preprocessing, tensors, "no" side
    Inspect(InspectArgs),
    /// Convert weights: one file with its config, or a directory for open_clip or transformers
    Convert(ConvertArgs),
    /// List the built-in architectures with their sizes and costs, or show one in detail
    Models(ModelsArgs),
    /// Train a CLIP, or teach one to say "no", on images with captions
    Train(Box<TrainArgs>),
    /// Run the commands of a recipe in order
    Recipe(RecipeArgs),
    /// Walk through training, teaching "no", evaluation and report on a small synthetic world
    Demo(DemoArgs),
    /// List the devices of this machine that can run the towers
    Devices(DevicesArgs),
    /// Measure speed and memory on this machine
    Bench(BenchArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one page per command
    Man(ManArgs),
}

impl Command {
    /// Whether a clean stop may take longer than that of other commands.
    fn stops_slowly(&self) -> bool {
        match self {
            Self::Train(_) | Self::Recipe(_) | Self::Demo(_) => true,
            #[cfg(feature = "serve")]
            Self::Serve(_) => true,
            _ => false,
        }
    }
}

/// Runs a command line to its end.
pub(crate) fn run(cli: Cli) -> Result<(), CliError> {
    if let Some(verbosity) = cli.messages.verbosity() {
        verbosity.set();
    }
    if let Command::Train(args) = &cli.command {
        args.set_threads()?;
    }
    if cli.command.stops_slowly() {
        interrupt::allow_slow_stop();
    }
    detail(format_args!(
        "clipn {}, SIMD level {}, {}",
        env!("CARGO_PKG_VERSION"),
        SimdLevel::current(),
        count(rayon::current_num_threads(), "thread")
    ));
    dispatch(cli.command)
}

/// Runs a command to its end.
fn dispatch(command: Command) -> Result<(), CliError> {
    match command {
        Command::Eval(args) => eval::run(&args),
        Command::Benchmark(command) => benchmark::run(&command),
        Command::Results(command) => results::run(&command),
        Command::Metrics(args) => metrics::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Embed(command) => embed::run(&command),
        Command::Classifier(command) => classifier::run(&command),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Recipe(args) => recipe::run(&args, parse_step),
        Command::Demo(args) => demo::run(&args),
        Command::Devices(args) => devices::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        Command::Bench(mut args) => bench::run(&mut args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    }
}

impl Cli {
    /// Installs the signal handlers of the command, before any thread is started.
    pub(crate) fn prepare_signals(&self) -> Result<(), CliError> {
        let has_notices = matches!(self.command, Command::Train(_));
        let notices = has_notices.then(Notices::block).transpose()?;
        interrupt::install()?;
        #[cfg(unix)]
        file_signals::install()?;
        notices.map_or(Ok(()), Notices::watch)
    }

    /// Parses a command line, the name of the program first.
    ///
    /// # Errors
    /// Wrong usage, and the outputs of `--help` and `--version`.
    pub(crate) fn parse_words(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let whole = || usage::with_negative_numbers(Self::command());
        let mut command = usage::with_variables(whole(), |_| true);
        let matches = match command.try_get_matches_from_mut(&words) {
            // A flag takes precedence over the variable of another that conflicts with it.
            Err(error) if error.kind() == ErrorKind::ArgumentConflict => {
                let is_kept = |name: &str| name != "bundle";
                command = usage::with_variables(whole(), is_kept);
                // A conflict that is left is between flags.
                command.try_get_matches_from_mut(&words)?
            }
            matches => matches?,
        };
        // clap drops what a flag requires where that conflicts with another flag, and the flag would do nothing.
        usage::without_conflicts(command.clone()).try_get_matches_from(&words)?;
        let mut cli =
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        if let (Command::Train(args), Some((_, matches))) = (&mut cli.command, matches.subcommand())
        {
            train::overrides::note_given(args, matches);
        }
        Ok(cli)
    }
}

/// Parses the arguments of a recipe step as the command line does.
///
/// # Errors
/// What is wrong with the arguments, in one line. A step cannot run a recipe.
fn parse_step(arguments: &[String]) -> Result<StepAction, String> {
    let words = std::iter::once("clipn").chain(arguments.iter().map(String::as_str));
    let cli = Cli::parse_words(words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => format!(
            "`{}` needs a command or arguments",
            arguments.first().map_or("", String::as_str)
        ),
        _ => usage::one_line(&error),
    })?;
    let action: StepAction = match cli.command {
        Command::Recipe(_) => return Err("a step cannot run a recipe".to_owned()),
        // Unlike `clipn train`, a step does not print the path of its weights.
        Command::Train(args) => match args.only_as_command() {
            Some(flag) => {
                return Err(format!(
                    "--{} has no effect in a step, which runs in the one process of `clipn recipe`",
                    flag.replace('_', "-")
                ));
            }
            None => Box::new(move || train::train(&args).map(drop)),
        },
        command => Box::new(move || dispatch(command)),
    };
    Ok(match cli.messages.verbosity() {
        None => action,
        Some(verbosity) => Box::new(move || with_verbosity(verbosity, action)),
    })
}

/// Runs a recipe step with the verbosity of its own flags.
fn with_verbosity(verbosity: Verbosity, action: StepAction) -> Result<(), CliError> {
    let before = verbosity.set();
    let outcome = action();
    before.set();
    outcome
}
