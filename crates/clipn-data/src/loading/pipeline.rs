//! Reading and decoding ahead in threads, with the order of the data kept: an ordered parallel map from
//! what is drawn to what is prepared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clipn_base::ordered::{Chunk, OrderedMap};

use super::error::TrainingDataError;
use super::items::Drawn;
use super::prepare::{Preparation, Prepared};
use super::skipped::SkippedSample;

/// What comes out, in order.
pub(super) enum Output {
    Sample(Box<Prepared>),
    Skip(Box<SkippedSample>),
    PassEnd,
}

impl Output {
    fn new(drawn: Drawn, preparation: &Preparation) -> Self {
        match drawn {
            Drawn::Sample(sample) => match preparation.run(*sample) {
                Ok(prepared) => Self::Sample(Box::new(prepared)),
                Err(skipped) => Self::Skip(skipped),
            },
            Drawn::Skip(skipped) => Self::Skip(skipped),
            Drawn::PassEnd => Self::PassEnd,
        }
    }
}

type Draws = Box<dyn Iterator<Item = Drawn> + Send>;

/// Where prepared samples come from.
pub(super) enum Pipeline {
    /// Each sample is prepared when it is requested.
    Inline {
        draws: Draws,
        preparation: Preparation,
    },
    /// Threads work ahead.
    Ahead {
        outputs: OrderedMap<Option<Output>>,
        stop: Arc<AtomicBool>,
    },
}

impl Pipeline {
    /// Starts with the draw of index `skip`; those before are drawn and dropped. Up to `ahead` samples
    /// are prepared before they are requested.
    pub(super) fn start(
        mut draws: Draws,
        skip: u64,
        preparation: Preparation,
        workers: usize,
        ahead: usize,
    ) -> Result<Self, TrainingDataError> {
        if workers == 0 {
            for _ in 0..skip {
                draws.next();
            }
            return Ok(Self::Inline { draws, preparation });
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
        let chunk = Chunk {
            window: Some(ahead),
            ..Chunk::of(1)
        };
        let prepare = move |(): &mut (), drawn: Vec<Drawn>| {
            drawn
                .into_iter()
                .next()
                .map(|drawn| Output::new(drawn, &preparation))
        };
        let outputs = OrderedMap::new(from_start, chunk, vec![(); workers], prepare)
            .map_err(|source| TrainingDataError::Thread { source })?;
        Ok(Self::Ahead { outputs, stop })
    }

    pub(super) fn next(&mut self) -> Result<Output, TrainingDataError> {
        let output = match self {
            Self::Inline { draws, preparation } => {
                draws.next().map(|drawn| Output::new(drawn, preparation))
            }
            Self::Ahead { outputs, .. } => outputs.try_next().ok().flatten().flatten(),
        };
        output.ok_or(TrainingDataError::Stopped)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Self::Ahead { stop, .. } = self {
            stop.store(true, Ordering::Relaxed);
        }
    }
}
