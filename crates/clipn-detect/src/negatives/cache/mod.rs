//! Features of word lists in a directory, so that each text tower encodes a list once.

mod entry;
mod lock;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clipn_base::count::count;
use clipn_base::progress::Progress;
use clipn_checkpoint::Checkpoint;
use clipn_model::{Real, TextTower};
use clipn_text::prompts::Template;

use crate::negatives::half_rows::{to_half, words_from_half};
use crate::negatives::{NegativesError, TemplateJoin, encode_words};
use lock::CacheLock;

/// Ending of the names of cache files.
const EXTENSION: &str = ".words.safetensors";

/// Words and templates to encode.
#[derive(Debug, Clone, Copy)]
pub struct WordList<'a> {
    /// Name that the inventory shows, such as `wordnet nouns`.
    pub name: &'a str,
    /// The words, in row order.
    pub words: &'a [String],
    /// Templates that every word is filled into.
    pub templates: &'a [Template],
    /// How the features of several templates are joined.
    pub join: TemplateJoin,
}

/// Directory with the features of word lists, a safetensors file for each text tower, template set and
/// list. The features do not depend on the classes.
///
/// Rows are stored in `f16`, and are rounded to `f16` too when they are encoded, so that the first run
/// and later runs see the same bits. Files are written atomically, a lock prevents that two processes
/// encode the same list, and the files that were used least recently are removed when all together
/// exceed [`max_bytes`](Self::with_max_bytes). A file that is damaged is replaced.
///
/// ```
/// use clipn_base::progress::NoProgress;
/// use clipn_detect::negatives::{CacheOutcome, TemplateJoin, WordFeatureCache, WordList};
/// use clipn_engine::TextEncoder;
/// use clipn_model::{PretrainedWeights, TextSide};
/// use clipn_text::prompts::Template;
///
/// let weights = PretrainedWeights::mini()?.weights(None)?;
/// let tower = TextEncoder::from_weights(&weights, TextSide::Yes);
/// let (words, templates) = (["hand".to_owned()], [Template::parse("a photo of a {}.")?]);
/// let list = WordList { name: "mine", words: &words, templates: &templates, join: TemplateJoin::default() };
///
/// # let folder = tempfile::tempdir()?;
/// let cache = WordFeatureCache::new(folder.path());
/// let first = cache.encode(&list, &weights.yes_tower_hash(), &tower, &NoProgress)?;
/// let second = cache.encode(&list, &weights.yes_tower_hash(), &tower, &NoProgress)?;
/// assert!(matches!(first.outcome, CacheOutcome::Encoded) && matches!(second.outcome, CacheOutcome::Found));
/// assert_eq!(first.rows, second.rows);
/// assert_eq!(cache.inventory()?[0].name, "mine");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordFeatureCache {
    directory: PathBuf,
    max_bytes: u64,
}

/// Rows of a word list.
#[derive(Debug)]
#[non_exhaustive]
pub struct CachedRows<T> {
    /// The rows, `[M, D]`, of length 1.
    pub rows: Vec<T>,
    /// Where they come from.
    pub outcome: CacheOutcome,
    /// Files of other lists that were removed, because the cache exceeded its size.
    pub removed: Vec<PathBuf>,
}

/// Whether a word list was in the cache.
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheOutcome {
    /// It was.
    Found,
    /// It was not, and is now.
    Encoded,
    /// Its file was damaged and has been replaced.
    Replaced {
        /// What was wrong with the file.
        reason: String,
    },
    /// It was encoded, but could not be stored.
    NotStored {
        /// Why not.
        error: NegativesError,
    },
}

/// A file of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedWords {
    /// Name of the word list; empty if the file cannot be read.
    pub name: String,
    /// Number of words.
    pub words: usize,
    /// Templates of the words.
    pub templates: Vec<String>,
    /// Size of the file.
    pub bytes: u64,
    /// The file.
    pub path: PathBuf,
    /// When it was last used.
    pub last_used: SystemTime,
}

impl WordFeatureCache {
    /// Maximum size of a cache by default: 2 GiB, some 25 lists of 70,000 words with 512 dimensions.
    pub const DEFAULT_MAX_BYTES: u64 = 2 << 30;

    /// Creates a cache in a directory, which is created when the first list is stored.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: Self::DEFAULT_MAX_BYTES,
        }
    }

    /// Sets the maximum size of all files together. The list in use is kept even if it is larger.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the rows of a word list, from the cache or else encoded by `tower`. `tower_hash`
    /// identifies the tower, see [`yes_tower_hash`](clipn_model::ModelWeights::yes_tower_hash).
    ///
    /// A cache that cannot be written does not fail the call: the words are encoded, and the outcome
    /// says so.
    ///
    /// # Errors
    /// Same as [`encode_words`].
    pub fn encode<T: Real>(
        &self,
        list: &WordList<'_>,
        tower_hash: &str,
        tower: &dyn TextTower<T>,
        progress: &dyn Progress,
    ) -> Result<CachedRows<T>, NegativesError> {
        let (key, dim) = (list.key(tower_hash), tower.embed_dim());
        let path = self.directory.join(format!("{key}{EXTENSION}"));
        let found = |rows| CachedRows {
            rows,
            outcome: CacheOutcome::Found,
            removed: Vec::new(),
        };
        if let Ok(rows) = Self::read(&path, &key, list.words.len(), dim) {
            return Ok(found(rows));
        }
        let lock = match self.lock(&key, progress) {
            Err(NegativesError::Cancelled) => return Err(NegativesError::Cancelled),
            lock => lock,
        };
        // Another process may have encoded the list while this one waited.
        let reason = match Self::read(&path, &key, list.words.len(), dim) {
            Ok(rows) => return Ok(found(rows)),
            Err(reason) => reason,
        };
        let rows = encode_words(list.words, list.templates, list.join, tower, progress)?;
        let half = to_half(&rows, dim)?;
        let stored = lock.and_then(|lock| {
            entry::write(&path, list, &key, &half)?;
            Ok(lock)
        });
        let (outcome, removed) = match (stored, reason) {
            (Err(error), _) => (CacheOutcome::NotStored { error }, Vec::new()),
            (Ok(_), None) => (CacheOutcome::Encoded, self.remove_excess(&path)),
            (Ok(_), Some(reason)) => (CacheOutcome::Replaced { reason }, self.remove_excess(&path)),
        };
        Ok(CachedRows {
            rows: words_from_half(&half, dim, list.words)?,
            outcome,
            removed,
        })
    }

    /// Lists the files, the most recently used one first. Files that cannot be read are listed without
    /// name and words.
    ///
    /// # Errors
    /// [`NegativesError::Cache`] if the directory exists but cannot be read.
    pub fn inventory(&self) -> Result<Vec<CachedWords>, NegativesError> {
        let failed = |source| NegativesError::Cache {
            action: "list",
            path: self.directory.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let is_cached = path.to_str().is_some_and(|name| name.ends_with(EXTENSION));
            // A file may disappear meanwhile.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if !is_cached || !metadata.is_file() {
                continue;
            }
            let description = Checkpoint::open(&path)
                .ok()
                .and_then(|checkpoint| entry::describe(&checkpoint).ok());
            let (name, words, templates) = description
                .map(|found| (found.name, found.words, found.templates))
                .unwrap_or_default();
            files.push(CachedWords {
                name,
                words,
                templates,
                bytes: metadata.len(),
                path,
                last_used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
        files.sort_by(|a, b| (b.last_used, &a.path).cmp(&(a.last_used, &b.path)));
        Ok(files)
    }

    /// Reads the rows of a list. The error is `None` if there is no file, else what is wrong with it.
    fn read<T: Real>(
        path: &Path,
        key: &str,
        words: usize,
        dim: usize,
    ) -> Result<Vec<T>, Option<String>> {
        if !path.exists() {
            return Err(None);
        }
        let checkpoint = Checkpoint::open(path).map_err(|error| Some(error.to_string()))?;
        let rows = entry::read(&checkpoint, key, words, dim).map_err(Some)?;
        // The time of the last use decides what is removed first. A directory that only others may
        // write to keeps its own.
        if let Ok(file) = File::options().append(true).open(path) {
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(rows)
    }

    /// Creates the directory and acquires the lock of a list.
    fn lock(&self, key: &str, progress: &dyn Progress) -> Result<CacheLock, NegativesError> {
        fs::create_dir_all(&self.directory).map_err(|source| NegativesError::Cache {
            action: "create",
            path: self.directory.clone(),
            source,
        })?;
        CacheLock::acquire(&self.directory.join(format!("{key}.lock")), progress)
    }

    /// Removes the files that were used least recently, until the rest fits into the maximum size.
    /// Files that cannot be removed stay.
    fn remove_excess(&self, in_use: &Path) -> Vec<PathBuf> {
        let mut files = self.inventory().unwrap_or_default();
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        let mut removed = Vec::new();
        while total > self.max_bytes {
            let Some(file) = files.pop() else { break };
            if file.path != in_use && fs::remove_file(&file.path).is_ok() {
                total -= file.bytes;
                // Its lock file is empty, and created again when needed.
                if let Some(key) = file.path.to_str().and_then(|p| p.strip_suffix(EXTENSION)) {
                    let _ = fs::remove_file(format!("{key}.lock"));
                }
                removed.push(file.path);
            }
        }
        removed
    }
}

impl<T> CachedRows<T> {
    /// What a user should know about the cache, if anything.
    pub fn notes(&self) -> Vec<String> {
        let outcome = match &self.outcome {
            CacheOutcome::Found | CacheOutcome::Encoded => None,
            CacheOutcome::Replaced { reason } => Some(format!(
                "replaced a damaged file of word features: {reason}"
            )),
            CacheOutcome::NotStored { error } => {
                Some(format!("the word features are not cached: {error}"))
            }
        };
        let removed = (!self.removed.is_empty()).then(|| {
            format!(
                "removed {} of word features, the least recently used",
                count(self.removed.len(), "file")
            )
        });
        outcome.into_iter().chain(removed).collect()
    }
}
