use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use thiserror::Error;

/// Magic bytes at the start of a cache file.
const MAGIC: [u8; 8] = *b"CLIPNFC1";
/// Header size in bytes: magic, dimension, padding, identity. A multiple of 16 keeps the features
/// aligned.
const HEADER: usize = 32;
/// Key size in bytes; the features follow the key.
const KEY: usize = 16;

/// Error of a [`FeatureCache`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeatureCacheError {
    /// The file cannot be opened, read or written.
    #[error("cannot access the feature cache {}", path.display())]
    Io {
        /// Path of the cache file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Another run has locked the file.
    #[error("the feature cache {} is in use by another run", path.display())]
    InUse {
        /// Path of the cache file.
        path: PathBuf,
    },
    /// The file holds features of another model, preprocessing or data set.
    #[error(
        "the feature cache {} belongs to another model, preprocessing or data set",
        path.display()
    )]
    Mismatch {
        /// Path of the cache file.
        path: PathBuf,
    },
}

/// Features of frozen towers, kept in a file across epochs and runs: of captions through the "yes"
/// tower, of images through the image tower at a fixed crop.
///
/// The file is a header followed by records of a key and D f32 values. It is only appended to, and
/// read through a memory map. [`open`](Self::open) drops a record that a kill cut short.
#[derive(Debug)]
pub struct FeatureCache {
    path: PathBuf,
    file: File,
    map: Option<Mmap>,
    dim: usize,
    /// Record number of each key: first the records of the file, then those of `pending`.
    index: HashMap<u128, usize>,
    stored: usize,
    pending: Vec<f32>,
    pending_keys: Vec<u128>,
}

impl Drop for FeatureCache {
    fn drop(&mut self) {
        // Closing the file unlocks it too, but not if another thread is just spawning a process
        // that inherits the file.
        let _ = self.file.unlock();
    }
}

impl FeatureCache {
    /// Opens or creates a cache of features of dimension `dim`. `identity` is a digest of the
    /// tower's weights and preprocessing.
    ///
    /// # Errors
    /// [`FeatureCacheError::Io`] if the file cannot be read or written,
    /// [`FeatureCacheError::InUse`] if another run has locked it, [`FeatureCacheError::Mismatch`] if
    /// its dimension or identity differs.
    pub fn open(
        path: impl AsRef<Path>,
        dim: usize,
        identity: u128,
    ) -> Result<Self, FeatureCacheError> {
        let path = path.as_ref();
        let io = |source| FeatureCacheError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(FeatureCacheError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let header = header(dim, identity);
        let length = file.metadata().map_err(io)?.len() as usize;
        if length < HEADER {
            file.set_len(0).map_err(io)?;
            file.write_all(&header).map_err(io)?;
        } else {
            let mut found = [0; HEADER];
            file.read_exact(&mut found).map_err(io)?;
            if found != header {
                return Err(FeatureCacheError::Mismatch {
                    path: path.to_owned(),
                });
            }
        }
        let mut cache = Self {
            path: path.to_owned(),
            file,
            map: None,
            dim,
            index: HashMap::new(),
            stored: length.saturating_sub(HEADER) / (KEY + 4 * dim),
            pending: Vec::new(),
            pending_keys: Vec::new(),
        };
        cache
            .file
            .set_len((HEADER + cache.stored * cache.record()) as u64)
            .map_err(io)?;
        cache.remap().map_err(io)?;
        for record in 0..cache.stored {
            if let Some(key) = cache.stored_key(record) {
                cache.index.insert(key, record);
            }
        }
        Ok(cache)
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of cached features, in the file and in memory.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the cache holds no features.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Number of features that are not yet in the file.
    pub fn pending_len(&self) -> usize {
        self.pending_keys.len()
    }

    /// Returns the features of a key, `[D]`.
    pub fn get(&self, key: u128) -> Option<&[f32]> {
        let record = *self.index.get(&key)?;
        match record.checked_sub(self.stored) {
            Some(index) => self.pending.get(index * self.dim..(index + 1) * self.dim),
            None => {
                let start = HEADER + record * self.record() + KEY;
                bytemuck::try_cast_slice(self.map.as_ref()?.get(start..start + 4 * self.dim)?).ok()
            }
        }
    }

    /// Caches the features of a key, `[D]`. Ignores a key that is already cached, and features of
    /// another dimension.
    pub fn insert(&mut self, key: u128, features: &[f32]) {
        if features.len() == self.dim && !self.index.contains_key(&key) {
            self.index
                .insert(key, self.stored + self.pending_keys.len());
            self.pending.extend_from_slice(features);
            self.pending_keys.push(key);
        }
    }

    /// Appends to the file the features inserted since the last flush.
    ///
    /// # Errors
    /// [`FeatureCacheError::Io`] if the file cannot be written.
    pub fn flush(&mut self) -> Result<(), FeatureCacheError> {
        if self.pending_keys.is_empty() {
            return Ok(());
        }
        let written = self.append().and_then(|()| {
            self.stored += self.pending_keys.len();
            self.pending.clear();
            self.pending_keys.clear();
            self.remap()
        });
        written.map_err(|source| FeatureCacheError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Writes the pending records after those of the file.
    fn append(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(
            (HEADER + self.stored * self.record()) as u64,
        ))?;
        let mut writer = BufWriter::with_capacity(1 << 16, &self.file);
        for (key, features) in self
            .pending_keys
            .iter()
            .zip(self.pending.chunks_exact(self.dim))
        {
            writer.write_all(&key.to_le_bytes())?;
            for value in features {
                writer.write_all(&value.to_le_bytes())?;
            }
        }
        writer.flush()
    }

    fn record(&self) -> usize {
        KEY + 4 * self.dim
    }

    fn stored_key(&self, record: usize) -> Option<u128> {
        let start = HEADER + record * self.record();
        let bytes = self.map.as_ref()?.get(start..start + KEY)?;
        Some(u128::from_le_bytes(bytes.try_into().ok()?))
    }

    fn remap(&mut self) -> std::io::Result<()> {
        // SAFETY: this run holds the file's lock and only appends to it, so the mapped bytes never
        // change and the file never shrinks below them.
        self.map = Some(unsafe { Mmap::map(&self.file)? });
        Ok(())
    }
}

/// The cache file of another process, for reading what it has written so far.
#[derive(Debug)]
pub(crate) struct FeatureFile {
    map: Mmap,
    dim: usize,
    index: HashMap<u128, usize>,
}

impl FeatureFile {
    /// Opens a file; `None` if it has no records yet.
    pub(crate) fn open(
        path: &Path,
        dim: usize,
        identity: u128,
    ) -> Result<Option<Self>, FeatureCacheError> {
        let io = |source| FeatureCacheError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() <= HEADER as u64 {
            return Ok(None);
        }
        // SAFETY: the process that writes the file only appends whole records to it, and cuts off
        // nothing but an incomplete last one, which is not read here.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        if map.get(..HEADER) != Some(&header(dim, identity)) {
            return Err(FeatureCacheError::Mismatch {
                path: path.to_owned(),
            });
        }
        let records = map[HEADER..].chunks_exact(KEY + 4 * dim);
        let keys = records.filter_map(|record| record.first_chunk::<KEY>());
        let index = (keys.enumerate())
            .map(|(record, key)| (u128::from_le_bytes(*key), record))
            .collect();
        Ok(Some(Self { map, dim, index }))
    }

    /// Returns the features of a key, `[D]`.
    pub(crate) fn get(&self, key: u128) -> Option<&[f32]> {
        let record = *self.index.get(&key)?;
        let start = HEADER + record * (KEY + 4 * self.dim) + KEY;
        bytemuck::try_cast_slice(self.map.get(start..start + 4 * self.dim)?).ok()
    }
}

fn header(dim: usize, identity: u128) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&(dim as u32).to_le_bytes());
    header[16..].copy_from_slice(&identity.to_le_bytes());
    header
}

/// A 128-bit FNV-1a digest for keys and identities, stable across versions and machines.
#[derive(Debug, Clone, Copy)]
pub struct Digest(u128);

impl Default for Digest {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Digest {
    /// Returns the digest of a caption or a sample's name.
    pub fn hash_text(text: &str) -> u128 {
        let mut digest = Self::default();
        digest.update(text.as_bytes());
        digest.value()
    }

    /// Appends bytes to the digest's input.
    pub fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 =
                (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }

    /// Returns the digest of all bytes so far.
    pub fn value(&self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_features_are_found_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yes.features");
        let mut cache = FeatureCache::open(&path, 3, 7).unwrap();
        cache.insert(1, &[1.0, 2.0, 3.0]);
        cache.insert(2, &[4.0, 5.0, 6.0]);
        assert_eq!(cache.get(2), Some(&[4.0, 5.0, 6.0][..]));
        cache.flush().unwrap();
        cache.insert(1, &[9.0; 3]);
        cache.insert(3, &[7.0, 8.0, 9.0]);
        assert_eq!(
            (cache.get(1), cache.get(3)),
            (Some(&[1.0, 2.0, 3.0][..]), Some(&[7.0, 8.0, 9.0][..]))
        );
        cache.flush().unwrap();
        drop(cache);
        let cache = FeatureCache::open(&path, 3, 7).unwrap();
        assert_eq!(
            (cache.len(), cache.get(3), cache.get(4)),
            (3, Some(&[7.0, 8.0, 9.0][..]), None)
        );
    }

    #[test]
    fn drops_a_truncated_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yes.features");
        let mut cache = FeatureCache::open(&path, 2, 7).unwrap();
        cache.insert(1, &[1.0, 2.0]);
        cache.insert(2, &[3.0, 4.0]);
        cache.flush().unwrap();
        drop(cache);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut cache = FeatureCache::open(&path, 2, 7).unwrap();
            assert_eq!(cache.len(), length.saturating_sub(HEADER) / 24, "{length}");
            cache.insert(2, &[3.0, 4.0]);
            cache.flush().unwrap();
            assert_eq!(cache.get(2), Some(&[3.0, 4.0][..]));
        }
    }

    #[test]
    fn a_second_run_cannot_open_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yes.features");
        let first = FeatureCache::open(&path, 2, 7).unwrap();
        let error = FeatureCache::open(&path, 2, 7).unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        drop(first);
        FeatureCache::open(&path, 2, 7).unwrap();
    }

    #[test]
    fn rejects_a_cache_of_another_dimension_or_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yes.features");
        drop(FeatureCache::open(&path, 2, 7).unwrap());
        for (dim, identity) in [(3, 7), (2, 8)] {
            let error = FeatureCache::open(&path, dim, identity)
                .unwrap_err()
                .to_string();
            assert!(error.contains("belongs to another model"), "{error}");
        }
    }
}
