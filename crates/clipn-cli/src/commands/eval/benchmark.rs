use std::path::{Path, PathBuf};

use clipn::dataset::{
    Benchmark, ClassSource, IdDefinition, OodDefinition, OpenedBenchmark, Selection, SetSource,
};
use clipn::prompts::ClassNames;

use super::EvalArgs;
use crate::common::error::CliError;

/// What a benchmark that the command line spells out is called.
const SPELLED_OUT: &str = "command line";

/// The benchmark that the arguments name or spell out.
pub fn open(args: &EvalArgs) -> Result<OpenedBenchmark, CliError> {
    let mut benchmark = match (&args.benchmark, &args.id) {
        (Some(name), _) => Benchmark::load(name)?,
        (None, Some(id)) => spelled_out(id, &args.ood)?,
        (None, None) => {
            return Err(CliError::Usage(
                "give --benchmark, or --id and --ood".to_owned(),
            ));
        }
    };
    if let Some(spec) = &args.classes {
        benchmark.id.classes = ClassSource::Inline(ClassNames::resolve(spec)?.names().to_vec());
    }
    Ok(benchmark.open(args.data_root.as_deref().unwrap_or(Path::new("")))?)
}

fn spelled_out(id: &str, ood: &[String]) -> Result<Benchmark, CliError> {
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
        return Err(CliError::Usage(format!(
            "--ood number {} is called `{}` like one before it; give each its own NAME=DIR",
            index + 1,
            set.name
        )));
    }
    Ok(Benchmark {
        name: SPELLED_OUT.to_owned(),
        description: String::new(),
        grey: false,
        id: IdDefinition {
            name: id_name,
            source: source(id_path),
            classes: ClassSource::FolderNames,
        },
        ood,
    })
}

/// `NAME=DIR`, or a path whose last part is the name.
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

/// A file is an image list with paths relative to its folder, anything else a folder of images.
fn source(path: PathBuf) -> SetSource {
    if path.is_file() {
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        SetSource::List { path, root }
    } else {
        SetSource::Folder {
            path,
            selection: Selection::default(),
        }
    }
}

/// The heading of a report on the benchmark.
pub fn heading(benchmark: &OpenedBenchmark) -> String {
    /// Sets that are named.
    const NAMED: usize = 4;
    if benchmark.name != SPELLED_OUT {
        return benchmark.name.clone();
    }
    let names: Vec<&str> = benchmark
        .ood
        .iter()
        .map(|set| set.set.name.as_str())
        .take(NAMED)
        .collect();
    let more = match benchmark.ood.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} against {}{more}", benchmark.id.name, names.join(", "))
}
