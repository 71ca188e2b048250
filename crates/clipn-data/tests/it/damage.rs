//! Damaged shards: named and weighed by what is lost, before the first sample is read.

use std::fs;
use std::path::Path;

use clipn_data::{
    CaptionLoader, Epoch, LoaderSettings, SampleFields, Sampling, ShardSet, SkipLimit, SkipReason,
    TrainingDataError,
};
use clipn_testing::shards::{gzip, samples, tar, zstd};
use tempfile::TempDir;

use crate::loader_helpers::{open, settings};

const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n";
const PAGE: &[u8] = b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head></html>";

/// A directory of shards `0.tar`, `1.tar`, … without sizes.
fn shards(contents: &[&[u8]]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (index, bytes) in contents.iter().enumerate() {
        fs::write(folder.path().join(format!("{index}.tar")), bytes).unwrap();
    }
    folder
}

fn counted(folder: &Path) -> ShardSet {
    let mut set = open(folder);
    set.count_samples();
    set
}

fn in_order(batch_size: usize, max_skipped: SkipLimit) -> LoaderSettings {
    LoaderSettings {
        sampling: Sampling::InOrder,
        max_skipped,
        ..settings(batch_size)
    }
}

fn refused(set: ShardSet, settings: LoaderSettings) -> String {
    let error = CaptionLoader::new(set.into(), settings).unwrap_err();
    assert!(
        matches!(error, TrainingDataError::DamagedShards { .. }),
        "{error:?}"
    );
    error.to_string()
}

fn lost(epoch: &Epoch) -> u64 {
    let counts = &epoch.skipped().counts;
    counts.get(&SkipReason::Shard).copied().unwrap_or(0)
}

#[test]
fn a_lost_shard_weighs_what_its_neighbors_hold() {
    let good = tar(&samples(0..34));
    let folder = shards(&[&good, LFS_POINTER, PAGE, LFS_POINTER]);
    assert_eq!(
        refused(
            counted(folder.path()),
            in_order(4, SkipLimit::Fraction(0.7))
        ),
        "3 of 4 shards cannot be read to the end: 1.tar is a Git LFS pointer, \
         2.tar is an HTML page, 3.tar is a Git LFS pointer; a loss of about 102 of 136 samples, \
         which exceeds the limit of 95"
    );
    refused(counted(folder.path()), in_order(4, SkipLimit::Count(101)));

    for limit in [SkipLimit::Fraction(0.75), SkipLimit::Count(102)] {
        let loader =
            CaptionLoader::new(counted(folder.path()).into(), in_order(34, limit)).unwrap();
        assert_eq!(loader.samples_per_epoch(), 34);
        let mut epoch = loader.epoch(0).unwrap();
        assert_eq!(epoch.by_ref().map(Result::unwrap).count(), 1);
    }
}

#[test]
fn the_epoch_counts_the_same_loss_as_the_check_before_it() {
    let good = tar(&samples(0..10));
    let cut = &tar(&samples(10..20))[..4700];
    let folder = shards(&[LFS_POINTER, cut, &good]);
    let set = counted(folder.path());
    let report = set.damage(None).unwrap();
    assert_eq!((report.lost, report.total), (Some(18), 30));
    assert!((report.lost_fraction() - 0.6).abs() < 1e-9);
    let text = report.to_string();
    assert!(
        text.contains("1.tar breaks off after 2 samples (truncated"),
        "{text}"
    );
    assert_eq!(set.samples(), Some(12));
    let loader = CaptionLoader::new(set.into(), in_order(6, SkipLimit::Fraction(0.6))).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    assert_eq!(epoch.by_ref().map(Result::unwrap).count(), 2);
    assert_eq!(lost(&epoch), 18, "{}", epoch.skipped());
    // A resumed epoch counts what the whole one counts.
    let mut first = loader.epoch(0).unwrap();
    first.next().unwrap().unwrap();
    let position = first.position().clone();
    assert_eq!(position.skipped.total(), 18);
    let mut rest = loader.resume(position).unwrap();
    assert_eq!(rest.by_ref().map(Result::unwrap).count(), 1);
    assert_eq!(lost(&rest), 18);
}

#[test]
fn passes_over_the_same_damage_lose_nothing_more() {
    let good = tar(&samples(0..10));
    let folder = shards(&[LFS_POINTER, &good]);
    let several_passes = LoaderSettings {
        train_num_samples: Some(50),
        ..in_order(10, SkipLimit::Fraction(0.5))
    };
    let loader = CaptionLoader::new(counted(folder.path()).into(), several_passes).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    assert_eq!(epoch.by_ref().map(Result::unwrap).count(), 5);
    assert_eq!(lost(&epoch), 10);
}

#[test]
fn samples_that_are_broken_in_every_pass_count_once() {
    let mut files = samples(0..16);
    files.retain(|(name, _)| name != "000003.png" && name != "000011.png");
    let folder = shards(&[&tar(&files)]);
    let loader = CaptionLoader::new(
        counted(folder.path()).into(),
        in_order(4, SkipLimit::Fraction(0.2)),
    )
    .unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    // The last batch is filled with the first samples again.
    assert_eq!(epoch.by_ref().map(Result::unwrap).count(), 4);
    assert_eq!(epoch.skipped().total(), 2);
}

#[test]
fn a_size_beside_the_shards_says_how_much_is_lost() {
    let plain = tar(&samples(0..10));
    for packed in [plain.clone(), gzip(&plain), zstd(&plain)] {
        let cut = &packed[..packed.len() * 2 / 3];
        let folder = shards(&[cut, &tar(&samples(10..20))]);
        fs::write(
            folder.path().join("sizes.json"),
            br#"{"0.tar": 10, "1.tar": 10}"#,
        )
        .unwrap();
        let set = open(folder.path());
        let report = set.damage(None).unwrap();
        let readable = set.shards()[0].damage.as_ref().unwrap().readable;
        assert!(readable < 10 && !report.is_estimated, "{report}");
        assert_eq!((report.lost, report.total), (Some(10 - readable), 20));
        let error = refused(set, in_order(4, SkipLimit::Fraction(0.1)));
        assert!(error.contains("0.tar"), "{error}");
    }
}

#[test]
fn a_given_number_of_samples_weighs_lost_shards() {
    let folder = shards(&[&tar(&samples(0..10)), LFS_POINTER]);
    let given = LoaderSettings {
        train_num_samples: Some(20),
        ..in_order(4, SkipLimit::Fraction(0.4))
    };
    let error = refused(open(folder.path()), given);
    assert!(error.contains("about 10 of 20 samples"), "{error}");
}

#[test]
fn names_what_is_no_archive() {
    for (bytes, expected) in [
        (&b"\xfd7zXZ\0\0\x04\xe6\xd6"[..], "0.tar is an xz archive"),
        (b"BZh91AY&SY", "0.tar is a bzip2 archive"),
        (b"PAR1\x15\x04\x15", "0.tar is a Parquet file"),
        (b"PK\x03\x04", "0.tar is a ZIP archive"),
        (b"", "0.tar is an empty file"),
        (b"\0\x01\x02", "0.tar is unrecognized data"),
    ] {
        let folder = shards(&[bytes]);
        let error = refused(counted(folder.path()), in_order(4, SkipLimit::Unlimited));
        assert_eq!(
            error,
            format!("{expected}; expected tar archives, plain or compressed with gzip or zstd")
        );
    }
}

#[test]
fn damage_that_leaves_no_batch_is_not_called_too_little_data() {
    let folder = shards(&[&tar(&samples(0..3)), LFS_POINTER]);
    let error = refused(counted(folder.path()), in_order(5, SkipLimit::Unlimited));
    assert!(
        error.ends_with("a loss of about 3 of 6 samples, which leaves too few for one batch"),
        "{error}"
    );
    let error = CaptionLoader::new(
        counted(folder.path()).into(),
        in_order(9, SkipLimit::Unlimited),
    );
    assert!(matches!(
        error.unwrap_err(),
        TrainingDataError::TooFewSamples { samples: 3, .. }
    ));
}

#[test]
fn a_shard_that_is_damaged_later_weighs_its_size() {
    let folder = shards(&[&tar(&samples(0..10)), &tar(&samples(10..20))]);
    let loader = CaptionLoader::new(
        counted(folder.path()).into(),
        in_order(5, SkipLimit::Unlimited),
    )
    .unwrap();
    fs::write(folder.path().join("0.tar"), PAGE).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    epoch.next().unwrap().unwrap();
    assert_eq!(lost(&epoch), 10);
    let detail = &epoch.skipped().examples[0].detail;
    assert!(
        detail.contains("expected a tar archive, got an HTML page"),
        "{detail}"
    );
}

#[test]
fn unread_fields_do_not_hide_damage() {
    let fields = SampleFields {
        images: vec!["webp".to_string()],
        ..SampleFields::default()
    };
    let folder = shards(&[PAGE]);
    let set = ShardSet::open(folder.path().to_str().unwrap(), fields).unwrap();
    assert!(set.shards()[0].damage.is_some());
}
