//! Processes that score the images of an evaluation together.

use std::error::Error;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::error::EvaluationError;
use crate::evaluation::ImageScores;

/// The processes that share an evaluation: each scores a part of every set's images, and all get the
/// scores of all. Results are then the same to the bit as those of a single process.
pub trait EvaluationPeers: Debug + Send + Sync {
    /// Returns the index of this process, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of processes.
    fn world_size(&self) -> usize;

    /// Returns the bytes of every process, by index. Every process calls it once per set.
    ///
    /// # Errors
    /// Any error; it ends the evaluation.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>>;
}

/// Outcome of an image for each classifier, or its error.
pub(crate) type ImageOutcome = Result<Vec<ImageScores>, String>;

/// Scores with the bits of their values: JSON knows no NaN and no infinity.
#[derive(Serialize, Deserialize)]
struct ScoreBits {
    prediction: usize,
    scores: Vec<u64>,
    confidence: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    feature: Vec<u32>,
}

/// What a process sends after its part of a set.
#[derive(Serialize, Deserialize)]
enum PartOfSet {
    Scored(Vec<Result<Vec<ScoreBits>, String>>),
    Failed(String),
}

/// Whether the image of this index is scored by a process.
pub(crate) fn is_own(peers: Option<&dyn EvaluationPeers>, index: usize) -> bool {
    peers.is_none_or(|peers| index % peers.world_size().max(1) == peers.rank())
}

/// Exchanges the outcomes of this process's images for those of all images, in the order of the set.
/// An error of one process is one of all.
pub(crate) fn exchange(
    peers: &dyn EvaluationPeers,
    own: Result<Vec<ImageOutcome>, EvaluationError>,
) -> Result<Vec<ImageOutcome>, EvaluationError> {
    let failed = |source| EvaluationError::Peers { source };
    let (part, error) = match own {
        Ok(outcomes) => (
            PartOfSet::Scored(outcomes.into_iter().map(encode).collect()),
            None,
        ),
        Err(error) => (PartOfSet::Failed(error.to_string()), Some(error)),
    };
    let bytes = serde_json::to_vec(&part).map_err(|e| failed(e.into()))?;
    let gathered = peers.all_gather(&bytes).map_err(failed)?;
    if let Some(error) = error {
        return Err(error);
    }
    let mut parts = Vec::with_capacity(gathered.len());
    for (rank, bytes) in gathered.iter().enumerate() {
        match serde_json::from_slice(bytes).map_err(|e| failed(e.into()))? {
            PartOfSet::Scored(outcomes) => parts.push(outcomes.into_iter()),
            PartOfSet::Failed(problem) => {
                return Err(EvaluationError::PeerFailed { rank, problem });
            }
        }
    }
    // Image `i` is that of process `i` modulo their number.
    let mut outcomes = Vec::new();
    for rank in (0..parts.len()).cycle() {
        match parts[rank].next() {
            Some(outcome) => {
                outcomes.push(outcome.map(|scores| scores.into_iter().map(decode).collect()));
            }
            None => break,
        }
    }
    Ok(outcomes)
}

fn encode(outcome: ImageOutcome) -> Result<Vec<ScoreBits>, String> {
    let bits = |image: ImageScores| ScoreBits {
        prediction: image.prediction,
        scores: image.scores.iter().map(|score| score.to_bits()).collect(),
        confidence: image.confidence.to_bits(),
        feature: image.feature.iter().map(|value| value.to_bits()).collect(),
    };
    outcome.map(|images| images.into_iter().map(bits).collect())
}

fn decode(bits: ScoreBits) -> ImageScores {
    ImageScores {
        prediction: bits.prediction,
        scores: bits.scores.into_iter().map(f64::from_bits).collect(),
        confidence: f64::from_bits(bits.confidence),
        feature: bits.feature.into_iter().map(f32::from_bits).collect(),
    }
}
