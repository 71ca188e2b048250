//! Processes that split every batch of one order of samples.

use std::error::Error;
use std::fmt::Debug;

use crate::training::error::TrainingDataError;
use crate::training::sample::DrawnItem;
use crate::training::skipped::SkippedSamples;

/// The processes that share the batches of a [`CaptionLoader`](crate::CaptionLoader), with the exchange
/// by which they agree on the samples of each batch.
///
/// Every process walks the same order of samples and prepares only its own, so that the batches are
/// those of a single process, whatever the number of processes. Whether an image is broken is known
/// only to the process that decodes it.
pub trait BatchPeers: Debug + Send + Sync {
    /// Returns the index of this process, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of processes.
    fn world_size(&self) -> usize;

    /// Returns the bytes of every process, by index. Every process calls it for every batch.
    ///
    /// # Errors
    /// Any error; it ends the epoch.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>>;
}

/// Assignment of draws to processes: of each `batch_size` draws, a process takes consecutive ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DrawOwnership {
    pub(super) rank: usize,
    pub(super) world_size: usize,
    pub(super) batch_size: usize,
}

impl DrawOwnership {
    /// Returns whether this process prepares the draw of index `draw` in the epoch.
    fn contains(self, draw: u64) -> bool {
        let index = u128::from(draw % self.batch_size.max(1) as u64);
        let bound =
            |rank: usize| self.batch_size as u128 * rank as u128 / self.world_size.max(1) as u128;
        (bound(self.rank)..bound(self.rank + 1)).contains(&index)
    }

    /// Replaces the draws of other processes by [`DrawnItem::Elsewhere`]. Ends of passes stay: they
    /// are the same for all.
    pub(super) fn select(
        self,
        draws: impl Iterator<Item = DrawnItem> + Send,
    ) -> impl Iterator<Item = DrawnItem> + Send {
        (0..).zip(draws).map(move |(draw, item)| match item {
            DrawnItem::PassEnd => DrawnItem::PassEnd,
            item if self.contains(draw) => item,
            _ => DrawnItem::Elsewhere,
        })
    }
}

/// What one process found among consecutive draws: the offsets of its usable samples, and the number
/// of samples that it has skipped in the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DrawOutcomes {
    pub(super) usable: Vec<u32>,
    pub(super) skipped: u64,
}

impl DrawOutcomes {
    fn to_bytes(&self) -> Vec<u8> {
        let usable = self.usable.iter().flat_map(|offset| offset.to_le_bytes());
        self.skipped
            .to_le_bytes()
            .into_iter()
            .chain(usable)
            .collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (skipped, usable) = bytes.split_first_chunk()?;
        let (usable, _) = usable.as_chunks();
        Some(Self {
            skipped: u64::from_le_bytes(*skipped),
            usable: usable
                .iter()
                .map(|&bytes| u32::from_le_bytes(bytes))
                .collect(),
        })
    }

    /// Returns the outcomes of every process, by index.
    pub(super) fn gather(&self, peers: &dyn BatchPeers) -> Result<Vec<Self>, TrainingDataError> {
        let error = |source| TrainingDataError::Peers { source };
        let gathered = peers.all_gather(&self.to_bytes()).map_err(error)?;
        let outcomes: Option<Vec<Self>> = gathered
            .iter()
            .map(|bytes| Self::from_bytes(bytes))
            .collect();
        outcomes.ok_or_else(|| error("invalid outcomes of another process".into()))
    }
}

/// Returns the skipped samples of all processes together. Every process has to call it.
pub(super) fn gather_skipped(
    own: &SkippedSamples,
    peers: &dyn BatchPeers,
) -> Result<SkippedSamples, TrainingDataError> {
    let error = |source| TrainingDataError::Peers { source };
    let json = serde_json::to_vec(own).map_err(|e| error(e.into()))?;
    let mut all = SkippedSamples::default();
    for bytes in peers.all_gather(&json).map_err(error)? {
        let skipped: SkippedSamples =
            serde_json::from_slice(&bytes).map_err(|e| error(e.into()))?;
        all.merge(skipped);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_has_one_owner_and_batches_are_split_evenly() {
        for batch_size in [1, 4, 7, 64] {
            for world_size in 1..=batch_size.min(5) {
                let owner = |rank| DrawOwnership {
                    rank,
                    world_size,
                    batch_size,
                };
                for draw in 0..3 * batch_size as u64 {
                    let owners = (0..world_size).filter(|&rank| owner(rank).contains(draw));
                    assert_eq!(owners.count(), 1, "{draw} of {batch_size} on {world_size}");
                }
                for rank in 0..world_size {
                    let own = (0..batch_size as u64).filter(|&draw| owner(rank).contains(draw));
                    assert!(own.count().abs_diff(batch_size / world_size) <= 1);
                }
            }
        }
    }

    #[test]
    fn outcomes_survive_encoding() {
        let outcomes = DrawOutcomes {
            usable: vec![0, 7, u32::MAX],
            skipped: 1 << 40,
        };
        assert_eq!(
            DrawOutcomes::from_bytes(&outcomes.to_bytes()),
            Some(outcomes)
        );
        assert_eq!(DrawOutcomes::from_bytes(&[1, 2]), None);
    }
}
