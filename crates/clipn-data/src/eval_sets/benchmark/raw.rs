//! Keys of a definition file, described in `docs/benchmarks.md`, and the checks of their
//! combinations.
use std::collections::BTreeMap;
use std::path::PathBuf;

use clipn_base::text::at_line;
use indexmap::IndexMap;
use serde::Deserialize;

use crate::eval_sets::benchmark::definition::{
    Benchmark, ClassSource, IdDefinition, ListFormat, OodDefinition, OodKind, Selection, SetSource,
    ShiftedDefinition, TrainDefinition,
};
use crate::eval_sets::map::ClassMapSource;

type Checked<T> = Result<T, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawBenchmark {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default, rename = "grey", alias = "gray")]
    gray: bool,
    #[serde(default)]
    maps: BTreeMap<String, RawMap>,
    #[serde(default)]
    list_root: PathBuf,
    #[serde(default)]
    list_format: ListFormat,
    id: RawId,
    #[serde(default)]
    shifted: Vec<RawShifted>,
    #[serde(default)]
    ood: Vec<RawOod>,
    train: Option<RawTrain>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawMap {
    file: Option<PathBuf>,
    #[serde(rename = "folder-column")]
    directory_column: Option<String>,
    name_column: Option<String>,
    role_column: Option<String>,
    names: Option<IndexMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawId {
    name: Option<String>,
    folder: Option<PathBuf>,
    list: Option<PathBuf>,
    root: Option<PathBuf>,
    archive: Option<PathBuf>,
    table: Option<PathBuf>,
    classes: Option<RawClasses>,
    #[serde(default)]
    classes_of_paths: bool,
    map: Option<String>,
    #[serde(default)]
    mapped_only: bool,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    images: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawShifted {
    name: String,
    folder: Option<PathBuf>,
    list: Option<PathBuf>,
    root: Option<PathBuf>,
    archive: Option<PathBuf>,
    table: Option<PathBuf>,
    #[serde(default)]
    exclude: Vec<String>,
    images: Option<usize>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected the name of a class list or an array of class names"
)]
enum RawClasses {
    Named(String),
    Inline(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawOod {
    name: String,
    kind: Option<OodKind>,
    folder: Option<PathBuf>,
    list: Option<PathBuf>,
    root: Option<PathBuf>,
    archive: Option<PathBuf>,
    table: Option<PathBuf>,
    map: Option<String>,
    #[serde(default)]
    mapped_only: bool,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    images: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawTrain {
    folder: Option<PathBuf>,
    list: Option<PathBuf>,
    root: Option<PathBuf>,
    archive: Option<PathBuf>,
    table: Option<PathBuf>,
    map: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
}

/// Keys for the location of a set's images, common to all sets.
#[derive(Default)]
struct RawSource {
    folder: Option<PathBuf>,
    list: Option<PathBuf>,
    root: Option<PathBuf>,
    archive: Option<PathBuf>,
    table: Option<PathBuf>,
    map: Option<ClassMapSource>,
    mapped_only: bool,
    roles: Vec<String>,
    exclude: Vec<String>,
    list_format: ListFormat,
}

/// Parses and checks a definition; the error describes the problem and its location.
pub(super) fn parse(text: &str) -> Checked<Benchmark> {
    let raw: RawBenchmark =
        toml::from_str(text).map_err(|error| at_line(text, error.span(), error.message()))?;
    if raw.name.trim().is_empty() {
        return Err("empty `name`".to_string());
    }
    if raw.ood.is_empty() {
        return Err("no OOD sets; expected at least one [[ood]] table".to_string());
    }
    let maps: BTreeMap<String, ClassMapSource> = raw
        .maps
        .into_iter()
        .map(|(name, map)| Ok((name.clone(), map.check(&name)?)))
        .collect::<Checked<_>>()?;
    let id = raw.id.check(&raw.name, &maps, raw.list_format)?;
    let shifted = raw.shifted.into_iter();
    let shifted: Vec<ShiftedDefinition> = shifted
        .map(|set| set.check(raw.list_format))
        .collect::<Checked<_>>()?;
    let ood = raw.ood.into_iter();
    let ood: Vec<OodDefinition> = ood
        .map(|set| set.check(&maps, raw.list_format))
        .collect::<Checked<_>>()?;
    let names: Vec<&str> = std::iter::once(id.name.as_str())
        .chain(shifted.iter().map(|set| set.name.as_str()))
        .chain(ood.iter().map(|set| set.name.as_str()))
        .collect();
    if let Some((_, name)) = names
        .iter()
        .enumerate()
        .find(|(i, name)| names[..*i].contains(name))
    {
        return Err(format!("duplicate set name `{name}`"));
    }
    let train = raw
        .train
        .map(|train| train.check(&maps, raw.list_format))
        .transpose()?;
    Ok(Benchmark {
        name: raw.name,
        description: raw.description,
        gray: raw.gray,
        list_root: raw.list_root,
        id,
        shifted,
        ood,
        train,
    })
}

impl RawMap {
    fn check(self, name: &str) -> Checked<ClassMapSource> {
        let columns = self.directory_column.is_some()
            || self.name_column.is_some()
            || self.role_column.is_some();
        match (self.file, self.names) {
            (Some(path), None) => Ok(ClassMapSource::File {
                path,
                directory_column: self
                    .directory_column
                    .unwrap_or_else(|| "folder".to_string()),
                name_column: self.name_column.unwrap_or_else(|| "name".to_string()),
                role_column: self.role_column,
            }),
            (None, Some(_)) if columns => Err(format!(
                "[maps.{name}]: columns require `file`, but `names` is given"
            )),
            (None, Some(names)) => match names.iter().find(|(_, class)| class.trim().is_empty()) {
                Some((folder, _)) => Err(format!(
                    "[maps.{name}]: empty class name for directory `{folder}`"
                )),
                None => Ok(ClassMapSource::Inline {
                    name: name.to_string(),
                    names,
                }),
            },
            _ => Err(format!("[maps.{name}]: expected either `file` or `names`")),
        }
    }
}

impl RawId {
    fn check(
        self,
        benchmark: &str,
        maps: &BTreeMap<String, ClassMapSource>,
        list_format: ListFormat,
    ) -> Checked<IdDefinition> {
        let at = "[id]";
        let map = find_map(self.map.as_deref(), maps, at)?;
        let classes = match (self.classes, &map) {
            (Some(_), Some(_)) => {
                return Err(format!("{at}: expected only one of `classes` and `map`"));
            }
            (Some(RawClasses::Named(name)), None) if self.classes_of_paths => {
                ClassSource::BuiltInOfPaths(name)
            }
            _ if self.classes_of_paths => {
                return Err(format!(
                    "{at}: `classes-of-paths` requires the name of a class list in `classes`"
                ));
            }
            (Some(RawClasses::Named(name)), None) => ClassSource::BuiltIn(name),
            (Some(RawClasses::Inline(names)), None) => {
                ClassSource::Inline(checked_names(names, at)?.into())
            }
            (None, Some(map)) => ClassSource::ClassMap(map.clone()),
            (None, None) => ClassSource::DirectoryNames,
        };
        let source = RawSource {
            folder: self.folder,
            list: self.list,
            root: self.root,
            archive: self.archive,
            table: self.table,
            map,
            mapped_only: self.mapped_only,
            roles: self.roles,
            exclude: self.exclude,
            list_format,
        };
        let source = source.check(at)?;
        if classes == ClassSource::DirectoryNames {
            let key = match source {
                SetSource::List { .. } => Some("list"),
                SetSource::Archives { .. } => Some("archive"),
                // The labels of a table may have names.
                SetSource::Directory { .. } | SetSource::Table { .. } => None,
            };
            if let Some(key) = key {
                return Err(format!("{at}: missing `classes`, required with `{key}`"));
            }
        }
        if self.classes_of_paths && !matches!(source, SetSource::List { .. }) {
            return Err(format!("{at}: `classes-of-paths` requires `list`"));
        }
        let name = self.name.unwrap_or_else(|| benchmark.to_string());
        Ok(IdDefinition {
            name,
            source,
            classes,
            images: self.images,
        })
    }
}

impl RawShifted {
    fn check(self, list_format: ListFormat) -> Checked<ShiftedDefinition> {
        if self.name.trim().is_empty() {
            return Err("[[shifted]]: empty `name`".to_string());
        }
        let source = RawSource {
            folder: self.folder,
            list: self.list,
            root: self.root,
            archive: self.archive,
            table: self.table,
            exclude: self.exclude,
            list_format,
            ..RawSource::default()
        };
        Ok(ShiftedDefinition {
            source: source.check(&format!("[[shifted]] `{}`", self.name))?,
            name: self.name,
            images: self.images,
        })
    }
}

impl RawOod {
    fn check(
        self,
        maps: &BTreeMap<String, ClassMapSource>,
        list_format: ListFormat,
    ) -> Checked<OodDefinition> {
        if self.name.trim().is_empty() {
            return Err("[[ood]]: empty `name`".to_string());
        }
        let at = format!("[[ood]] `{}`", self.name);
        let map = find_map(self.map.as_deref(), maps, &at)?;
        if map.is_some() && self.roles.is_empty() && !self.mapped_only {
            return Err(format!(
                "{at}: `map` has no effect on an OOD set without `roles` or `mapped-only`"
            ));
        }
        let source = RawSource {
            folder: self.folder,
            list: self.list,
            root: self.root,
            archive: self.archive,
            table: self.table,
            map,
            mapped_only: self.mapped_only,
            roles: self.roles,
            exclude: self.exclude,
            list_format,
        };
        Ok(OodDefinition {
            source: source.check(&at)?,
            name: self.name,
            kind: self.kind,
            images: self.images,
        })
    }
}

impl RawTrain {
    fn check(
        self,
        maps: &BTreeMap<String, ClassMapSource>,
        list_format: ListFormat,
    ) -> Checked<TrainDefinition> {
        let at = "[train]";
        let map = find_map(self.map.as_deref(), maps, at)?;
        let source = RawSource {
            // A map names the labels of any source; only directories are selected by it.
            map: map.clone().filter(|_| self.folder.is_some()),
            folder: self.folder,
            list: self.list,
            root: self.root,
            archive: self.archive,
            table: self.table,
            roles: self.roles,
            exclude: self.exclude,
            list_format,
            ..RawSource::default()
        };
        Ok(TrainDefinition {
            source: source.check(at)?,
            map,
        })
    }
}

impl RawSource {
    fn check(self, at: &str) -> Checked<SetSource> {
        let selects = self.map.is_some()
            || self.mapped_only
            || !self.roles.is_empty()
            || !self.exclude.is_empty();
        let is_alone = !selects && self.root.is_none();
        let check_alone = |key: &str| {
            if is_alone {
                return Ok(());
            }
            Err(format!(
                "{at}: expected none of `map`, `roles`, `exclude` and `root` with `{key}`"
            ))
        };
        match (self.folder, self.list, self.archive, self.table) {
            (Some(path), None, None, None) => {
                if self.root.is_some() {
                    return Err(format!(
                        "{at}: `root` requires `list`, but `folder` is given"
                    ));
                }
                if !self.roles.is_empty() && !has_roles(self.map.as_ref()) {
                    return Err(format!(
                        "{at}: `roles` requires a `map` with a `role-column`"
                    ));
                }
                if self.mapped_only && self.map.is_none() {
                    return Err(format!("{at}: `mapped-only` requires a `map`"));
                }
                let selection = Selection {
                    map: self.map,
                    roles: self.roles,
                    exclude: self.exclude,
                    mapped_only: self.mapped_only,
                };
                Ok(SetSource::Directory { path, selection })
            }
            (None, None, Some(path), None) => {
                check_alone("archive")?;
                Ok(SetSource::Archives { path })
            }
            (None, None, None, Some(path)) => {
                check_alone("table")?;
                Ok(SetSource::Table { path })
            }
            (None, Some(path), None, None) => {
                if selects {
                    return Err(format!(
                        "{at}: `map`, `roles` and `exclude` select class directories; \
                         expected none of them with `list`"
                    ));
                }
                Ok(SetSource::List {
                    path,
                    root: self.root.unwrap_or_default(),
                    format: self.list_format,
                })
            }
            _ => Err(format!(
                "{at}: expected one of `folder`, `list`, `archive` and `table`"
            )),
        }
    }
}

fn has_roles(map: Option<&ClassMapSource>) -> bool {
    matches!(
        map,
        Some(ClassMapSource::File {
            role_column: Some(_),
            ..
        })
    )
}

fn find_map(
    name: Option<&str>,
    maps: &BTreeMap<String, ClassMapSource>,
    at: &str,
) -> Checked<Option<ClassMapSource>> {
    let Some(name) = name else { return Ok(None) };
    match maps.get(name) {
        Some(map) => Ok(Some(map.clone())),
        None => Err(format!(
            "{at}: unknown map `{name}`; expected a table [maps.{name}]"
        )),
    }
}

fn checked_names(names: Vec<String>, at: &str) -> Checked<Vec<String>> {
    if names.is_empty() {
        return Err(format!("{at}: empty `classes`"));
    }
    match names.iter().position(|name| name.trim().is_empty()) {
        Some(index) => Err(format!("{at}: empty class name at index {index}")),
        None => Ok(names),
    }
}
