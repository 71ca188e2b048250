use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use clipn::demo::World;
use serde_json::json;

use crate::common::args::{Cli, Command, Format};
use crate::common::error::CliError;
use crate::common::progress::Bar;
use crate::{eval, train};

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for the world, the models and the report; must be new or empty
    #[arg(long, value_name = "DIR", default_value = "clipn-demo")]
    pub output: PathBuf,
    /// What everything random depends on
    #[arg(long, default_value = "0")]
    pub seed: u64,
    /// Training pictures
    #[arg(long, value_name = "N", default_value = "12000", value_parser = clap::value_parser!(u32).range(200..=1_000_000))]
    pub samples: u32,
    /// Epochs of training a CLIP; a third as many teach it "no"
    #[arg(long, value_name = "N", default_value = "12", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub epochs: u32,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// Samples of a step.
const BATCH: u32 = 128;

/// `clipn demo`: draws a world and walks through the program's own commands on it, each told before it runs.
pub fn run(args: &DemoArgs) -> Result<(), CliError> {
    let world = World {
        seed: args.seed,
        ..World::default()
    };
    let root = args.output.join("world");
    eprintln!(
        "drawing {} pictures of shapes with captions into {}",
        args.samples,
        root.display()
    );
    let files = world.write(&root, args.samples as usize, &Bar::default())?;
    let model = args.output.join("model.json");
    write_config(&model, world.size)?;

    let shards = root.join(&files.shard_pattern);
    let logs = args.output.join("runs");
    let (seed, epochs) = (args.seed.to_string(), args.epochs.to_string());
    let no_epochs = (args.epochs / 3).max(1).to_string();
    let warmup = (args.samples / BATCH * args.epochs / 10)
        .min(60)
        .to_string();
    let batch = BATCH.to_string();
    let path = |path: &Path| path.display().to_string();
    let train = |name: &str, epochs: &str, more: &[&str]| {
        let model = path(&model);
        let shards = path(&shards);
        let logs = path(&logs);
        let common = [
            "train",
            "--model",
            &model,
            "--train-data",
            &shards,
            "--logs",
            &logs,
            "--name",
            name,
        ];
        let steps = ["--epochs", epochs, "--seed", &seed, "--keep", "1"];
        let Command::Train(args) = parse(&[&common[..], &steps, more].concat())? else {
            return Err(CliError::Usage(
                "the demo's command is not `train`".to_owned(),
            ));
        };
        train::train(&args)?
            .ok_or_else(|| CliError::Usage("there was nothing left to train".to_owned()))
    };

    eprintln!("\n1. A small CLIP is trained from nothing.");
    let clip = train(
        "clip",
        &epochs,
        &[
            "--objective",
            "clip",
            "--batch-size",
            &batch,
            "--lr",
            "1e-3",
            "--warmup",
            &warmup,
        ],
    )?;
    eprintln!("\n2. It is taught to say \"no\".");
    let clipn = train(
        "clipn",
        &no_epochs,
        &[
            "--objective",
            "clipn",
            "--batch-size",
            &batch,
            "--lr",
            "1e-3",
            "--pretrained",
            &path(&clip),
        ],
    )?;
    eprintln!(
        "\n3. It is asked about shapes that it knows, shapes that it has never seen, and pictures of other kinds."
    );
    let (model, clipn, root) = (path(&model), path(&clipn), path(&root));
    let (benchmark, results) = (path(&files.benchmark), path(&args.output.join("results")));
    let format = match args.format {
        Format::Table => "table",
        Format::Json => "json",
        Format::Csv => "csv",
    };
    let asked = [
        "eval",
        "--model",
        &model,
        "--pretrained",
        &clipn,
        "--templates",
        "simple",
        "--benchmark",
        &benchmark,
    ];
    let Command::Eval(eval) = parse(
        &[
            &asked[..],
            &[
                "--data-root",
                &root,
                "--output",
                &results,
                "--format",
                format,
            ],
        ]
        .concat(),
    )?
    else {
        return Err(CliError::Usage(
            "the demo's command is not `eval`".to_owned(),
        ));
    };
    eval::run(&eval)?;

    let classes = path(&files.class_names);
    let near = path(&Path::new(&root).join("near"));
    eprintln!("\nThe report with charts and pictures: {results}/report.html\n\nGo on from here:");
    eprintln!("  clipn inspect {clipn}");
    eprintln!(
        "  clipn classify --model {model} --pretrained {clipn} --classes {classes} --templates simple {near}"
    );
    eprintln!(
        "  clipn eval --model {model} --pretrained {clipn} --templates simple --benchmark {benchmark} --data-root {root} --grey"
    );
    Ok(())
}

/// Tells a command and reads it as the command line would.
fn parse(arguments: &[&str]) -> Result<Command, CliError> {
    eprintln!("$ clipn {}", arguments.join(" "));
    let cli = Cli::try_parse_from([&["clipn"], arguments].concat());
    cli.map(|cli| cli.command)
        .map_err(|error| CliError::Usage(error.to_string()))
}

/// A CLIP that two cores train in a minute.
fn write_config(path: &Path, image_size: usize) -> Result<(), CliError> {
    let config = json!({
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": image_size, "patch_size": 8, "width": 96, "head_width": 24, "layers": 4
        },
        "text_cfg": { "context_length": 24, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2 }
    });
    std::fs::write(path, format!("{config:#}\n")).map_err(CliError::Output)
}
