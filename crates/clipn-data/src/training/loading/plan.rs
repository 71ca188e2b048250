//! Partition of the data over processes, and its order. Only sizes and the seed are used; no file
//! is opened.
use clipn_base::random::RandomSource;

use crate::training::loading::settings::{LoaderSettings, Sampling};
use crate::training::random::{KeyedRandom, Purpose};
use crate::training::sample::Segment;

/// Segments that a process reads, pass by pass; `None` marks the end of a pass.
#[derive(Debug)]
pub(super) struct ShardPlan {
    schedule: Schedule<Segment>,
}

/// Rows that a process reads, with the index of the pass; `None` marks the end of a pass.
#[derive(Debug)]
pub(super) struct RowPlan {
    schedule: Schedule<u64>,
}

/// A list that is repeated in passes, or drawn from with replacement.
#[derive(Debug)]
struct Schedule<T> {
    list: Vec<T>,
    next: usize,
    pass: u64,
    draw: Option<KeyedRandom>,
}

impl<T: Copy> Schedule<T> {
    /// Returns whether the current pass repeats an earlier one. Draws with replacement have no
    /// passes.
    fn is_repeated(&self) -> bool {
        self.draw.is_none() && self.pass > 0
    }

    fn next(&mut self) -> Option<(T, u64)> {
        if self.next >= self.list.len() {
            self.next = 0;
            self.pass += 1;
            return None;
        }
        let turn = self.next as u64;
        self.next += 1;
        Some(match &mut self.draw {
            // Each draw gets its own visit number, so a repeated sample is augmented differently.
            Some(random) => {
                let drawn = random.below(self.list.len() as u64) as usize;
                (self.list[drawn], self.pass * self.list.len() as u64 + turn)
            }
            None => (self.list[turn as usize], self.pass),
        })
    }
}

impl ShardPlan {
    /// Creates the plan of a process; `samples` are the sizes of the shards, as far as known.
    pub(super) fn new(samples: &[Option<u64>], settings: &LoaderSettings, epoch: u64) -> Self {
        let whole = |shard| Segment {
            shard,
            start: 0,
            end: None,
            visit: 0,
            is_repeated: false,
        };
        let mut order: Vec<usize> = (0..samples.len()).collect();
        if settings.sampling == Sampling::WithReplacement {
            let list = order.into_iter().map(whole).collect();
            return Self {
                schedule: Schedule {
                    list,
                    next: 0,
                    pass: 0,
                    draw: Some(draws(settings, epoch)),
                },
            };
        }
        if settings.sampling == Sampling::Shuffled {
            KeyedRandom::keyed(Purpose::Order, &[settings.seed, epoch]).shuffle(&mut order);
        }
        let sizes: Option<Vec<u64>> = order.iter().map(|&shard| samples[shard]).collect();
        let (rank, world) = (settings.rank, settings.world_size);
        let list = match sizes {
            Some(sizes) => {
                let parts = split(&sizes, rank, world);
                parts
                    .into_iter()
                    .map(|part| Segment {
                        shard: order[part.shard],
                        ..part
                    })
                    .collect()
            }
            None => {
                let bounds = partition_range(order.len() as u64, rank, world);
                order[bounds.0 as usize..bounds.1 as usize]
                    .iter()
                    .map(|&shard| whole(shard))
                    .collect()
            }
        };
        Self {
            schedule: Schedule {
                list,
                next: 0,
                pass: 0,
                draw: None,
            },
        }
    }

    pub(super) fn next(&mut self) -> Option<Segment> {
        let is_repeated = self.schedule.is_repeated();
        self.schedule.next().map(|(segment, visit)| Segment {
            visit,
            is_repeated,
            ..segment
        })
    }
}

impl RowPlan {
    pub(super) fn new(rows: u64, settings: &LoaderSettings, epoch: u64) -> Self {
        let mut list: Vec<u64> = (0..rows).collect();
        let schedule = match settings.sampling {
            Sampling::WithReplacement => Schedule {
                list,
                next: 0,
                pass: 0,
                draw: Some(draws(settings, epoch)),
            },
            sampling => {
                if sampling == Sampling::Shuffled {
                    KeyedRandom::keyed(Purpose::Order, &[settings.seed, epoch]).shuffle(&mut list);
                }
                let (first, end) = partition_range(rows, settings.rank, settings.world_size);
                let list = list[first as usize..end as usize].to_vec();
                Schedule {
                    list,
                    next: 0,
                    pass: 0,
                    draw: None,
                }
            }
        };
        Self { schedule }
    }

    /// Returns whether the current pass repeats an earlier one.
    pub(super) fn is_repeated(&self) -> bool {
        self.schedule.is_repeated()
    }

    pub(super) fn next(&mut self) -> Option<(u64, u64)> {
        self.schedule.next()
    }
}

fn draws(settings: &LoaderSettings, epoch: u64) -> KeyedRandom {
    KeyedRandom::keyed(Purpose::Draw, &[settings.seed, epoch, settings.rank as u64])
}

/// Returns the range of `total` samples for a process. The ranges of all processes are disjoint,
/// cover everything, and differ in length by at most one.
pub(super) fn partition_range(total: u64, rank: usize, world: usize) -> (u64, u64) {
    let bound = |rank: usize| (u128::from(total) * rank as u128 / world.max(1) as u128) as u64;
    (bound(rank), bound(rank + 1))
}

/// Splits the concatenation of shards of these sizes evenly and returns the segments of a process.
/// The last segment of each shard is open-ended: if a shard has more samples than its size says,
/// exactly one process reads the rest.
fn split(sizes: &[u64], rank: usize, world: usize) -> Vec<Segment> {
    let total = sizes.iter().sum();
    let (first, last) = partition_range(total, rank, world);
    let mut segments = Vec::new();
    let mut begin = 0;
    for (shard, &size) in sizes.iter().enumerate() {
        let end = begin + size;
        let (from, to) = (first.max(begin), last.min(end));
        // A shard of size 0 lies on a boundary; the first process that reaches it reads it.
        let empty_here = size == 0
            && begin <= last
            && (rank == 0 || partition_range(total, rank - 1, world).1 < begin);
        if from < to || empty_here {
            let open = to == end || size == 0;
            let start = if size == 0 { 0 } else { from - begin };
            let segment = Segment {
                shard,
                start,
                end: (!open).then(|| to - begin),
                visit: 0,
                is_repeated: false,
            };
            segments.push(segment);
        }
        begin = end;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn partitions_cover_every_sample_once(
            sizes in prop::collection::vec(0u64..50, 1..12),
            world in 1usize..9,
        ) {
            let mut seen = vec![Vec::new(); sizes.len()];
            let mut open = vec![0; sizes.len()];
            let total: u64 = sizes.iter().sum();
            for rank in 0..world {
                let mut count = 0;
                for segment in split(&sizes, rank, world) {
                    let end = segment.end.unwrap_or(sizes[segment.shard]);
                    open[segment.shard] += usize::from(segment.end.is_none());
                    seen[segment.shard].extend(segment.start..end);
                    count += end - segment.start;
                }
                prop_assert!(count.abs_diff(total / world as u64) <= 1);
            }
            for (shard, mut seen) in seen.into_iter().enumerate() {
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..sizes[shard]).collect::<Vec<_>>());
            }
            prop_assert!(open.iter().all(|&owners| owners == 1), "{:?}", open);
        }
    }

    #[test]
    fn every_draw_with_replacement_has_its_own_visit_number() {
        let mut schedule = Schedule {
            list: vec![10, 20, 30],
            next: 0,
            pass: 0,
            draw: Some(KeyedRandom::keyed(Purpose::Draw, &[1])),
        };
        let visits: Vec<Option<u64>> = (0..8)
            .map(|_| schedule.next().map(|(_, visit)| visit))
            .collect();
        assert_eq!(
            visits,
            [
                Some(0),
                Some(1),
                Some(2),
                None,
                Some(3),
                Some(4),
                Some(5),
                None
            ]
        );
    }
}
