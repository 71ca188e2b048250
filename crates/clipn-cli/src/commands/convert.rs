//! `clipn convert`: weights in another format.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clipn::checkpoint::FloatType;
use clipn::download::FetchPurpose;
use clipn::model::{
    ConversionSummary, ConversionTarget, LogitScale, ModelConfig, PretrainedWeights,
    WeightsConversion,
};
use clipn::prompts::TemplateSet;
use serde_json::{Value, json};

use crate::commands::inspect::kind_line;
use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::messages::note;
use crate::common::numbers::{bytes, thousands};
use crate::common::progress::Bar;
use crate::common::terminal::Escaped;
use crate::common::weights::{DownloadArgs, WeightsKeyArgs, locate};

/// Element type of floating-point tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeName {
    /// The type of each tensor
    Keep,
    F32,
    F16,
    Bf16,
    /// 8-bit integers with a factor per output for the weights of matrix products (--to clipn)
    Int8,
}

impl DtypeName {
    pub(crate) fn float(self) -> Option<FloatType> {
        match self {
            Self::Keep | Self::Int8 => None,
            Self::F32 => Some(FloatType::F32),
            Self::F16 => Some(FloatType::F16),
            Self::Bf16 => Some(FloatType::Bf16),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Output format: clipn is a safetensors file with its config, the others are directories of
    /// the CLIP part; transformers has the preprocessing in the forms of versions 4 and 5,
    /// transformers-4 and transformers-5 in one of them
    #[arg(
        long,
        value_name = "clipn|open-clip|transformers|transformers-4|transformers-5",
        default_value = "clipn"
    )]
    pub to: ConversionTarget,
    /// Element type of floating-point tensors, rounding to nearest
    #[arg(long, value_enum, default_value = "keep")]
    pub dtype: DtypeName,
    /// Architecture of weights without a config, such as ViT-B-16, or an open_clip model config
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    #[command(flatten)]
    pub key: WeightsKeyArgs,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Keep only the token-table rows of words that occurred in training (--to clipn)
    #[arg(long)]
    pub only_seen_words: bool,
    /// Built-in template set to record in the file, such as simple (--to clipn)
    #[arg(long, value_name = "NAME")]
    pub templates: Option<String>,
    /// Factor from cosines to logits to record in the file (--to clipn)
    #[arg(long, value_name = "published|trained")]
    pub logit_scale: Option<LogitScale>,
    /// Replace existing weights at the output
    #[arg(long)]
    pub force: bool,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Weights: a file, a directory with one, hf-hub:OWNER/NAME, or an open_clip tag with --model
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Output file, or output directory with --to open-clip and --to transformers
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
}

/// `clipn convert`.
pub(crate) fn run(args: &ConvertArgs) -> Result<(), CliError> {
    let located = locate(
        Some(&args.input),
        args.model.as_deref(),
        &args.downloads,
        FetchPurpose::Compute,
    )?;
    let model = located
        .model
        .as_deref()
        .map(ModelConfig::resolve)
        .transpose()?;
    let from = args.key.open(&located.path)?;
    if args.to != ConversionTarget::Clipn
        && (args.only_seen_words || args.templates.is_some() || args.logit_scale.is_some())
    {
        return Err(CliError::usage_with_hint(
            "--only-seen-words, --templates and --logit-scale need --to clipn",
            "leave them out, or convert with --to clipn",
        ));
    }
    if args.to != ConversionTarget::Clipn && args.dtype == DtypeName::Int8 {
        return Err(CliError::usage_with_hint(
            "--dtype int8 needs --to clipn: other programs do not read these weights",
            "convert with --to clipn, or choose f16",
        ));
    }
    if let Some(name) = &args.templates {
        TemplateSet::built_in(name)?;
    }
    let conversion = WeightsConversion {
        to: args.to,
        float: args.dtype.float(),
        int8: args.dtype == DtypeName::Int8,
        only_training_vocabulary: args.only_seen_words,
        templates: args.templates.clone(),
        logit_scale: args.logit_scale,
        replace: args.force,
    };
    let converted = conversion.run_with_progress(&from, model, &args.output, &Bar::default())?;
    for left_out in &converted.omitted {
        note(format_args!("left out: {left_out}"));
    }
    if let Some(words) = converted.training_words
        && !args.only_seen_words
        && args.to == ConversionTarget::Clipn
    {
        note(format_args!(
            "the token tables have a row for every token, and the model was trained on {} words; \
             --only-seen-words keeps the rows of these",
            thousands(words)
        ));
    }
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Table => table(&mut Escaped(&mut out), &from, &converted).map_err(CliError::Output),
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &object(&from, &converted))?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(["file", "bytes"])?;
            for (path, bytes) in &converted.files {
                csv.write_record([path.display().to_string(), bytes.to_string()])?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

fn table(
    out: &mut impl Write,
    from: &PretrainedWeights,
    converted: &ConversionSummary,
) -> std::io::Result<()> {
    let ConversionSummary {
        to,
        config,
        files,
        tensors,
        dtypes,
        parameters,
        ..
    } = converted;
    writeln!(out, "read        {}", from.checkpoint().path().display())?;
    writeln!(out, "source      {}", from.kind())?;
    writeln!(out, "kind        {}", kind_line(from.checkpoint()))?;
    writeln!(out, "model       {}", config.name)?;
    writeln!(out, "format      {}", to.description())?;
    for (path, size) in files {
        writeln!(out, "wrote       {} ({})", path.display(), bytes(*size))?;
    }
    let dtypes: Vec<String> = dtypes
        .iter()
        .map(|(dtype, count)| format!("{count} {dtype}"))
        .collect();
    writeln!(out, "tensors     {tensors} ({})", dtypes.join(", "))?;
    let no = match parameters.no {
        0 => "no \"no\" side".to_owned(),
        no => format!("no {}", thousands(no)),
    };
    writeln!(
        out,
        "parameters  {} (image {}, yes {}, {no})",
        thousands(parameters.clipn()),
        thousands(parameters.image),
        thousands(parameters.yes),
    )
}

fn object(from: &PretrainedWeights, converted: &ConversionSummary) -> Value {
    let checkpoint = from.checkpoint();
    let files = converted
        .files
        .iter()
        .map(|(path, bytes)| json!({ "path": path, "bytes": bytes }));
    json!({
        "read": checkpoint.path(),
        "source": from.kind(),
        "kind": checkpoint.format().to_string(),
        "files": checkpoint.shard_count(),
        "model": converted.config.name,
        "to": converted.to.as_str(),
        "written": files.collect::<Vec<_>>(),
        "tensors": converted.tensors,
        "dtypes": converted.dtypes,
        "parameters": converted.parameters,
        "left_out": converted.omitted.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
