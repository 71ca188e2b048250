//! Reading and decoding ahead in threads, with the order of the data kept: an ordered parallel map from
//! what is drawn to what is prepared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clipn_base::ordered::{ChunkLimits, OrderedMap};

use crate::training::error::TrainingDataError;
use crate::training::loading::prepare::{Prepared, SamplePreparer};
use crate::training::sample::DrawnItem;
use crate::training::skipped::SkippedSample;

/// Outputs of the pipeline, in order.
pub(super) enum PipelineOutput {
    Sample(Box<Prepared>),
    Skip(Box<SkippedSample>),
    Elsewhere,
    PassEnd,
}

impl PipelineOutput {
    fn new(drawn: DrawnItem, preparer: &SamplePreparer) -> Self {
        match drawn {
            DrawnItem::Sample(sample) => match preparer.prepare(*sample) {
                Ok(prepared) => Self::Sample(Box::new(prepared)),
                Err(skipped) => Self::Skip(skipped),
            },
            DrawnItem::Skip(skipped) => Self::Skip(skipped),
            DrawnItem::Elsewhere => Self::Elsewhere,
            DrawnItem::PassEnd => Self::PassEnd,
        }
    }
}

pub(super) type ItemStream = Box<dyn Iterator<Item = DrawnItem> + Send>;

/// Source of prepared samples.
pub(super) enum Pipeline {
    /// Each sample is prepared when it is requested.
    Inline {
        draws: ItemStream,
        preparer: SamplePreparer,
    },
    /// Threads work ahead.
    Ahead {
        outputs: OrderedMap<Option<PipelineOutput>>,
        stop: Arc<AtomicBool>,
    },
}

impl Pipeline {
    /// Starts with the draw of index `skip`; those before are drawn and dropped. Up to `prefetch` samples
    /// are prepared before they are requested.
    pub(super) fn start(
        mut draws: ItemStream,
        skip: u64,
        preparer: SamplePreparer,
        workers: usize,
        prefetch: usize,
    ) -> Result<Self, TrainingDataError> {
        if workers == 0 {
            for _ in 0..skip {
                draws.next();
            }
            return Ok(Self::Inline { draws, preparer });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut left = skip;
        let from_start = std::iter::from_fn(move || {
            while left > 0 {
                // No result is handed on while skipping, so only this flag ends the thread early.
                if stopped.load(Ordering::Relaxed) {
                    return None;
                }
                draws.next();
                left -= 1;
            }
            draws.next()
        });
        let limits = ChunkLimits::new(1).with_window(prefetch);
        let prepare = move |(): &mut (), drawn: Vec<DrawnItem>| {
            drawn
                .into_iter()
                .next()
                .map(|drawn| PipelineOutput::new(drawn, &preparer))
        };
        let outputs = OrderedMap::new(from_start, limits, vec![(); workers], prepare)
            .map_err(|source| TrainingDataError::Thread { source })?;
        Ok(Self::Ahead { outputs, stop })
    }

    pub(super) fn next(&mut self) -> Result<PipelineOutput, TrainingDataError> {
        let output = match self {
            Self::Inline { draws, preparer } => draws
                .next()
                .map(|drawn| PipelineOutput::new(drawn, preparer)),
            Self::Ahead { outputs, .. } => outputs.try_next().ok().flatten().flatten(),
        };
        output.ok_or(TrainingDataError::ThreadStopped)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Self::Ahead { stop, .. } = self {
            stop.store(true, Ordering::Relaxed);
        }
    }
}
