//! Batches that several processes share: the same as those of one, with broken samples too.

use std::error::Error;
use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::loader_helpers::{batches, folder, loader, settings};
use clipn_data::{
    BatchPeers, CaptionLoader, EpochPosition, LoaderSettings, Sampling, SkipLimit, TrainBatch,
    TrainingDataError,
};
use clipn_testing::shards::{samples, tar};
use tempfile::TempDir;

/// Threads as processes.
#[derive(Debug)]
struct ThreadPeers {
    rank: usize,
    world_size: usize,
    shared: Arc<(Mutex<Round>, Condvar)>,
}

#[derive(Debug, Default)]
struct Round {
    number: u64,
    waiting: Vec<(usize, Vec<u8>)>,
    completed: Vec<Vec<u8>>,
}

impl BatchPeers for ThreadPeers {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        let (round, changed) = &*self.shared;
        let mut round = round.lock().unwrap();
        let number = round.number;
        round.waiting.push((self.rank, bytes.to_vec()));
        if round.waiting.len() == self.world_size {
            let mut all = std::mem::take(&mut round.waiting);
            all.sort_unstable();
            round.completed = all.into_iter().map(|(_, bytes)| bytes).collect();
            round.number += 1;
            changed.notify_all();
        }
        while round.number == number {
            round = changed.wait(round).unwrap();
        }
        Ok(round.completed.clone())
    }
}

/// Runs `work` with the loader of each process.
fn on_processes<R: Send>(
    world_size: usize,
    folder: &TempDir,
    settings: &LoaderSettings,
    work: impl Fn(CaptionLoader) -> R + Sync,
) -> Vec<R> {
    let shared = Arc::new((Mutex::default(), Condvar::new()));
    thread::scope(|scope| {
        let (work, shared) = (&work, &shared);
        let threads: Vec<_> = (0..world_size)
            .map(|rank| {
                let peers = ThreadPeers {
                    rank,
                    world_size,
                    shared: Arc::clone(shared),
                };
                let loader = loader(folder.path(), settings.clone());
                let loader = loader.with_peers(Arc::new(peers)).unwrap();
                scope.spawn(move || work(loader))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Shards with samples that are broken in several ways.
fn broken_folder() -> TempDir {
    let folder = folder(&[13, 20, 9]);
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
    folder
}

/// The batch of all processes, put together from their parts.
fn joined(parts: &[TrainBatch]) -> TrainBatch {
    let mut samples: Vec<(usize, String, String, &[f32])> = Vec::new();
    for part in parts {
        assert_eq!(part.positions.len(), part.keys.len());
        let values = part.pixels.len() / part.keys.len().max(1);
        let pixels = part.pixels.chunks_exact(values.max(1));
        let texts = part.captions.iter().cloned().zip(part.keys.iter().cloned());
        for ((&position, (caption, key)), pixels) in part.positions.iter().zip(texts).zip(pixels) {
            samples.push((position, caption, key, pixels));
        }
    }
    samples.sort_by_key(|sample| sample.0);
    TrainBatch {
        pixels: samples
            .iter()
            .flat_map(|sample| sample.3)
            .copied()
            .collect(),
        decoded: (0..samples.len()).collect(),
        captions: samples.iter().map(|sample| sample.1.clone()).collect(),
        keys: samples.iter().map(|sample| sample.2.clone()).collect(),
        positions: samples.iter().map(|sample| sample.0).collect(),
        total: parts[0].total,
        ..TrainBatch::default()
    }
}

#[test]
fn shared_batches_are_those_of_one_process() {
    let folder = broken_folder();
    for sampling in [
        Sampling::Shuffled,
        Sampling::WithReplacement,
        Sampling::InOrder,
    ] {
        for (workers, world_size) in [(0, 2), (2, 2), (1, 3), (0, 6)] {
            let settings = LoaderSettings {
                workers,
                sampling,
                ..settings(6)
            };
            let alone = loader(folder.path(), settings.clone());
            let whole = batches(&alone, 5);
            let mut epoch = alone.epoch(5).unwrap();
            let mut positions = vec![epoch.position().clone()];
            while epoch.next().transpose().unwrap().is_some() {
                positions.push(epoch.position().clone());
            }
            let shared = on_processes(world_size, &folder, &settings, |loader| {
                let mut epoch = loader.epoch(5).unwrap();
                let mut found = Vec::new();
                let mut positions = vec![epoch.shared_position().unwrap()];
                while let Some(batch) = epoch.next() {
                    found.push(batch.unwrap());
                    positions.push(epoch.shared_position().unwrap());
                }
                (found, positions)
            });
            for (at, expected) in whole.iter().enumerate() {
                let parts: Vec<TrainBatch> = shared.iter().map(|p| p.0[at].clone()).collect();
                assert!(
                    joined(&parts) == *expected,
                    "{sampling:?}, {world_size}, batch {at}"
                );
            }
            for (_, found) in &shared {
                assert_eq!(
                    found
                        .iter()
                        .map(|p| (p.batches, p.drawn))
                        .collect::<Vec<_>>(),
                    positions
                        .iter()
                        .map(|p| (p.batches, p.drawn))
                        .collect::<Vec<_>>()
                );
                let counts = |p: &EpochPosition| (p.skipped.counts.clone(), p.fingerprint.clone());
                assert_eq!(
                    found.iter().map(counts).collect::<Vec<_>>(),
                    positions.iter().map(counts).collect::<Vec<_>>()
                );
            }
        }
    }
}

#[test]
fn an_epoch_resumes_on_another_number_of_processes() {
    let folder = broken_folder();
    let settings = settings(6);
    let whole = batches(&loader(folder.path(), settings.clone()), 2);
    let halfway = |world_size| {
        let positions = on_processes(world_size, &folder, &settings, |loader| {
            let mut epoch = loader.epoch(2).unwrap();
            for _ in 0..whole.len() / 2 {
                epoch.next().unwrap().unwrap();
            }
            epoch.shared_position().unwrap()
        });
        assert!(positions.iter().all(|position| *position == positions[0]));
        positions[0].clone()
    };
    for (from, to) in [(4, 2), (3, 1), (1, 3)] {
        let position = halfway(from);
        let rest = on_processes(to, &folder, &settings, |loader| {
            let mut epoch = loader.resume(position.clone()).unwrap();
            let rest: Vec<TrainBatch> = epoch.by_ref().collect::<Result<_, _>>().unwrap();
            (rest, epoch.shared_position().unwrap())
        });
        for (at, expected) in whole[whole.len() / 2..].iter().enumerate() {
            let parts: Vec<TrainBatch> = rest.iter().map(|p| p.0[at].clone()).collect();
            assert!(joined(&parts) == *expected, "{from} to {to}, batch {at}");
        }
        let end = on_processes(from, &folder, &settings, |loader| {
            let mut epoch = loader.epoch(2).unwrap();
            epoch.by_ref().for_each(drop);
            epoch.shared_position().unwrap().skipped.counts
        });
        assert_eq!(rest[0].1.skipped.counts, end[0]);
    }
}

#[test]
fn limits_on_broken_samples_hold_for_all_processes_together() {
    let folder = broken_folder();
    let strict = LoaderSettings {
        max_skipped: SkipLimit::Count(5),
        ..settings(6)
    };
    let errors = on_processes(3, &folder, &strict, |loader| {
        let mut epoch = loader.epoch(0).unwrap();
        epoch.find_map(Result::err).unwrap()
    });
    for error in &errors {
        let TrainingDataError::TooManySkipped { limit, skipped } = error else {
            panic!("{error}");
        };
        assert!(*limit == 5 && skipped.total() > 5);
        assert_eq!(error.to_string(), errors[0].to_string());
    }
    let few = loader(folder.path(), settings(2));
    let peers = ThreadPeers {
        rank: 0,
        world_size: 3,
        shared: Arc::default(),
    };
    let error = few.with_peers(Arc::new(peers)).unwrap_err().to_string();
    assert_eq!(
        error,
        "batch_size: expected at least 3, the number of processes, got 2"
    );
}

#[test]
fn data_without_a_usable_sample_ends_on_all_processes() {
    let folder = folder(&[]);
    let mut broken = samples(0..8);
    for (_, bytes) in &mut broken {
        *bytes = b"not an image".to_vec();
    }
    fs::write(folder.path().join("s-0.tar"), tar(&broken)).unwrap();
    fs::write(folder.path().join("sizes.json"), br#"{"s-0.tar": 8}"#).unwrap();
    let errors = on_processes(2, &folder, &settings(4), |loader| {
        let mut epoch = loader.epoch(0).unwrap();
        epoch.next().unwrap().unwrap_err().to_string()
    });
    assert_eq!(errors[0], errors[1]);
    assert!(errors[0].starts_with("no usable sample"), "{}", errors[0]);
}
