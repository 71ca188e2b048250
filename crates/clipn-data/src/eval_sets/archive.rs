//! Sets of images in tar archives, grouped into samples as in WebDataset: an image, and its label in a
//! file `cls` or `json`.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::archive::{catch_panic, is_archive_name};
use crate::error::DatasetError;
use crate::eval_sets::table::{TableStream, read_embedded};
use crate::eval_sets::{ImageSet, LabeledImage};
use crate::image_name::is_image_name;
use crate::sources::{ImageContent, MAX_STREAMED_IMAGE_BYTES, NamedImage};
use crate::training::{
    CaptionField, SampleFields, SampleFiles, SampleReader, expand_shards, first_keys,
};

/// Extensions of files with a label.
const LABELS: [&str; 2] = ["cls", "json"];

/// Keys of a label in a JSON object, in order of preference.
pub(super) const LABEL_KEYS: [&str; 6] =
    ["label", "cls", "class", "class_index", "class_id", "target"];

/// Use of the labels of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LabelUse {
    /// Every image needs a label, which is below the number of classes if that is known.
    Required {
        /// Number of class names, if known.
        classes: Option<usize>,
    },
    /// Labels are ignored.
    Ignored,
}

/// Whether a file is a tar archive by its name or by its first bytes.
pub fn is_archive_file(path: impl AsRef<Path>) -> bool {
    /// Offset and value of the mark of a tar header.
    const MARK: (usize, &[u8]) = (257, b"ustar");
    let path = path.as_ref();
    if !path.is_file() {
        return false;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut start = Vec::new();
    let mut read = || std::fs::File::open(path)?.take(512).read_to_end(&mut start);
    is_archive_name(&name)
        || (read().is_ok()
            && start
                .get(MARK.0..)
                .is_some_and(|rest| rest.starts_with(MARK.1)))
}

/// Resolves the archives of a set: a file, a directory of archives, or a pattern with braces or
/// wildcards.
pub(super) fn archives(path: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let spec = path.to_string_lossy();
    expand_shards(&spec).map_err(|error| match error {
        crate::training::TrainingDataError::File(error) => error,
        error => DatasetError::NoArchives {
            path: path.to_path_buf(),
            problem: error.to_string(),
        },
    })
}

/// Lists the images in archives with their labels. The archives are read once to their ends, so that
/// damage is found before any image is scored.
pub(super) fn read_archives(
    name: &str,
    path: &Path,
    labels: LabelUse,
) -> Result<ImageSet, DatasetError> {
    let archives = archives(path)?;
    let mut set = ImageSet {
        name: name.to_string(),
        root: path.parent().unwrap_or(Path::new("")).to_path_buf(),
        ..ImageSet::default()
    };
    let fields = label_fields();
    for archive in &archives {
        let failed = |source| DatasetError::Archive {
            path: archive.clone(),
            source,
        };
        let mut reader = SampleReader::open(archive).map_err(failed)?;
        while let Some(sample) = catch_panic(|| reader.next(Some(&fields))) {
            let sample = sample.map_err(failed)?;
            let invalid = |problem: String| DatasetError::ArchiveSample {
                path: archive.clone(),
                sample: sample.key.clone(),
                problem,
            };
            if let (Some((_, problem)), LabelUse::Required { .. }) = (&sample.problem, labels) {
                return Err(invalid(problem.clone()));
            }
            let Some(extension) = image_extension(&sample).map_err(invalid)? else {
                if labels != LabelUse::Ignored {
                    let found = sample.seen.join(", ");
                    return Err(invalid(format!("no image, only {found}")));
                }
                set.skipped.add_sample_without_image();
                continue;
            };
            let label = match labels {
                LabelUse::Ignored => None,
                LabelUse::Required { classes } => label(&sample, classes).map_err(invalid)?,
            };
            set.samples.push(LabeledImage {
                path: image_path(archive, &sample.key, &extension),
                label,
            });
        }
        set.skipped.merge(&reader.take_skipped());
    }
    if set.samples.is_empty() {
        return Err(DatasetError::NoImages {
            path: path.to_path_buf(),
            skipped: set.skipped,
        });
    }
    set.archives = archives;
    Ok(set)
}

/// Path of an image: that of the archive and the name in it.
fn image_path(archive: &Path, key: &str, extension: &str) -> PathBuf {
    let key = key.strip_prefix("./").unwrap_or(key);
    archive.join(format!("{}.{extension}", key.trim_start_matches('/')))
}

/// Fields of a scan, without images.
fn label_fields() -> SampleFields {
    let text = |extension: &str| CaptionField::Text {
        extension: extension.to_string(),
    };
    SampleFields {
        images: Vec::new(),
        captions: LABELS.map(text).to_vec(),
        max_image_bytes: MAX_STREAMED_IMAGE_BYTES,
    }
}

/// Returns the extension of the image of a sample, `None` if it has no image.
fn image_extension(sample: &SampleFiles) -> Result<Option<String>, String> {
    let images: Vec<&String> = sample
        .seen
        .iter()
        .filter(|extension| is_image_name(OsStr::new(&format!("image.{extension}"))))
        .collect();
    match images.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((*only).clone())),
        _ if !sample.merged_keys().is_empty() => Err(merged_problem(sample)),
        several => Err(format!(
            "expected one image, got {}",
            several
                .iter()
                .map(|extension| extension.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}

/// Says that the samples whose keys have dots are one.
fn merged_problem(sample: &SampleFiles) -> String {
    let keys = sample.merged_keys();
    format!(
        "{} samples with dots in their keys ({}) are one by WebDataset's rule, which ends a key at \
         the first dot",
        keys.len(),
        first_keys(&sample.key, &keys)
    )
}

/// Returns the label of a sample; `None` for the label -1.
fn label(sample: &SampleFiles, classes: Option<usize>) -> Result<Option<usize>, String> {
    let text = |extension: &str| {
        let bytes = sample.files.get(extension)?;
        Some(String::from_utf8_lossy(bytes).trim().to_string())
    };
    let field = match (text("cls"), text("json")) {
        (Some(label), _) => label,
        (None, Some(json)) => {
            let object: Value =
                serde_json::from_str(&json).map_err(|error| format!("json: {error}"))?;
            let value = LABEL_KEYS.iter().find_map(|key| object.get(key));
            match value {
                Some(Value::String(label)) => label.trim().to_string(),
                Some(value) => value.to_string(),
                None => {
                    return Err(format!(
                        "json: no label; expected one of the keys {}",
                        LABEL_KEYS.join(", ")
                    ));
                }
            }
        }
        (None, None) => {
            return Err(format!(
                "no label; expected a file cls or json, got {}",
                sample.seen.join(", ")
            ));
        }
    };
    match field.parse::<i64>() {
        Ok(label) => check_label(label, classes),
        Err(_) => Err(format!("label `{field}` is not an integer")),
    }
}

/// Returns a label as an index, `None` for -1. It must be below the number of classes, if known.
pub(super) fn check_label(label: i64, classes: Option<usize>) -> Result<Option<usize>, String> {
    if label == -1 {
        return Ok(None);
    }
    match (usize::try_from(label), classes) {
        (Ok(label), Some(classes)) if label >= classes => Err(format!(
            "label {label} is out of range for {classes} class names"
        )),
        (Ok(label), _) => Ok(Some(label)),
        (Err(_), _) => Err(format!("negative label {label}")),
    }
}

/// Iterator over the images of an [`ImageSet`]; see [`ImageSet::images`].
///
/// An image of an archive or a table that changed since the set was opened is a failed image.
pub struct SetImages<'a> {
    samples: std::slice::Iter<'a, LabeledImage>,
    archives: std::slice::Iter<'a, PathBuf>,
    fields: SampleFields,
    current: Option<(&'a Path, SampleReader)>,
    is_archive: bool,
    table: Option<TableStream>,
}

impl fmt::Debug for SetImages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetImages")
            .field("samples", &self.samples.len())
            .field("archives", &self.archives.len())
            .finish_non_exhaustive()
    }
}

impl<'a> SetImages<'a> {
    pub(super) fn new(set: &'a ImageSet) -> Self {
        Self {
            samples: set.samples.iter(),
            archives: set.archives.iter(),
            fields: image_fields(set.paths()),
            current: None,
            is_archive: !set.archives.is_empty(),
            table: set.table.as_deref().map(TableStream::new),
        }
    }

    /// Reads the next image of the archives.
    fn read(&mut self) -> io::Result<Option<NamedImage>> {
        loop {
            let (archive, reader) = match &mut self.current {
                Some(current) => current,
                None => match self.archives.next() {
                    Some(archive) => self.current.insert((archive, SampleReader::open(archive)?)),
                    None => return Ok(None),
                },
            };
            match catch_panic(|| reader.next(Some(&self.fields))) {
                Some(sample) => match image(archive, sample?)? {
                    Some(image) => return Ok(Some(image)),
                    None => continue,
                },
                None => self.current = None,
            }
        }
    }
}

/// Fields with the extensions of these images.
fn image_fields<'p>(paths: impl Iterator<Item = &'p Path>) -> SampleFields {
    let extension = |path: &Path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(name.split_once('.')?.1.to_lowercase())
    };
    let images: BTreeSet<String> = paths.filter_map(extension).collect();
    SampleFields {
        images: images.into_iter().collect(),
        captions: Vec::new(),
        ..label_fields()
    }
}

/// Returns the image of a sample, `None` if it has none.
fn image(archive: &Path, mut sample: SampleFiles) -> io::Result<Option<NamedImage>> {
    let Some(extension) = image_extension(&sample).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let name = image_path(archive, &sample.key, &extension);
    let content = match (sample.files.remove(&extension), sample.problem) {
        (Some(bytes), _) => ImageContent::Bytes(bytes),
        (None, Some((_, problem))) => ImageContent::Failed(io::Error::other(problem)),
        (None, None) => ImageContent::Failed(io::Error::other("the archive changed")),
    };
    let name = name.display().to_string();
    Ok(Some(NamedImage { name, content }))
}

impl Iterator for SetImages<'_> {
    type Item = NamedImage;

    fn next(&mut self) -> Option<NamedImage> {
        let sample = self.samples.next()?;
        if let Some(table) = &mut self.table {
            return Some(table.read(sample.path.display().to_string()));
        }
        if !self.is_archive {
            return Some(NamedImage::from_path(sample.path.clone()));
        }
        let name = sample.path.display().to_string();
        Some(match self.read() {
            Ok(Some(image)) if image.name == name => image,
            Ok(_) => NamedImage::failed(name, io::Error::other("the archive changed")),
            Err(error) => {
                self.current = None;
                NamedImage::failed(name, error)
            }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.samples.size_hint()
    }
}

/// Reads images of archives and those embedded in tables, which have paths as in a set: that of the
/// archive and the name in it, or `TABLE:ROW`. Images that cannot be read are left out. Every archive
/// is read at most once.
pub fn read_archived_images<'p>(
    paths: impl IntoIterator<Item = &'p Path>,
) -> HashMap<PathBuf, Vec<u8>> {
    let mut images = HashMap::new();
    let mut by_archive: HashMap<PathBuf, BTreeSet<&Path>> = HashMap::new();
    for path in paths {
        if let Some(image) = read_embedded(path) {
            images.insert(path.to_path_buf(), image);
            continue;
        }
        if let Some(archive) = path.ancestors().skip(1).find(|archive| archive.is_file()) {
            by_archive
                .entry(archive.to_path_buf())
                .or_default()
                .insert(path);
        }
    }
    for (archive, wanted) in by_archive {
        let fields = image_fields(wanted.iter().copied());
        let Ok(mut reader) = SampleReader::open(&archive) else {
            continue;
        };
        let mut left = wanted.len();
        while left > 0
            && let Some(Ok(mut sample)) = catch_panic(|| reader.next(Some(&fields)))
        {
            let Ok(Some(extension)) = image_extension(&sample) else {
                continue;
            };
            let path = image_path(&archive, &sample.key, &extension);
            if wanted.contains(path.as_path())
                && let Some(bytes) = sample.files.remove(&extension)
            {
                images.insert(path, bytes);
                left -= 1;
            }
        }
    }
    images
}
