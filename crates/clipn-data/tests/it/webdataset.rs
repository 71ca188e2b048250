//! Loading of batches from shards: selection, order, processes and broken samples.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clipn_data::{
    CaptionField, CaptionLoader, EpochPosition, LoaderSettings, Rounding, SampleFields, Sampling,
    ShardSet, ShuffleBuffer, SkipLimit, SkipReason, TrainBatch, TrainingDataError, expand_shards,
};
use clipn_image::Augmentation;
use clipn_testing::shards::{gzip, number, samples, tar, write_shards, zstd};
use proptest::prelude::*;
use tempfile::TempDir;

fn settings(batch_size: usize) -> LoaderSettings {
    let shuffle = ShuffleBuffer {
        samples: 7,
        ..ShuffleBuffer::default()
    };
    LoaderSettings {
        shuffle,
        max_skipped: SkipLimit::Unlimited,
        ..LoaderSettings::new(8, batch_size)
    }
}

fn open(folder: &Path) -> ShardSet {
    ShardSet::open(folder.to_str().unwrap(), SampleFields::default()).unwrap()
}

fn loader(folder: &Path, settings: LoaderSettings) -> CaptionLoader {
    CaptionLoader::new(open(folder).into(), settings).unwrap()
}

fn batches(loader: &CaptionLoader, epoch: u64) -> Vec<TrainBatch> {
    loader
        .epoch(epoch)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Returns the numbers of samples in the order delivered, each compared with its image.
fn numbers(batches: &[TrainBatch]) -> Vec<u32> {
    let mut numbers = Vec::new();
    for batch in batches {
        assert_eq!(batch.captions.len(), batch.keys.len());
        let values = batch.pixels.len() / batch.captions.len();
        for ((pixels, caption), key) in batch
            .pixels
            .chunks_exact(values)
            .zip(&batch.captions)
            .zip(&batch.keys)
        {
            let shown = number(pixels);
            assert_eq!(caption.trim(), format!("picture {shown}"));
            assert!(key.ends_with(&format!("/{shown:06}")), "{key}");
            numbers.push(shown);
        }
    }
    numbers
}

fn sorted(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers
}

fn folder(sizes: &[u32]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_shards(folder.path(), sizes);
    folder
}

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
fn every_epoch_has_its_own_permutation() {
    let folder = folder(&[10, 1, 0, 23, 6]);
    let loader = loader(folder.path(), settings(8));
    assert_eq!(
        (loader.batches_per_epoch(), loader.samples_per_epoch()),
        (5, 40)
    );
    let first = numbers(&batches(&loader, 0));
    let second = numbers(&batches(&loader, 1));
    assert_eq!(sorted(first.clone()), (0..40).collect::<Vec<_>>());
    assert_eq!(sorted(second.clone()), (0..40).collect::<Vec<_>>());
    assert_ne!(first, second);
    assert_eq!(first, numbers(&batches(&loader, 0)));
    let mixed = first
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .count();
    assert!(mixed > 30, "{first:?}");
}

#[test]
fn order_and_pixels_do_not_depend_on_workers() {
    let folder = folder(&[30, 30]);
    let with = |workers, prefetch| {
        let augmentation = Augmentation {
            horizontal_flip: 0.5,
            ..Augmentation::published()
        };
        batches(
            &loader(
                folder.path(),
                LoaderSettings {
                    workers,
                    prefetch,
                    augmentation,
                    ..settings(7)
                },
            ),
            3,
        )
    };
    let inline = with(0, None);
    assert_eq!(inline.len(), 8);
    for (workers, prefetch) in [(1, None), (2, Some(1)), (5, Some(64))] {
        assert!(with(workers, prefetch) == inline, "{workers} workers");
    }
}

#[test]
fn in_order_keeps_the_order_and_drops_or_fills_the_last_batch() {
    let folder = folder(&[5, 6]);
    let in_order = LoaderSettings {
        sampling: Sampling::InOrder,
        ..settings(4)
    };
    let floor = loader(folder.path(), in_order.clone());
    assert_eq!(numbers(&batches(&floor, 0)), (0..8).collect::<Vec<_>>());
    let ceil = loader(
        folder.path(),
        LoaderSettings {
            rounding: Rounding::Ceil,
            ..in_order
        },
    );
    assert_eq!(
        numbers(&batches(&ceil, 0)),
        (0..11).chain(0..1).collect::<Vec<_>>()
    );
}

#[test]
fn processes_partition_the_samples() {
    let folder = folder(&[11, 4, 17, 0, 8]);
    for (world_size, batch_size) in [(2, 5), (4, 1), (8, 5), (5, 2)] {
        for sampling in [Sampling::Shuffled, Sampling::InOrder] {
            let mut seen = Vec::new();
            for rank in 0..world_size {
                let workers = rank % 3;
                let part = LoaderSettings {
                    rank,
                    world_size,
                    workers,
                    sampling,
                    ..settings(batch_size)
                };
                let part = loader(folder.path(), part);
                assert_eq!(
                    part.batches_per_epoch(),
                    40 / (world_size * batch_size) as u64
                );
                seen.extend(numbers(&batches(&part, 1)));
            }
            assert_eq!(
                sorted(seen),
                (0..40).collect::<Vec<_>>(),
                "{world_size} processes"
            );
        }
    }
}

#[test]
fn sampling_with_replacement_yields_any_number_of_samples() {
    let folder = folder(&[10, 10, 10, 10]);
    let drawn = |rank| {
        let sampling = Sampling::WithReplacement;
        let part = LoaderSettings {
            rank,
            world_size: 2,
            sampling,
            train_num_samples: Some(200),
            ..settings(10)
        };
        numbers(&batches(&loader(folder.path(), part), 0))
    };
    let (first, second) = (drawn(0), drawn(1));
    assert_eq!((first.len(), second.len()), (100, 100));
    assert_ne!(first, second);
    assert!(first.iter().collect::<BTreeSet<_>>().len() < 41);
}

#[test]
fn an_epoch_longer_than_the_data_repeats_it() {
    let folder = folder(&[6]);
    let twice = LoaderSettings {
        train_num_samples: Some(12),
        ..settings(6)
    };
    let found = batches(&loader(folder.path(), twice), 0);
    assert_eq!(
        sorted(numbers(&found)),
        sorted((0..6).chain(0..6).collect())
    );
}

#[test]
fn resuming_yields_the_same_remaining_batches() {
    let folder = folder(&[13, 20, 9]);
    // Broken samples of every kind precede and follow the positions to resume at.
    let mut broken = samples(100..120);
    for index in [0, 8, 16, 24] {
        broken[index].1 = b"not an image".to_vec();
    }
    broken[3].1 = vec![0xff, 0xfe];
    broken.remove(11);
    fs::write(folder.path().join("s-3.tar"), tar(&broken)).unwrap();
    let truncated = tar(&samples(200..210));
    fs::write(
        folder.path().join("s-4.tar"),
        &truncated[..truncated.len() / 2],
    )
    .unwrap();
    fs::write(
        folder.path().join("sizes.json"),
        br#"{"s-0.tar": 13, "s-1.tar": 20, "s-2.tar": 9, "s-3.tar": 20, "s-4.tar": "10"}"#,
    )
    .unwrap();
    for sampling in [
        Sampling::Shuffled,
        Sampling::WithReplacement,
        Sampling::InOrder,
    ] {
        for workers in [0, 2] {
            let part = LoaderSettings {
                rank: 1,
                world_size: 2,
                workers,
                sampling,
                ..settings(3)
            };
            let loader = loader(folder.path(), part);
            let whole = batches(&loader, 5);
            assert_eq!(whole.len(), 12);
            let mut epoch = loader.epoch(5).unwrap();
            let mut positions = vec![epoch.position().clone()];
            while epoch.next().transpose().unwrap().is_some() {
                positions.push(epoch.position().clone());
            }
            for (at, position) in positions.iter().enumerate() {
                let stored = serde_json::to_string(position).unwrap();
                let mut rest = loader
                    .resume(serde_json::from_str(&stored).unwrap())
                    .unwrap();
                let batches: Vec<TrainBatch> = rest.by_ref().collect::<Result<_, _>>().unwrap();
                assert!(batches == whole[at..], "{sampling:?} resumed at {at}");
                assert_eq!(rest.position(), epoch.position());
            }
        }
    }
}

#[test]
fn a_position_belongs_to_its_data_and_settings() {
    let folder = folder(&[13, 20, 9]);
    let position = loader(folder.path(), settings(3))
        .epoch(0)
        .unwrap()
        .position()
        .clone();
    for other in [
        LoaderSettings {
            seed: 1,
            ..settings(3)
        },
        settings(4),
        LoaderSettings {
            world_size: 2,
            ..settings(3)
        },
        LoaderSettings {
            sampling: Sampling::InOrder,
            ..settings(3)
        },
        LoaderSettings {
            shuffle: ShuffleBuffer::default(),
            ..settings(3)
        },
    ] {
        let refused = loader(folder.path(), other).resume(position.clone());
        assert!(matches!(
            refused,
            Err(TrainingDataError::PositionMismatch { .. })
        ));
    }
    let same = loader(
        folder.path(),
        LoaderSettings {
            workers: 3,
            ..settings(3)
        },
    );
    assert!(same.resume(position.clone()).is_ok());
    let late = EpochPosition {
        batches: 99,
        ..position
    };
    assert!(same.resume(late).is_err());
}

#[test]
fn dropping_an_epoch_stops_its_threads() {
    let folder = folder(&[40]);
    for workers in [1, 4] {
        let endless = LoaderSettings {
            workers,
            train_num_samples: Some(1 << 30),
            ..settings(4)
        };
        let loader = loader(folder.path(), endless);
        let mut epoch = loader.epoch(0).unwrap();
        assert!(epoch.next().unwrap().is_ok());
        // Far ahead: the reader is still skipping samples when the epoch is dropped.
        let far = EpochPosition {
            drawn: u64::MAX,
            ..epoch.position().clone()
        };
        drop(epoch);
        drop(loader.resume(far).unwrap());
    }
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
    assert_eq!(count(SkipReason::BadImage), 4, "{skipped}");
    assert_eq!(count(SkipReason::BadCaption), 2);
    assert_eq!(count(SkipReason::NoCaption), 4);
    assert_eq!(count(SkipReason::NoImage), 2);
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
        max_skipped: SkipLimit::Count(2),
        workers: 2,
        ..in_order
    };
    let mut epoch = CaptionLoader::new(set.into(), strict)
        .unwrap()
        .epoch(0)
        .unwrap();
    let error = epoch.next().unwrap().unwrap_err();
    assert!(
        matches!(error, TrainingDataError::TooManySkipped { limit: 2, .. }),
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

#[test]
fn rejects_invalid_settings() {
    let folder = folder(&[6]);
    for (invalid, expected) in [
        (settings(0), "batch_size"),
        (settings(usize::MAX), "batch_size"),
        (settings(7), "6 samples are not enough for one batch of 7"),
        (
            LoaderSettings {
                rank: 1,
                ..settings(1)
            },
            "rank",
        ),
        (
            LoaderSettings {
                world_size: 0,
                ..settings(1)
            },
            "rank",
        ),
        (
            LoaderSettings {
                workers: 1 << 20,
                ..settings(1)
            },
            "workers",
        ),
        (
            LoaderSettings {
                max_skipped: SkipLimit::Fraction(f64::NAN),
                ..settings(1)
            },
            "max_bad",
        ),
        (
            LoaderSettings {
                train_num_samples: Some(0),
                ..settings(1)
            },
            "0 samples are not enough",
        ),
    ] {
        let error = CaptionLoader::new(open(folder.path()).into(), invalid)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let no_captions = SampleFields {
        captions: Vec::new(),
        ..SampleFields::default()
    };
    assert!(ShardSet::open(folder.path().to_str().unwrap(), no_captions).is_err());
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
