//! `clipn recipe`: runs the commands of a recipe one after the other.

mod file;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Parser};
use clipn::training::CheckpointStore;

use self::file::{Places, Recipe, Step};
use crate::args::{Cli, Command};
use crate::error::CliError;
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
    /// Tell the commands, and run none
    #[arg(long)]
    pub dry_run: bool,
}

/// `clipn recipe`. Training goes on where it was stopped, and is left alone where it is done.
pub fn run(args: &RecipeArgs) -> Result<(), CliError> {
    let recipe = Recipe::read(&args.recipe)?;
    let mut places = recipe.places(&args.data_root, &args.output, &args.set)?;
    if let Some(unknown) = args.only.iter().find(|name| recipe.steps.iter().all(|step| step.name != **name)) {
        let known: Vec<&str> = recipe.steps.iter().map(|step| step.name.as_str()).collect();
        return Err(CliError::Usage(format!(
            "--only {unknown}: the recipe has no such step; it has: {}",
            known.join(", ")
        )));
    }
    if !recipe.description.is_empty() {
        eprintln!("{}", recipe.description.trim());
    }
    let mut took: Vec<(&str, Duration)> = Vec::new();
    for step in &recipe.steps {
        let is_asked_for = args.only.is_empty() || args.only.contains(&step.name);
        let start = Instant::now();
        let made = run_step(step, &places, args, is_asked_for)?;
        if is_asked_for && !args.dry_run {
            took.push((&step.name, start.elapsed()));
        }
        if let Some(path) = made {
            places.learn(&step.name, &path);
        }
        if interrupt::requested() {
            return Err(CliError::RecipeInterrupted { step: step.name.clone() });
        }
    }
    for (name, time) in took {
        eprintln!("{name}: {:.1} minutes", time.as_secs_f64() / 60.0);
    }
    Ok(())
}

/// Runs a step, or only tells what it made before, and gives the path by which later steps know it.
fn run_step(
    step: &Step,
    places: &Places,
    args: &RecipeArgs,
    is_asked_for: bool,
) -> Result<Option<PathBuf>, CliError> {
    let mut arguments = places.arguments(step)?;
    let runs = args.output.join("runs");
    let results = args.output.join(&step.name);
    let own: &[(&str, String)] = match step.command.as_str() {
        "train" => &[
            ("--logs", runs.display().to_string()),
            ("--name", step.name.clone()),
            ("--resume", "latest".to_owned()),
        ],
        "eval" => &[("--output", results.display().to_string())],
        _ => &[],
    };
    for (flag, value) in own {
        arguments.extend([(*flag).to_owned(), value.clone()]);
    }
    let made = || match step.command.as_str() {
        "train" => weights_of(&runs.join(&step.name), args.dry_run),
        "eval" => Ok(Some(results.clone())),
        _ => Ok(None),
    };
    if !is_asked_for {
        return made();
    }
    if !step.about.is_empty() {
        eprintln!("\n{}", step.about.trim());
    }
    eprintln!("$ clipn {}", shown(&arguments));
    let words = std::iter::once("clipn").chain(arguments.iter().map(String::as_str));
    let cli = Cli::try_parse_from(words).map_err(|error| CliError::BadRecipe {
        origin: format!("{}, step `{}`", args.recipe.display(), step.name),
        reason: crate::usage::one_line(&error.render().to_string()),
    })?;
    if matches!(cli.command, Command::Recipe(_)) {
        return Err(CliError::BadRecipe {
            origin: args.recipe.display().to_string(),
            reason: format!("the step `{}` runs a recipe; write its steps out", step.name),
        });
    }
    if args.dry_run {
        return made();
    }
    match cli.command {
        Command::Train(train) => drop(train::train(&train)?),
        command => dispatch(command)?,
    }
    made()
}

/// The newest weights of a run; before there are any, in a dry run, where they will be.
fn weights_of(run: &std::path::Path, dry_run: bool) -> Result<Option<PathBuf>, CliError> {
    let checkpoints = run.join("checkpoints");
    let newest = match checkpoints.is_dir() {
        true => CheckpointStore::open(&checkpoints).and_then(|store| store.latest()).map_err(clipn::training::TrainingError::from)?,
        false => None,
    };
    let folder = newest.map(|saved| saved.path).or(dry_run.then(|| checkpoints.join("…")));
    Ok(folder.map(|folder| folder.join("model.safetensors")))
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
