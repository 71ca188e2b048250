//! Parquet files with a column of images, embedded or as paths, read row group by row group.
//!
//! Hugging Face's `datasets` writes an image as a struct of `bytes` and `path`, and the features of
//! the columns as JSON under the key `huggingface`.

use std::fmt;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;

use crate::tables::{find_key, list_keys};

/// Number of rows that are read at a time.
const BATCH: usize = 16;

/// Maximum size of the JSON under the key `huggingface`.
const MAX_FEATURES: usize = 16 << 20;

/// Where the images of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageColumn {
    /// Leaf column of encoded images.
    Bytes(usize),
    /// Leaf columns of a struct: encoded images, and paths for rows without.
    Struct { bytes: usize, path: Option<usize> },
    /// Leaf column of paths.
    Path(usize),
}

/// Where the texts of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TextColumn {
    /// Leaf column of strings.
    Text(usize),
    /// Leaf column of integers, which become text.
    Integer(usize),
}

/// An image of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CellImage {
    /// An encoded image.
    Bytes(Vec<u8>),
    /// A path, absolute or relative to the directory of the table.
    Path(PathBuf),
    /// No value.
    None,
}

/// Columns to read, by name, with what replaces a default that is missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnNames<'a> {
    pub wanted: &'a str,
    pub default: &'a str,
    pub usual: &'a [&'a str],
}

/// An opened file.
pub(crate) struct ParquetTable {
    path: PathBuf,
    file: SerializedFileReader<File>,
    /// Number of rows of each row group.
    groups: Vec<u64>,
    /// Hugging Face's features, an object by column.
    features: Value,
}

impl fmt::Debug for ParquetTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetTable")
            .field("path", &self.path)
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}

/// The columns of images and texts of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns {
    image: ImageColumn,
    text: Option<TextColumn>,
    /// Name of the column of images.
    pub image_name: String,
    /// Name of the column of texts.
    pub text_name: String,
    /// Names of the classes whose indices the column of texts has; empty if it has texts.
    pub class_names: Vec<String>,
}

impl Columns {
    /// Whether the labels are strings.
    pub(crate) fn has_text(&self) -> bool {
        matches!(self.text, Some(TextColumn::Text(_)))
    }

    /// Whether the file has the images themselves.
    pub(crate) fn has_images(&self) -> bool {
        !matches!(self.image, ImageColumn::Path(_))
    }
}

impl ParquetTable {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let file = guard(|| SerializedFileReader::new(file))?;
        let metadata = file.metadata();
        let groups = metadata
            .row_groups()
            .iter()
            .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
            .collect();
        let features = metadata
            .file_metadata()
            .key_value_metadata()
            .into_iter()
            .flatten()
            .find(|pair| pair.key == "huggingface")
            .and_then(|pair| pair.value.as_deref())
            .filter(|json| json.len() <= MAX_FEATURES)
            .and_then(|json| serde_json::from_str::<Value>(json).ok())
            .map_or(Value::Null, |mut value| value["info"]["features"].take());
        Ok(Self {
            path: path.to_path_buf(),
            file,
            groups,
            features,
        })
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of rows of each row group.
    pub(crate) fn groups(&self) -> &[u64] {
        &self.groups
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.groups.iter().sum()
    }

    /// Finds the column of images and, if requested, that of texts. `names` are the names of classes
    /// whose indices the column of texts has; without them, a column of integers has those in the file.
    ///
    /// # Errors
    /// Which column is missing or of an unusable type.
    pub(crate) fn columns(
        &self,
        image: ColumnNames<'_>,
        text: Option<ColumnNames<'_>>,
        names: &[String],
    ) -> Result<Columns, String> {
        let top = self.top_columns();
        let image_name = self.find(&top, image, "Image")?;
        let image = self.image_column(&image_name)?;
        let (text, text_name, class_names) = match text {
            None => (None, String::new(), Vec::new()),
            Some(text) => {
                let name = self.find(&top, text, "ClassLabel")?;
                let (column, names) = self.text_column(&name, names)?;
                (Some(column), name, names)
            }
        };
        Ok(Columns {
            image,
            text,
            image_name,
            text_name,
            class_names,
        })
    }

    /// Finds the column of images and that of labels, whose integers become text: the only column of
    /// Hugging Face's type `ClassLabel`, or else the first with one of the names `keys`.
    ///
    /// # Errors
    /// Same as [`columns`](Self::columns).
    pub(crate) fn label_columns(
        &self,
        image: ColumnNames<'_>,
        keys: &[&str],
    ) -> Result<Columns, String> {
        let top = self.top_columns();
        let is_class = |name: &&String| self.features[name.as_str()]["_type"] == "ClassLabel";
        let of_classes: Vec<&String> = top.iter().filter(is_class).collect();
        let named = keys
            .iter()
            .find_map(|key| top.iter().find(|name| name == key));
        let label = match of_classes.as_slice() {
            [only] => Some(*only),
            _ => named,
        };
        let name = label.ok_or_else(|| {
            format!(
                "no column of labels; expected one of {}; columns: {}",
                list_keys(keys),
                list_keys(&top)
            )
        })?;
        let (leaf, column) = self
            .leaf(&[name])
            .filter(|(_, column)| column.max_rep_level() == 0)
            .ok_or_else(|| format!("column `{name}`: expected class names or integers"))?;
        let text = match column.physical_type() {
            Physical::BYTE_ARRAY => TextColumn::Text(leaf),
            Physical::INT32 | Physical::INT64 => TextColumn::Integer(leaf),
            _ => return Err(format!("column `{name}`: expected class names or integers")),
        };
        Ok(Columns {
            text: Some(text),
            text_name: name.clone(),
            ..self.columns(image, None, &[])?
        })
    }

    /// Names of the columns, in order.
    fn top_columns(&self) -> Vec<String> {
        let schema = self.file.metadata().file_metadata().schema();
        let fields = schema.get_fields().iter();
        fields.map(|field| field.name().to_owned()).collect()
    }

    /// Finds a column by name, or if the default is missing by its usual names, or by its type in
    /// Hugging Face's features.
    fn find(
        &self,
        columns: &[String],
        names: ColumnNames<'_>,
        feature: &str,
    ) -> Result<String, String> {
        let keys: Vec<&str> = columns.iter().map(String::as_str).collect();
        let by_name = || find_key(&keys, names.wanted, names.default, names.usual);
        let by_feature = || {
            let is_default = names.wanted == names.default && !keys.contains(&names.wanted);
            let mut of_type = keys
                .iter()
                .copied()
                .filter(|name| self.features[*name]["_type"] == feature);
            of_type.next().filter(|_| is_default)
        };
        // An image is known by its type, a text rather by its name.
        let found = match feature {
            "Image" => by_feature().or_else(by_name),
            _ => by_name().or_else(by_feature),
        };
        found.map(str::to_owned).ok_or_else(|| {
            format!(
                "missing column `{}`; columns: {}",
                names.wanted,
                list_keys(columns)
            )
        })
    }

    /// Index and description of the leaf column with this path.
    fn leaf(&self, path: &[&str]) -> Option<(usize, &ColumnDescriptor)> {
        let columns = self
            .file
            .metadata()
            .file_metadata()
            .schema_descr()
            .columns();
        let index = columns
            .iter()
            .position(|column| column.path().parts().iter().eq(path.iter()))?;
        Some((index, &columns[index]))
    }

    fn image_column(&self, name: &str) -> Result<ImageColumn, String> {
        let is_bytes = |column: &ColumnDescriptor| {
            column.physical_type() == Physical::BYTE_ARRAY && column.max_rep_level() == 0
        };
        if let Some((leaf, column)) = self.leaf(&[name]).filter(|(_, column)| is_bytes(column)) {
            return Ok(if is_string(column) {
                ImageColumn::Path(leaf)
            } else {
                ImageColumn::Bytes(leaf)
            });
        }
        let bytes = self.leaf(&[name, "bytes"]).filter(|(_, c)| is_bytes(c));
        let path = self.leaf(&[name, "path"]).filter(|(_, c)| is_bytes(c));
        match (bytes, path) {
            (Some((bytes, _)), path) => Ok(ImageColumn::Struct {
                bytes,
                path: path.map(|(leaf, _)| leaf),
            }),
            (None, Some((path, _))) => Ok(ImageColumn::Path(path)),
            (None, None) => Err(format!(
                "column `{name}`: expected bytes, a struct of `bytes` and `path`, or paths"
            )),
        }
    }

    /// Returns the column of texts, and the names of the classes whose indices it has.
    fn text_column(
        &self,
        name: &str,
        names: &[String],
    ) -> Result<(TextColumn, Vec<String>), String> {
        let unusable = || format!("column `{name}`: expected strings or class indices");
        let (leaf, column) = self
            .leaf(&[name])
            .filter(|(_, column)| column.max_rep_level() == 0)
            .ok_or_else(unusable)?;
        match column.physical_type() {
            Physical::BYTE_ARRAY => Ok((TextColumn::Text(leaf), names.to_vec())),
            Physical::INT32 | Physical::INT64 => {
                let names = if names.is_empty() {
                    self.class_names(name)
                } else {
                    names.to_vec()
                };
                if names.is_empty() {
                    return Err(format!(
                        "column `{name}` has class indices, but there are no class names"
                    ));
                }
                Ok((TextColumn::Integer(leaf), names))
            }
            _ => Err(unusable()),
        }
    }

    /// Names of the classes of a column in Hugging Face's features.
    pub(crate) fn class_names(&self, column: &str) -> Vec<String> {
        let names = self.features[column]["names"].as_array();
        let text = |name: &Value| name.as_str().unwrap_or_default().to_owned();
        names.into_iter().flatten().map(text).collect()
    }

    /// Reads a row group from the row at `start`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn read_group(
        &self,
        group: usize,
        columns: &Columns,
        start: u64,
    ) -> Result<GroupRows, String> {
        let open = |leaf: usize| -> Result<LeafReader, String> {
            let group = guard(|| self.file.get_row_group(group))?;
            let schema = self.file.metadata().file_metadata().schema_descr();
            let present = schema.column(leaf).max_def_level();
            let column = guard(|| group.get_column_reader(leaf))?;
            let mut reader = LeafReader::new(column, present)?;
            reader.skip(start)?;
            Ok(reader)
        };
        let (image, path) = match columns.image {
            ImageColumn::Bytes(leaf) => (Some(open(leaf)?), None),
            ImageColumn::Struct { bytes, path } => {
                (Some(open(bytes)?), path.map(open).transpose()?)
            }
            ImageColumn::Path(leaf) => (None, Some(open(leaf)?)),
        };
        let text = match columns.text {
            None => None,
            Some(TextColumn::Text(leaf) | TextColumn::Integer(leaf)) => Some(open(leaf)?),
        };
        let left = self.groups.get(group).copied().unwrap_or(0);
        Ok(GroupRows {
            left: left.saturating_sub(start),
            image,
            path,
            text,
        })
    }
}

/// Rows of a row group, in order.
pub(crate) struct GroupRows {
    left: u64,
    image: Option<LeafReader>,
    path: Option<LeafReader>,
    text: Option<LeafReader>,
}

impl fmt::Debug for GroupRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupRows")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl GroupRows {
    /// Returns the image and the text or integer of the next row; `None` at the end of the row group.
    ///
    /// # Errors
    /// What is wrong with the file; the rest of the row group cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<(CellImage, Option<String>)>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let read = |reader: &mut Option<LeafReader>| match reader {
            Some(reader) => reader.next(),
            None => Ok(LeafValue::None),
        };
        let (image, path) = (read(&mut self.image)?, read(&mut self.path)?);
        let text = match read(&mut self.text)? {
            LeafValue::Bytes(bytes) => Some(String::from_utf8_lossy(bytes.data()).into_owned()),
            LeafValue::Int(integer) => Some(integer.to_string()),
            LeafValue::None => None,
        };
        let image = match (image, path) {
            (LeafValue::Bytes(bytes), _) if !bytes.is_empty() => {
                CellImage::Bytes(bytes.data().to_vec())
            }
            (_, LeafValue::Bytes(path)) if !path.is_empty() => {
                CellImage::Path(PathBuf::from(&*String::from_utf8_lossy(path.data())))
            }
            _ => CellImage::None,
        };
        Ok(Some((image, text)))
    }
}

/// A value of a leaf column.
enum LeafValue {
    Bytes(ByteArray),
    Int(i64),
    None,
}

/// Reader of a leaf column that is not repeated, a few rows at a time.
struct LeafReader {
    column: TypedReader,
    /// Definition level of a row with a value.
    present: i16,
    values: std::vec::IntoIter<LeafValue>,
}

enum TypedReader {
    Bytes(ColumnReaderImpl<ByteArrayType>),
    Int32(ColumnReaderImpl<Int32Type>),
    Int64(ColumnReaderImpl<Int64Type>),
}

impl LeafReader {
    fn new(column: ColumnReader, present: i16) -> Result<Self, String> {
        let column = match column {
            ColumnReader::ByteArrayColumnReader(reader) => TypedReader::Bytes(reader),
            ColumnReader::Int32ColumnReader(reader) => TypedReader::Int32(reader),
            ColumnReader::Int64ColumnReader(reader) => TypedReader::Int64(reader),
            _ => return Err("unexpected type of a column".to_owned()),
        };
        Ok(Self {
            column,
            present,
            values: Vec::new().into_iter(),
        })
    }

    fn skip(&mut self, rows: u64) -> Result<(), String> {
        let rows = usize::try_from(rows).map_err(|_| "too many rows".to_owned())?;
        let skipped = guard(|| match &mut self.column {
            TypedReader::Bytes(reader) => reader.skip_records(rows),
            TypedReader::Int32(reader) => reader.skip_records(rows),
            TypedReader::Int64(reader) => reader.skip_records(rows),
        })?;
        if skipped < rows {
            return Err(format!("expected {rows} rows, got {skipped}"));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<LeafValue, String> {
        if let Some(value) = self.values.next() {
            return Ok(value);
        }
        let present = self.present;
        let values = guard(|| match &mut self.column {
            TypedReader::Bytes(reader) => read_batch(reader, present, LeafValue::Bytes),
            TypedReader::Int32(reader) => {
                read_batch(reader, present, |value| LeafValue::Int(i64::from(value)))
            }
            TypedReader::Int64(reader) => read_batch(reader, present, LeafValue::Int),
        })?;
        self.values = values.into_iter();
        self.values
            .next()
            .ok_or_else(|| "a column ends before its last row".to_owned())
    }
}

/// Reads the next rows of a column.
fn read_batch<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    present: i16,
    value: impl Fn(T::T) -> LeafValue,
) -> Result<Vec<LeafValue>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (rows, _, _) = reader.read_records(BATCH, Some(&mut levels), None, &mut values)?;
    let mut values = values.into_iter();
    if present == 0 {
        return Ok(values.map(value).collect());
    }
    let cell = |level: &i16| {
        let found = (*level == present).then(|| values.next()).flatten();
        found.map_or(LeafValue::None, &value)
    };
    Ok(levels.iter().take(rows).map(cell).collect())
}

fn is_string(column: &ColumnDescriptor) -> bool {
    let logical = column.logical_type_ref();
    matches!(logical, Some(LogicalType::String)) || column.converted_type() == ConvertedType::UTF8
}

/// Calls the decoder and turns a panic on damaged bytes into an error.
pub(crate) fn guard<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(message(&error)),
        Err(_) => Err("internal error of the Parquet decoder".to_owned()),
    }
}

fn message(error: &ParquetError) -> String {
    let text = match error {
        ParquetError::General(text) | ParquetError::NYI(text) | ParquetError::EOF(text) => {
            text.clone()
        }
        ParquetError::External(cause) => match cause.downcast_ref::<io::Error>() {
            Some(error) => error.to_string(),
            None => cause.to_string(),
        },
        other => other.to_string(),
    };
    match text.strip_prefix("Disabled feature at compile time: ") {
        Some(codec) => format!("compression with {codec} is not supported"),
        None => text,
    }
}
