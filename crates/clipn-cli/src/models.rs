use std::io::Write;

use clap::Args;
use clipn::model::{ModelConfig, Parameters};
use serde_json::{Map, Value, json};

use crate::args::Format;
use crate::error::CliError;
use crate::figures::{bytes, thousands};
use crate::table::Table;

#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// One architecture, as ViT-B-16, an open_clip model config, or weights that tell theirs
    #[arg(value_name = "NAME|CONFIG.json|WEIGHTS")]
    pub model: Option<String>,
}

/// "No" prompts of the published models.
const NO_PROMPTS: usize = 16;

/// An architecture, and what it costs.
struct Architecture {
    config: ModelConfig,
    parameters: Parameters,
}

impl Architecture {
    fn of(config: ModelConfig) -> Self {
        let parameters = config.parameters(NO_PROMPTS);
        Self { config, parameters }
    }

    fn text_gflops(&self) -> f64 {
        self.config.text_flops(self.config.text.context_length) / 1e9
    }

    fn image_gflops(&self) -> f64 {
        self.config.image_flops() / 1e9
    }
}

/// What stands in one place of the table: rounded there, whole elsewhere.
enum Cell {
    Text(String),
    Count(usize),
    Millions(usize),
    Giga(f64),
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Millions(count) => format!("{:.2} M", *count as f64 / 1e6),
            Self::Giga(number) => format!("{number:.2}"),
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Count(count) | Self::Millions(count) => json!(count),
            Self::Giga(number) => json!(number),
        }
    }
}

/// A column: its heading in the table, its key in JSON and CSV, and what stands in it.
struct Column {
    heading: &'static str,
    key: &'static str,
    cell: fn(&Architecture) -> Cell,
}

/// The columns, of which the first is set to the left. What else is to be told of an architecture is a line here.
const COLUMNS: &[Column] = &[
    Column { heading: "model", key: "name", cell: |a| Cell::Text(a.config.name.clone()) },
    Column { heading: "pixels", key: "image_size", cell: |a| Cell::Count(a.config.vision.image_size) },
    Column { heading: "image", key: "image_parameters", cell: |a| Cell::Millions(a.parameters.image) },
    Column { heading: "yes", key: "yes_parameters", cell: |a| Cell::Millions(a.parameters.yes) },
    Column { heading: "no", key: "no_parameters", cell: |a| Cell::Millions(a.parameters.no) },
    Column { heading: "GFLOP an image", key: "image_gflops", cell: |a| Cell::Giga(a.image_gflops()) },
    Column { heading: "a text", key: "text_gflops", cell: |a| Cell::Giga(a.text_gflops()) },
    Column { heading: "features", key: "embed_dim", cell: |a| Cell::Count(a.config.embed_dim) },
    Column { heading: "tokens", key: "context_length", cell: |a| Cell::Count(a.config.text.context_length) },
];

/// `clipn models`.
pub fn run(args: &ModelsArgs) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let all = match &args.model {
        Some(name) => vec![Architecture::of(ModelConfig::resolve(name)?)],
        None => {
            let all = ModelConfig::names().map(|name| ModelConfig::named(name).map(Architecture::of));
            all.collect::<Result<Vec<_>, _>>()?
        }
    };
    match (args.format, all.as_slice()) {
        (Format::Table, [one]) => detail(&mut out, one).map_err(CliError::Output),
        (Format::Table, all) => table(&mut out, all).map_err(CliError::Output),
        (Format::Json, all) => {
            let value = match (&args.model, all) {
                (Some(_), [one]) => object(one),
                _ => all.iter().map(object).collect(),
            };
            serde_json::to_writer_pretty(&mut out, &value)?;
            writeln!(out).map_err(CliError::Output)
        }
        (Format::Csv, all) => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(COLUMNS.iter().map(|column| column.key))?;
            for one in all {
                let values = COLUMNS.iter().map(|column| (column.cell)(one).value());
                csv.write_record(
                    values.map(|value| value.as_str().map_or(value.to_string(), str::to_owned)),
                )?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

fn table(out: &mut impl Write, all: &[Architecture]) -> std::io::Result<()> {
    let mut table = Table::new(COLUMNS.iter().map(|column| column.heading), 1);
    for one in all {
        table.row(COLUMNS.iter().map(|column| (column.cell)(one).shown()));
    }
    table.write(out)?;
    writeln!(
        out,
        "\nParameters of the image tower, the \"yes\" and the \"no\" text tower (with {NO_PROMPTS} prompts). \
         `clipn models NAME` tells more of one."
    )
}

/// The columns, and the config in open_clip's form.
fn object(one: &Architecture) -> Value {
    let columns = COLUMNS.iter().map(|column| (column.key.to_owned(), (column.cell)(one).value()));
    let mut object: Map<String, Value> = columns.collect();
    object.insert("clip_parameters".to_owned(), one.parameters.clip().into());
    object.insert("clipn_parameters".to_owned(), one.parameters.clipn().into());
    object.insert("norm_statistics".to_owned(), one.parameters.statistics.into());
    object.insert("config".to_owned(), one.config.to_open_clip());
    Value::Object(object)
}

fn detail(out: &mut impl Write, one: &Architecture) -> std::io::Result<()> {
    let Architecture { config, parameters } = one;
    let text = &config.text;
    writeln!(out, "model       {}", config.name)?;
    writeln!(out, "activation  {}", config.activation)?;
    writeln!(out, "image       {}", image_tower(config))?;
    writeln!(
        out,
        "text        width {}, {} blocks, {} heads, hidden layers of {}, {} positions, {} ids",
        text.width, text.layers, text.heads, text.mlp_width, text.context_length, text.vocab_size
    )?;
    writeln!(out, "features    {}", config.embed_dim)?;
    writeln!(
        out,
        "CLIP        {} parameters: image {}, text {}, logit scale {}",
        thousands(parameters.clip()),
        thousands(parameters.image),
        thousands(parameters.yes),
        parameters.logit_scale
    )?;
    writeln!(
        out,
        "CLIPN       {} parameters: with a \"no\" side of {}, {NO_PROMPTS} prompts among it",
        thousands(parameters.clipn()),
        thousands(parameters.no)
    )?;
    if parameters.statistics > 0 {
        writeln!(out, "statistics  {} numbers of batch norms", thousands(parameters.statistics))?;
    }
    let stored = parameters.clipn().saturating_add(parameters.statistics) as u64;
    writeln!(
        out,
        "file        {} in f32, {} in f16",
        bytes(stored.saturating_mul(4)),
        bytes(stored.saturating_mul(2))
    )?;
    writeln!(
        out,
        "operations  {:.2} GFLOP an image, {:.2} GFLOP a text of {} tokens",
        one.image_gflops(),
        one.text_gflops(),
        text.context_length
    )
}

fn image_tower(config: &ModelConfig) -> String {
    let vision = &config.vision;
    match vision.stages {
        Some(stages) => format!(
            "ModifiedResNet, width {}, {} blocks, {} heads in its attention pooling, images of {} pixels",
            vision.width,
            stages.map(|blocks| blocks.to_string()).join(" + "),
            vision.heads,
            vision.image_size
        ),
        None => format!(
            "ViT, width {}, {} blocks, {} heads, hidden layers of {}, patches of {}, images of {} pixels",
            vision.width, vision.layers, vision.heads, vision.mlp_width, vision.patch_size, vision.image_size
        ),
    }
}
