use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clipn::checkpoint::FloatType;
use clipn::download::Purpose;
use clipn::model::{Conversion, Converted, LogitScale, ModelConfig, Pretrained, Target};
use clipn::prompts::TemplateSet;
use serde_json::{Value, json};

use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::numbers::{bytes, thousands};
use crate::commands::inspect::form;
use crate::common::progress::Bar;
use crate::common::weights::{DownloadArgs, locate};

/// The element type of floating-point tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeName {
    /// Each tensor's own
    Keep,
    F32,
    F16,
    Bf16,
}

impl DtypeName {
    pub fn float(self) -> Option<FloatType> {
        match self {
            Self::Keep => None,
            Self::F32 => Some(FloatType::F32),
            Self::F16 => Some(FloatType::F16),
            Self::Bf16 => Some(FloatType::Bf16),
        }
    }
}

#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// What they become: clipn is a safetensors file with its config, the others are folders for CLIP's own part
    #[arg(
        long,
        value_name = "clipn|open-clip|transformers",
        default_value = "clipn"
    )]
    pub to: Target,
    /// Element type of floating-point tensors, rounded to the nearest
    #[arg(long, value_enum, default_value = "keep")]
    pub dtype: DtypeName,
    /// Architecture of weights that do not tell it, as ViT-B-16, or an open_clip model config
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Keep only those rows of the token tables that belong to words that the model has read (--to clipn)
    #[arg(long)]
    pub only_seen_words: bool,
    /// The built-in set of templates that the file names as its own, as simple (--to clipn)
    #[arg(long, value_name = "NAME")]
    pub templates: Option<String>,
    /// The factor between cosines and logits that the file names as its own (--to clipn)
    #[arg(long, value_name = "published|trained")]
    pub logit_scale: Option<LogitScale>,
    /// Replace weights that are there under the name of the output
    #[arg(long)]
    pub force: bool,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Weights of any kind: a file, a folder with one, hf-hub:OWNER/NAME, or with --model one of open_clip's tags
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file, or with --to open-clip and transformers the folder, to be made
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
}

/// `clipn convert`.
pub fn run(args: &ConvertArgs) -> Result<(), CliError> {
    let located = locate(
        Some(&args.input),
        args.model.as_deref(),
        &args.downloads,
        Purpose::Compute,
    )?;
    let model = located
        .model
        .as_deref()
        .map(ModelConfig::resolve)
        .transpose()?;
    let from = Pretrained::open(&located.path)?;
    if args.to != Target::Clipn
        && (args.only_seen_words || args.templates.is_some() || args.logit_scale.is_some())
    {
        let problem = "--only-seen-words, --templates and --logit-scale are of --to clipn, a file of this program's own";
        return Err(CliError::Usage(problem.to_owned()));
    }
    if let Some(name) = &args.templates {
        TemplateSet::named(name)?;
    }
    let conversion = Conversion {
        to: args.to,
        float: args.dtype.float(),
        only_seen_words: args.only_seen_words,
        templates: args.templates.clone(),
        logit_scale: args.logit_scale,
        replace: args.force,
    };
    let converted = conversion.run(&from, model, &args.output, &Bar::default())?;
    for left_out in &converted.left_out {
        eprintln!("left out: {left_out}");
    }
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Table => table(&mut out, &from, &converted).map_err(CliError::Output),
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

fn table(out: &mut impl Write, from: &Pretrained, converted: &Converted) -> std::io::Result<()> {
    let Converted {
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
    writeln!(out, "kind        {}", form(from.checkpoint()))?;
    writeln!(out, "model       {}", config.name)?;
    writeln!(out, "became      {to}")?;
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

fn object(from: &Pretrained, converted: &Converted) -> Value {
    let checkpoint = from.checkpoint();
    let files = converted
        .files
        .iter()
        .map(|(path, bytes)| json!({ "path": path, "bytes": bytes }));
    json!({
        "read": checkpoint.path(),
        "source": from.kind(),
        "kind": checkpoint.kind().to_string(),
        "files": checkpoint.parts(),
        "model": converted.config.name,
        "to": converted.to.name(),
        "written": files.collect::<Vec<_>>(),
        "tensors": converted.tensors,
        "dtypes": converted.dtypes,
        "parameters": converted.parameters,
        "left_out": converted.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
