//! Parquet files as training data, as sets for evaluation and as lists of images.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipn_data::{
    Benchmark, CaptionLoader, CaptionSource, CaptionTableFormat, ImageContent, LoaderSettings,
    OpenedBenchmark, Sampling, SkipReason, TableImages, TrainingDataError, read_archived_images,
};
use clipn_testing::shards::bmp;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use crate::directories::message;
use crate::loader_helpers::settings;

/// A row: the bytes and the path of the image, the text and the index of the class.
type Row = (Option<Vec<u8>>, Option<&'static str>, Option<String>, i64);

const FEATURES: &str = r#"{"info": {"features": {
    "photo": {"_type": "Image"},
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["ant", "bee"], "_type": "ClassLabel"}}}}"#;

/// Writes a file as Hugging Face's `datasets` does, with row groups of `group` rows.
fn write(path: &Path, rows: &[Row], group: usize, compression: Compression) {
    write_with(path, rows, group, compression, FEATURES);
}

/// Writes a file with these features in its metadata.
fn write_with(path: &Path, rows: &[Row], group: usize, compression: Compression, features: &str) {
    let schema = parse_message_type(
        "message rows {
            optional group photo { optional binary bytes; optional binary path (STRING); }
            optional binary text (STRING);
            optional int64 label;
        }",
    )
    .unwrap();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".to_string(),
            features.to_string(),
        )]))
        .build();
    let file = File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut out = writer.next_row_group().unwrap();
        let bytes: Vec<Option<Vec<u8>>> = rows.iter().map(|row| row.0.clone()).collect();
        let text = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        let paths: Vec<_> = rows.iter().map(|row| text(row.1)).collect();
        let texts: Vec<_> = rows.iter().map(|row| text(row.2.as_deref())).collect();
        for (cells, present) in [(bytes, 2), (paths, 2), (texts, 1)] {
            let levels: Vec<i16> = cells
                .iter()
                .map(|cell| if cell.is_some() { present } else { present - 1 })
                .collect();
            let values: Vec<ByteArray> = cells.into_iter().flatten().map(ByteArray::from).collect();
            let mut column = out.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, Some(&levels), None)
                .unwrap();
            column.close().unwrap();
        }
        let labels: Vec<i64> = rows.iter().map(|row| row.3).collect();
        let mut column = out.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&labels, Some(&vec![1; labels.len()]), None)
            .unwrap();
        column.close().unwrap();
        out.close().unwrap();
    }
    writer.close().unwrap();
}

fn good(number: u32) -> Row {
    let text = Some(format!("image {number}"));
    (
        Some(bmp(number)),
        Some("ignored.jpg"),
        text,
        i64::from(number % 2),
    )
}

fn rows(count: u32) -> Vec<Row> {
    (0..count).map(good).collect()
}

fn open(path: &Path) -> Result<CaptionSource, TrainingDataError> {
    CaptionSource::open_parquet(path.to_str().unwrap(), &CaptionTableFormat::default())
}

fn in_order(batch_size: usize) -> LoaderSettings {
    LoaderSettings {
        sampling: Sampling::InOrder,
        ..settings(batch_size)
    }
}

/// The numbers and keys of an epoch.
fn read(source: CaptionSource, settings: LoaderSettings) -> (Vec<u32>, Vec<String>) {
    let loader = CaptionLoader::new(source, settings).unwrap();
    let batches: Vec<_> = loader.epoch(0).unwrap().map(Result::unwrap).collect();
    let keys = batches
        .iter()
        .flat_map(|batch| batch.keys.clone())
        .collect();
    let numbers = batches
        .iter()
        .flat_map(|batch| &batch.captions)
        .map(|caption| caption.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    (numbers, keys)
}

#[test]
fn reads_embedded_images_of_any_row_group_and_compression() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(parquet::basic::GzipLevel::default()),
    ] {
        write(&path, &rows(40), 16, compression);
        let source = open(&path).unwrap();
        assert_eq!(source.samples(), Some(40));
        let CaptionSource::Parquet(files) = &source else {
            panic!("{source:?}");
        };
        assert_eq!(files.columns(), ("photo", "text"));
        let (numbers, keys) = read(source, in_order(8));
        assert_eq!(numbers, (0..40).collect::<Vec<_>>());
        assert_eq!(
            (&*keys[0], &*keys[39]),
            ("train.parquet:0", "train.parquet:39")
        );
    }
}

#[test]
fn an_epoch_is_a_permutation_that_processes_share_and_resume() {
    let folder = tempfile::tempdir().unwrap();
    for (name, first) in [("a.parquet", 0), ("b.parquet", 30)] {
        let rows: Vec<Row> = (first..first + 30).map(good).collect();
        write(&folder.path().join(name), &rows, 11, Compression::SNAPPY);
    }
    let mut seen = Vec::new();
    for rank in 0..3 {
        let settings = LoaderSettings {
            rank,
            world_size: 3,
            ..settings(5)
        };
        let loader = CaptionLoader::new(open(folder.path()).unwrap(), settings).unwrap();
        let mut epoch = loader.epoch(2).unwrap();
        let first = epoch.next().unwrap().unwrap();
        let position = epoch.position().clone();
        let rest: Vec<_> = epoch.map(Result::unwrap).collect();
        let resumed: Vec<_> = loader
            .resume(position)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rest, resumed);
        for batch in [vec![first], rest].concat() {
            seen.extend(batch.captions);
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 60);
}

#[test]
fn class_indices_have_the_names_in_the_file_or_the_given_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &rows(4), 4, Compression::SNAPPY);
    let captions = |class_names: &[&str]| {
        let format = CaptionTableFormat {
            caption_key: "label".to_string(),
            class_names: class_names.iter().map(ToString::to_string).collect(),
            ..CaptionTableFormat::default()
        };
        let source = CaptionSource::open_parquet(path.to_str().unwrap(), &format).unwrap();
        let loader = CaptionLoader::new(source, in_order(4)).unwrap();
        loader.epoch(0).unwrap().next().unwrap().unwrap().captions
    };
    assert_eq!(captions(&[]), ["ant", "bee", "ant", "bee"]);
    assert_eq!(captions(&["cat", "dog"])[1], "dog");
}

#[test]
fn class_indices_are_text_or_integers_and_others_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut all = rows(3);
    for (row, text) in all.iter_mut().zip(["1", "one", "0"]) {
        row.2 = Some(text.to_owned());
    }
    all[1].3 = 7;
    write(&path, &all, 3, Compression::SNAPPY);
    for column in ["text", "label"] {
        let format = CaptionTableFormat {
            caption_key: column.to_string(),
            class_names: vec!["cat".to_owned(), "dog".to_owned()],
            ..CaptionTableFormat::default()
        };
        let source = CaptionSource::open_parquet(path.to_str().unwrap(), &format).unwrap();
        let loader = CaptionLoader::new(source, in_order(2)).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        let captions = epoch.next().unwrap().unwrap().captions;
        let expected = match column {
            "text" => ["dog", "cat"],
            _ => ["cat", "cat"],
        };
        assert_eq!(captions, expected);
        let skipped = &epoch.skipped().examples[0];
        assert_eq!(skipped.reason, SkipReason::BadCaption);
        assert_eq!(skipped.detail, "the caption is not the index of a class");
    }
}

#[test]
fn rows_without_a_value_are_skipped_and_paths_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    fs::write(folder.path().join("5.bmp"), bmp(5)).unwrap();
    let mut all = rows(4);
    all[1].0 = None;
    all[1].1 = None;
    all[2].2 = None;
    all.push((None, Some("5.bmp"), Some("image 5".to_string()), 0));
    write(&path, &all, 3, Compression::SNAPPY);
    let loader = CaptionLoader::new(open(&path).unwrap(), in_order(3)).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let batch = epoch.next().unwrap().unwrap();
    assert_eq!(batch.captions, ["image 0", "image 3", "image 5"]);
    let skipped: Vec<_> = epoch
        .skipped()
        .examples
        .iter()
        .map(|skipped| (skipped.key.as_str(), skipped.reason))
        .collect();
    assert_eq!(
        skipped,
        [
            ("a.parquet:1", SkipReason::NoImage),
            ("a.parquet:2", SkipReason::NoCaption)
        ]
    );
}

#[test]
fn damaged_files_are_clear_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &rows(20), 10, Compression::SNAPPY);
    let whole = fs::read(&path).unwrap();
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        open(&path).unwrap_err().to_string()
    };
    assert!(message(&whole[..whole.len() / 2]).contains("damaged Parquet file"));
    assert!(message(b"<!DOCTYPE html>").contains("expected a Parquet file, got an HTML page"));
    assert!(message(b"").contains("got an empty file"));
    fs::write(&path, &whole).unwrap();
    let format = CaptionTableFormat {
        image_key: "other".to_string(),
        ..CaptionTableFormat::default()
    };
    let error = CaptionSource::open_parquet(path.to_str().unwrap(), &format).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("missing column `other`; columns: `photo`, `text`, `label`"),
        "{error}"
    );
    // Damage in the first row group loses its rows, and is weighed by them.
    let mut damaged = whole;
    damaged[4..60].fill(0xff);
    fs::write(&path, &damaged).unwrap();
    let loader = CaptionLoader::new(open(&path).unwrap(), in_order(5)).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let batches = epoch.by_ref().map(Result::unwrap).count();
    assert_eq!(batches, 4);
    assert_eq!(
        epoch.skipped().counts[&SkipReason::Shard],
        10,
        "{}",
        epoch.skipped()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_bytes_never_panic(
        cut in 0.5f64..1.2,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &rows(12), 5, Compression::SNAPPY);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate((bytes.len() as f64 * cut) as usize);
        for (index, flip) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= flip;
        }
        fs::write(&path, &bytes).unwrap();
        if let Ok(images) = TableImages::open(&path, None) {
            // A damaged footer may claim any number of rows.
            prop_assert!(images.take(1000).count() <= 1000);
        }
        if let Ok(opened) = evaluate(&path, "") {
            prop_assert_eq!(opened.id.images().count(), opened.id.len());
        }
        if let Ok(source) = open(&path) {
            let loader = CaptionLoader::new(source, in_order(1));
            for batch in loader.iter().flat_map(|loader| loader.epoch(0).unwrap().take(20)) {
                prop_assert!(batch.is_err() || batch.is_ok_and(|batch| batch.keys.len() == 1));
            }
        }
    }
}

#[test]
fn lists_images_for_inference() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut all = rows(3);
    all[1].0 = None;
    write(&path, &all, 2, Compression::SNAPPY);
    let images = TableImages::open(&path, None).unwrap();
    assert_eq!((images.total(), images.image_key()), (3, "photo"));
    let found: Vec<_> = images
        .map(|image| {
            let content = match image.content {
                ImageContent::Bytes(bytes) => format!("{} bytes", bytes.len()),
                ImageContent::File(path) => path.file_name().unwrap().to_string_lossy().into(),
                other => format!("{other:?}"),
            };
            let name = PathBuf::from(image.name);
            (
                name.file_name().unwrap().to_string_lossy().into_owned(),
                content,
            )
        })
        .collect();
    let bytes = format!("{} bytes", bmp(0).len());
    assert_eq!(
        found,
        [
            ("a.parquet:0".to_string(), bytes.clone()),
            ("ignored.jpg".to_string(), "ignored.jpg".to_string()),
            ("a.parquet:2".to_string(), bytes)
        ]
    );
}

#[test]
fn reads_a_table_of_hugging_face() {
    let Some(path) = clipn_testing::test_data("cases/public/tables/image-column.parquet") else {
        return;
    };
    let source = open(&path).unwrap();
    let samples = source.samples().unwrap();
    let loader = CaptionLoader::new(source, in_order(samples as usize)).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let batch = epoch.next().unwrap().unwrap();
    assert_eq!(
        (batch.captions.len() as u64, epoch.skipped().total()),
        (samples, 0)
    );
}

/// Opens a benchmark whose sets are both this table; `id` has more keys of the ID set.
fn evaluate(path: &Path, id: &str) -> Result<OpenedBenchmark, String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = format!(
        "name = \"t\"\n[id]\ntable = {name:?}\n{id}\n[[ood]]\nname = \"o\"\ntable = {name:?}\n"
    );
    let benchmark = Benchmark::parse(&text, "t.toml").unwrap();
    let opened = benchmark.open(path.parent().unwrap());
    opened.map_err(|error| message(&error))
}

fn labels(opened: &OpenedBenchmark) -> Vec<Option<usize>> {
    let samples = opened.id.samples.iter();
    samples.map(|sample| sample.label).collect()
}

#[test]
fn tables_with_class_names_are_sets_for_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    fs::write(folder.path().join("4.bmp"), bmp(4)).unwrap();
    let mut all = rows(4);
    all.push((None, Some("4.bmp"), None, -1));
    write(&path, &all, 2, Compression::SNAPPY);
    let opened = evaluate(&path, "").unwrap();
    assert_eq!(opened.class_names(|_| None).unwrap(), ["ant", "bee"]);
    let expected = [Some(0), Some(1), Some(0), Some(1), None];
    assert_eq!(labels(&opened), expected);
    let renamed = evaluate(&path, "classes = [\"wasp\", \"Bee\", \"ANT\"]").unwrap();
    assert_eq!(
        renamed.class_names(|_| None).unwrap(),
        ["ANT", "Bee", "wasp"]
    );
    assert_eq!(labels(&renamed), expected);
    for set in [&opened.id, &opened.ood[0].set] {
        let names: Vec<_> = set.samples.iter().map(|s| set.relative(s)).collect();
        assert_eq!(names[3], Path::new("a.parquet:3"));
        assert_eq!(names[4], Path::new("4.bmp"));
        for (number, image) in set.images().enumerate() {
            let bytes = match image.content {
                ImageContent::Bytes(bytes) => bytes,
                ImageContent::File(path) => fs::read(path).unwrap(),
                other => panic!("{other:?}"),
            };
            assert_eq!(bytes, bmp(number as u32));
        }
        let paths = set.paths();
        let read = read_archived_images(paths);
        assert_eq!(read.len(), 4);
        assert_eq!(read[&set.samples[3].path], bmp(3));
    }
}

#[test]
fn tables_with_indices_need_class_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write_with(&path, &rows(4), 3, Compression::SNAPPY, "{}");
    let error = evaluate(&path, "").unwrap_err();
    assert!(error.contains("missing column `filepath`"), "{error}");
    let image = r#"{"info": {"features": {"photo": {"_type": "Image"}}}}"#;
    write_with(&path, &rows(4), 3, Compression::SNAPPY, image);
    let error = evaluate(&path, "").unwrap_err();
    assert!(error.contains("has labels, but no class names"), "{error}");
    let opened = evaluate(&path, "classes = [\"x\", \"y\"]").unwrap();
    assert_eq!(opened.class_names(|_| None).unwrap(), ["x", "y"]);
    assert_eq!(labels(&opened), [Some(0), Some(1), Some(0), Some(1)]);
}

#[test]
fn tables_with_unusable_rows_are_refused_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut all = rows(4);
    all[3].3 = 2;
    write(&path, &all, 2, Compression::SNAPPY);
    let error = evaluate(&path, "").unwrap_err();
    assert!(
        error.contains("row 3 of ") && error.contains("label 2 is out of range for 2 class names"),
        "{error}"
    );
    all[2].0 = None;
    all[2].1 = None;
    write(&path, &all, 2, Compression::SNAPPY);
    let error = evaluate(&path, "").unwrap_err();
    assert!(
        error.contains("row 2 of ") && error.ends_with("no image"),
        "{error}"
    );
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = evaluate(&path, "").unwrap_err();
    assert!(error.contains("damaged Parquet file"), "{error}");

    // In an OOD set, the row is skipped.
    fs::write(&path, &whole).unwrap();
    fs::create_dir(folder.path().join("id")).unwrap();
    fs::create_dir(folder.path().join("id/x")).unwrap();
    fs::write(folder.path().join("id/x/1.bmp"), bmp(1)).unwrap();
    let text =
        "name = \"t\"\n[id]\nfolder = \"id\"\n[[ood]]\nname = \"o\"\ntable = \"a.parquet\"\n";
    let opened = Benchmark::parse(text, "t.toml")
        .unwrap()
        .open(folder.path());
    let set = &opened.unwrap().ood[0].set;
    assert_eq!((set.len(), set.skipped.total()), (3, 1));
    let contents: Vec<_> = set.images().map(|image| image.content).collect();
    assert!(
        contents
            .iter()
            .all(|content| matches!(content, ImageContent::Bytes(_))),
        "{contents:?}"
    );
}
