//! Reading of JSON Lines: one object per line, with keys for the image path and the caption.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use clipn_base::content::ContentKind;
use serde_json::{Map, Value};

use crate::error::DatasetError;
use crate::tables::{CAPTION_KEYS, IMAGE_KEYS, JsonLine, JsonLines, find_key, list_keys};
use crate::training::captions::{
    CaptionTable, CaptionTableFormat, RowProblem, check_fields, refuse,
};
use crate::training::error::TrainingDataError;
use crate::training::skipped::SkipReason;

/// Maximum number of malformed lines before the first object.
const MAX_MALFORMED: usize = 10_000;

/// Reads all rows. The first object decides which keys are used.
pub(super) fn read(
    path: &Path,
    format: &CaptionTableFormat,
) -> Result<CaptionTable, TrainingDataError> {
    let unreadable = |source| DatasetError::io(path, source);
    let mut lines = JsonLines::new(BufReader::new(File::open(path).map_err(unreadable)?));
    let mut malformed = Vec::new();
    let mut table = None;
    while let Some((line, content)) = lines.next().map_err(unreadable)? {
        match (content, &mut table) {
            (JsonLine::Malformed(_), None) if malformed.len() >= MAX_MALFORMED => break,
            (JsonLine::Malformed(problem), None) => malformed.push((line, problem)),
            (JsonLine::Malformed(problem), Some(table)) => {
                CaptionTable::push(table, line, Err((SkipReason::BadRow, problem)));
            }
            (JsonLine::Object(object), table) => {
                let table = match table {
                    Some(table) => table,
                    None => table.insert(start(path, format, &object, &malformed)?),
                };
                push(table, line, &object, format);
            }
        }
    }
    if let Some(table) = table {
        return Ok(table);
    }
    let found = ContentKind::of_file(path).map_err(unreadable)?;
    Err(refuse(
        path,
        format!("expected one JSON object per line, got {found}"),
    ))
}

/// Creates the table with the keys of the first object, and the malformed lines before it.
fn start(
    path: &Path,
    format: &CaptionTableFormat,
    first: &Map<String, Value>,
    malformed: &[(u64, &'static str)],
) -> Result<CaptionTable, TrainingDataError> {
    let keys: Vec<&str> = first.keys().map(String::as_str).collect();
    let default = CaptionTableFormat::default();
    let find = |wanted: &str, default: &str, usual: &[&str]| {
        find_key(&keys, wanted, default, usual).ok_or_else(|| {
            refuse(
                path,
                format!(
                    "missing key `{wanted}`; keys of the first object: {}",
                    list_keys(&keys)
                ),
            )
        })
    };
    let image = find(&format.image_key, &default.image_key, &IMAGE_KEYS)?;
    let caption = find(&format.caption_key, &default.caption_key, &CAPTION_KEYS)?;
    let mut table = CaptionTable::new(path, image, caption);
    for (line, problem) in malformed {
        table.push(*line, Err((SkipReason::BadRow, *problem)));
    }
    Ok(table)
}

fn push(
    table: &mut CaptionTable,
    line: u64,
    object: &Map<String, Value>,
    format: &CaptionTableFormat,
) {
    let index;
    let fields = match (object.get(&table.image_key), object.get(&table.caption_key)) {
        (Some(Value::String(image)), Some(Value::String(caption))) => Ok((image, caption)),
        (Some(Value::String(image)), Some(Value::Number(number)))
            if !format.class_names.is_empty() =>
        {
            index = number.to_string();
            Ok((image, &index))
        }
        (image, caption) => Err(problem(image, caption)),
    };
    let fields = fields.and_then(|(image, caption)| {
        check_fields(image.as_bytes(), caption.as_bytes(), &format.class_names)
    });
    table.push(line, fields);
}

/// Why an object has no pair.
fn problem(image: Option<&Value>, caption: Option<&Value>) -> RowProblem {
    match (image, caption) {
        (None | Some(Value::Null), _) => (SkipReason::NoImage, "no value for the key of images"),
        (Some(Value::String(_)), None | Some(Value::Null)) => {
            (SkipReason::NoCaption, "no value for the key of captions")
        }
        (Some(Value::String(_)), Some(_)) => {
            (SkipReason::BadCaption, "the caption is not a string")
        }
        (Some(_), _) => (SkipReason::BadRow, "the path is not a string"),
    }
}
