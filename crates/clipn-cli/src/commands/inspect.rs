use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clipn::bundle::Bundle;
use clipn::checkpoint::{Checkpoint, Layout, Tensor};
use clipn::download::Purpose;
use clipn::image::Preprocessing;
use clipn::model::{ModelConfig, ModelError, Pretrained, PretrainedKind, Sketch};
use serde_json::json;

use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::table::Table;
use crate::common::weights::{DownloadArgs, locate};

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// The architecture of one of open_clip's tags
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// A weights file, a folder with one, hf-hub:OWNER/NAME, or one of open_clip's tags
    #[arg(value_name = "FILE|DIR|NAME")]
    pub file: PathBuf,
}

/// `clipn inspect`.
pub fn run(args: &InspectArgs) -> Result<(), CliError> {
    let located = locate(
        Some(&args.file),
        args.model.as_deref(),
        &args.downloads,
        Purpose::Look,
    )?;
    let pretrained = Pretrained::open(&located.path)?;
    let checkpoint = pretrained.checkpoint();
    if Bundle::is_bundle(checkpoint) {
        eprintln!(
            "note: it is a bundle; `clipn classifier show` tells its classes and its threshold"
        );
    }
    let sketch = Sketch::of(checkpoint);
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Table => {
            summary(&mut out, &pretrained, &sketch, args.tensors).map_err(CliError::Output)
        }
        Format::Json => {
            let tensors: Vec<_> = checkpoint
                .iter()
                .map(|(name, tensor)| row(name, tensor))
                .collect();
            let object = json!({
                "file": args.file,
                "source": pretrained.kind(),
                "kind": checkpoint.kind().to_string(),
                "layout": checkpoint.layout().to_string(),
                "files": checkpoint.parts(),
                "parameters": parameters(checkpoint),
                "config": pretrained.config().ok().flatten(),
                "config_error": pretrained.config().err().map(|error| error.to_string()),
                "preprocessing": pretrained.preprocessing().ok().flatten(),
                "preprocessing_error": pretrained.preprocessing().err().map(|error| error.to_string()),
                "metadata": checkpoint.metadata(),
                "architecture": sketch,
                "tensors": tensors,
            });
            serde_json::to_writer_pretty(&mut out, &object)?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(["name", "dtype", "shape", "values"])?;
            for (name, tensor) in checkpoint.iter() {
                csv.write_record([
                    name,
                    &tensor.dtype().to_string(),
                    &shape(tensor),
                    &tensor.len().to_string(),
                ])?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

/// What comes with the weights, that nothing does, or why it cannot be used.
fn told<T>(found: Result<Option<T>, ModelError>, line: impl Fn(&T) -> String) -> String {
    match found {
        Ok(Some(value)) => line(&value),
        Ok(None) => "none comes with the weights".to_owned(),
        Err(error) => format!("not usable: {error}"),
    }
}

fn config_line(config: &ModelConfig) -> String {
    let ModelConfig {
        name,
        activation,
        vision,
        text,
        ..
    } = config;
    format!(
        "{name}: {activation}, {} heads in the image tower, {} in the text towers",
        vision.heads, text.heads
    )
}

fn pixels_line(pixels: &Preprocessing) -> String {
    format!(
        "{} × {}, mean {:?}, deviation {:?}",
        pixels.size, pixels.size, pixels.mean, pixels.std
    )
}

/// The beginning of a text that would fill the screen.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 160;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

/// The form of the file, or of so many.
pub fn form(checkpoint: &Checkpoint) -> String {
    match checkpoint.parts() {
        1 => checkpoint.kind().to_string(),
        parts => format!("{}, {parts} files", checkpoint.kind()),
    }
}

fn row(name: &str, tensor: &Tensor) -> serde_json::Value {
    json!({ "name": name, "dtype": tensor.dtype().to_string(), "shape": tensor.shape() })
}

fn parameters(checkpoint: &Checkpoint) -> usize {
    checkpoint.iter().map(|(_, tensor)| tensor.len()).sum()
}

fn shape(tensor: &Tensor) -> String {
    tensor
        .shape()
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("×")
}

fn summary(
    out: &mut impl Write,
    pretrained: &Pretrained,
    sketch: &Sketch,
    every_tensor: bool,
) -> std::io::Result<()> {
    let checkpoint = pretrained.checkpoint();
    let mut dtypes: BTreeMap<String, usize> = BTreeMap::new();
    for (_, tensor) in checkpoint.iter() {
        *dtypes.entry(tensor.dtype().to_string()).or_default() += 1;
    }
    let dtypes: Vec<String> = dtypes
        .iter()
        .map(|(dtype, count)| format!("{count} {dtype}"))
        .collect();
    writeln!(out, "file        {}", checkpoint.path().display())?;
    writeln!(out, "source      {}", pretrained.kind())?;
    writeln!(out, "kind        {}", form(checkpoint))?;
    if checkpoint.layout() != Layout::OpenClip {
        writeln!(
            out,
            "names       {}, told as open_clip's",
            checkpoint.layout()
        )?;
    }
    writeln!(
        out,
        "tensors     {} ({}), {:.2} M values",
        checkpoint.len(),
        dtypes.join(", "),
        parameters(checkpoint) as f64 / 1e6
    )?;
    if checkpoint.has_module_prefix() {
        writeln!(
            out,
            "prefix      names carried `{}`, which is left out here",
            checkpoint.stripped_prefix()
        )?;
    }
    // What the line `config` tells.
    let carried = pretrained.kind() == PretrainedKind::WithConfig;
    for (key, value) in checkpoint
        .metadata()
        .iter()
        .filter(|(key, _)| !(carried && *key == "open_clip_config"))
    {
        writeln!(out, "{key:<10}  {}", shortened(value))?;
    }
    for (part, text) in sketch.lines() {
        writeln!(out, "{part:<10}  {text}")?;
    }
    writeln!(
        out,
        "config      {}",
        told(pretrained.config(), config_line)
    )?;
    writeln!(
        out,
        "pixels      {}",
        told(pretrained.preprocessing(), pixels_line)
    )?;
    if every_tensor {
        writeln!(out)?;
        let mut table = Table::new(["name", "dtype", "shape"], 2);
        for (name, tensor) in checkpoint.iter() {
            table.row([name.to_owned(), tensor.dtype().to_string(), shape(tensor)]);
        }
        table.write(out)?;
    }
    Ok(())
}
