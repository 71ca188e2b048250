//! Parquet files with embedded images as training data. A row group is read as a shard is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DatasetError;
use crate::tables::parquet::{CellImage, ColumnNames, Columns, GroupRows, ParquetTable};
use crate::tables::{CAPTION_KEYS, IMAGE_KEYS, TableKind};
use crate::training::captions::{
    CaptionTable, CaptionTableFormat, RowProblem, check_caption, check_fields, refuse,
};
use crate::training::error::TrainingDataError;
use crate::training::loading::CaptionSource;
use crate::training::sample::{DrawnItem, RawImage, RawSample, SampleId, Segment};
use crate::training::skipped::{SkipReason, SkippedSample};
use crate::training::webdataset::{FileSelection, expand_files};

/// A file, and the columns to read.
#[derive(Debug)]
struct CaptionFile {
    table: ParquetTable,
    columns: Columns,
}

impl CaptionFile {
    /// Returns the file name, for messages and keys.
    fn name(&self) -> String {
        let name = self.table.path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// A row group of a file.
#[derive(Debug, Clone, Copy)]
struct RowGroup {
    file: usize,
    index: usize,
    /// Number of rows.
    rows: u64,
    /// Index of the first row in the file.
    first_row: u64,
}

/// Parquet files with a column of embedded images and one of captions.
#[derive(Debug)]
pub struct ParquetCaptions {
    files: Vec<CaptionFile>,
    groups: Vec<RowGroup>,
}

impl ParquetCaptions {
    /// Returns the number of rows of all files.
    pub fn samples(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }

    /// Returns the columns of images and captions, as found in the first file.
    pub fn columns(&self) -> (&str, &str) {
        self.files.first().map_or(("", ""), |file| {
            (&*file.columns.image_name, &*file.columns.text_name)
        })
    }

    /// Returns the names of the files and the numbers of rows of their row groups, which determine
    /// the order of samples.
    pub(crate) fn identity(&self) -> impl Iterator<Item = (String, u64)> {
        self.groups
            .iter()
            .map(|group| (self.files[group.file].name(), group.rows))
    }

    /// Returns the paths of the files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.table.path())
    }

    /// Returns the number of rows of each row group.
    pub(crate) fn sizes(&self) -> Vec<Option<u64>> {
        self.groups.iter().map(|group| Some(group.rows)).collect()
    }
}

/// Opens Parquet files: those with embedded images as row groups, one with paths as a table.
pub(crate) fn open(
    spec: &str,
    format: &CaptionTableFormat,
) -> Result<CaptionSource, TrainingDataError> {
    let selection = FileSelection {
        accepts: |name| TableKind::of_file(name) == Some(TableKind::Parquet),
        extensions: ".parquet",
    };
    let paths = expand_files(spec, selection)?;
    let mut files = Vec::with_capacity(paths.len());
    for path in &paths {
        files.push(open_file(path, format)?);
    }
    match files.iter().position(|file| !file.columns.has_images()) {
        None => Ok(CaptionSource::Parquet(Arc::new(group_rows(files)))),
        Some(_) if files.len() == 1 => {
            let table = read_table(&files[0])?;
            Ok(CaptionSource::Table(Arc::new(table)))
        }
        Some(index) => Err(refuse(
            &paths[index],
            format!(
                "column `{}` has paths; expected one such file, got {} files",
                files[index].columns.image_name,
                files.len()
            ),
        )),
    }
}

fn open_file(path: &Path, format: &CaptionTableFormat) -> Result<CaptionFile, TrainingDataError> {
    if !path.is_file() {
        let source = std::io::Error::other("not a regular file");
        return Err(DatasetError::io(path, source).into());
    }
    let default = CaptionTableFormat::default();
    let image = ColumnNames {
        wanted: &format.image_key,
        default: &default.image_key,
        usual: &IMAGE_KEYS,
    };
    let caption = ColumnNames {
        wanted: &format.caption_key,
        default: &default.caption_key,
        usual: &CAPTION_KEYS,
    };
    let table =
        ParquetTable::open(path).map_err(|problem| refuse(path, not_parquet(path, &problem)))?;
    let columns = table
        .columns(image, Some(caption), &format.class_names)
        .map_err(|problem| refuse(path, problem))?;
    if table.rows() == 0 {
        return Err(refuse(path, "no rows".to_string()));
    }
    Ok(CaptionFile { table, columns })
}

/// Describes a file whose footer cannot be read.
fn not_parquet(path: &Path, problem: &str) -> String {
    use clipn_base::content::ContentKind;
    match ContentKind::of_file(path) {
        Ok(ContentKind::Parquet) | Err(_) => format!("damaged Parquet file: {problem}"),
        Ok(kind) => format!("expected a Parquet file, got {kind}"),
    }
}

fn group_rows(files: Vec<CaptionFile>) -> ParquetCaptions {
    let mut groups = Vec::new();
    for (file, opened) in files.iter().enumerate() {
        let mut first_row = 0;
        for (index, &rows) in opened.table.groups().iter().enumerate() {
            groups.push(RowGroup {
                file,
                index,
                rows,
                first_row,
            });
            first_row += rows;
        }
    }
    ParquetCaptions { files, groups }
}

/// Reads the paths and captions of a file.
fn read_table(file: &CaptionFile) -> Result<CaptionTable, TrainingDataError> {
    let path = file.table.path();
    let damaged = |problem: String| refuse(path, format!("damaged Parquet file: {problem}"));
    let columns = &file.columns;
    let mut table = CaptionTable::new(path, &columns.image_name, &columns.text_name);
    let mut row = 0;
    for group in 0..file.table.groups().len() {
        let mut rows = file.table.read_group(group, columns, 0).map_err(damaged)?;
        while let Some((image, caption)) = rows.next().map_err(damaged)? {
            let image = match &image {
                CellImage::Path(path) => path.to_string_lossy(),
                _ => "".into(),
            };
            let caption = caption.unwrap_or_default();
            let fields = check_fields(image.as_bytes(), caption.as_bytes(), &columns.class_names);
            table.push(row, fields);
            row += 1;
        }
    }
    table.with_rows()
}

/// Reader of the rows of a [`Segment`], a part of a row group.
pub(crate) struct ParquetReader {
    source: Arc<ParquetCaptions>,
    segment: Segment,
    group: RowGroup,
    rows: Option<GroupRows>,
    /// Index of the next row in the row group.
    position: u64,
    end: u64,
}

impl ParquetReader {
    /// Creates a reader; `None` if the row group does not exist.
    pub(crate) fn new(source: &Arc<ParquetCaptions>, segment: Segment) -> Option<Self> {
        let group = *source.groups.get(segment.shard)?;
        Some(Self {
            source: Arc::clone(source),
            segment,
            group,
            rows: None,
            position: segment.start,
            end: segment.end.unwrap_or(group.rows).min(group.rows),
        })
    }

    /// Returns the next sample; `None` at the end of the segment or after damage.
    pub(crate) fn next(&mut self) -> Option<DrawnItem> {
        if self.position >= self.end {
            return None;
        }
        match self.read() {
            Ok(Some((image, caption))) => {
                self.position += 1;
                Some(self.sample(image, caption.as_deref()))
            }
            Ok(None) => self.damaged("a column ends before its last row"),
            Err(problem) => self.damaged(&problem),
        }
    }

    fn read(&mut self) -> Result<Option<(CellImage, Option<String>)>, String> {
        let file = &self.source.files[self.group.file];
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => self.rows.insert(file.table.read_group(
                self.group.index,
                &file.columns,
                self.segment.start,
            )?),
        };
        rows.next()
    }

    fn sample(&self, image: CellImage, caption: Option<&str>) -> DrawnItem {
        let file = &self.source.files[self.group.file];
        let index = self.position - 1;
        let key = format!("{}:{}", file.name(), self.group.first_row + index);
        let directory = file.table.path().parent().unwrap_or(Path::new(""));
        match pair(image, caption, &file.columns.class_names, directory) {
            Ok((image, caption)) => DrawnItem::Sample(Box::new(RawSample {
                key,
                image,
                caption,
                id: SampleId {
                    shard: self.segment.shard as u64,
                    index,
                    visit: self.segment.visit,
                    is_repeated: self.segment.is_repeated,
                },
            })),
            Err((reason, detail)) => {
                let skipped = SkippedSample::new(key, reason, detail);
                DrawnItem::Skip(Box::new(skipped.repeated(self.segment.is_repeated)))
            }
        }
    }

    /// Reports the rows that are lost with damage, once.
    fn damaged(&mut self, problem: &str) -> Option<DrawnItem> {
        let lost = self.end - self.position;
        let name = self.source.files[self.group.file].name();
        let detail = format!("damaged in row group {}: {problem}", self.group.index);
        self.position = self.end;
        let mut skipped = SkippedSample::new(name, SkipReason::Shard, detail);
        skipped.samples = lost;
        let skipped = skipped.repeated(self.segment.is_repeated);
        Some(DrawnItem::Skip(Box::new(skipped)))
    }
}

/// The image and the caption of a row. With class names, the caption is the index of a class.
fn pair(
    image: CellImage,
    caption: Option<&str>,
    class_names: &[String],
    directory: &Path,
) -> Result<(RawImage, String), RowProblem> {
    let caption = caption.ok_or((SkipReason::NoCaption, "no value in the column of captions"))?;
    let caption = check_caption(caption, class_names)?.into_owned();
    let image = match image {
        CellImage::Bytes(bytes) => RawImage::Bytes(bytes),
        CellImage::Path(path) => RawImage::File(PathBuf::from(directory).join(path)),
        CellImage::None => return Err((SkipReason::NoImage, "no value in the column of images")),
    };
    Ok((image, caption))
}
