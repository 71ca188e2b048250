use std::collections::VecDeque;

use super::items::{Drawn, RawSample};
use super::settings::ShuffleBuffer;
use clipn_base::random::RandomSource;
use crate::random::KeyedRandom;

/// Mixes samples: keeps so many waiting and hands out one of them at random for each that comes. What is skipped goes
/// through at once; at the end of a pass everything that waits is handed out.
pub(super) struct Shuffled<I> {
    items: I,
    random: KeyedRandom,
    limit: ShuffleBuffer,
    #[allow(clippy::vec_box)] // Samples come and go boxed.
    waiting: Vec<Box<RawSample>>,
    bytes: u64,
    /// To be handed out first: what ends a pass, or samples pushed out by a large one.
    ready: VecDeque<Drawn>,
    draining: bool,
}

impl<I: Iterator<Item = Drawn>> Shuffled<I> {
    pub(super) fn new(items: I, random: KeyedRandom, limit: ShuffleBuffer) -> Self {
        let (waiting, ready) = (Vec::new(), VecDeque::new());
        Self {
            items,
            random,
            limit,
            waiting,
            bytes: 0,
            ready,
            draining: false,
        }
    }

    fn pick(&mut self) -> Option<Drawn> {
        if self.waiting.is_empty() {
            return None;
        }
        let index = self.random.below(self.waiting.len() as u64) as usize;
        let sample = self.waiting.swap_remove(index);
        self.bytes -= sample.bytes();
        Some(Drawn::Sample(sample))
    }
}

impl<I: Iterator<Item = Drawn>> Iterator for Shuffled<I> {
    type Item = Drawn;

    fn next(&mut self) -> Option<Drawn> {
        loop {
            if self.draining {
                if let Some(sample) = self.pick() {
                    return Some(sample);
                }
                self.draining = false;
                return Some(Drawn::PassEnd);
            }
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            match self.items.next()? {
                Drawn::Sample(sample) => {
                    self.bytes += sample.bytes();
                    self.waiting.push(sample);
                    while self.waiting.len() > self.limit.samples || self.bytes > self.limit.bytes {
                        let Some(sample) = self.pick() else { break };
                        self.ready.push_back(sample);
                    }
                }
                Drawn::PassEnd => self.draining = true,
                skip @ Drawn::Skip(_) => return Some(skip),
            }
        }
    }
}
