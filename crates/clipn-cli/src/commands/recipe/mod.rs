//! `clipn recipe`: runs the commands of a recipe in order.

mod file;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use clipn::training::{CheckpointStore, TrainingError};

use self::file::{Placeholders, Recipe, Step};
use crate::common::distributed::refuse_several;
use crate::common::error::CliError;
use crate::common::interrupt;
use crate::common::messages::status;
use crate::common::terminal::Escaped;

/// The parsed command of a step, ready to run.
pub(crate) type StepAction = Box<dyn FnOnce() -> Result<(), CliError>>;

/// Parses the arguments of a step as the command line does, or says in one line what is wrong.
pub(crate) type ParseStep = fn(&[String]) -> Result<StepAction, String>;

#[derive(Debug, Args)]
pub(crate) struct RecipeArgs {
    /// Recipe file, such as recipes/tiny-imagenet.toml
    #[arg(value_name = "FILE")]
    pub recipe: PathBuf,
    /// Value of `{data}` in the recipe: the directory of its data sets
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub data_root: PathBuf,
    /// Value of `{output}` in the recipe: the directory for runs and results
    #[arg(long, value_name = "DIR", default_value = "recipe-runs")]
    pub output: PathBuf,
    /// Set a variable of the recipe; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Run only these steps, comma-separated; the outputs of the others must exist
    #[arg(long, value_name = "STEPS", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Print the commands without running them
    #[arg(long)]
    pub dry_run: bool,
}

/// `clipn recipe`. Interrupted training resumes, and finished training is not repeated.
pub(crate) fn run(args: &RecipeArgs, parse: ParseStep) -> Result<(), CliError> {
    refuse_several("recipe")?;
    let recipe = Recipe::read(&args.recipe)?;
    let placeholders = recipe.placeholders(&args.data_root, &args.output, &args.set)?;
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| recipe.steps.iter().all(|step| step.name != **name))
    {
        let known: Vec<&str> = recipe.steps.iter().map(|step| step.name.as_str()).collect();
        return Err(CliError::usage(format!(
            "--only {unknown}: unknown step; the recipe has: {}",
            known.join(", ")
        )));
    }
    let runner = Runner {
        recipe: &recipe,
        args,
        parse,
    };
    // An error in the last step should not appear after hours.
    runner.check(placeholders.clone())?;
    if args.dry_run {
        Ok(())
    } else {
        runner.run(placeholders)
    }
}

/// Runs the steps of one recipe.
struct Runner<'a> {
    recipe: &'a Recipe,
    args: &'a RecipeArgs,
    parse: ParseStep,
}

impl Runner<'_> {
    /// Parses every command, and prints them in a dry run.
    fn check(&self, mut placeholders: Placeholders) -> Result<(), CliError> {
        let args = self.args;
        let mut out = std::io::stdout().lock();
        for step in &self.recipe.steps {
            if args.selects(step) {
                let arguments = args.arguments(step, &placeholders)?;
                drop(self.parse(step, &arguments)?);
                if args.dry_run {
                    writeln!(Escaped(&mut out), "clipn {}", shell_quoted(&arguments))
                        .map_err(CliError::Output)?;
                }
            }
            let will_exist = args.selects(step) || args.dry_run;
            let path = args.step_output(step)?.or_else(|| {
                will_exist.then(|| {
                    args.run_directory(step)
                        .join("checkpoints/…/model.safetensors")
                })
            });
            if let Some(path) = path {
                placeholders.set_step_output(&step.name, &path);
            }
        }
        Ok(())
    }

    fn run(&self, mut placeholders: Placeholders) -> Result<(), CliError> {
        if !self.recipe.description.is_empty() {
            self.recipe.description.trim().lines().for_each(status);
        }
        let mut durations: Vec<(&str, Duration)> = Vec::new();
        for step in &self.recipe.steps {
            if self.args.selects(step) {
                let start = Instant::now();
                self.run_step(step, &placeholders)?;
                durations.push((&step.name, start.elapsed()));
            }
            if interrupt::requested() {
                return Err(CliError::RecipeInterrupted {
                    step: step.name.clone(),
                });
            }
            if let Some(path) = self.args.step_output(step)? {
                placeholders.set_step_output(&step.name, &path);
            }
        }
        status("");
        for (name, duration) in durations {
            status(format_args!(
                "{name}: {:.1} minutes",
                duration.as_secs_f64() / 60.0
            ));
        }
        Ok(())
    }

    fn run_step(&self, step: &Step, placeholders: &Placeholders) -> Result<(), CliError> {
        let arguments = self.args.arguments(step, placeholders)?;
        if !step.about.is_empty() {
            status("");
            step.about.trim().lines().for_each(status);
        }
        status(format_args!("$ clipn {}", shell_quoted(&arguments)));
        self.parse(step, &arguments)?()
    }

    fn parse(&self, step: &Step, arguments: &[String]) -> Result<StepAction, CliError> {
        (self.parse)(arguments).map_err(|reason| CliError::InvalidRecipe {
            origin: self.args.recipe.display().to_string(),
            reason: format!("step `{}`: {reason}", step.name),
        })
    }
}

impl RecipeArgs {
    fn selects(&self, step: &Step) -> bool {
        self.only.is_empty() || self.only.contains(&step.name)
    }

    /// The arguments of a step, with flags that place its outputs.
    fn arguments(&self, step: &Step, placeholders: &Placeholders) -> Result<Vec<String>, CliError> {
        let mut arguments = placeholders.arguments(step)?;
        let mut push = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        match step.command.as_str() {
            "train" => {
                push("--logs", self.runs().display().to_string());
                push("--name", step.name.clone());
                push("--resume", "latest".to_owned());
            }
            // A recipe that is run again evaluates again.
            "eval" => {
                push(
                    "--output",
                    self.output.join(&step.name).display().to_string(),
                );
                arguments.push("--force".to_owned());
            }
            // A recipe that is run again calibrates again.
            "calibrate" if step.flags.contains_key("out") && !step.flags.contains_key("force") => {
                arguments.push("--force".to_owned());
            }
            _ => {}
        }
        Ok(arguments)
    }

    fn runs(&self) -> PathBuf {
        self.output.join("runs")
    }

    fn run_directory(&self, step: &Step) -> PathBuf {
        self.runs().join(&step.name)
    }

    /// The path that `{step}` stands for in later steps: the newest weights of a training, the
    /// directory of an evaluation. `None` if there is nothing yet.
    fn step_output(&self, step: &Step) -> Result<Option<PathBuf>, CliError> {
        let checkpoints = self.run_directory(step).join("checkpoints");
        match step.command.as_str() {
            "train" if checkpoints.is_dir() => {
                let store = CheckpointStore::open(&checkpoints).map_err(TrainingError::from)?;
                let newest = store.latest().map_err(TrainingError::from)?;
                Ok(newest.map(|saved| saved.path.join("model.safetensors")))
            }
            "eval" => Ok(Some(self.output.join(&step.name))),
            _ => Ok(None),
        }
    }
}

/// Quotes arguments for a shell.
fn shell_quoted(arguments: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    let quoted = |argument: &String| {
        if !argument.is_empty() && argument.chars().all(is_plain) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
