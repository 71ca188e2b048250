//! What the ranks of a run agree on: the same program and settings at its start, the same weights at
//! every checkpoint, the samples of every batch.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use clipn_base::simd::SimdLevel;
use clipn_data::BatchPeers;
use serde::{Deserialize, Serialize};

use crate::communicator::Communicator;
use crate::error::TrainingError;
use crate::run::differences::differences;
use crate::run::settings::TrainSettings;

/// The ranks of a run, shared with its loader.
pub(super) type Ranks = Arc<dyn Communicator>;

/// Adapts ranks to what a loader needs.
pub(super) struct LoaderPeers(pub(super) Ranks);

impl fmt::Debug for LoaderPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderPeers")
            .field("rank", &self.0.rank())
            .field("world_size", &self.0.world_size())
            .finish()
    }
}

impl BatchPeers for LoaderPeers {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn world_size(&self) -> usize {
        self.0.world_size()
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        Ok(self.0.all_gather_bytes(bytes)?)
    }
}

/// What must be the same on every rank before the first step.
#[derive(Serialize, Deserialize)]
struct Setup {
    version: String,
    simd: String,
    settings: serde_json::Value,
}

/// Checks that every rank runs the same version on the same instruction set with the same settings:
/// otherwise their weights would drift apart.
pub(super) fn check_same_setup(
    ranks: &dyn Communicator,
    settings: &TrainSettings,
) -> Result<(), TrainingError> {
    if ranks.world_size() == 1 {
        return Ok(());
    }
    let json = |source| TrainingError::StateJson {
        part: "settings",
        source,
    };
    let own = Setup {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        simd: SimdLevel::current().to_string(),
        settings: serde_json::to_value(settings).map_err(json)?,
    };
    let bytes = ranks.bytes_of_root(&serde_json::to_vec(&own).map_err(json)?)?;
    let root: Setup = serde_json::from_slice(&bytes).map_err(json)?;
    let mut problems = Vec::new();
    for (what, own, root) in [
        ("version", &own.version, &root.version),
        ("instruction set", &own.simd, &root.simd),
    ] {
        if own != root {
            problems.push(format!("{what} {own}, expected {root}"));
        }
    }
    let settings = differences(&root.settings, settings);
    problems.extend(settings.iter().map(ToString::to_string));
    let problems = ranks.all_gather_bytes(problems.join("; ").as_bytes())?;
    match problems.iter().position(|problem| !problem.is_empty()) {
        None => Ok(()),
        Some(rank) => Err(TrainingError::RanksDiffer {
            rank,
            what: String::from_utf8_lossy(&problems[rank]).into_owned(),
        }),
    }
}

/// Checks that a digest is the same on every rank.
pub(super) fn check_same_digest(
    ranks: &dyn Communicator,
    of: &str,
    digest: impl Into<u64>,
) -> Result<(), TrainingError> {
    let digests = ranks.all_gather_bytes(&digest.into().to_le_bytes())?;
    match digests.iter().position(|other| *other != digests[0]) {
        None => Ok(()),
        Some(rank) => Err(TrainingError::RanksDiffer {
            rank,
            what: of.to_owned(),
        }),
    }
}
