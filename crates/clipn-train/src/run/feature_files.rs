//! The feature caches of a run's ranks: each appends to a file of its own and reads those of all.

use std::path::{Path, PathBuf};

use crate::feature_cache::{FeatureCache, FeatureCacheError, FeatureFile};

/// Extension of feature caches.
const EXTENSION: &str = "features";

/// A cache of features in files of all ranks; this rank writes one.
#[derive(Debug)]
pub(super) struct FeatureFiles {
    own: FeatureCache,
    dir: PathBuf,
    stem: &'static str,
    dim: usize,
    identity: u128,
    /// Files of other ranks, also of earlier starts with other numbers of ranks.
    others: Vec<FeatureFile>,
}

impl FeatureFiles {
    /// Opens the file of this rank, `STEM.features` of a single process or
    /// `STEM-00001-of-00004.features`, and those of others that exist.
    pub(super) fn open(
        dir: &Path,
        stem: &'static str,
        (rank, world_size): (usize, usize),
        dim: usize,
        identity: u128,
    ) -> Result<Self, FeatureCacheError> {
        let name = match world_size {
            1 => format!("{stem}.{EXTENSION}"),
            _ => format!("{stem}-{rank:05}-of-{world_size:05}.{EXTENSION}"),
        };
        let mut files = Self {
            own: FeatureCache::open(dir.join(name), dim, identity)?,
            dir: dir.to_owned(),
            stem,
            dim,
            identity,
            others: Vec::new(),
        };
        files.refresh()?;
        Ok(files)
    }

    /// Reads what other ranks have written since.
    pub(super) fn refresh(&mut self) -> Result<(), FeatureCacheError> {
        let io = |source| FeatureCacheError::Io {
            path: self.dir.clone(),
            source,
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let is_other = path != self.own.path() && is_file_of(&path, self.stem);
            paths.extend(is_other.then_some(path));
        }
        paths.sort_unstable();
        let mut others = Vec::with_capacity(paths.len());
        for path in paths {
            others.extend(FeatureFile::open(&path, self.dim, self.identity)?);
        }
        self.others = others;
        Ok(())
    }

    pub(super) fn get(&self, key: u128) -> Option<&[f32]> {
        self.own
            .get(key)
            .or_else(|| self.others.iter().find_map(|file| file.get(key)))
    }

    pub(super) fn insert(&mut self, key: u128, features: &[f32]) {
        self.own.insert(key, features);
    }

    pub(super) fn flush(&mut self) -> Result<(), FeatureCacheError> {
        self.own.flush()
    }

    /// Checks that no other program cut or changed the files that are read.
    pub(super) fn check_unchanged(&self) -> Result<(), FeatureCacheError> {
        self.own.check_unchanged()?;
        self.others.iter().try_for_each(FeatureFile::check_length)
    }

    /// Number of damaged records in the file of this rank.
    pub(super) fn damaged(&self) -> usize {
        self.own.damaged()
    }

    /// Why another run may write to the file of this rank too.
    pub(super) fn lock_warning(&self) -> Option<&str> {
        self.own.lock_warning()
    }

    pub(super) fn pending_len(&self) -> usize {
        self.own.pending_len()
    }
}

/// Whether a path is `STEM.features` or `STEM-R-of-W.features`.
fn is_file_of(path: &Path, stem: &str) -> bool {
    let is_cache = path
        .extension()
        .is_some_and(|extension| extension == EXTENSION);
    let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let of_rank = |rest: &str| {
        let numbers = rest
            .strip_prefix('-')
            .and_then(|rest| rest.split_once("-of-"));
        numbers.is_some_and(|(rank, world)| is_number(rank) && is_number(world))
    };
    is_cache && (name == stem || name.strip_prefix(stem).is_some_and(of_rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_read_the_features_of_all() {
        let dir = tempfile::tempdir().unwrap();
        let open = |rank, world| FeatureFiles::open(dir.path(), "yes", (rank, world), 2, 7);
        let mut ranks = [open(0, 2).unwrap(), open(1, 2).unwrap()];
        ranks[0].insert(1, &[1.0, 2.0]);
        ranks[1].insert(2, &[3.0, 4.0]);
        ranks.iter_mut().for_each(|rank| rank.flush().unwrap());
        assert_eq!(ranks[0].get(2), None);
        ranks[0].refresh().unwrap();
        assert_eq!(ranks[0].get(2), Some(&[3.0, 4.0][..]));
        drop(ranks);
        let alone = open(0, 1).unwrap();
        assert_eq!(alone.get(1), Some(&[1.0, 2.0][..]));
        assert_eq!(alone.get(2), Some(&[3.0, 4.0][..]));
        drop(alone);
        let error = FeatureFiles::open(dir.path(), "yes", (0, 3), 2, 8).unwrap_err();
        assert!(
            error.to_string().contains("belongs to another model"),
            "{error}"
        );
    }

    #[test]
    fn only_files_of_the_same_cache_are_read() {
        let is = |name: &str| is_file_of(Path::new(name), "images");
        assert!(is("a/images.features") && is("images-00001-of-00004.features"));
        for other in [
            "images.tmp",
            "images2.features",
            "yes.features",
            "images-1.features",
            "images-a-of-b.features",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
