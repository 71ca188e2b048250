//! The benchmark of an evaluation.

use std::path::{Path, PathBuf};

use clipn::dataset::{
    Benchmark, ClassSource, IdDefinition, OodDefinition, OpenedBenchmark, Selection, SetSource,
};
use clipn::prompts::ClassNames;

use super::EvalArgs;
use crate::common::error::CliError;

/// Name of a benchmark that --id and --ood define.
const FROM_FLAGS: &str = "command line";

/// Opens the benchmark that the arguments name or define.
pub(crate) fn open(args: &EvalArgs) -> Result<OpenedBenchmark, CliError> {
    let mut benchmark = match (&args.benchmark, &args.id) {
        (Some(name), _) => Benchmark::load(name)?,
        (None, Some(id)) => from_flags(id, &args.ood)?,
        (None, None) => {
            return Err(CliError::usage_with_hint(
                "no benchmark",
                "give --benchmark, or --id and --ood",
            ));
        }
    };
    if let Some(spec) = &args.classes {
        benchmark.id.classes = ClassSource::Inline(ClassNames::resolve(spec)?.names().to_vec());
    }
    Ok(benchmark.open(args.data_root.as_deref().unwrap_or(Path::new("")))?)
}

fn from_flags(id: &str, ood: &[String]) -> Result<Benchmark, CliError> {
    let (id_name, id_path) = named_path(id);
    let ood = ood.iter().map(|spec| {
        let (name, path) = named_path(spec);
        OodDefinition {
            name,
            kind: None,
            source: source(path),
        }
    });
    let ood: Vec<OodDefinition> = ood.collect();
    if let Some((index, set)) = ood
        .iter()
        .enumerate()
        .find(|(i, set)| ood[..*i].iter().any(|s| s.name == set.name))
    {
        return Err(CliError::usage_with_hint(
            format!(
                "duplicate name of --ood number {}: `{}`",
                index + 1,
                set.name
            ),
            "give each a name of its own, as NAME=DIR",
        ));
    }
    Ok(Benchmark {
        name: FROM_FLAGS.to_owned(),
        description: String::new(),
        gray: false,
        id: IdDefinition {
            name: id_name,
            source: source(id_path),
            classes: ClassSource::DirectoryNames,
        },
        ood,
    })
}

/// Splits `NAME=DIR`; the name of a plain path is its file stem.
fn named_path(spec: &str) -> (String, PathBuf) {
    match spec.split_once('=') {
        Some((name, path)) if !name.is_empty() && !name.contains(['/', '\\']) => {
            (name.to_owned(), path.into())
        }
        _ => {
            let path = PathBuf::from(spec);
            let name = path
                .file_stem()
                .map_or_else(|| spec.to_owned(), |n| n.to_string_lossy().into_owned());
            (name, path)
        }
    }
}

/// A file is an image list with paths relative to its directory, anything else a directory of
/// images.
fn source(path: PathBuf) -> SetSource {
    if path.is_file() {
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        SetSource::List { path, root }
    } else {
        SetSource::Directory {
            path,
            selection: Selection::default(),
        }
    }
}

/// The heading of a report on a benchmark.
pub(crate) fn heading(benchmark: &OpenedBenchmark) -> String {
    /// Maximum number of out-of-distribution sets to name.
    const NAMES_SHOWN: usize = 4;
    if benchmark.name != FROM_FLAGS {
        return benchmark.name.clone();
    }
    let names: Vec<&str> = benchmark
        .ood
        .iter()
        .map(|set| set.set.name.as_str())
        .take(NAMES_SHOWN)
        .collect();
    let more = match benchmark.ood.len().saturating_sub(NAMES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} against {}{more}", benchmark.id.name, names.join(", "))
}
