//! The benchmark of an evaluation.

use std::path::{Path, PathBuf};

use clipn::count::count;
use clipn::dataset::{
    Benchmark, BenchmarkClasses, ClassMatching, ClassSource, IdDefinition, ListFormat,
    ListedClasses, MatchedClasses, OodDefinition, OodKind, OpenedBenchmark, Selection, SetSource,
    ShiftedDefinition, is_archive_file, is_archive_name, is_image_name, is_table_file,
};
use clipn::prompts::ClassListForm;

use super::EvalArgs;
use crate::common::args::named_path;
use crate::common::classes;
use crate::common::error::CliError;
use crate::common::messages::{detail, hint, note, warning};

/// Name of a benchmark that --id and --ood define.
const FROM_FLAGS: &str = "command line";

/// Opens the benchmark that the arguments name or define.
///
/// The classes of a bundle replace those of the benchmark.
pub(crate) fn open(
    args: &EvalArgs,
    bundle_classes: Option<&[String]>,
) -> Result<OpenedBenchmark, CliError> {
    let mut benchmark = match (&args.benchmark, &args.id) {
        (Some(name), _) => load(name, args.list_root.as_deref())?,
        (None, Some(id)) => from_flags(id, args)?,
        (None, None) => {
            return Err(CliError::usage_with_hint(
                "no benchmark",
                "give --benchmark, or --id and --ood",
            ));
        }
    };
    if let Some(spec) = &args.classes {
        let list = classes::read(spec, args.prompts.allow_duplicates)?;
        benchmark.id.classes = match list.form() {
            ClassListForm::BuiltIn => ClassSource::BuiltIn(spec.clone()),
            _ => ClassSource::Inline(classes::listed(&list)),
        };
    }
    if let Some(names) = bundle_classes {
        benchmark.id.classes = ClassSource::Inline(ListedClasses {
            names: names.to_vec(),
            synset_ids: Vec::new(),
        });
    }
    Ok(benchmark.open(args.data_root.as_deref().unwrap_or(Path::new("")))?)
}

/// Loads a benchmark, with its image lists in another directory if one is given.
pub(crate) fn load(name: &str, list_root: Option<&Path>) -> Result<Benchmark, CliError> {
    let mut benchmark = Benchmark::load(name)?;
    let Some(list_root) = list_root else {
        return Ok(benchmark);
    };
    if !benchmark.has_lists() {
        return Err(CliError::usage(format!(
            "--list-root, but the benchmark {} has no image lists",
            benchmark.name
        )));
    }
    // Relative paths of a definition start at the data root.
    benchmark.list_root = std::path::absolute(list_root)
        .map_err(|error| CliError::usage(format!("cannot resolve --list-root: {error}")))?;
    Ok(benchmark)
}

fn from_flags(id: &str, args: &EvalArgs) -> Result<Benchmark, CliError> {
    let (id_name, id_path) = named_path(id);
    let flags = [
        ("--near-ood", &args.near_ood, Some(OodKind::Near)),
        ("--far-ood", &args.far_ood, Some(OodKind::Far)),
        ("--ood", &args.ood, None),
    ];
    let mut names = vec![id_name.clone()];
    let mut ood = Vec::new();
    for (flag, specs, kind) in flags {
        for (index, spec) in specs.iter().enumerate() {
            let (name, path) = named_path(spec);
            // The ID set may have the name of an OOD set, as the names of plain paths are their last parts.
            check_name(&names[1..], &name, flag, index)?;
            names.push(name.clone());
            ood.push(OodDefinition {
                name,
                kind,
                source: source(path),
                images: None,
            });
        }
    }
    let mut shifted = Vec::new();
    for (index, spec) in args.shifted_id.iter().enumerate() {
        let (name, path) = named_path(spec);
        check_name(&names, &name, "--shifted-id", index)?;
        names.push(name.clone());
        shifted.push(ShiftedDefinition {
            name,
            source: source(path),
            images: None,
        });
    }
    Ok(Benchmark {
        name: FROM_FLAGS.to_owned(),
        description: String::new(),
        gray: false,
        list_root: PathBuf::new(),
        id: IdDefinition {
            name: id_name,
            source: source(id_path),
            classes: ClassSource::DirectoryNames,
            images: None,
        },
        shifted,
        ood,
        train: None,
    })
}

/// Refuses a name that another set has.
fn check_name(names: &[String], name: &String, flag: &str, index: usize) -> Result<(), CliError> {
    if names.contains(name) {
        return Err(CliError::usage_with_hint(
            format!("duplicate name of {flag} number {}: `{name}`", index + 1),
            "give each a name of its own, as NAME=DIR",
        ));
    }
    Ok(())
}

/// Warns of sets with another number of images than the complete set has.
pub(crate) fn warn_of_incomplete(benchmark: &OpenedBenchmark) {
    for set in &benchmark.incomplete {
        warning(format_args!(
            "{} has {}, the complete set {}; results cannot be compared with those of others",
            set.name,
            count(set.images, "image"),
            set.expected
        ));
    }
    if !benchmark.incomplete.is_empty() {
        hint("`clipn benchmark check` lists what is missing");
    }
}

/// A file is a tar archive, a table, or an image list with paths relative to its directory. Anything
/// else is a directory of images, or archives in a directory or of a pattern.
pub(super) fn source(path: PathBuf) -> SetSource {
    let is_pattern = || {
        let text = path.to_string_lossy();
        !path.exists() && is_archive_name(&text) && text.contains(['{', '*', '?', '['])
    };
    if is_archive_file(&path) || is_archive_directory(&path) || is_pattern() {
        SetSource::Archives { path }
    } else if is_table_file(&path) {
        SetSource::Table { path }
    } else if path.is_file() {
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        SetSource::List {
            path,
            root,
            format: ListFormat::LastSpace,
        }
    } else {
        SetSource::Directory {
            path,
            selection: Selection::default(),
        }
    }
}

/// Whether a directory has archives, and neither images nor directories.
fn is_archive_directory(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else {
        return false;
    };
    let mut has_archives = false;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.');
        if !is_hidden && (entry.path().is_dir() || is_image_name(&name)) {
            return false;
        }
        has_archives |= !is_hidden && is_archive_name(&name.to_string_lossy());
    }
    has_archives
}

/// Reports how class names and labels of a set were matched.
pub(crate) fn report_matching(matched: &MatchedClasses) {
    match &matched.matching {
        ClassMatching::Numbers { .. } => note(matched),
        ClassMatching::Position {
            unmatched_count: 0, ..
        } => note(matched),
        ClassMatching::Position { unmatched, .. } => warning(format_args!(
            "{matched}; not named like a class: {}",
            unmatched.join(", ")
        )),
        ClassMatching::DirectoryNames | ClassMatching::LabelNames => {
            let of = match &matched.matching {
                ClassMatching::LabelNames => "labels",
                _ => "directories",
            };
            let are_codes = |name: &String| {
                let digits = name.strip_prefix('n').unwrap_or(name);
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            };
            if matched.names.iter().all(are_codes) {
                warning(format_args!(
                    "the class names are the names of the {of}, which are numbers or synset ids: {}",
                    matched
                        .names
                        .iter()
                        .take(3)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(", ")
                ));
                hint("give the class names with --classes");
            }
        }
        _ => detail(matched),
    }
    let without = matched.names_without_directory();
    if let Some(first) = without.first() {
        warning(format_args!(
            "class names without a directory of images: {}, such as `{first}`",
            without.len()
        ));
    }
}

/// Whether the classes of a benchmark are a built-in list, which may have duplicates.
pub(crate) fn is_built_in(benchmark: &OpenedBenchmark) -> bool {
    matches!(benchmark.classes, BenchmarkClasses::BuiltIn { .. })
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
