use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clipn_base::files::{ChangedFile, LockError, LockHolder, MappedFile, OutputFile, StateLock};
use memmap2::{Mmap, MmapOptions};
use thiserror::Error;

/// Magic bytes at the start of a cache file whose records have checksums.
const MAGIC: [u8; 8] = *b"CLIPNFC2";
/// Magic bytes of clipn 0.1, whose records have none.
const MAGIC_WITHOUT_CHECKSUMS: [u8; 8] = *b"CLIPNFC1";
/// Header size in bytes: magic, dimension, padding, identity. A multiple of 16 keeps the features
/// aligned.
const HEADER: usize = 32;
/// Key size in bytes.
const KEY: usize = 16;
/// Size in bytes of the CRC-32 of key and features, which follows the key; the features are last.
const CHECKSUM: usize = 4;

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
    #[error("the feature cache {} is in use by {holder}", path.display())]
    InUse {
        /// Path of the cache file.
        path: PathBuf,
        /// Process of the run.
        holder: LockHolder,
    },
    /// Another program cut or changed the file while it was in use.
    #[error(transparent)]
    Changed(#[from] ChangedFile),
    /// The file holds features of another model or preprocessing.
    #[error(
        "the feature cache {} belongs to another model or preprocessing",
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
/// The file is a header followed by records of a key, a checksum and D f32 values. It is only appended
/// to, and read through a memory map. [`open`](Self::open) drops a record that a kill cut short, and
/// ignores those whose checksum does not match: their features are computed again.
#[derive(Debug)]
pub struct FeatureCache {
    file: OutputFile,
    lock: StateLock,
    map: Option<Mmap>,
    /// Known by its address to the handler of SIGBUS.
    mapping: Option<MappedFile>,
    layout: RecordLayout,
    /// Record number of each key: first the records of the file, then those of `pending`.
    index: HashMap<u128, usize>,
    stored: usize,
    damaged: usize,
    pending: Vec<f32>,
    pending_keys: Vec<u128>,
}

/// Layout of the records of a file.
#[derive(Debug, Clone, Copy)]
struct RecordLayout {
    dim: usize,
    has_checksums: bool,
}

impl RecordLayout {
    /// Reads the header of a file; `None` if it belongs to other features.
    fn from_header(found: &[u8], dim: usize, identity: u128) -> Option<Self> {
        let layout = |magic, has_checksums| {
            (found == header(magic, dim, identity)).then_some(Self { dim, has_checksums })
        };
        layout(MAGIC, true).or_else(|| layout(MAGIC_WITHOUT_CHECKSUMS, false))
    }

    /// Offset of the features in a record.
    fn features(self) -> usize {
        KEY + if self.has_checksums { CHECKSUM } else { 0 }
    }

    /// Size of a record in bytes.
    fn size(self) -> usize {
        self.features() + 4 * self.dim
    }

    /// Offset of a record in the file.
    fn start(self, record: usize) -> usize {
        HEADER + record * self.size()
    }

    /// Returns the key of a record; `None` if its checksum does not match.
    fn key(self, record: &[u8]) -> Option<u128> {
        let key = record.first_chunk::<KEY>()?;
        let features = record.get(self.features()..self.size())?;
        if self.has_checksums {
            let stored = record.get(KEY..)?.first_chunk::<CHECKSUM>()?;
            if u32::from_le_bytes(*stored) != checksum(key, features) {
                return None;
            }
        }
        Some(u128::from_le_bytes(*key))
    }

    /// Returns the features of a record of a file, `[D]`.
    fn values(self, file: &[u8], record: usize) -> Option<&[f32]> {
        let start = self.start(record) + self.features();
        bytemuck::try_cast_slice(file.get(start..start + 4 * self.dim)?).ok()
    }

    /// Returns the record of each key in a file, and the number of damaged records.
    fn index(self, file: &[u8]) -> (HashMap<u128, usize>, usize) {
        let records = file.get(HEADER..).unwrap_or_default();
        let mut index = HashMap::new();
        let mut damaged = 0;
        for (record, bytes) in records.chunks_exact(self.size()).enumerate() {
            match self.key(bytes) {
                Some(key) => {
                    index.insert(key, record);
                }
                None => damaged += 1,
            }
        }
        (index, damaged)
    }
}

fn checksum(key: &[u8], features: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(features);
    hasher.finalize()
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
        options.read(true).write(true).create(true).truncate(false);
        let mut file = OutputFile::open(path, &options).map_err(io)?;
        let lock = StateLock::of_open_file(path, file.file()).map_err(|error| match error {
            LockError::InUse { path, holder } => FeatureCacheError::InUse { path, holder },
            other => io(std::io::Error::other(other)),
        })?;
        let length = file.file().metadata().map_err(io)?.len() as usize;
        let layout = if length < HEADER {
            file.set_len(0).map_err(io)?;
            file.write_all(&header(MAGIC, dim, identity)).map_err(io)?;
            RecordLayout {
                dim,
                has_checksums: true,
            }
        } else {
            let mut found = [0; HEADER];
            file.read_exact(&mut found).map_err(io)?;
            RecordLayout::from_header(&found, dim, identity).ok_or_else(|| {
                FeatureCacheError::Mismatch {
                    path: path.to_owned(),
                }
            })?
        };
        let mut cache = Self {
            file,
            lock,
            map: None,
            mapping: None,
            layout,
            index: HashMap::new(),
            stored: length.saturating_sub(HEADER) / layout.size(),
            damaged: 0,
            pending: Vec::new(),
            pending_keys: Vec::new(),
        };
        let end = layout.start(cache.stored) as u64;
        cache.file.set_len(end).map_err(io)?;
        cache.remap().map_err(io)?;
        if let Some(map) = &cache.map {
            (cache.index, cache.damaged) = layout.index(map);
        }
        Ok(cache)
    }

    /// Checks that no other program changed the file since its last flush.
    ///
    /// # Errors
    /// [`FeatureCacheError::Changed`] if one did.
    pub fn check_unchanged(&self) -> Result<(), FeatureCacheError> {
        Ok(self.mapping.as_ref().map_or(Ok(()), MappedFile::check)?)
    }

    /// Number of records that were damaged when the file was opened.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Why another run may write to the file too; see [`StateLock::warning`].
    pub fn lock_warning(&self) -> Option<&str> {
        self.lock.warning()
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
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
            Some(index) => {
                let dim = self.layout.dim;
                self.pending.get(index * dim..(index + 1) * dim)
            }
            None => self.layout.values(self.map.as_ref()?, record),
        }
    }

    /// Caches the features of a key, `[D]`. Ignores a key that is already cached, and features of
    /// another dimension.
    pub fn insert(&mut self, key: u128, features: &[f32]) {
        if features.len() == self.layout.dim && !self.index.contains_key(&key) {
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
            path: self.path().to_owned(),
            source,
        })
    }

    /// Writes the pending records after those of the file.
    fn append(&mut self) -> std::io::Result<()> {
        let layout = self.layout;
        self.file
            .seek(SeekFrom::Start(layout.start(self.stored) as u64))?;
        let mut writer = BufWriter::with_capacity(1 << 16, &mut self.file);
        let mut values = Vec::with_capacity(4 * layout.dim);
        for (key, features) in self
            .pending_keys
            .iter()
            .zip(self.pending.chunks_exact(layout.dim))
        {
            let key = key.to_le_bytes();
            values.clear();
            values.extend(features.iter().flat_map(|value| value.to_le_bytes()));
            writer.write_all(&key)?;
            if layout.has_checksums {
                writer.write_all(&checksum(&key, &values).to_le_bytes())?;
            }
            writer.write_all(&values)?;
        }
        writer.flush()
    }

    fn remap(&mut self) -> std::io::Result<()> {
        // SAFETY: this run holds the file's lock and only appends to it, so the mapped bytes never
        // change and the file never shrinks below them.
        let map = unsafe { Mmap::map(self.file.file())? };
        let mapping = MappedFile::new(self.path(), self.file.file().try_clone()?)?;
        self.mapping = Some(mapping.at(map.as_ptr() as usize, map.len()));
        self.map = Some(map);
        Ok(())
    }
}

/// The cache file of another process, for reading what it has written so far.
#[derive(Debug)]
pub(crate) struct FeatureFile {
    map: Mmap,
    mapping: MappedFile,
    layout: RecordLayout,
    index: HashMap<u128, usize>,
}

impl FeatureFile {
    /// Opens a file; `None` if it has no records yet. Damaged records are ignored.
    pub(crate) fn open(
        path: &Path,
        dim: usize,
        identity: u128,
    ) -> Result<Option<Self>, FeatureCacheError> {
        let io = |source| FeatureCacheError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length <= HEADER as u64 {
            return Ok(None);
        }
        let mut found = [0; HEADER];
        file.read_exact(&mut found).map_err(io)?;
        let Some(layout) = RecordLayout::from_header(&found, dim, identity) else {
            return Err(FeatureCacheError::Mismatch {
                path: path.to_owned(),
            });
        };
        let records = (length as usize).saturating_sub(HEADER) / layout.size();
        if records == 0 {
            return Ok(None);
        }
        let mapping = MappedFile::new(path, file).map_err(io)?;
        let mut options = MmapOptions::new();
        // The process that writes the file may cut off an incomplete last record.
        options.len(layout.start(records));
        // SAFETY: the process that writes the file only appends whole records to it, and cuts off
        // nothing but an incomplete last one, which is not mapped.
        let map = unsafe { options.map(mapping.file()) }.map_err(io)?;
        let mapping = mapping.at(map.as_ptr() as usize, map.len());
        let (index, _) = layout.index(&map);
        Ok(Some(Self {
            map,
            mapping,
            layout,
            index,
        }))
    }

    /// Checks that the file has at least the length that is mapped: its process appends to it.
    pub(crate) fn check_length(&self) -> Result<(), FeatureCacheError> {
        let metadata = self.mapping.file().metadata();
        if metadata.is_ok_and(|metadata| metadata.len() >= self.map.len() as u64) {
            return Ok(());
        }
        let path = self.mapping.path().to_owned();
        Err(ChangedFile { path }.into())
    }

    /// Returns the features of a key, `[D]`.
    pub(crate) fn get(&self, key: u128) -> Option<&[f32]> {
        self.layout.values(&self.map, *self.index.get(&key)?)
    }
}

fn header(magic: [u8; 8], dim: usize, identity: u128) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&magic);
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
    /// Returns the digest of a caption.
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
            assert_eq!(cache.len(), length.saturating_sub(HEADER) / 28, "{length}");
            cache.insert(2, &[3.0, 4.0]);
            cache.flush().unwrap();
            assert_eq!(cache.get(2), Some(&[3.0, 4.0][..]));
        }
    }

    /// A rank maps the file of another one, which a kill left with half a record, before that rank cuts it off.
    #[test]
    fn a_cut_of_half_a_record_is_no_change_for_a_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yes.features");
        let mut cache = FeatureCache::open(&path, 2, 7).unwrap();
        cache.insert(1, &[1.0, 2.0]);
        cache.flush().unwrap();
        drop(cache);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &whole[HEADER..HEADER + 10]].concat()).unwrap();
        let reader = FeatureFile::open(&path, 2, 7).unwrap().unwrap();
        let owner = FeatureCache::open(&path, 2, 7).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        reader.check_length().unwrap();
        assert_eq!(reader.get(1), owner.get(1));
        std::fs::write(dir.path().join("half"), &whole[..HEADER + 10]).unwrap();
        assert!(
            FeatureFile::open(&dir.path().join("half"), 2, 7)
                .unwrap()
                .is_none()
        );
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
    fn damaged_features_are_computed_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yes.features");
        let mut cache = FeatureCache::open(&path, 2, 7).unwrap();
        cache.insert(1, &[1.0, 2.0]);
        cache.insert(2, &[3.0, 4.0]);
        cache.flush().unwrap();
        drop(cache);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..28 * 8 {
            let mut flipped = whole.clone();
            flipped[HEADER + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            let other = FeatureFile::open(&path, 2, 7).unwrap().unwrap();
            assert_eq!((other.get(1), other.get(2)), (None, Some(&[3.0, 4.0][..])));
            let mut cache = FeatureCache::open(&path, 2, 7).unwrap();
            assert_eq!((cache.len(), cache.damaged(), cache.get(1)), (1, 1, None));
            cache.insert(1, &[1.0, 2.0]);
            cache.flush().unwrap();
            drop(cache);
            let cache = FeatureCache::open(&path, 2, 7).unwrap();
            assert_eq!(cache.get(1), Some(&[1.0, 2.0][..]));
        }
    }

    #[test]
    fn caches_without_checksums_of_earlier_versions_are_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yes.features");
        let mut old = header(MAGIC_WITHOUT_CHECKSUMS, 2, 7).to_vec();
        old.extend(1u128.to_le_bytes());
        old.extend([1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()));
        std::fs::write(&path, old).unwrap();
        let mut cache = FeatureCache::open(&path, 2, 7).unwrap();
        assert_eq!(cache.get(1), Some(&[1.0, 2.0][..]));
        cache.insert(2, &[3.0, 4.0]);
        cache.flush().unwrap();
        drop(cache);
        let cache = FeatureCache::open(&path, 2, 7).unwrap();
        assert_eq!(cache.get(2), Some(&[3.0, 4.0][..]));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 32 + 2 * 24);
    }

    #[test]
    fn a_file_that_another_program_cuts_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yes.features");
        let mut cache = FeatureCache::open(&path, 2, 7).unwrap();
        cache.insert(1, &[1.0, 2.0]);
        cache.flush().unwrap();
        cache.check_unchanged().unwrap();
        let other = FeatureFile::open(&path, 2, 7).unwrap().unwrap();
        other.check_length().unwrap();
        let cut = OpenOptions::new().write(true).open(&path).unwrap();
        cut.set_len(40).unwrap();
        for error in [
            cache.check_unchanged().unwrap_err(),
            other.check_length().unwrap_err(),
        ] {
            assert!(error.to_string().contains("changed in place"), "{error}");
        }
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
