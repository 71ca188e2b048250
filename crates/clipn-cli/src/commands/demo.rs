//! `clipn demo`: the program's own commands on a small synthetic world.

use std::path::{Path, PathBuf};

use clap::{Args, Parser};

use serde_json::json;

use crate::commands::eval::{self, EvalArgs};
use crate::commands::train::{self, TrainArgs};
use crate::common::args::Format;
use crate::common::distributed::refuse_several;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::status;
use crate::common::progress::Bar;
use crate::world::World;
use crate::world::files::create_empty_directory;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory for the world, the models and the report; must be new or empty
    #[arg(long, value_name = "DIR", default_value = "clipn-demo")]
    pub output: PathBuf,
    /// Random seed
    #[arg(long, default_value = "0")]
    pub seed: u64,
    /// Number of training images
    #[arg(long, value_name = "N", default_value = "12000", value_parser = clap::value_parser!(u32).range(200..=1_000_000))]
    pub samples: u32,
    /// Epochs of training a CLIP; teaching it "no" takes a third as many
    #[arg(long, value_name = "N", default_value = "12", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub epochs: u32,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// A command that the demo runs.
#[derive(Debug, Parser)]
enum DemoCommand {
    Train(Box<TrainArgs>),
    Eval(Box<EvalArgs>),
}

/// Samples per optimizer step.
const BATCH_SIZE: u32 = 128;

/// `clipn demo`: draws a world and runs the program's own commands on it. Each is printed before
/// it runs.
pub(crate) fn run(args: &DemoArgs) -> Result<(), CliError> {
    refuse_several("demo")?;
    let world = World {
        seed: args.seed,
        ..World::default()
    };
    create_empty_directory(&args.output)?;
    let root = args.output.join("world");
    status(format_args!(
        "drawing {} images of shapes with captions into {}",
        args.samples,
        root.display()
    ));
    let files = world.write(&root, args.samples as usize, &Bar::default())?;
    let model = args.output.join("model.json");
    write_config(&model, world.size)?;

    let text = |path: &Path| path.display().to_string();
    let (model, shards) = (text(&model), text(&root.join(&files.shard_pattern)));
    let logs = text(&args.output.join("runs"));
    let (seed, batch_size) = (args.seed.to_string(), BATCH_SIZE.to_string());
    let train = |name: &str, epochs: u32, more: &[&str]| {
        let epochs = epochs.to_string();
        #[rustfmt::skip]
        let common = [
            "train", "--model", &model, "--train-data", &shards, "--logs", &logs, "--name", name,
            "--epochs", &epochs, "--seed", &seed, "--keep", "1",
        ];
        let optimizer = ["--batch-size", &batch_size, "--lr", "1e-3"];
        match parse(&[&common[..], more, &optimizer].concat())? {
            DemoCommand::Train(args) => train::train(&args).map_err(|error| match error {
                CliError::TrainingInterrupted { step, steps, .. } => {
                    CliError::DemoInterrupted { step, steps }
                }
                other => other,
            }),
            DemoCommand::Eval(_) => Err(CliError::usage("the demo's command is not `train`")),
        }
    };

    status("\n1. Train a small CLIP from scratch.");
    let warmup = (args.samples / BATCH_SIZE * args.epochs / 10)
        .min(60)
        .to_string();
    let clip = train(
        "clip",
        args.epochs,
        &["--objective", "clip", "--warmup", &warmup],
    )?;
    status("\n2. Teach it to say \"no\".");
    let clipn = train(
        "clipn",
        (args.epochs / 3).max(1),
        &[
            "--objective",
            "clipn",
            "--outlier-weight",
            "2",
            "--no-scale",
            "2.5",
            "--pretrained",
            &text(&clip),
        ],
    )?;
    status("\n3. Evaluate it on shapes that it knows, unseen shapes, and other kinds of images.");
    let (clipn, root) = (text(&clipn), text(&root));
    let (benchmark, results) = (text(&files.benchmark), text(&args.output.join("results")));
    let format = match args.format {
        Format::Table => "table",
        Format::Json => "json",
        Format::Csv => "csv",
    };
    #[rustfmt::skip]
    let evaluation = [
        "eval", "--model", &model, "--pretrained", &clipn, "--templates", "simple",
        "--benchmark", &benchmark, "--data-root", &root, "--output", &results, "--format",
        format,
    ];
    match parse(&evaluation)? {
        DemoCommand::Eval(args) => eval::run(&args)?,
        DemoCommand::Train(_) => return Err(CliError::usage("the demo's command is not `eval`")),
    }

    let classes = text(&files.class_names);
    let near = text(&Path::new(&root).join("near"));
    status(format_args!(
        "\nReport with charts and images: {results}/report.html"
    ));
    status("\nNext steps:");
    status(format_args!("  clipn inspect {clipn}"));
    status(format_args!(
        "  clipn classify --model {model} --pretrained {clipn} --classes {classes} \
         --templates simple {near}"
    ));
    status(format_args!(
        "  clipn eval --model {model} --pretrained {clipn} --templates simple \
         --benchmark {benchmark} --data-root {root} --gray"
    ));
    Ok(())
}

/// Prints a command and parses it as the command line does.
fn parse(arguments: &[&str]) -> Result<DemoCommand, CliError> {
    status(format_args!("$ clipn {}", arguments.join(" ")));
    DemoCommand::try_parse_from([&["clipn"], arguments].concat())
        .map_err(|error| CliError::usage(chain_in_one_line(&error)))
}

/// Writes the config of a CLIP that two cores train in a minute.
fn write_config(path: &Path, image_size: usize) -> Result<(), CliError> {
    let config = json!({
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": image_size, "patch_size": 8, "width": 96, "head_width": 24, "layers": 4
        },
        "text_cfg": { "context_length": 24, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2 }
    });
    clipn::files::replace(path, format!("{config:#}\n")).map_err(|source| CliError::WriteFile {
        path: path.to_owned(),
        source,
    })
}
