//! Batches from shards: order, processes, resumption and settings.

use crate::loader_helpers::{batches, folder, loader, numbers, open, settings, sorted};
use std::collections::BTreeSet;
use std::fs;

use clipn_data::{
    CaptionLoader, CaptionTable, CaptionTableFormat, EpochPosition, LoaderSettings, Rounding,
    SampleFields, Sampling, ShardSet, ShuffleBuffer, SkipLimit, TrainBatch, TrainingDataError,
};
use clipn_image::Augmentation;
use clipn_testing::shards::{samples, tar};

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
fn a_position_belongs_to_the_rows_of_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("captions.tsv");
    let opened = |rows: &[&str]| {
        let rows = rows.iter().map(|row| format!("{row}\n"));
        fs::write(
            &path,
            "filepath\ttitle\n".to_owned() + &rows.collect::<String>(),
        )
        .unwrap();
        let table = CaptionTable::read(&path, &CaptionTableFormat::default()).unwrap();
        CaptionLoader::new(table.into(), settings(1)).unwrap()
    };
    let rows = ["a.png\ta cat", "b.png\ta dog"];
    let mut position = opened(&rows).epoch(0).unwrap().position().clone();
    assert!(opened(&rows).check_position(&position).is_ok());
    let others = [
        ["b.png\ta dog", "a.png\ta cat"],
        ["a.png\ta cat", "b.png\ta fox"],
        ["a.png\ta cat", "c.png\ta dog"],
    ];
    for other in &others {
        let refused = opened(other).check_position(&position).unwrap_err();
        assert!(matches!(
            refused,
            TrainingDataError::PositionMismatch { .. }
        ));
    }
    // Positions of earlier versions have no hash of the rows.
    position.data = None;
    let stored = serde_json::to_string(&position).unwrap();
    let position: EpochPosition = serde_json::from_str(&stored).unwrap();
    assert!(opened(&others[0]).check_position(&position).is_ok());
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
fn rejects_invalid_settings() {
    let folder = folder(&[6]);
    for (invalid, expected) in [
        (settings(0), "batch_size"),
        (settings(usize::MAX), "batch_size"),
        (
            settings(7),
            "expected at least 7 samples for a batch of 7 in 1 process, got 6",
        ),
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
            "in 1 process, got 0",
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
