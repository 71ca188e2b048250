use std::fmt;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipn_base::files::NewFile;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use crate::error::EvaluationError;

/// Number of rows in a row group, which is buffered in memory.
const ROW_GROUP: usize = 16_384;

/// Type of a column; any cell may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnKind {
    /// UTF-8 strings.
    Text,
    /// `f64` numbers.
    Double,
    /// `f32` numbers.
    Float,
    /// Truth values.
    Boolean,
    /// `i64` numbers.
    Integer,
}

/// One value of a table; `None` is an empty cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// A string.
    Text(Option<&'a str>),
    /// An `f64` number.
    Double(Option<f64>),
    /// An `f32` number.
    Float(Option<f32>),
    /// A truth value.
    Boolean(Option<bool>),
    /// An `i64` number.
    Integer(Option<i64>),
}

impl Cell<'_> {
    fn is_empty(&self) -> bool {
        matches!(
            self,
            Self::Text(None)
                | Self::Double(None)
                | Self::Float(None)
                | Self::Boolean(None)
                | Self::Integer(None)
        )
    }
}

/// The non-empty values of a column in a row group.
enum Values {
    Text(Vec<ByteArray>),
    Double(Vec<f64>),
    Float(Vec<f32>),
    Boolean(Vec<bool>),
    Integer(Vec<i64>),
}

struct Column {
    values: Values,
    /// Definition level of each row: 1 if it has a value, 0 if it is empty.
    present: Vec<i16>,
}

impl Column {
    fn new(kind: ColumnKind) -> Self {
        let values = match kind {
            ColumnKind::Text => Values::Text(Vec::new()),
            ColumnKind::Double => Values::Double(Vec::new()),
            ColumnKind::Float => Values::Float(Vec::new()),
            ColumnKind::Boolean => Values::Boolean(Vec::new()),
            ColumnKind::Integer => Values::Integer(Vec::new()),
        };
        Self {
            values,
            present: Vec::new(),
        }
    }

    /// Appends a cell; a cell of another type counts as empty.
    /// Whether a cell has the kind of the column.
    fn holds(&self, cell: &Cell<'_>) -> bool {
        matches!(
            (&self.values, cell),
            (Values::Text(_), Cell::Text(_))
                | (Values::Double(_), Cell::Double(_))
                | (Values::Float(_), Cell::Float(_))
                | (Values::Boolean(_), Cell::Boolean(_))
                | (Values::Integer(_), Cell::Integer(_))
        )
    }

    fn push(&mut self, cell: &Cell<'_>) {
        let before = self.len();
        match (&mut self.values, cell) {
            (Values::Text(values), Cell::Text(Some(text))) => values.push(ByteArray::from(*text)),
            (Values::Double(values), Cell::Double(Some(value))) => values.push(*value),
            (Values::Float(values), Cell::Float(Some(value))) => values.push(*value),
            (Values::Boolean(values), Cell::Boolean(Some(value))) => values.push(*value),
            (Values::Integer(values), Cell::Integer(Some(value))) => values.push(*value),
            _ => {}
        }
        self.present.push(i16::from(self.len() > before));
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Text(values) => values.len(),
            Values::Double(values) => values.len(),
            Values::Float(values) => values.len(),
            Values::Boolean(values) => values.len(),
            Values::Integer(values) => values.len(),
        }
    }

    fn clear(&mut self) {
        match &mut self.values {
            Values::Text(values) => values.clear(),
            Values::Double(values) => values.clear(),
            Values::Float(values) => values.clear(),
            Values::Boolean(values) => values.clear(),
            Values::Integer(values) => values.clear(),
        }
        self.present.clear();
    }
}

/// Writes a flat table as a Parquet file with snappy compression and row groups of 16,384 rows. The
/// file appears under its name when [`finish`](Self::finish) returns. Memory does not grow with the number of
/// rows.
pub struct ParquetWriter {
    path: PathBuf,
    file: SerializedFileWriter<BufWriter<NewFile>>,
    columns: Vec<Column>,
    rows: usize,
}

impl fmt::Debug for ParquetWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetWriter")
            .field("path", &self.path)
            .field("columns", &self.columns.len())
            .finish_non_exhaustive()
    }
}

impl ParquetWriter {
    /// Creates a file with columns of these names and types.
    ///
    /// # Errors
    /// [`EvaluationError::Write`] if the file cannot be written.
    pub fn create(
        path: impl AsRef<Path>,
        columns: &[(String, ColumnKind)],
    ) -> Result<Self, EvaluationError> {
        let path = path.as_ref();
        let create = || -> Result<_, ParquetError> {
            let fields = columns
                .iter()
                .map(|(name, kind)| field(name, *kind).map(Arc::new));
            let fields = fields.collect::<Result<_, _>>()?;
            let schema = Type::group_type_builder("rows")
                .with_fields(fields)
                .build()?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .set_created_by(concat!("clipn version ", env!("CARGO_PKG_VERSION")).to_owned())
                .build();
            let out = BufWriter::new(NewFile::create(path)?);
            SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))
        };
        let file = create().map_err(|error| failed(path, error))?;
        let columns = columns.iter().map(|(_, kind)| Column::new(*kind)).collect();
        Ok(Self {
            path: path.to_owned(),
            file,
            columns,
            rows: 0,
        })
    }

    /// Appends a row with one cell per column; missing cells are empty.
    ///
    /// # Errors
    /// [`EvaluationError::Write`] if the file cannot be written, and for a cell of another kind than its column or
    /// beyond the last one; the row is then not added.
    pub fn push(&mut self, row: &[Cell<'_>]) -> Result<(), EvaluationError> {
        let columns = self.columns.len();
        let fits = |(index, cell): (usize, &Cell<'_>)| {
            let column = self.columns.get(index);
            column.is_some_and(|column| cell.is_empty() || column.holds(cell))
        };
        if !row.iter().enumerate().all(fits) {
            let problem = format!("expected a row of {columns} cells of the columns' kinds");
            let source = io::Error::new(io::ErrorKind::InvalidInput, problem);
            return Err(EvaluationError::Write {
                path: self.path.clone(),
                source,
            });
        }
        for (index, column) in self.columns.iter_mut().enumerate() {
            column.push(row.get(index).unwrap_or(&Cell::Text(None)));
        }
        self.rows += 1;
        if self.rows == ROW_GROUP {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes the remaining rows and the footer, syncs the file and gives it its name.
    ///
    /// # Errors
    /// [`EvaluationError::Write`] if the file cannot be written.
    pub fn finish(mut self) -> Result<(), EvaluationError> {
        self.flush()?;
        let Self { path, file, .. } = self;
        let written = file.into_inner().and_then(|out| {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            Ok(file.commit()?)
        });
        written.map_err(|error| failed(&path, error))
    }

    fn flush(&mut self) -> Result<(), EvaluationError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.write_group()
            .map_err(|error| failed(&self.path, error))?;
        self.rows = 0;
        for column in &mut self.columns {
            column.clear();
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for column in &self.columns {
            let Some(mut writer) = group.next_column()? else {
                break;
            };
            let present = Some(column.present.as_slice());
            match &column.values {
                Values::Text(values) => writer
                    .typed::<ByteArrayType>()
                    .write_batch(values, present, None)?,
                Values::Double(values) => writer
                    .typed::<DoubleType>()
                    .write_batch(values, present, None)?,
                Values::Float(values) => writer
                    .typed::<FloatType>()
                    .write_batch(values, present, None)?,
                Values::Boolean(values) => writer
                    .typed::<BoolType>()
                    .write_batch(values, present, None)?,
                Values::Integer(values) => writer
                    .typed::<Int64Type>()
                    .write_batch(values, present, None)?,
            };
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }
}

fn field(name: &str, kind: ColumnKind) -> Result<Type, ParquetError> {
    let (physical, logical) = match kind {
        ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnKind::Double => (Physical::DOUBLE, None),
        ColumnKind::Float => (Physical::FLOAT, None),
        ColumnKind::Boolean => (Physical::BOOLEAN, None),
        ColumnKind::Integer => (Physical::INT64, None),
    };
    Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
}

fn failed(path: &Path, error: ParquetError) -> EvaluationError {
    // The error of the operating system itself, if there is one.
    let source = match error {
        ParquetError::External(cause) => cause
            .downcast::<io::Error>()
            .map_or_else(io::Error::other, |error| *error),
        other => io::Error::other(other),
    };
    EvaluationError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    #[test]
    fn rows_of_several_groups_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let columns = [
            ("name", ColumnKind::Text),
            ("x", ColumnKind::Double),
            ("y", ColumnKind::Float),
        ];
        let mut writer =
            ParquetWriter::create(&path, &columns.map(|(n, k)| (n.to_owned(), k))).unwrap();
        for unfit in [
            &[Cell::Double(Some(1.0))][..],
            &[Cell::Text(Some("a")), Cell::Float(Some(1.0))],
            &[const { Cell::Text(None) }; 4],
        ] {
            assert!(writer.push(unfit).is_err(), "{unfit:?}");
        }
        let rows = ROW_GROUP + 3;
        for row in 0..rows {
            let name = format!("image {row}");
            let even = row % 2 == 0;
            let cells = [
                Cell::Text(Some(&name)),
                Cell::Double(even.then_some(row as f64 / 3.0)),
                Cell::Float(Some(0.1)),
            ];
            writer.push(&cells[..if row == 5 { 1 } else { 3 }]).unwrap();
        }
        writer.finish().unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let read: Vec<Vec<Field>> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| {
                row.unwrap()
                    .get_column_iter()
                    .map(|(_, field)| field.clone())
                    .collect()
            })
            .collect();
        assert_eq!(read.len(), rows);
        let last = rows - 1;
        assert_eq!(
            read[last],
            [
                Field::Str(format!("image {last}")),
                Field::Double(last as f64 / 3.0),
                Field::Float(0.1)
            ]
        );
        assert_eq!(
            read[5],
            [Field::Str("image 5".into()), Field::Null, Field::Null]
        );
    }

    #[test]
    fn an_empty_table_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let writer =
            ParquetWriter::create(&path, &[("name".to_owned(), ColumnKind::Text)]).unwrap();
        writer.finish().unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    }

    #[test]
    fn names_the_file_that_cannot_be_written() {
        let error = ParquetWriter::create(Path::new("/absent/t.parquet"), &[])
            .err()
            .unwrap();
        assert!(error.to_string().contains("/absent/t.parquet"), "{error}");
    }
}
