//! Parquet tables of features, in a column of lists, and of keys.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

use clipn_checkpoint::{Dtype, Tensor};
use half::f16;
use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, FloatType,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescriptor, Type};

use crate::features::file::{Contents, Source};
use crate::features::keys::{KEY_COLUMNS, KeyKind};
use crate::features::{FeatureError, FeatureFile};
use crate::tables::parquet::guard;

/// Name of the column of features.
const FEATURES: &str = "embedding";

/// Names of columns that have features, the first one wins.
const FEATURE_COLUMNS: [&str; 7] = [
    "embedding",
    "embeddings",
    "features",
    "image_features",
    "text_features",
    "image_embedding",
    "text_embedding",
];

/// Number of rows of a row group, which is held in memory.
const ROW_GROUP: usize = 4096;

/// A leaf column.
struct Leaf {
    index: usize,
    /// Levels of a row with a value.
    definition: i16,
}

/// Opens a table with a column of lists of floats.
pub(super) fn open(path: &Path) -> Result<Contents, FeatureError> {
    let format = |reason| FeatureError::Format {
        path: path.to_owned(),
        reason,
    };
    let file = open_table(path)?;
    let (leaf, dtype) = feature_leaf(&file).map_err(format)?;
    let mut rows = Rows::default();
    for group in 0..file.metadata().num_row_groups() {
        read_group(&file, group, &leaf, dtype, &mut rows).map_err(format)?;
    }
    let dim = rows.dim.unwrap_or_default();
    let count = rows.bytes.len() / (dim * dtype.size()).max(1);
    let keys = match key_leaf(&file) {
        Some(leaf) => Some(read_strings(&file, &leaf).map_err(format)?),
        None => None,
    };
    Ok(Contents {
        rows: count,
        dim,
        dtype,
        source: Source::Tensor(Tensor::from_bytes(dtype, &[count, dim], rows.bytes)?),
        keys,
    })
}

/// Reads a table with a column of keys.
pub(super) fn read_keys(path: &Path) -> Result<Vec<String>, FeatureError> {
    let format = |reason| FeatureError::Format {
        path: path.to_owned(),
        reason,
    };
    let file = open_table(path)?;
    let leaf = key_leaf(&file).ok_or_else(|| {
        let columns = KEY_COLUMNS.join(", ");
        format(format!("expected a column of strings, one of {columns}"))
    })?;
    read_strings(&file, &leaf).map_err(format)
}

fn open_table(path: &Path) -> Result<SerializedFileReader<File>, FeatureError> {
    let file = File::open(path).map_err(|source| FeatureError::Read {
        path: path.to_owned(),
        source,
    })?;
    guard(|| SerializedFileReader::new(file)).map_err(|reason| FeatureError::Format {
        path: path.to_owned(),
        reason,
    })
}

fn leaves(file: &SerializedFileReader<File>) -> &[Arc<ColumnDescriptor>] {
    file.metadata().file_metadata().schema_descr().columns()
}

/// Finds the column of lists of floats: one of the known names, or the only one.
fn feature_leaf(file: &SerializedFileReader<File>) -> Result<(Leaf, Dtype), String> {
    let dtype = |column: &ColumnDescriptor| match column.physical_type() {
        Physical::FLOAT => Some(Dtype::F32),
        Physical::DOUBLE => Some(Dtype::F64),
        Physical::FIXED_LEN_BYTE_ARRAY if column.type_length() == 2 => Some(Dtype::F16),
        _ => None,
    };
    let lists: Vec<(usize, &str, Leaf, Dtype)> = leaves(file)
        .iter()
        .enumerate()
        .filter(|(_, column)| column.max_rep_level() == 1)
        .filter_map(|(index, column)| {
            let name = column.path().parts().first()?.as_str();
            let definition = column.max_def_level();
            Some((index, name, Leaf { index, definition }, dtype(column)?))
        })
        .collect();
    let position = FEATURE_COLUMNS
        .iter()
        .find_map(|wanted| lists.iter().position(|(_, name, ..)| name == wanted))
        .or((lists.len() == 1).then_some(0));
    let names: Vec<String> = lists
        .iter()
        .map(|(_, name, ..)| (*name).to_owned())
        .collect();
    let found = position.and_then(|position| lists.into_iter().nth(position));
    let (_, _, leaf, dtype) = found.ok_or_else(|| {
        format!(
            "expected one column of lists of floats or one called `{FEATURES}`, got {} such columns \
             {}",
            names.len(),
            names.join(", ")
        )
    })?;
    Ok((leaf, dtype))
}

/// Finds the column of keys.
fn key_leaf(file: &SerializedFileReader<File>) -> Option<Leaf> {
    let is_string = |column: &ColumnDescriptor| {
        column.physical_type() == Physical::BYTE_ARRAY
            && column.max_rep_level() == 0
            && (matches!(column.logical_type_ref(), Some(LogicalType::String))
                || column.converted_type() == ConvertedType::UTF8)
    };
    KEY_COLUMNS.iter().find_map(|wanted| {
        let index = leaves(file).iter().position(|column| {
            is_string(column) && column.path().parts() == [(*wanted).to_owned()]
        })?;
        let definition = leaves(file)[index].max_def_level();
        Some(Leaf { index, definition })
    })
}

/// Rows that were read, in little-endian.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    dim: Option<usize>,
    count: usize,
}

/// Reads the lists of a row group.
fn read_group(
    file: &SerializedFileReader<File>,
    group: usize,
    leaf: &Leaf,
    dtype: Dtype,
    rows: &mut Rows,
) -> Result<(), String> {
    let group = guard(|| file.get_row_group(group))?;
    let count = usize::try_from(group.metadata().num_rows()).map_err(|error| error.to_string())?;
    let column = guard(|| group.get_column_reader(leaf.index))?;
    match column {
        ColumnReader::FloatColumnReader(mut reader) => {
            read_lists(&mut reader, count, leaf, dtype, rows, |value, out| {
                out.extend(value.to_le_bytes());
            })
        }
        ColumnReader::DoubleColumnReader(mut reader) => {
            read_lists(&mut reader, count, leaf, dtype, rows, |value, out| {
                out.extend(value.to_le_bytes());
            })
        }
        ColumnReader::FixedLenByteArrayColumnReader(mut reader) => {
            read_lists(&mut reader, count, leaf, dtype, rows, |value, out| {
                out.extend_from_slice(value.data());
            })
        }
        _ => Err("unexpected type of a column".to_owned()),
    }
}

fn read_lists<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    count: usize,
    leaf: &Leaf,
    dtype: Dtype,
    rows: &mut Rows,
    push: impl Fn(&T::T, &mut Vec<u8>),
) -> Result<(), String> {
    let (mut definition, mut repetition, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (read, ..) = guard(|| {
        reader.read_records(
            count,
            Some(&mut definition),
            Some(&mut repetition),
            &mut values,
        )
    })?;
    if read != count {
        return Err(format!("expected {count} rows in a row group, got {read}"));
    }
    if let Some(level) = definition.iter().position(|&level| level < leaf.definition) {
        let row = rows.count + repetition[..=level].iter().filter(|&&r| r == 0).count() - 1;
        return Err(format!(
            "row {row} has no features, or a value that is null"
        ));
    }
    let ends = (1..repetition.len())
        .filter(|&index| repetition[index] == 0)
        .chain((!repetition.is_empty()).then_some(repetition.len()));
    let mut start = 0;
    for end in ends {
        let length = end - start;
        let dim = *rows.dim.get_or_insert(length);
        if length != dim {
            return Err(format!(
                "row {} has {length} values, and the rows before it {dim}",
                rows.count
            ));
        }
        start = end;
        rows.count += 1;
    }
    rows.bytes.reserve(values.len() * dtype.size());
    for value in &values {
        push(value, &mut rows.bytes);
    }
    Ok(())
}

fn read_strings(file: &SerializedFileReader<File>, leaf: &Leaf) -> Result<Vec<String>, String> {
    let mut keys = Vec::new();
    for group in 0..file.metadata().num_row_groups() {
        let group = guard(|| file.get_row_group(group))?;
        let count =
            usize::try_from(group.metadata().num_rows()).map_err(|error| error.to_string())?;
        let column = guard(|| group.get_column_reader(leaf.index))?;
        let ColumnReader::ByteArrayColumnReader(mut reader) = column else {
            return Err("unexpected type of a column".to_owned());
        };
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        guard(|| reader.read_records(count, Some(&mut levels), None, &mut values))?;
        if leaf.definition > 0
            && let Some(row) = levels.iter().position(|&level| level < leaf.definition)
        {
            return Err(format!("the key of row {} is null", keys.len() + row));
        }
        let text = |value: &ByteArray| String::from_utf8_lossy(value.data()).into_owned();
        keys.extend(values.iter().map(text));
    }
    Ok(keys)
}

/// Writes the rows of `features` with their keys as a Parquet table: a column of strings named as
/// [`KeyKind::column`] says, and the column `embedding` of lists: of `f16` if `features` are in 16 bits,
/// else of `f32`. Opens in pandas, pyarrow, `datasets` and `embedding-reader`.
///
/// # Errors
/// [`FeatureError::Write`], the errors of reading `features`, and [`FeatureError::Count`] if there is not
/// one key for each row.
pub fn write_feature_table(
    path: impl AsRef<Path>,
    kind: KeyKind,
    keys: &[String],
    features: &mut FeatureFile,
) -> Result<(), FeatureError> {
    let path = path.as_ref();
    if keys.len() != features.len() {
        return Err(FeatureError::Count {
            path: path.to_owned(),
            what: "keys",
            rows: features.len(),
            found: keys.len(),
        });
    }
    let failed = |error| failed(path, error);
    let element = match features.dtype() {
        "f16" => Element::F16,
        _ => Element::F32,
    };
    let mut file = create(path, kind, Some(element)).map_err(failed)?;
    let dim = features.dim();
    for (group, keys) in keys.chunks(ROW_GROUP).enumerate() {
        let values = features.read_rows(group * ROW_GROUP, keys.len())?;
        let lists = Lists {
            element,
            values: &values,
            dim,
        };
        write_group(&mut file, keys, Some(&lists)).map_err(failed)?;
    }
    close(file).map_err(failed)
}

/// Writes keys as a Parquet table of one column of strings, as `clip-retrieval` has them beside its
/// arrays.
///
/// # Errors
/// [`FeatureError::Write`].
pub fn write_keys_table(
    path: impl AsRef<Path>,
    kind: KeyKind,
    keys: &[String],
) -> Result<(), FeatureError> {
    let path = path.as_ref();
    let failed = |error| failed(path, error);
    let mut file = create(path, kind, None).map_err(failed)?;
    for keys in keys.chunks(ROW_GROUP) {
        write_group(&mut file, keys, None).map_err(failed)?;
    }
    close(file).map_err(failed)
}

type TableWriter = SerializedFileWriter<BufWriter<File>>;

/// Number format of the features of a table that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    F16,
    F32,
}

/// Rows of features, `[N, dim]`.
struct Lists<'a> {
    element: Element,
    values: &'a [f32],
    dim: usize,
}

fn create(
    path: &Path,
    kind: KeyKind,
    features: Option<Element>,
) -> Result<TableWriter, ParquetError> {
    let key = Type::primitive_type_builder(kind.column(), Physical::BYTE_ARRAY)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::String))
        .build()?;
    let mut fields = vec![Arc::new(key)];
    if let Some(element) = features {
        let element = match element {
            Element::F32 => Type::primitive_type_builder("element", Physical::FLOAT),
            Element::F16 => Type::primitive_type_builder("element", Physical::FIXED_LEN_BYTE_ARRAY)
                .with_length(2)
                .with_logical_type(Some(LogicalType::Float16)),
        };
        let element = element.with_repetition(Repetition::REQUIRED).build()?;
        let list = Type::group_type_builder("list")
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![Arc::new(element)])
            .build()?;
        let lists = Type::group_type_builder(FEATURES)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(Some(LogicalType::List))
            .with_converted_type(ConvertedType::LIST)
            .with_fields(vec![Arc::new(list)])
            .build()?;
        fields.push(Arc::new(lists));
    }
    let schema = Type::group_type_builder("rows")
        .with_fields(fields)
        .build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_created_by(concat!("clipn version ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let out = BufWriter::new(File::create(path)?);
    SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))
}

fn write_group(
    file: &mut TableWriter,
    keys: &[String],
    features: Option<&Lists<'_>>,
) -> Result<(), ParquetError> {
    let mut group = file.next_row_group()?;
    if let Some(mut column) = group.next_column()? {
        let keys: Vec<ByteArray> = keys
            .iter()
            .map(|key| ByteArray::from(key.as_str()))
            .collect();
        column
            .typed::<ByteArrayType>()
            .write_batch(&keys, None, None)?;
        column.close()?;
    }
    if let Some(lists) = features
        && let Some(mut column) = group.next_column()?
    {
        let values = lists.values;
        let definition = vec![1; values.len()];
        let repetition: Vec<i16> = (0..values.len())
            .map(|index| i16::from(index % lists.dim != 0))
            .collect();
        let levels = (Some(&definition[..]), Some(&repetition[..]));
        match lists.element {
            Element::F32 => {
                let column = column.typed::<FloatType>();
                column.write_batch(values, levels.0, levels.1)?;
            }
            Element::F16 => {
                let values: Vec<FixedLenByteArray> = values
                    .iter()
                    .map(|&value| f16::from_f32(value).to_le_bytes().to_vec().into())
                    .collect();
                let column = column.typed::<FixedLenByteArrayType>();
                column.write_batch(&values, levels.0, levels.1)?;
            }
        }
        column.close()?;
    }
    group.close()?;
    Ok(())
}

fn close(file: TableWriter) -> Result<(), ParquetError> {
    let out = file.into_inner()?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}

fn failed(path: &Path, error: ParquetError) -> FeatureError {
    // The error of the operating system itself, if there is one.
    let source = match error {
        ParquetError::External(cause) => cause
            .downcast::<io::Error>()
            .map_or_else(io::Error::other, |error| *error),
        other => io::Error::other(other),
    };
    FeatureError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeatureFormat, FeatureWriter};

    #[test]
    fn a_table_reads_back_with_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (array, table) = (folder.path().join("a.npy"), folder.path().join("a.parquet"));
        let mut writer = FeatureWriter::create(&array, FeatureFormat::Npy, false, 2).unwrap();
        let rows = ROW_GROUP + 3;
        for row in 0..rows {
            writer.push(&[row as f32, 1.0]).unwrap();
        }
        writer.finish().unwrap();
        let keys: Vec<String> = (0..rows).map(|row| format!("{row}.jpg")).collect();
        let mut features = FeatureFile::open(&array).unwrap();
        write_feature_table(&table, KeyKind::Image, &keys, &mut features).unwrap();
        let mut read = FeatureFile::open(&table).unwrap();
        assert_eq!(
            (read.len(), read.dim(), read.keys()),
            (rows, 2, Some(&keys[..]))
        );
        assert_eq!(read.read_all().unwrap(), features.read_all().unwrap());

        write_keys_table(folder.path().join("a.keys.parquet"), KeyKind::Text, &keys).unwrap();
        assert_eq!(FeatureFile::open(&array).unwrap().keys(), Some(&keys[..]));
        let error = write_feature_table(&table, KeyKind::Image, &keys[1..], &mut features);
        assert!(error.unwrap_err().to_string().contains("got 4098"));
    }

    #[test]
    fn features_in_16_bits_keep_their_bits() {
        let folder = tempfile::tempdir().unwrap();
        let (array, table) = (folder.path().join("a.npy"), folder.path().join("a.parquet"));
        let mut writer = FeatureWriter::create(&array, FeatureFormat::Npy, true, 3).unwrap();
        for row in [[0.1, -0.0, 65504.0], [6e-8, 1.0, -0.333]] {
            writer.push(&row).unwrap();
        }
        writer.finish().unwrap();
        let mut features = FeatureFile::open(&array).unwrap();
        let keys = ["a".to_owned(), "b".to_owned()];
        write_feature_table(&table, KeyKind::Text, &keys, &mut features).unwrap();
        let mut read = FeatureFile::open(&table).unwrap();
        assert_eq!((read.dtype(), features.dtype()), ("f16", "f16"));
        let bits = |file: &mut FeatureFile| -> Vec<u32> {
            file.read_all()
                .unwrap()
                .iter()
                .map(|v| v.to_bits())
                .collect()
        };
        assert_eq!(bits(&mut read), bits(&mut features));
    }
}
