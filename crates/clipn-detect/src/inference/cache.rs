use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clipn_image::{ImageSource, Preprocessing};
use clipn_model::{ModelConfig, Precision};
use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// First bytes of a segment; the last is the version of the format.
const MAGIC: &[u8; 8] = b"CLIPNFC\x01";

/// Ending of the names of segments.
const EXTENSION: &str = "features";

/// Length of a key in bytes.
const KEY: usize = 32;

/// Digest of an encoded image, under which its features are cached. It does not depend on the name or
/// the age of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FeatureKey([u8; KEY]);

impl FeatureKey {
    /// Computes the key of encoded bytes, such as the content of a JPEG file.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Computes the key of an image; `None` if its content cannot be read or is not encoded.
    pub fn of_image(image: &mut impl ImageSource) -> Option<Self> {
        let mut key = None;
        image.inspect_content(&mut |bytes| key = Some(Self::of_bytes(bytes)));
        key
    }
}

/// Error of a feature cache.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeatureCacheError {
    /// The directory cannot be created or listed.
    #[error("cannot open the feature cache {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Features cannot be stored.
    #[error("cannot write the feature cache {}", path.display())]
    Write {
        /// File of the cache.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

/// Everything that features depend on, besides the image.
#[derive(Debug, Clone, Copy)]
pub struct FeatureCacheModel<'a> {
    /// [`ModelWeights::image_tower_hash`](clipn_model::ModelWeights::image_tower_hash).
    pub image_tower_hash: &'a str,
    /// Architecture.
    pub config: &'a ModelConfig,
    /// Preprocessing of the images.
    pub preprocessing: &'a Preprocessing,
    /// Precision of the tower.
    pub precision: Precision,
}

/// Image features in a directory, so that a tower encodes every image once, by whatever name it has.
///
/// A subdirectory for each model, preprocessing and precision has one file per process that added
/// features, so that many processes can use a cache at once. A record has a checksum; an incomplete or
/// damaged one, as a killed process leaves it, is ignored and encoded again. The features of the cache
/// are held in memory: 4·D bytes per image.
#[derive(Debug)]
pub struct FeatureCache {
    directory: PathBuf,
    dim: usize,
    stored: HashMap<FeatureKey, Vec<f32>>,
    damaged: u64,
    added: Mutex<Added>,
    found: AtomicU64,
    encoded: AtomicU64,
}

/// What this process has added.
#[derive(Debug, Default)]
struct Added {
    rows: HashMap<FeatureKey, Vec<f32>>,
    segment: Option<BufWriter<File>>,
    /// First error, until it is returned.
    error: Option<FeatureCacheError>,
    /// Whether there was an error, after which nothing is written.
    has_failed: bool,
}

/// Counts of a [`FeatureCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeatureCacheUse {
    /// Images whose features were in the cache.
    pub found: u64,
    /// Images that were encoded.
    pub encoded: u64,
    /// Incomplete or damaged records that were ignored.
    pub damaged: u64,
}

impl FeatureCache {
    /// Opens the cache in a directory, which is created if it does not exist, and reads the features of
    /// this model.
    ///
    /// # Errors
    /// [`FeatureCacheError::Open`] if the directory cannot be created or read.
    pub fn open(
        directory: impl AsRef<Path>,
        model: &FeatureCacheModel<'_>,
    ) -> Result<Self, FeatureCacheError> {
        let identity = json!({
            "image_tower": model.image_tower_hash,
            "vision": model.config.vision,
            "activation": model.config.activation,
            "embed_dim": model.config.embed_dim,
            "preprocessing": model.preprocessing,
            "precision": model.precision,
        });
        let digest: [u8; 32] = Sha256::digest(identity.to_string()).into();
        let name: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let directory = directory.as_ref().join(name);
        let failed = |source| FeatureCacheError::Open {
            path: directory.clone(),
            source,
        };
        fs::create_dir_all(&directory).map_err(failed)?;
        let about = directory.join("model.json");
        if !about.exists() {
            fs::write(&about, format!("{identity:#}\n")).map_err(failed)?;
        }
        let mut cache = Self {
            dim: model.config.embed_dim,
            stored: HashMap::new(),
            damaged: 0,
            added: Mutex::default(),
            found: AtomicU64::new(0),
            encoded: AtomicU64::new(0),
            directory: directory.clone(),
        };
        let mut segments = fs::read_dir(&directory)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(failed)?;
        segments.retain(|path| path.extension().is_some_and(|ending| ending == EXTENSION));
        segments.sort();
        for path in segments {
            cache.read_segment(&path).map_err(failed)?;
        }
        Ok(cache)
    }

    /// Returns the number of images in the cache.
    pub fn len(&self) -> usize {
        self.stored.len() + self.added().rows.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the features `[D]` of an image, not normalized, and counts an image that was found.
    pub fn get(&self, key: &FeatureKey) -> Option<Vec<f32>> {
        let found = match self.stored.get(key) {
            Some(row) => Some(row.clone()),
            None => self.added().rows.get(key).cloned(),
        };
        if found.is_some() {
            self.found.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// Adds the features `[D]` of an image that was encoded, not normalized. Those of another length, and images that are in the
    /// cache, are ignored. An error
    /// of writing is returned by [`finish`](Self::finish).
    pub fn insert(&self, key: &FeatureKey, row: &[f32]) {
        if row.len() != self.dim {
            return;
        }
        self.encoded.fetch_add(1, Ordering::Relaxed);
        let mut added = self.added();
        // Encoded again for the features of its patches, which are not stored.
        if self.stored.contains_key(key) || added.rows.contains_key(key) {
            return;
        }
        if !added.has_failed
            && let Err(error) = self.append(&mut added, key, row)
        {
            added.error = Some(error);
            added.has_failed = true;
        }
        added.rows.insert(*key, row.to_vec());
    }

    /// Writes what was added, and returns how the cache was used.
    ///
    /// # Errors
    /// [`FeatureCacheError::Write`] if features could not be stored.
    pub fn finish(&self) -> Result<FeatureCacheUse, FeatureCacheError> {
        let mut added = self.added();
        if let Some(error) = added.error.take() {
            return Err(error);
        }
        if let Some(segment) = &mut added.segment {
            segment.flush().map_err(|source| FeatureCacheError::Write {
                path: self.directory.clone(),
                source,
            })?;
        }
        Ok(FeatureCacheUse {
            found: self.found.load(Ordering::Relaxed),
            encoded: self.encoded.load(Ordering::Relaxed),
            damaged: self.damaged,
        })
    }

    fn append(
        &self,
        added: &mut Added,
        key: &FeatureKey,
        row: &[f32],
    ) -> Result<(), FeatureCacheError> {
        let failed = |source| FeatureCacheError::Write {
            path: self.directory.clone(),
            source,
        };
        let segment = match &mut added.segment {
            Some(segment) => segment,
            None => {
                let mut segment = self.new_segment().map_err(failed)?;
                segment.write_all(MAGIC).map_err(failed)?;
                segment
                    .write_all(&(self.dim as u64).to_le_bytes())
                    .map_err(failed)?;
                added.segment.insert(segment)
            }
        };
        segment.write_all(&record(key, row)).map_err(failed)
    }

    /// Creates a file that no other process writes.
    fn new_segment(&self) -> io::Result<BufWriter<File>> {
        let process = std::process::id();
        for number in 0.. {
            let path = self
                .directory
                .join(format!("{process:010}-{number:06}.{EXTENSION}"));
            match OpenOptions::new().write(true).create_new(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return opened.map(BufWriter::new),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Reads the records of a segment, but for those that are damaged and for an incomplete last one, which
    /// another process may be writing.
    fn read_segment(&mut self, path: &Path) -> io::Result<()> {
        let mut file = BufReader::new(File::open(path)?);
        let mut header = [0; 16];
        let header_is_ours = read_whole(&mut file, &mut header)? == 16
            && header.starts_with(MAGIC)
            && header[8..] == (self.dim as u64).to_le_bytes();
        if !header_is_ours {
            self.damaged += 1;
            return Ok(());
        }
        let mut bytes = vec![0; KEY + 4 * self.dim + 4];
        loop {
            let length = read_whole(&mut file, &mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            let (content, stored) = bytes.split_at(KEY + 4 * self.dim);
            if length < bytes.len() {
                self.damaged += 1;
                return Ok(());
            }
            // All records have one length, so that the next one begins where this one ends.
            if checksum(content).to_le_bytes() != stored {
                self.damaged += 1;
                continue;
            }
            let (key, row) = content.split_at(KEY);
            let row = row
                .chunks_exact(4)
                .map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
            let mut digest = [0; KEY];
            digest.copy_from_slice(key);
            self.stored.insert(FeatureKey(digest), row.collect());
        }
    }

    fn added(&self) -> MutexGuard<'_, Added> {
        // Rows are inserted whole, even if another thread panicked.
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a record: the key, the row in little-endian `f32`, and their checksum.
fn record(key: &FeatureKey, row: &[f32]) -> Vec<u8> {
    let mut bytes = key.0.to_vec();
    bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    let sum = checksum(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// First four bytes of the SHA-256 digest, as a checksum.
fn checksum(bytes: &[u8]) -> u32 {
    let digest = Sha256::digest(bytes);
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Fills a buffer, or reads to the end of the file; returns the number of bytes read.
fn read_whole(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path, precision: Precision) -> FeatureCache {
        let config = ModelConfig::embedded("ViT-B-32").unwrap();
        let preprocessing = Preprocessing::clip(config.vision.image_size);
        let model = FeatureCacheModel {
            image_tower_hash: "0123",
            config: &config,
            preprocessing: &preprocessing,
            precision,
        };
        FeatureCache::open(directory, &model).unwrap()
    }

    #[test]
    fn features_are_found_by_content_and_only_for_their_model() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), Precision::F32);
        let row: Vec<f32> = (0..cache.dim).map(|i| i as f32).collect();
        let (a, b) = (FeatureKey::of_bytes(b"a"), FeatureKey::of_bytes(b"b"));
        assert_eq!(cache.get(&a), None);
        cache.insert(&a, &row);
        cache.insert(&b, &row[1..]);
        assert_eq!((cache.get(&a), cache.get(&b)), (Some(row.clone()), None));
        let used = cache.finish().unwrap();
        assert_eq!((used.found, used.encoded, used.damaged), (1, 1, 0));

        let again = open(folder.path(), Precision::F32);
        assert_eq!((again.len(), again.get(&a)), (1, Some(row)));
        assert!(open(folder.path(), Precision::Int8).is_empty());
    }

    #[test]
    fn an_incomplete_or_damaged_record_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), Precision::F32);
        let row = vec![0.5; cache.dim];
        let keys = [b"a", b"b", b"c"].map(|bytes| FeatureKey::of_bytes(bytes));
        keys.iter().for_each(|key| cache.insert(key, &row));
        cache.finish().unwrap();
        let segment = fs::read_dir(&cache.directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|ending| ending == EXTENSION))
            .unwrap();
        let whole = fs::read(&segment).unwrap();
        fs::write(&segment, &whole[..whole.len() - 1]).unwrap();
        let cut = open(folder.path(), Precision::F32);
        assert_eq!((cut.len(), cut.finish().unwrap().damaged), (2, 1));
        let mut flipped = whole;
        flipped[16 + KEY] ^= 1;
        fs::write(&segment, flipped).unwrap();
        let damaged = open(folder.path(), Precision::F32);
        assert_eq!((damaged.len(), damaged.finish().unwrap().damaged), (2, 1));
        assert!(damaged.get(&keys[0]).is_none() && damaged.get(&keys[1]).is_some());
    }
}
