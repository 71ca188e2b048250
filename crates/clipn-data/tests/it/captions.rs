//! Loading of batches from caption tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipn_data::{
    CachedImage, CachedImages, CaptionLoader, CaptionTable, CaptionTableFormat, FeatureKeys,
    LoaderSettings, Sampling, SkipLimit, SkipReason, TableQuoting, TrainBatch, TrainingDataError,
};
use clipn_image::OutlierMix;
use clipn_testing::shards::{bmp, number};
use proptest::prelude::*;
use tempfile::TempDir;

/// Creates a directory with the images `0.bmp`, `1.bmp`, … and a table with this content.
fn folder(images: u32, table: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    for n in 0..images {
        fs::write(folder.path().join(format!("images/{n}.bmp")), bmp(n)).unwrap();
    }
    let path = folder.path().join("captions.tsv");
    fs::write(&path, table).unwrap();
    (folder, path)
}

fn rows(count: u32) -> String {
    let rows: String = (0..count)
        .map(|n| format!("images/{n}.bmp\tpicture {n}\n"))
        .collect();
    format!("filepath\ttitle\n{rows}")
}

fn read(path: &Path) -> Result<CaptionTable, TrainingDataError> {
    CaptionTable::read(path, &CaptionTableFormat::default())
}

fn settings(batch_size: usize) -> LoaderSettings {
    LoaderSettings {
        max_skipped: SkipLimit::Unlimited,
        ..LoaderSettings::new(8, batch_size)
    }
}

fn numbers(batches: &[TrainBatch]) -> Vec<u32> {
    let mut numbers = Vec::new();
    for batch in batches {
        for (pixels, caption) in batch.pixels.chunks_exact(3 * 64).zip(&batch.captions) {
            assert_eq!(*caption, format!("picture {}", number(pixels)));
            numbers.push(number(pixels));
        }
    }
    numbers
}

#[test]
fn finds_columns_by_name_with_any_separator() {
    let table = "\u{feff}id;caption;image\n1;\"a; \"\"b\"\"\nc\";x/y.jpg\n2;d;/abs/z.jpg\n";
    let (folder, path) = folder(0, table.as_bytes());
    let format = CaptionTableFormat {
        separator: ';',
        image_key: "image".to_string(),
        caption_key: "caption".to_string(),
        ..CaptionTableFormat::default()
    };
    let table = CaptionTable::read(&path, &format).unwrap();
    assert_eq!((table.len(), table.is_empty()), (2, false));
    let multiline = table.multiline_fields().unwrap();
    assert_eq!((multiline.count, multiline.first_line), (1, 2));
    assert_eq!(
        table.row(0).unwrap(),
        (folder.path().join("x/y.jpg"), "a; \"b\"\nc")
    );
    assert_eq!(table.row(1).unwrap(), (PathBuf::from("/abs/z.jpg"), "d"));
    assert_eq!(
        (table.key(0), table.key(1)),
        ("captions.tsv:2".to_string(), "captions.tsv:4".to_string())
    );
    assert_eq!(table.row(2).unwrap_err().reason, SkipReason::BadRow);
}

#[test]
fn rejects_malformed_tables_with_the_reason() {
    let (_folder, path) = folder(0, b"filepath,title\na.jpg,b\n");
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.contains("missing column `filepath`") && error.contains("`filepath,title`"),
        "{error}"
    );
    for (contents, expected) in [
        (&b"filepath\ttitle\n"[..], "no rows"),
        (b"", "expected a CSV or TSV table, got an empty file"),
        (b"PAR1\x15\x04", "got a Parquet file"),
        (b"{\"filepath\": \"a.jpg\"}\n", "got JSON"),
        (b"<!DOCTYPE html>\n", "got an HTML page"),
        (b"filepath\tcaption\na\tb\n", "`title`"),
    ] {
        fs::write(&path, contents).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(
        read(Path::new("nowhere.tsv"))
            .unwrap_err()
            .to_string()
            .contains("nowhere.tsv does not exist")
    );
    assert!(
        read(path.parent().unwrap())
            .unwrap_err()
            .to_string()
            .contains("cannot read")
    );
    let wide = CaptionTableFormat {
        separator: '→',
        ..CaptionTableFormat::default()
    };
    assert!(
        CaptionTable::read(&path, &wide)
            .unwrap_err()
            .to_string()
            .contains("one ASCII character")
    );
}

#[test]
fn processes_partition_the_rows_and_resume_exactly() {
    let (_folder, path) = folder(30, rows(30).as_bytes());
    let mut seen = Vec::new();
    for rank in 0..3 {
        let part = LoaderSettings {
            rank,
            world_size: 3,
            workers: rank,
            ..settings(2)
        };
        let loader = CaptionLoader::new(read(&path).unwrap().into(), part).unwrap();
        let whole: Vec<TrainBatch> = loader.epoch(4).unwrap().collect::<Result<_, _>>().unwrap();
        let mut epoch = loader.epoch(4).unwrap();
        epoch
            .by_ref()
            .take(2)
            .for_each(|batch| assert!(batch.is_ok()));
        let rest: Vec<TrainBatch> = loader
            .resume(epoch.position().clone())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(rest == whole[2..]);
        let other: Vec<TrainBatch> = loader.epoch(5).unwrap().collect::<Result<_, _>>().unwrap();
        assert_ne!(numbers(&other), numbers(&whole));
        seen.extend(numbers(&whole));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
}

/// Features of the images in rows whose number, from 1, is a multiple of this.
#[derive(Debug)]
struct Rows(u64);

impl CachedImages for Rows {
    fn look_up(&self, contents: &[u8], [_, row]: [u64; 2]) -> CachedImage {
        let keys = FeatureKeys {
            image: contents.len().try_into().unwrap(),
            outlier: row.into(),
        };
        CachedImage {
            keys,
            is_cached: (row + 1).is_multiple_of(self.0),
        }
    }
}

/// Index of the row with this key, `FILE:LINE`; the first row is on line 2.
fn row_of(key: &str) -> u64 {
    let line: u64 = key.rsplit(':').next().unwrap().parse().unwrap();
    line - 2
}

#[test]
fn known_images_are_not_decoded_and_the_order_stays_the_same() {
    let (folder, path) = folder(30, rows(30).as_bytes());
    let loader = |known: Option<u64>, workers| {
        let loader = CaptionLoader::new(
            read(&path).unwrap().into(),
            LoaderSettings {
                workers,
                ..settings(4)
            },
        );
        match known {
            Some(every) => loader.unwrap().with_cached_images(Arc::new(Rows(every))),
            None => loader.unwrap(),
        }
    };
    let read = |loader: &CaptionLoader| -> Vec<TrainBatch> {
        let mut epoch = loader.epoch(1).unwrap();
        let mut batch = TrainBatch::default();
        let mut read = Vec::new();
        // The memory of one batch is reused; values of an earlier batch must not remain.
        while epoch.next_into(&mut batch).unwrap() {
            read.push(batch.clone());
        }
        assert_eq!(epoch.skipped().total(), 0);
        read
    };
    let whole = read(&loader(None, 0));
    assert!(whole.iter().all(|batch| batch.decoded == [0, 1, 2, 3]));
    assert!(whole.iter().all(|batch| batch.feature_keys.is_empty()));
    let damage = |n: u32| {
        let path = folder.path().join(format!("images/{n}.bmp"));
        fs::write(path, &bmp(n)[..20]).unwrap();
    };
    (2..30).step_by(3).for_each(damage);
    for (every, workers) in [(3, 0), (3, 2), (1, 0), (1, 2)] {
        if every == 1 {
            (0..30).for_each(damage);
        }
        for (known, whole) in read(&loader(Some(every), workers)).iter().zip(&whole) {
            assert_eq!(
                (&known.keys, &known.captions),
                (&whole.keys, &whole.captions)
            );
            let row = |i: usize| row_of(&whole.keys[i]);
            let decoded: Vec<usize> = (0..4).filter(|&i| (row(i) + 1) % every > 0).collect();
            assert_eq!(known.decoded, decoded);
            for (i, keys) in known.feature_keys.iter().enumerate() {
                assert_eq!(keys.outlier, u128::from(row(i)));
                if !decoded.contains(&i) {
                    assert_eq!(keys.image, 20, "the file was not read again");
                }
            }
            assert_eq!(known.feature_keys.len(), 4);
            let pixels = decoded
                .iter()
                .flat_map(|i| &whole.pixels[i * 192..(i + 1) * 192])
                .copied();
            assert_eq!(known.pixels, pixels.collect::<Vec<f32>>());
        }
    }
}

#[test]
fn outliers_come_with_the_images_and_repeat() {
    let (_folder, path) = folder(30, rows(30).as_bytes());
    let read = |outliers, seed, epoch, workers, known: Option<u64>| {
        let settings = LoaderSettings {
            outliers,
            seed,
            workers,
            ..settings(4)
        };
        let loader = CaptionLoader::new(read(&path).unwrap().into(), settings).unwrap();
        let loader = match known {
            Some(every) => loader.with_cached_images(Arc::new(Rows(every))),
            None => loader,
        };
        let batches: Result<Vec<TrainBatch>, _> = loader.epoch(epoch).unwrap().collect();
        batches.unwrap()
    };
    let usual = Some(OutlierMix::default());
    let without = read(None, 1, 0, 0, None);
    let with = read(usual, 1, 0, 0, None);
    for (with, without) in with.iter().zip(&without) {
        assert!(without.outliers.is_empty());
        assert_eq!((&with.pixels, &with.keys), (&without.pixels, &without.keys));
        assert_eq!(with.outliers.len(), with.pixels.len());
    }
    assert!(with.iter().any(|batch| batch.outliers != batch.pixels));
    assert_eq!(with, read(usual, 1, 0, 2, None));
    let outliers = |batches: &[TrainBatch]| {
        let pairs = batches.iter().flat_map(|batch| {
            let keys = batch.decoded.iter().map(|&i| batch.keys[i].clone());
            keys.zip(batch.outliers.chunks(192).map(<[f32]>::to_vec))
        });
        pairs.collect::<std::collections::HashMap<_, _>>()
    };
    let (first, second) = (outliers(&with), outliers(&read(usual, 1, 1, 0, None)));
    let differ = |(key, pixels): (&String, &Vec<f32>)| second.get(key).is_some_and(|p| p != pixels);
    assert!(
        first.iter().any(differ),
        "the outliers of every epoch are the same"
    );
    // If features are cached, what an image's outlier is depends on nothing but the sample.
    let cached = outliers(&read(usual, 1, 0, 0, Some(1000)));
    assert_eq!(cached.len(), first.len());
    for (key, pixels) in outliers(&read(usual, 9, 3, 2, Some(1000))) {
        assert!(cached.get(&key).is_none_or(|p| *p == pixels), "{key}");
    }
    let illustrations = Some(OutlierMix { illustrations: 0.4 });
    let mixed = outliers(&read(illustrations, 1, 0, 0, None));
    let changed = mixed
        .iter()
        .filter(|(key, pixels)| first.get(*key) != Some(pixels));
    assert!(changed.count() > 0, "no outlier is an illustration");
    for batch in read(usual, 1, 0, 0, Some(3)) {
        assert_eq!(batch.outliers.len(), batch.pixels.len());
    }
}

#[test]
fn skips_malformed_rows_and_reports_their_lines() {
    let table =
        b"filepath\ttitle\nimages/0.bmp\tpicture 0\nimages/1.bmp\nimages/2.bmp\t\xff\nimages/3.bmp\t \n\
        \tno path\nimages/none.bmp\tgone\nimages\ta folder\nimages/7.bmp\tpicture 7\n";
    let (_folder, path) = folder(8, table);
    let in_order = LoaderSettings {
        sampling: Sampling::InOrder,
        train_num_samples: Some(2),
        ..settings(2)
    };
    let loader = CaptionLoader::new(read(&path).unwrap().into(), in_order.clone()).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    assert_eq!(numbers(&[epoch.next().unwrap().unwrap()]), [0, 7]);
    let lines: Vec<(String, SkipReason)> = epoch
        .skipped()
        .examples
        .iter()
        .map(|skipped| (skipped.key.clone(), skipped.reason))
        .collect();
    let expected = [
        (3, SkipReason::BadRow),
        (4, SkipReason::BadCaption),
        (5, SkipReason::NoCaption),
        (6, SkipReason::NoImage),
        (7, SkipReason::BadImage),
        (8, SkipReason::BadImage),
    ]
    .map(|(line, reason)| (format!("captions.tsv:{line}"), reason));
    assert_eq!(lines, expected);

    let strict = LoaderSettings {
        max_skipped: SkipLimit::Fraction(0.5),
        ..in_order
    };
    let mut epoch = CaptionLoader::new(read(&path).unwrap().into(), strict)
        .unwrap()
        .epoch(0)
        .unwrap();
    assert!(matches!(
        epoch.next().unwrap(),
        Err(TrainingDataError::TooManySkipped { limit: 1, .. })
    ));
}

#[test]
fn an_unclosed_quote_breaks_one_row_and_takes_no_memory() {
    let table = format!(
        "filepath\ttitle\nimages/0.bmp\tpicture 0\nimages/1.bmp\t\"open\n{}",
        rows(5000)
    );
    let (_folder, path) = folder(1, table.as_bytes());
    let table = CaptionTable::read(&path, &quoting(TableQuoting::Minimal)).unwrap();
    assert_eq!(table.len(), 2);
    let swallowed = table.row(1).unwrap_err();
    assert!(swallowed.detail.contains("quote"));
    assert_eq!(swallowed.samples, 5002);
    // By itself, the quote is a character.
    let table = read(&path).unwrap();
    assert_eq!((table.len(), table.quoting()), (5003, TableQuoting::None));
}

fn quoting(quoting: TableQuoting) -> CaptionTableFormat {
    CaptionTableFormat {
        quoting,
        ..CaptionTableFormat::default()
    }
}

#[test]
fn quotes_of_a_table_without_quoting_swallow_no_row() {
    let path = clipn_testing::fixture("cases/tables/open-quote.tsv");
    let table = read(&path).unwrap();
    assert_eq!(table.len(), 8);
    assert_eq!(table.row(1).unwrap().1, "\"a bowl of soup");
    assert_eq!(table.row(6).unwrap().1, "a man who holds a 12\" record");
    assert!(table.has_quotes() && table.multiline_fields().is_none());

    let table = CaptionTable::read(&path, &quoting(TableQuoting::Minimal)).unwrap();
    assert_eq!((table.len(), table.quoting()), (5, TableQuoting::Minimal));
    let multiline = table.multiline_fields().unwrap();
    assert_eq!((multiline.count, multiline.first_line), (1, 3));
}

#[test]
fn reads_json_lines() {
    let path = clipn_testing::fixture("cases/tables/pairs.jsonl");
    let table = read(&path).unwrap();
    assert_eq!(table.len(), 8);
    assert_eq!(
        table.row(1).unwrap(),
        (
            path.parent().unwrap().join("img/1.jpg"),
            "a photo of a koala"
        )
    );
    assert_eq!(table.key(7), "pairs.jsonl:8");
}

#[test]
fn json_lines_have_usual_keys_and_malformed_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.jsonl");
    let lines = [
        "oops",
        r#"{"file_name": "a.jpg", "text": "a cat"}"#,
        "",
        r#"{"file_name": "b.jpg"}"#,
        r#"{"text": "no image"}"#,
        r#"{"file_name": "c.jpg", "text": 3}"#,
        "[1]",
    ];
    fs::write(&path, lines.join("\n")).unwrap();
    let table = read(&path).unwrap();
    assert_eq!(
        (table.image_key(), table.caption_key()),
        ("file_name", "text")
    );
    assert_eq!(
        table.row(1).unwrap(),
        (folder.path().join("a.jpg"), "a cat")
    );
    let reasons: Vec<_> = (0..table.len())
        .filter_map(|row| table.row(row).err())
        .collect();
    let reasons: Vec<_> = reasons
        .iter()
        .map(|row| (row.key.as_str(), row.reason))
        .collect();
    assert_eq!(
        reasons,
        [
            ("metadata.jsonl:1", SkipReason::BadRow),
            ("metadata.jsonl:4", SkipReason::NoCaption),
            ("metadata.jsonl:5", SkipReason::NoImage),
            ("metadata.jsonl:6", SkipReason::BadCaption),
            ("metadata.jsonl:7", SkipReason::BadRow),
        ]
    );
    let classes = CaptionTableFormat {
        class_names: ["ant", "bee", "cat", "dog"].map(String::from).to_vec(),
        ..CaptionTableFormat::default()
    };
    let table = CaptionTable::read(&path, &classes).unwrap();
    assert_eq!(table.row(4).unwrap().1, "dog");
    assert_eq!(table.row(1).unwrap_err().reason, SkipReason::BadCaption);
}

#[test]
fn json_lines_without_the_keys_or_of_another_kind_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    for (contents, expected) in [
        (
            &b"{\"file\": \"a.jpg\", \"title\": \"a\"}\n"[..],
            "missing key `filepath`; keys of the first object: `file`, `title`",
        ),
        (
            b"[{\"filepath\": \"a.jpg\"}]\n",
            "expected one JSON object per line, got JSON",
        ),
        (b"PAR1\x15\x04", "got a Parquet file"),
        (b"", "got an empty file"),
        (b"filepath,title\na.jpg,b\n", "got a text file"),
    ] {
        fs::write(&path, contents).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn reads_a_real_table_completely() {
    let Some(path) = clipn_testing::test_data("data/coco-mini/captions.tsv") else {
        return;
    };
    let table = read(&path).unwrap();
    assert_eq!(table.len(), 795);
    let settings = LoaderSettings {
        workers: 2,
        ..LoaderSettings::new(32, 53)
    };
    let loader = CaptionLoader::new(table.into(), settings).unwrap();
    assert_eq!(loader.batches_per_epoch(), 15);
    let mut epoch = loader.epoch(0).unwrap();
    let mut keys: Vec<String> = epoch
        .by_ref()
        .flat_map(|batch| batch.unwrap().keys)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), epoch.skipped().total()), (795, 0));
}

proptest! {
    #[test]
    fn random_bytes_are_a_table_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let contents = [&b"filepath\ttitle\n"[..], &bytes].concat();
        let (_folder, path) = folder(0, &contents);
        if let Ok(table) = read(&path) {
            for index in 0..table.len() {
                let _ = table.row(index);
            }
        }
    }
}
