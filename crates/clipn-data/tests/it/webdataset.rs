//! Shards: selection, compression, sizes, and broken or damaged samples.

use crate::loader_helpers::{batches, folder, loader, numbers, open, settings, sorted};
use std::collections::BTreeSet;
use std::fs;

use clipn_data::{
    CaptionField, CaptionLoader, LoaderSettings, SampleFields, Sampling, ShardSet, SkipLimit,
    SkipReason, TrainBatch, TrainingDataError, expand_shards,
};
use clipn_testing::shards::{gzip, samples, tar, zstd};
use proptest::prelude::*;

#[test]
fn expands_ranges_lists_globs_and_directories() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "a-00.tar",
        "a-01.tar.gz",
        "b-1.tar.zst",
        "b-2.tgz",
        "note.txt",
        ".hidden.tar",
        "odd,[1].tar",
    ] {
        fs::write(folder.path().join(name), b"").unwrap();
    }
    let root = folder.path().to_str().unwrap();
    let expanded = |spec: &str| -> Result<Vec<String>, TrainingDataError> {
        let spec = spec.replace("ROOT", root);
        let paths = expand_shards(&spec)?;
        Ok(paths
            .iter()
            .map(|p| p.file_name().unwrap().to_str().unwrap().to_string())
            .collect())
    };
    assert_eq!(
        expanded("ROOT").unwrap(),
        [
            "a-00.tar",
            "a-01.tar.gz",
            "b-1.tar.zst",
            "b-2.tgz",
            "odd,[1].tar"
        ]
    );
    assert_eq!(
        expanded("ROOT/a-{00..00}.tar,ROOT/a-{01..01}.tar.gz").unwrap(),
        ["a-00.tar", "a-01.tar.gz"]
    );
    assert_eq!(
        expanded("ROOT/b-2.tgz::ROOT/a-00.tar").unwrap(),
        ["b-2.tgz", "a-00.tar"]
    );
    assert_eq!(expanded("ROOT/{a-0?,b-[0-9]}.t*").unwrap().len(), 4);
    assert_eq!(expanded("ROOT/odd,[1].tar").unwrap(), ["odd,[1].tar"]);
    for (spec, expected) in [
        ("ROOT/c.tar", "does not exist"),
        ("ROOT/c*.tar", "no file matches"),
        ("ROOT/a-{00..01}.tar", "does not exist"),
        ("ROOT/a-0{0,0}.tar", "duplicate shard"),
        ("ROOT/a-00.tar,ROOT/./a-00.tar", "duplicate shard"),
        ("ROOT/a-{0.tar", "unbalanced `{`"),
        ("pipe:cat x.tar", "remote shards"),
        ("https://host/x.tar", "remote shards"),
        ("", "no shards"),
        (" , ", "no shards"),
        ("ROOT/[", "invalid pattern"),
    ] {
        let error = expanded(spec).unwrap_err().to_string();
        assert!(error.contains(expected), "{spec}: {error}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(
        expand_shards(empty.path().to_str().unwrap())
            .unwrap_err()
            .to_string()
            .contains("no .tar")
    );
}

#[test]
fn detects_compression_from_content() {
    let folder = tempfile::tempdir().unwrap();
    let part = |from: u32| tar(&samples(from..from + 10));
    fs::write(folder.path().join("a.tar.gz"), gzip(&part(0))).unwrap();
    fs::write(folder.path().join("b.tar"), zstd(&part(10))).unwrap();
    let (head, tail) = (part(20)[..3000].to_vec(), part(20)[3000..].to_vec());
    fs::write(
        folder.path().join("c.tgz"),
        [gzip(&head), gzip(&tail)].concat(),
    )
    .unwrap();
    let skippable = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    fs::write(
        folder.path().join("d.tar.zst"),
        [&skippable[..], &zstd(&head), &skippable, &zstd(&tail)].concat(),
    )
    .unwrap();
    let mut set = open(folder.path());
    assert_eq!(set.samples(), None);
    let unknown = CaptionLoader::new(set.clone().into(), settings(4)).unwrap_err();
    assert!(
        matches!(unknown, TrainingDataError::UnknownSize { shards: 4, .. }),
        "{unknown}"
    );
    assert_eq!(set.count_samples(), 40);
    let in_order = LoaderSettings {
        sampling: Sampling::InOrder,
        ..settings(4)
    };
    let found = numbers(&batches(
        &CaptionLoader::new(set.into(), in_order).unwrap(),
        0,
    ));
    assert_eq!(found, (0..30).chain(20..30).collect::<Vec<_>>());
}

#[test]
fn reads_sizes_from_json_or_len_and_reports_errors() {
    let folder = folder(&[3, 4]);
    let sizes = folder.path().join("sizes.json");
    assert_eq!(open(folder.path()).samples(), Some(7));
    fs::remove_file(&sizes).unwrap();
    fs::write(folder.path().join("__len__"), "7\n").unwrap();
    assert_eq!(open(folder.path()).samples(), Some(7));
    let one = folder.path().join("s-0.tar");
    let one = ShardSet::open(one.to_str().unwrap(), SampleFields::default()).unwrap();
    assert_eq!(
        one.samples(),
        None,
        "__len__ applies only to the whole directory"
    );
    // Shards of unknown size are assigned to processes as a whole.
    let parts = |world_size, rank| LoaderSettings {
        world_size,
        rank,
        ..settings(3)
    };
    let halves: Vec<Vec<u32>> = (0..2)
        .map(|rank| sorted(numbers(&batches(&loader(folder.path(), parts(2, rank)), 0))))
        .collect();
    assert!(halves.contains(&vec![0, 1, 2]), "{halves:?}");
    let three = CaptionLoader::new(open(folder.path()).into(), parts(3, 0)).unwrap_err();
    assert!(matches!(
        three,
        TrainingDataError::TooFewShards {
            shards: 2,
            world_size: 3
        }
    ));
    for (contents, expected) in [
        ("{", "not valid JSON"),
        ("[3]", "expected a JSON object"),
        (r#"{"s-0.tar": -1}"#, "got -1"),
        (r#"{"s-0.tar": 99999999999999999}"#, "got 99999999999999999"),
    ] {
        fs::write(&sizes, contents).unwrap();
        let error =
            ShardSet::open(folder.path().to_str().unwrap(), SampleFields::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    fs::remove_file(&sizes).unwrap();
    fs::write(folder.path().join("__len__"), "many").unwrap();
    let error =
        ShardSet::open(folder.path().to_str().unwrap(), SampleFields::default()).unwrap_err();
    assert!(error.to_string().contains("got `many`"), "{error}");
}

#[test]
fn a_wrong_size_loses_no_sample() {
    let folder = folder(&[10, 10]);
    fs::write(
        folder.path().join("sizes.json"),
        br#"{"s-0.tar": 4, "s-1.tar": 16}"#,
    )
    .unwrap();
    let mut seen = Vec::new();
    for rank in 0..2 {
        let part = LoaderSettings {
            rank,
            world_size: 2,
            sampling: Sampling::InOrder,
            ..settings(5)
        };
        let mut epoch = loader(folder.path(), part).epoch(0).unwrap();
        let found: Vec<TrainBatch> = epoch.by_ref().collect::<Result<_, _>>().unwrap();
        seen.push(numbers(&found));
    }
    // The first process reads the whole first shard; the second has 4 of the 10 samples of its
    // part.
    assert_eq!(seen[0], (0..10).collect::<Vec<_>>());
    assert_eq!(seen[1], [16, 17, 18, 19, 16, 17, 18, 19, 16, 17]);
}

#[test]
fn skips_counts_and_names_broken_samples() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = samples(0..8);
    files[0].1 = b"not an image".to_vec();
    files[3].1 = b"\xff".to_vec();
    files[5].1 = b" ".to_vec();
    files[6].1.truncate(60);
    files.retain(|(name, _)| name != "000004.txt" && name != "000005.png");
    files.push(("large.png".to_string(), vec![1; 9000]));
    files.push(("large.txt".to_string(), b"large".to_vec()));
    fs::write(folder.path().join("s.tar"), tar(&files)).unwrap();
    fs::write(folder.path().join("t.tar"), b"this is text, not an archive").unwrap();
    fs::write(
        folder.path().join("sizes.json"),
        br#"{"s.tar": 9, "t.tar": 3}"#,
    )
    .unwrap();
    let fields = SampleFields {
        max_image_bytes: 8192,
        ..SampleFields::default()
    };
    let set = ShardSet::open(folder.path().to_str().unwrap(), fields).unwrap();
    let in_order = LoaderSettings {
        sampling: Sampling::InOrder,
        train_num_samples: Some(3),
        ..settings(3)
    };
    let loader = CaptionLoader::new(set.clone().into(), in_order.clone()).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let batch = epoch.next().unwrap().unwrap();
    assert_eq!(numbers(&[batch]), [6, 7, 6]);
    let skipped = epoch.skipped().clone();
    let count = |reason| skipped.counts.get(&reason).copied().unwrap_or(0);
    assert_eq!(count(SkipReason::BadImage), 2, "{skipped}");
    assert_eq!(count(SkipReason::BadCaption), 1);
    assert_eq!(count(SkipReason::NoCaption), 2);
    assert_eq!(count(SkipReason::NoImage), 1);
    assert_eq!(
        (count(SkipReason::TooLarge), count(SkipReason::Shard)),
        (1, 3)
    );
    assert_eq!(skipped.examples[0].key, "s.tar/000000");
    assert!(
        skipped.examples[0].detail.contains("expected a JPEG"),
        "{}",
        skipped.examples[0].detail
    );

    let strict = LoaderSettings {
        max_skipped: SkipLimit::Count(3),
        workers: 2,
        ..in_order
    };
    let mut epoch = CaptionLoader::new(set.into(), strict)
        .unwrap()
        .epoch(0)
        .unwrap();
    let error = epoch.next().unwrap().unwrap_err();
    assert!(
        matches!(error, TrainingDataError::TooManySkipped { limit: 3, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("s.tar/000000"), "{error}");
    assert!(epoch.next().is_none());
}

#[test]
fn data_without_a_usable_sample_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = samples(0..5);
    files
        .iter_mut()
        .for_each(|(_, contents)| *contents = b"?".to_vec());
    fs::write(folder.path().join("s.tar"), tar(&files)).unwrap();
    fs::write(folder.path().join("sizes.json"), br#"{"s.tar": 5}"#).unwrap();
    for (workers, sampling) in [(0, Sampling::Shuffled), (2, Sampling::WithReplacement)] {
        let mut epoch = loader(
            folder.path(),
            LoaderSettings {
                workers,
                sampling,
                ..settings(2)
            },
        )
        .epoch(0)
        .unwrap();
        let error = epoch.next().unwrap().unwrap_err();
        assert!(
            matches!(error, TrainingDataError::NoUsableSample { .. }),
            "{error}"
        );
    }
    // A shard that is deleted before it is read.
    let gone = loader(folder.path(), settings(2));
    fs::remove_file(folder.path().join("s.tar")).unwrap();
    let error = gone.epoch(0).unwrap().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("in a damaged shard"), "{error}");
}

/// Reads an epoch and returns the numbers of distinct samples and of lost ones.
fn drain(bytes: &[u8]) -> (usize, u64) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.tar"), bytes).unwrap();
    fs::write(folder.path().join("sizes.json"), br#"{"s.tar": 6}"#).unwrap();
    let once = LoaderSettings {
        workers: 0,
        sampling: Sampling::InOrder,
        ..settings(1)
    };
    let mut epoch = loader(folder.path(), once).epoch(0).unwrap();
    let mut delivered = BTreeSet::new();
    for batch in epoch.by_ref() {
        match batch {
            Ok(batch) => delivered.extend(batch.keys),
            Err(TrainingDataError::NoUsableSample { skipped }) => return (0, skipped.total()),
            Err(error) => panic!("{error}"),
        }
    }
    (delivered.len(), epoch.skipped().total())
}

#[test]
fn truncating_a_shard_loses_only_the_samples_after_the_cut() {
    let plain = tar(&samples(0..6));
    for packed in [plain.clone(), gzip(&plain), zstd(&plain)] {
        assert_eq!(drain(&packed), (6, 0));
        let (delivered, lost) = drain(&packed[..packed.len() * 2 / 3]);
        assert!(delivered < 6 && lost > 0, "{delivered} {lost}");
    }
    assert_eq!(drain(&plain[..plain.len() / 2]).0, 3);
}

#[test]
fn reads_real_shards_completely() {
    let Some(folder) = clipn_testing::test_data("data/tiny-imagenet") else {
        return;
    };
    let spec = format!("{}/train-{{000..039}}.tar.gz", folder.display());
    let mut set = ShardSet::open(&spec, SampleFields::default()).unwrap();
    assert_eq!((set.shards().len(), set.samples()), (40, Some(40_000)));
    assert_eq!(set.count_samples(), 40_000);
    let settings = LoaderSettings {
        workers: 2,
        ..LoaderSettings::new(32, 1000)
    };
    let loader = CaptionLoader::new(set.into(), settings).unwrap();
    let mut seen = BTreeSet::new();
    let mut epoch = loader.epoch(0).unwrap();
    let mut batch = TrainBatch::default();
    while epoch.next_into(&mut batch).unwrap() {
        assert!(batch.pixels.iter().all(|value| value.abs() < 3.0));
        assert!(
            batch
                .captions
                .iter()
                .all(|caption| !caption.trim().is_empty())
        );
        seen.extend(batch.keys.iter().cloned());
    }
    assert_eq!(
        (seen.len(), epoch.skipped().total()),
        (40_000, 0),
        "{}",
        epoch.skipped()
    );
}

#[test]
fn reads_real_captions_from_text_json_and_classes() {
    let Some(data) = clipn_testing::test_data("data") else {
        return;
    };
    let read = |spec: String, captions: Vec<CaptionField>| {
        let fields = SampleFields {
            captions,
            ..SampleFields::default()
        };
        let set = ShardSet::open(&spec, fields).unwrap();
        let in_order = LoaderSettings {
            sampling: Sampling::InOrder,
            ..LoaderSettings::new(16, 4)
        };
        let batch = CaptionLoader::new(set.into(), in_order)
            .unwrap()
            .epoch(0)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        batch.captions
    };
    let json = |key: &str| {
        vec![CaptionField::Json {
            extension: "json".into(),
            key: key.into(),
        }]
    };
    let text = vec![CaptionField::Text {
        extension: "txt".into(),
    }];
    let fashion = || format!("{}/fashion/train-*.tar", data.display());
    assert_eq!(read(fashion(), json("title")), read(fashion(), text));
    assert_eq!(read(fashion(), json("gender"))[0], "Men");
    let names = (0..200).map(|index| format!("class {index}")).collect();
    let classes = vec![CaptionField::Class {
        extension: "cls".into(),
        names,
    }];
    let tiny = format!("{}/tiny-imagenet/train-000.tar.gz", data.display());
    assert_eq!(read(tiny, classes)[0], "class 81");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn damaged_shards_never_panic(
        packing in 0usize..3,
        cut in 0.0f64..1.5,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..6),
    ) {
        let plain = tar(&samples(0..6));
        let mut bytes = [plain.clone(), gzip(&plain), zstd(&plain)][packing].clone();
        let keep = (bytes.len() as f64 * cut) as usize;
        bytes.truncate(keep);
        for (index, flip) in flips {
            if !bytes.is_empty() {
                let at = index.index(bytes.len());
                bytes[at] ^= flip;
            }
        }
        let (delivered, _) = drain(&bytes);
        prop_assert!(delivered <= 7);
    }

    #[test]
    fn random_bytes_are_an_archive_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(drain(&bytes).0, 0);
    }

    #[test]
    fn random_text_is_a_shard_specification_or_an_error(spec in "[a-c{},.:0-9*?\\[\\]/ é]{0,30}") {
        let _ = expand_shards(&spec);
    }
}
