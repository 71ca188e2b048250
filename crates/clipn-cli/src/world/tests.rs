//! The demo world as its consumers read it: shards as tar archives, directories and definition as a
//! benchmark.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::builder::WorldFiles;
use super::{DemoError, World};
use clipn::dataset::{Benchmark, OodKind};
use clipn::image::{DecodeOptions, decode_bytes, decode_file};
use clipn::progress::{NoProgress, Progress};
use clipn::prompts::ClassNames;
use sha2::{Digest, Sha256};

fn small(seed: u64) -> World {
    World {
        seed,
        shard_size: 20,
        per_class: 3,
        per_far_set: 5,
        ..World::default()
    }
}

fn written(world: World, samples: usize) -> (tempfile::TempDir, WorldFiles) {
    let folder = tempfile::tempdir().unwrap();
    let files = world
        .write(&folder.path().join("world"), samples, &NoProgress)
        .unwrap();
    (folder, files)
}

/// Reads the files of a tar archive in POSIX's ustar format.
fn entries(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let mut offset = 0;
    let mut entries = Vec::new();
    while bytes[offset] != 0 {
        let header = &bytes[offset..offset + 512];
        let octal = |range: std::ops::Range<usize>| {
            let digits = std::str::from_utf8(&header[range]).unwrap();
            usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap()
        };
        let header_bytes = header.iter().enumerate();
        let checksum: usize = header_bytes
            .map(|(i, &b)| {
                if (148..156).contains(&i) {
                    32
                } else {
                    usize::from(b)
                }
            })
            .sum();
        assert_eq!(octal(148..156), checksum);
        assert_eq!(&header[257..265], b"ustar\x0000");
        let name = header[..100].split(|&byte| byte == 0).next().unwrap();
        let size = octal(124..136);
        offset += 512;
        entries.push((
            String::from_utf8(name.to_vec()).unwrap(),
            bytes[offset..offset + size].to_vec(),
        ));
        offset += size.next_multiple_of(512);
    }
    assert_eq!(bytes.len() - offset, 1024);
    entries
}

/// Returns the bytes of every file below a directory, by relative path.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn the_benchmark_has_all_images() {
    let (_folder, files) = written(small(1), 25);
    let benchmark = Benchmark::load(files.benchmark.to_str().unwrap()).unwrap();
    let opened = benchmark.open(&files.root).unwrap();
    let names = World::class_names();
    assert_eq!(names.len(), 10);
    assert_eq!(opened.id.len(), names.len() * 3);
    assert_eq!(opened.class_names(|_| None).unwrap(), names);
    assert_eq!(ClassNames::load(&files.class_names).unwrap().names(), names);
    let sets: Vec<(&str, Option<OodKind>, usize)> = opened
        .ood
        .iter()
        .map(|ood| (ood.set.name.as_str(), ood.kind, ood.set.len()))
        .collect();
    let far = |name| (name, Some(OodKind::Far), 5);
    let near = ("other-shapes", Some(OodKind::Near), 18);
    assert_eq!(
        sets,
        [
            near,
            far("textures"),
            far("noise"),
            far("scenes"),
            far("glyphs")
        ]
    );

    let all = opened
        .ood
        .iter()
        .map(|ood| &ood.set)
        .chain([&opened.id])
        .flat_map(|set| &set.samples);
    let mut unique = HashSet::new();
    for sample in all {
        let image = decode_file(&sample.path, &DecodeOptions::faithful()).unwrap();
        assert_eq!((image.width(), image.height()), (32, 32));
        assert!(
            unique.insert(image.into_pixels()),
            "duplicate image {}",
            sample.path.display()
        );
    }
}

#[test]
fn shards_contain_every_sample_with_caption_and_class() {
    let world = small(2);
    let (_folder, files) = written(world, 45);
    assert_eq!(files.shard_pattern, "train/{000000..000002}.tar");
    let sizes: BTreeMap<String, usize> =
        serde_json::from_slice(&std::fs::read(files.root.join("train/sizes.json")).unwrap())
            .unwrap();
    let expected = [("000000.tar", 20), ("000001.tar", 20), ("000002.tar", 5)];
    assert_eq!(
        sizes,
        expected.map(|(name, size)| (name.to_owned(), size)).into()
    );

    let all: Vec<(String, Vec<u8>)> = files
        .shards
        .iter()
        .flat_map(|shard| entries(shard))
        .collect();
    assert_eq!(all.len(), 3 * 45);
    for (index, sample) in all.chunks(3).enumerate() {
        let names: Vec<&str> = sample.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["png", "txt", "cls"].map(|kind| format!("{index:06}.{kind}"))
        );
        let expected = world.train_sample(index);
        let image = decode_bytes(&sample[0].1, &DecodeOptions::faithful()).unwrap();
        assert_eq!(image.pixels(), expected.pixels);
        assert_eq!(sample[1].1, expected.caption.as_bytes());
        assert_eq!(sample[2].1, expected.class.to_string().as_bytes());
    }
}

#[test]
fn worlds_are_equal_only_for_the_same_seed() {
    let trees: Vec<_> = [3, 3, 4].map(|seed| written(small(seed), 30)).into();
    let [first, again, other] = [0, 1, 2].map(|i: usize| tree(&trees[i].1.root));
    assert_eq!(first, again);
    let images = first.iter().filter(|(name, _)| name.ends_with("png"));
    assert!(images.clone().count() > 60);
    assert!(
        images
            .into_iter()
            .all(|(name, bytes)| other[name] != *bytes)
    );
}

#[test]
fn images_are_the_same_on_every_machine() {
    let world = World::default();
    let mut hash = Sha256::new();
    for index in 0..64 {
        let sample = world.train_sample(index);
        hash.update(&sample.pixels);
        hash.update(&sample.caption);
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hex,
        "33433adcf43e5c0e1e4193600980b7ce4a0e47eeaa54826d27d752c35a3af5ed"
    );
}

#[test]
fn captions_do_not_name_unseen_classes() {
    let (_folder, files) = written(small(5), 1);
    let near: Vec<String> = std::fs::read_dir(files.root.join("near"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(near.len(), 6);
    let mut words = BTreeSet::new();
    let mut classes = BTreeMap::new();
    for index in 0..3000 {
        let sample = small(5).train_sample(index);
        words.extend(
            sample
                .caption
                .trim_end_matches('.')
                .split(' ')
                .map(str::to_owned),
        );
        *classes.entry(sample.class).or_insert(0) += 1;
        if let Some(name) = World::class_names().get(sample.class) {
            assert!(
                sample.caption.contains(name),
                "caption {:?} does not name {name}",
                sample.caption
            );
        }
    }
    assert!(near.iter().all(|name| !words.contains(name)), "{words:?}");
    assert!(words.len() < 64, "{words:?}");
    // 16 shapes, then patterns and landscapes.
    assert_eq!(classes.len(), 18);
    assert!(
        classes
            .range(..16)
            .all(|(_, count)| (110..200).contains(count)),
        "{classes:?}"
    );
    assert!(
        classes
            .range(16..)
            .all(|(_, count)| (240..360).contains(count)),
        "{classes:?}"
    );
}

#[test]
fn images_can_have_other_sizes() {
    for size in [16, 48, 100] {
        let sample = World {
            size,
            ..World::default()
        }
        .train_sample(0);
        assert_eq!((sample.side, sample.pixels.len()), (size, size * size * 3));
    }
}

#[test]
fn non_empty_directories_are_not_modified() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.txt"), "mine").unwrap();
    let error = small(0).write(folder.path(), 5, &NoProgress).unwrap_err();
    assert!(matches!(error, DemoError::NotEmpty { .. }), "{error}");
    assert_eq!(tree(folder.path()).len(), 1);
    let error = small(0)
        .write(&folder.path().join("mine.txt"), 5, &NoProgress)
        .unwrap_err();
    assert!(matches!(error, DemoError::Write { .. }), "{error}");
}

#[test]
fn errors_name_settings_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::default();
    for (world, samples, named) in [
        (
            World { size: 8, ..world },
            5,
            "image size: expected 16 to 512, got 8",
        ),
        (
            World {
                size: 100_000,
                ..world
            },
            5,
            "image size",
        ),
        (
            World {
                shard_size: 0,
                ..world
            },
            5,
            "samples per shard: expected 1 to 1000000, got 0",
        ),
        (
            World {
                per_class: 0,
                ..world
            },
            5,
            "images per class",
        ),
        (
            World {
                per_far_set: usize::MAX,
                ..world
            },
            5,
            "images per far set",
        ),
        (world, 0, "training samples: expected 1 to 1000000, got 0"),
    ] {
        let error = world
            .write(folder.path(), samples, &NoProgress)
            .unwrap_err()
            .to_string();
        assert!(error.contains(named), "{error}");
    }
    assert!(tree(folder.path()).is_empty());
}

/// Progress that counts units and cancels at a limit.
struct CancelAfter {
    limit: u64,
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress for CancelAfter {
    fn begin(&self, _: &str, total: u64) {
        self.total.store(total, Ordering::SeqCst);
    }

    fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.done.load(Ordering::SeqCst) >= self.limit
    }
}

#[test]
fn progress_is_reported_and_can_cancel() {
    let folder = tempfile::tempdir().unwrap();
    for (limit, finished) in [(u64::MAX, true), (10, false), (50, false)] {
        let progress = CancelAfter {
            limit,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        };
        let result = small(0).write(&folder.path().join(limit.to_string()), 40, &progress);
        assert_eq!(result.is_ok(), finished);
        if finished {
            assert_eq!(progress.done.into_inner(), progress.total.into_inner());
        } else {
            assert!(matches!(result, Err(DemoError::Cancelled { .. })));
        }
    }
}
