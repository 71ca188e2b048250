//! `clipn inspect`: contents of a weights file.

mod precision;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clipn::bundle::Bundle;
use clipn::checkpoint::{Checkpoint, Layout, Tensor, escape_for_display};
use clipn::count::count;
use clipn::download::FetchPurpose;
use clipn::image::Preprocessing;
use clipn::model::{
    DeviceSpec, InferredArchitecture, ModelConfig, ModelError, PretrainedKind, PretrainedWeights,
};
use serde_json::json;

use crate::common::args::Format;
use crate::common::device::DeviceArgs;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::note;
use crate::common::table::Table;
use crate::common::terminal::Escaped;
use crate::common::weights::{DownloadArgs, WeightsKeyArgs, locate};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Directory of images on which --precision is compared with f32: cosines of the features, and labels
    /// with --classes; up to 64 of them are used
    #[arg(long, value_name = "DIR", requires = "precision")]
    pub images: Option<PathBuf>,
    /// Class names for --precision: a file, imagenet-1k, cifar10, or "a,b,c"
    #[arg(long, value_name = "FILE|NAME|LIST", requires = "precision")]
    pub classes: Option<String>,
    /// Directory of images of no class for --precision: compares the AUROC of every score
    #[arg(long, value_name = "DIR", requires_all = ["precision", "classes"])]
    pub ood: Option<PathBuf>,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Architecture of an open_clip tag
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    #[command(flatten)]
    pub key: WeightsKeyArgs,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Weights: a file, a directory with one, hf-hub:OWNER/NAME, or an open_clip tag
    #[arg(value_name = "FILE|DIR|NAME")]
    pub file: PathBuf,
}

impl InspectArgs {
    /// Rejects a precision and a device that nothing would use.
    fn check(&self) -> Result<(), CliError> {
        if self.model.is_some() && self.images.is_none() && self.file.exists() {
            return Err(CliError::usage_with_hint(
                "--model has no effect on a file, whose architecture is that of its tensors",
                "leave it out, or give an open_clip tag",
            ));
        }
        let flag = match (self.device.precision, self.device.device) {
            _ if self.images.is_some() => return Ok(()),
            (Some(_), _) => "--precision",
            (None, DeviceSpec::Cpu) => return Ok(()),
            (None, _) => "--device",
        };
        Err(CliError::usage_with_hint(
            format!("{flag} has no effect without images to encode"),
            "give a directory of images with --images",
        ))
    }
}

/// `clipn inspect`.
pub(crate) fn run(args: &InspectArgs) -> Result<(), CliError> {
    args.check()?;
    let located = locate(
        Some(&args.file),
        args.model.as_deref(),
        &args.downloads,
        FetchPurpose::Inspect,
    )?;
    let pretrained = args.key.open(&located.path)?;
    let checkpoint = pretrained.checkpoint();
    if Bundle::is_bundle(checkpoint) {
        note("this is a bundle; `clipn classifier show` shows its classes and its threshold");
    }
    let sketch = InferredArchitecture::infer(checkpoint);
    let compared = match (args.device.precision, &args.images) {
        (Some(precision), Some(images)) => Some(precision::compare(args, precision, images)?),
        _ => None,
    };
    if let Some(compared) = &compared {
        compared.warn();
    }
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Table => {
            let mut out = Escaped(&mut out);
            summary(&mut out, &pretrained, &sketch, args.tensors)
                .and_then(|()| match &compared {
                    Some(compared) => compared.write(&mut out),
                    None => Ok(()),
                })
                .map_err(CliError::Output)
        }
        Format::Json => {
            let tensors: Vec<_> = checkpoint
                .iter()
                .map(|(name, tensor)| row(name, tensor))
                .collect();
            let mut object = json!({
                "file": args.file,
                "source": pretrained.kind(),
                "kind": checkpoint.format().to_string(),
                "layout": checkpoint.layout().to_string(),
                "files": checkpoint.shard_count(),
                "parameters": parameters(checkpoint),
                "config": pretrained.config().ok().flatten(),
                "config_error": pretrained.config().err().map(|error| chain_in_one_line(&error)),
                "preprocessing": pretrained.preprocessing().ok().flatten(),
                "preprocessing_error": pretrained.preprocessing().err().map(|error| chain_in_one_line(&error)),
                "prefix": checkpoint.stripped_prefix(),
                "other_models": checkpoint.other_models(),
                "ignored": checkpoint.ignored(),
                "metadata": checkpoint.metadata(),
                "architecture": sketch,
                "tensors": tensors,
            });
            if let Some(compared) = &compared {
                object["precision"] = json!(compared);
            }
            serde_json::to_writer_pretty(&mut out, &object)?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(["name", "dtype", "shape", "values"])?;
            for (name, tensor) in checkpoint.iter() {
                csv.write_record([
                    name,
                    &stored_type(tensor),
                    &shape(tensor),
                    &tensor.len().to_string(),
                ])?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

/// Describes what comes with the weights, that nothing does, or why it is not usable.
fn describe<T>(found: Result<Option<T>, ModelError>, line: impl Fn(&T) -> String) -> String {
    match found {
        Ok(Some(value)) => line(&value),
        Ok(None) => "none comes with the weights".to_owned(),
        Err(error) => format!("not usable: {}", chain_in_one_line(&error)),
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
        "{} × {}, mean {:?}, std {:?}",
        pixels.size, pixels.size, pixels.mean, pixels.std
    )
}

/// Cuts a text that would fill the screen.
fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 160;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

/// File format, and the number of files if there are several.
pub(crate) fn kind_line(checkpoint: &Checkpoint) -> String {
    match checkpoint.shard_count() {
        1 => checkpoint.format().to_string(),
        parts => format!("{}, {parts} files", checkpoint.format()),
    }
}

fn row(name: &str, tensor: &Tensor) -> serde_json::Value {
    json!({ "name": name, "dtype": stored_type(tensor), "shape": tensor.shape() })
}

/// Type of the stored elements; `i8` for integers with factors.
fn stored_type(tensor: &Tensor) -> String {
    match tensor.row_scales() {
        Some(_) => "i8".to_owned(),
        None => tensor.dtype().to_string(),
    }
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

/// Width of the names of lines; more where metadata have longer ones.
const MIN_KEY_WIDTH: usize = 10;

fn summary(
    out: &mut impl Write,
    pretrained: &PretrainedWeights,
    sketch: &InferredArchitecture,
    every_tensor: bool,
) -> std::io::Result<()> {
    let checkpoint = pretrained.checkpoint();
    let mut dtypes: BTreeMap<String, usize> = BTreeMap::new();
    for (_, tensor) in checkpoint.iter() {
        *dtypes.entry(stored_type(tensor)).or_default() += 1;
    }
    let dtypes: Vec<String> = dtypes
        .iter()
        .map(|(dtype, count)| format!("{count} {dtype}"))
        .collect();
    let mut rows: Vec<(&str, String)> = Vec::new();
    let mut row = |key, text: String| rows.push((key, text));
    row("file", checkpoint.path().display().to_string());
    row("source", pretrained.kind().to_string());
    row("kind", kind_line(checkpoint));
    if checkpoint.layout() != Layout::OpenClip {
        row(
            "names",
            format!("{}, shown as open_clip's", checkpoint.layout()),
        );
    }
    row(
        "tensors",
        format!(
            "{} ({}), {:.2} M values",
            checkpoint.len(),
            dtypes.join(", "),
            parameters(checkpoint) as f64 / 1e6
        ),
    );
    if !checkpoint.stripped_prefix().is_empty() {
        let prefix = escape_for_display(checkpoint.stripped_prefix());
        row("prefix", format!("`{prefix}` before each name, not shown"));
    }
    if !checkpoint.other_models().is_empty() {
        let names = checkpoint.other_models().iter();
        let names: Vec<String> = names.map(|name| escape_for_display(name)).collect();
        row("others", format!("{} (--weights-key)", names.join(", ")));
    }
    if let [first, ..] = checkpoint.ignored() {
        row(
            "left out",
            format!(
                "{} outside of the model, such as {}",
                count(checkpoint.ignored().len(), "tensor"),
                escape_for_display(first)
            ),
        );
    }
    // The line `config` shows it.
    let has_config = pretrained.kind() == PretrainedKind::EmbeddedConfig;
    for (key, value) in checkpoint
        .metadata()
        .iter()
        .filter(|(key, _)| !(has_config && *key == "open_clip_config"))
    {
        row(key, shortened(value));
    }
    for (part, text) in sketch.describe() {
        row(part, text);
    }
    row("config", describe(pretrained.config(), config_line));
    row("pixels", describe(pretrained.preprocessing(), pixels_line));
    let width = |(key, _): &(&str, String)| key.chars().count();
    let width = rows.iter().map(width).fold(MIN_KEY_WIDTH, usize::max);
    for (key, text) in &rows {
        writeln!(out, "{key:<width$}  {text}")?;
    }
    if every_tensor {
        writeln!(out)?;
        let mut table = Table::new(["name", "dtype", "shape"], 2);
        for (name, tensor) in checkpoint.iter() {
            table.row([name.to_owned(), stored_type(tensor), shape(tensor)]);
        }
        table.write(out)?;
    }
    Ok(())
}
