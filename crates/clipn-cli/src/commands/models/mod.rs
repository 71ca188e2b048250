//! `clipn models`: architectures, their tags, and the cache.

mod cache;
mod detail;
mod tags;

use std::io::Write;

use clap::Args;
use clipn::download::pretrained_tags_for;
use clipn::model::{ModelConfig, ParameterCounts};
use serde_json::{Map, Value, json};

use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::table::Table;
use crate::common::terminal::Escaped;
use tags::Tag;

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// List the cached weights instead: revisions of hub repositories, and files of open_clip tags
    #[arg(long, conflicts_with = "model")]
    pub cache: bool,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Architecture, such as ViT-B-16, an open_clip model config, or weights with a config
    #[arg(value_name = "NAME|CONFIG.json|WEIGHTS")]
    pub model: Option<String>,
}

/// Number of "no" prompts of the published models.
const NO_PROMPTS: usize = 16;

/// An architecture with its number of parameters.
struct Architecture {
    config: ModelConfig,
    parameters: ParameterCounts,
}

impl Architecture {
    fn new(config: ModelConfig) -> Self {
        let parameters = config.parameter_counts(NO_PROMPTS);
        Self { config, parameters }
    }

    fn text_gflops(&self) -> f64 {
        self.config.text_flops(self.config.text.context_length) / 1e9
    }

    fn image_gflops(&self) -> f64 {
        self.config.image_flops() / 1e9
    }
}

/// A cell: rounded in the table, exact in JSON and CSV.
enum Cell {
    Text(String),
    Count(usize),
    Millions(usize),
    Giga(f64),
}

impl Cell {
    fn rounded(&self) -> String {
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

/// A column: its heading in the table, its key in JSON and CSV, and its cells.
struct Column {
    heading: &'static str,
    key: &'static str,
    cell: fn(&Architecture) -> Cell,
}

/// The columns, the first one left-aligned. A further property of architectures is one entry here.
const COLUMNS: &[Column] = &[
    Column {
        heading: "model",
        key: "name",
        cell: |a| Cell::Text(a.config.name.clone()),
    },
    Column {
        heading: "pixels",
        key: "image_size",
        cell: |a| Cell::Count(a.config.vision.image_size),
    },
    Column {
        heading: "image",
        key: "image_parameters",
        cell: |a| Cell::Millions(a.parameters.image),
    },
    Column {
        heading: "yes",
        key: "yes_parameters",
        cell: |a| Cell::Millions(a.parameters.yes),
    },
    Column {
        heading: "no",
        key: "no_parameters",
        cell: |a| Cell::Millions(a.parameters.no),
    },
    Column {
        heading: "GFLOP/image",
        key: "image_gflops",
        cell: |a| Cell::Giga(a.image_gflops()),
    },
    Column {
        heading: "GFLOP/text",
        key: "text_gflops",
        cell: |a| Cell::Giga(a.text_gflops()),
    },
    Column {
        heading: "features",
        key: "embed_dim",
        cell: |a| Cell::Count(a.config.embed_dim),
    },
    Column {
        heading: "tokens",
        key: "context_length",
        cell: |a| Cell::Count(a.config.text.context_length),
    },
    Column {
        heading: "tags",
        key: "tags",
        cell: |a| Cell::Count(pretrained_tags_for(&a.config.name).count()),
    },
];

/// `clipn models`.
pub(crate) fn run(args: &ModelsArgs) -> Result<(), CliError> {
    if args.cache {
        return cache::run(args.format);
    }
    let mut out = std::io::stdout().lock();
    let all = match &args.model {
        Some(name) => vec![Architecture::new(ModelConfig::resolve(name)?)],
        None => {
            let all = ModelConfig::embedded_names()
                .map(|name| ModelConfig::embedded(name).map(Architecture::new));
            all.collect::<Result<Vec<_>, _>>()?
        }
    };
    match (args.format, all.as_slice()) {
        (Format::Table, [one]) => {
            detail::write(&mut Escaped(&mut out), one).map_err(CliError::Output)
        }
        (Format::Table, all) => table(&mut Escaped(&mut out), all).map_err(CliError::Output),
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
        table.row(COLUMNS.iter().map(|column| (column.cell)(one).rounded()));
    }
    table.write(out)?;
    writeln!(
        out,
        "\nParameters of the image tower, the \"yes\" text tower and the \"no\" text tower (with {NO_PROMPTS} \
         prompts); number of open_clip tags for --pretrained. `clipn models NAME` shows one in detail."
    )
}

/// The columns, the totals, the tags, and the config in open_clip's format.
fn object(one: &Architecture) -> Value {
    let columns = COLUMNS
        .iter()
        .map(|column| (column.key.to_owned(), (column.cell)(one).value()));
    let mut object: Map<String, Value> = columns.collect();
    object.insert("clip_parameters".to_owned(), one.parameters.clip().into());
    object.insert("clipn_parameters".to_owned(), one.parameters.clipn().into());
    object.insert(
        "norm_statistics".to_owned(),
        one.parameters.statistics.into(),
    );
    let tags: Vec<Value> = Tag::list(&one.config.name)
        .iter()
        .map(Tag::object)
        .collect();
    object.insert("pretrained".to_owned(), tags.into());
    object.insert("config".to_owned(), one.config.to_open_clip());
    Value::Object(object)
}
