use std::collections::VecDeque;

use clipn_base::random::RandomSource;

use crate::training::loading::settings::ShuffleBuffer;
use crate::training::random::KeyedRandom;
use crate::training::sample::{DrawnItem, RawSample};

/// Iterator with a shuffle buffer. For each sample that enters the full buffer, a random one leaves
/// it. Skipped samples pass at once, and the end of a pass empties the buffer.
pub(super) struct ShuffleIterator<I> {
    items: I,
    random: KeyedRandom,
    limit: ShuffleBuffer,
    #[allow(clippy::vec_box)] // Samples arrive and leave boxed.
    buffer: Vec<Box<RawSample>>,
    bytes: u64,
    /// Elements to yield first: samples pushed out by a large one.
    ready: VecDeque<DrawnItem>,
    draining: bool,
}

impl<I: Iterator<Item = DrawnItem>> ShuffleIterator<I> {
    pub(super) fn new(items: I, random: KeyedRandom, limit: ShuffleBuffer) -> Self {
        let (buffer, ready) = (Vec::new(), VecDeque::new());
        Self {
            items,
            random,
            limit,
            buffer,
            bytes: 0,
            ready,
            draining: false,
        }
    }

    fn take_random(&mut self) -> Option<DrawnItem> {
        if self.buffer.is_empty() {
            return None;
        }
        let index = self.random.below(self.buffer.len() as u64) as usize;
        let sample = self.buffer.swap_remove(index);
        self.bytes -= sample.bytes();
        Some(DrawnItem::Sample(sample))
    }
}

impl<I: Iterator<Item = DrawnItem>> Iterator for ShuffleIterator<I> {
    type Item = DrawnItem;

    fn next(&mut self) -> Option<DrawnItem> {
        loop {
            if self.draining {
                if let Some(sample) = self.take_random() {
                    return Some(sample);
                }
                self.draining = false;
                return Some(DrawnItem::PassEnd);
            }
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            match self.items.next()? {
                DrawnItem::Sample(sample) => {
                    self.bytes += sample.bytes();
                    self.buffer.push(sample);
                    while self.buffer.len() > self.limit.samples || self.bytes > self.limit.bytes {
                        let Some(sample) = self.take_random() else {
                            break;
                        };
                        self.ready.push_back(sample);
                    }
                }
                DrawnItem::PassEnd => self.draining = true,
                other @ (DrawnItem::Skip(_) | DrawnItem::Elsewhere) => return Some(other),
            }
        }
    }
}
