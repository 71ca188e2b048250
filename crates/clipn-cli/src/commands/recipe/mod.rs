//! `clipn recipe`: runs the commands of a recipe one after the other.

mod file;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Parser};
use clipn::training::{CheckpointStore, TrainingError};

use self::file::{Places, Recipe, Step};
use crate::common::args::{Cli, Command};
use crate::common::error::CliError;
use crate::{dispatch, interrupt, train};

#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// The recipe, as recipes/tiny-imagenet.toml
    #[arg(value_name = "FILE")]
    pub recipe: PathBuf,
    /// What `{data}` stands for in it: the folder that holds its data sets
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub data_root: PathBuf,
    /// What `{output}` stands for in it: the folder for runs and results
    #[arg(long, value_name = "DIR", default_value = "recipe-runs")]
    pub output: PathBuf,
    /// Change a variable of the recipe; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Only these steps, comma-separated; what the others made must be there
    #[arg(long, value_name = "STEPS", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Print the commands, and run none
    #[arg(long)]
    pub dry_run: bool,
}

/// `clipn recipe`. Training goes on where it was stopped, and is left alone where it is done.
pub fn run(args: &RecipeArgs) -> Result<(), CliError> {
    let recipe = Recipe::read(&args.recipe)?;
    let places = recipe.places(&args.data_root, &args.output, &args.set)?;
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| recipe.steps.iter().all(|step| step.name != **name))
    {
        let known: Vec<&str> = recipe.steps.iter().map(|step| step.name.as_str()).collect();
        return Err(CliError::Usage(format!(
            "--only {unknown}: the recipe has no such step; it has: {}",
            known.join(", ")
        )));
    }
    // A mistake in the last step should not show after hours.
    tell(&recipe, places.clone(), args)?;
    if args.dry_run {
        Ok(())
    } else {
        run_steps(&recipe, places, args)
    }
}

/// Reads every command, and prints them in a dry run.
fn tell(recipe: &Recipe, mut places: Places, args: &RecipeArgs) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    for step in &recipe.steps {
        if args.asks_for(step) {
            let arguments = args.arguments(step, &places)?;
            parse(step, &arguments, args)?;
            if args.dry_run {
                writeln!(out, "clipn {}", shown(&arguments)).map_err(CliError::Output)?;
            }
        }
        let made = args.made(step)?;
        let is_to_be_made = args.asks_for(step) || args.dry_run;
        let place = made.or_else(|| {
            is_to_be_made.then(|| {
                args.run_folder(step)
                    .join("checkpoints/…/model.safetensors")
            })
        });
        if let Some(path) = place {
            places.learn(&step.name, &path);
        }
    }
    Ok(())
}

fn run_steps(recipe: &Recipe, mut places: Places, args: &RecipeArgs) -> Result<(), CliError> {
    if !recipe.description.is_empty() {
        eprintln!("{}", recipe.description.trim());
    }
    let mut took: Vec<(&str, Duration)> = Vec::new();
    for step in &recipe.steps {
        if args.asks_for(step) {
            let start = Instant::now();
            run_step(step, &places, args)?;
            took.push((&step.name, start.elapsed()));
        }
        if interrupt::requested() {
            return Err(CliError::RecipeInterrupted {
                step: step.name.clone(),
            });
        }
        if let Some(path) = args.made(step)? {
            places.learn(&step.name, &path);
        }
    }
    eprintln!();
    for (name, time) in took {
        eprintln!("{name}: {:.1} minutes", time.as_secs_f64() / 60.0);
    }
    Ok(())
}

fn run_step(step: &Step, places: &Places, args: &RecipeArgs) -> Result<(), CliError> {
    let arguments = args.arguments(step, places)?;
    if !step.about.is_empty() {
        eprintln!("\n{}", step.about.trim());
    }
    eprintln!("$ clipn {}", shown(&arguments));
    match parse(step, &arguments, args)? {
        Command::Train(train) => train::train(&train).map(drop),
        command => dispatch(command),
    }
}

impl RecipeArgs {
    fn asks_for(&self, step: &Step) -> bool {
        self.only.is_empty() || self.only.contains(&step.name)
    }

    /// The arguments of a step, with those that say where its results go.
    fn arguments(&self, step: &Step, places: &Places) -> Result<Vec<String>, CliError> {
        let mut arguments = places.arguments(step)?;
        let mut push = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        match step.command.as_str() {
            "train" => {
                push("--logs", self.runs().display().to_string());
                push("--name", step.name.clone());
                push("--resume", "latest".to_owned());
            }
            "eval" => push(
                "--output",
                self.output.join(&step.name).display().to_string(),
            ),
            _ => {}
        }
        Ok(arguments)
    }

    fn runs(&self) -> PathBuf {
        self.output.join("runs")
    }

    fn run_folder(&self, step: &Step) -> PathBuf {
        self.runs().join(&step.name)
    }

    /// The path by which later steps know what a step has made: the newest weights of a training, the folder of an
    /// evaluation. `None` where there is nothing yet.
    fn made(&self, step: &Step) -> Result<Option<PathBuf>, CliError> {
        let checkpoints = self.run_folder(step).join("checkpoints");
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

/// Reads a step as the command line would.
fn parse(step: &Step, arguments: &[String], args: &RecipeArgs) -> Result<Command, CliError> {
    let words = std::iter::once("clipn").chain(arguments.iter().map(String::as_str));
    let bad = |reason| CliError::BadRecipe {
        origin: args.recipe.display().to_string(),
        reason,
    };
    let cli = Cli::try_parse_from(words).map_err(|error| {
        bad(format!(
            "the step `{}`: {}",
            step.name,
            crate::common::usage::one_line(&error.render().to_string())
        ))
    })?;
    match cli.command {
        Command::Recipe(_) => Err(bad(format!(
            "the step `{}` runs a recipe; write its steps out",
            step.name
        ))),
        command => Ok(command),
    }
}

/// Arguments as a shell takes them.
fn shown(arguments: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    let quoted = |argument: &String| match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.clone(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
