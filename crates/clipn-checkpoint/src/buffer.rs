//! Numeric buffers that are either owned or borrowed from a mapped file, as one type.

use std::ops::{Deref, Range};
use std::sync::Arc;

use clipn_base::files::{ChangedFile, MappedFile};
use memmap2::Mmap;

/// Bytes of a file, of a part of it, or of one inflated part, shared by the tensors that view them.
#[derive(Clone)]
pub(crate) struct FileBytes {
    source: Source,
    /// Invariant: within `source`.
    range: Range<usize>,
}

#[derive(Clone)]
enum Source {
    Mapped(Arc<Mapping>),
    Owned(Arc<Vec<u8>>),
}

/// A map with its open file.
struct Mapping {
    map: Mmap,
    file: MappedFile,
}

impl FileBytes {
    /// Maps a file, which must not be truncated while the map is in use.
    ///
    /// # Safety
    /// Readers accept any bytes, so changed content does not affect memory safety. Reading beyond the
    /// end of a truncated file ends the program.
    pub(crate) unsafe fn map(file: MappedFile) -> std::io::Result<FileBytes> {
        // SAFETY: as required of the caller.
        let map = unsafe { Mmap::map(file.file())? };
        let file = file.at(map.as_ptr() as usize, map.len());
        Ok(FileBytes {
            range: 0..map.len(),
            source: Source::Mapped(Arc::new(Mapping { map, file })),
        })
    }

    /// Checks that a mapped file was not changed since it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), ChangedFile> {
        match &self.source {
            Source::Mapped(mapping) => mapping.file.check(),
            Source::Owned(_) => Ok(()),
        }
    }

    /// What identifies the mapping; `None` for owned bytes.
    fn mapping(&self) -> Option<*const Mapping> {
        match &self.source {
            Source::Mapped(mapping) => Some(Arc::as_ptr(mapping)),
            Source::Owned(_) => None,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.source {
            Source::Mapped(mapping) => &mapping.map[self.range.clone()],
            Source::Owned(bytes) => &bytes[self.range.clone()],
        }
    }

    /// Returns a part as bytes of their own, which share the memory; `None` if it is out of bounds.
    pub(crate) fn part(&self, part: Range<usize>) -> Option<FileBytes> {
        self.as_slice().get(part.clone())?;
        Some(FileBytes {
            source: self.source.clone(),
            range: self.range.start + part.start..self.range.start + part.end,
        })
    }

    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self.source, Source::Mapped(_))
    }

    /// Returns the mapped pages that `range` touches to the operating system. They are read from
    /// the file again at the next access.
    pub(crate) fn release(&self, range: &Range<usize>) {
        #[cfg(unix)]
        if let Source::Mapped(mapping) = &self.source
            && !range.is_empty()
        {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            let start = self.range.start + range.start;
            // SAFETY: the map is read-only, so its pages hold only the file's content and are
            // refilled with it. If the system refuses the advice, the pages stay, which is
            // harmless.
            let _ = unsafe {
                mapping
                    .map
                    .unchecked_advise_range(advice, start, range.len())
            };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> FileBytes {
        FileBytes {
            range: 0..bytes.len(),
            source: Source::Owned(Arc::new(bytes)),
        }
    }
}

/// Type of the numbers in a [`Buffer`]. Sealed: implemented for the primitive number types.
pub trait Element: sealed::Sealed {}

mod sealed {
    /// Plain bytes, so that a number can be a view of a file.
    pub trait Sealed: bytemuck::Pod + Send + Sync {}
}

macro_rules! elements {
    ($($number:ty)*) => {
        $(
            impl sealed::Sealed for $number {}
            impl Element for $number {}
        )*
    };
}

elements!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);

/// Numbers in memory: owned, or a view into a memory-mapped weights file. Clones share the memory.
/// Reading goes through `Deref` to `[T]`. Writing goes through [`make_mut`](Buffer::make_mut),
/// which first copies shared memory.
///
/// ```
/// use clipn_checkpoint::Buffer;
///
/// let weights: Buffer<f32> = vec![1.0, 2.0].into();
/// let mut scaled = weights.clone();
/// scaled.make_mut().iter_mut().for_each(|weight| *weight *= 2.0);
/// assert_eq!((&weights[..], &scaled[..]), (&[1.0, 2.0][..], &[2.0, 4.0][..]));
/// ```
#[derive(Clone)]
pub struct Buffer<T> {
    repr: Repr<T>,
}

#[derive(Clone)]
enum Repr<T> {
    Owned(Arc<Vec<T>>),
    /// Invariant, upheld by [`Buffer::view`]: `range` is within `bytes` and can be cast to `[T]`.
    View {
        bytes: FileBytes,
        range: Range<usize>,
    },
}

impl<T> Buffer<T> {
    /// Whether the numbers are in a memory-mapped file and so take no memory of their own.
    pub fn is_mapped(&self) -> bool {
        matches!(&self.repr, Repr::View { bytes, .. } if bytes.is_mapped())
    }

    /// Checks that the file of mapped numbers was not changed since it was opened. Numbers read before a
    /// successful check are those of the opened file.
    ///
    /// # Errors
    /// [`ChangedFile`] if it was changed in place.
    pub fn check_unchanged(&self) -> Result<(), ChangedFile> {
        match &self.repr {
            Repr::View { bytes, .. } => bytes.check_unchanged(),
            Repr::Owned(_) => Ok(()),
        }
    }

    /// Same as [`check_unchanged`](Self::check_unchanged) for many buffers, most of one file.
    ///
    /// # Errors
    /// [`ChangedFile`] for the first file that was changed in place.
    pub fn check_all<'a>(buffers: impl IntoIterator<Item = &'a Self>) -> Result<(), ChangedFile>
    where
        T: 'a,
    {
        let mut last = None;
        for buffer in buffers {
            let Repr::View { bytes, .. } = &buffer.repr else {
                continue;
            };
            let mapping = bytes.mapping();
            if mapping.is_some() && mapping != last {
                bytes.check_unchanged()?;
                last = mapping;
            }
        }
        Ok(())
    }

    /// Returns the pages of mapped numbers to the operating system; they are read from the file
    /// again at the next access. Does nothing to owned numbers.
    pub fn release(&self) {
        if let Repr::View { bytes, range } = &self.repr {
            bytes.release(range);
        }
    }
}

impl<T: Element> Buffer<T> {
    /// Returns a view of `bytes[range]`, or `None` if the range is out of bounds, misaligned for
    /// `T` or not a whole number of `T`.
    pub(crate) fn view(bytes: &FileBytes, range: Range<usize>) -> Option<Buffer<T>> {
        let slice = bytes.as_slice().get(range.clone())?;
        bytemuck::try_cast_slice::<u8, T>(slice).ok()?;
        Some(Buffer {
            repr: Repr::View {
                bytes: bytes.clone(),
                range,
            },
        })
    }

    /// Converts to a vector, without a copy if this buffer is the only owner.
    pub fn into_vec(self) -> Vec<T> {
        match self.repr {
            Repr::Owned(values) => Arc::try_unwrap(values).unwrap_or_else(|shared| shared.to_vec()),
            Repr::View { .. } => self.to_vec(),
        }
    }

    /// Copies mapped numbers, so that they no longer depend on their file.
    pub fn own(&mut self) {
        if self.is_mapped() {
            self.make_mut();
        }
    }

    /// Returns the numbers for writing. Mapped or shared numbers are copied first, so neither the
    /// file nor a clone sees the change.
    pub fn make_mut(&mut self) -> &mut [T] {
        if matches!(self.repr, Repr::View { .. }) {
            let owned = Repr::Owned(Arc::new(self.to_vec()));
            // The copy replaces the mapped pages, so they need not stay in memory.
            self.release();
            self.repr = owned;
        }
        match &mut self.repr {
            Repr::Owned(values) => Arc::make_mut(values).as_mut_slice(),
            Repr::View { .. } => &mut [],
        }
    }
}

impl<T: Element> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.repr {
            Repr::Owned(values) => values,
            Repr::View { bytes, range } => bytemuck::cast_slice(&bytes.as_slice()[range.clone()]),
        }
    }
}

impl<T: Element> AsRef<[T]> for Buffer<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(values: Vec<T>) -> Buffer<T> {
        Buffer {
            repr: Repr::Owned(Arc::new(values)),
        }
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Buffer<T> {
        Buffer::from(Vec::new())
    }
}

impl<T> FromIterator<T> for Buffer<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Buffer<T> {
        Buffer::from(values.into_iter().collect::<Vec<T>>())
    }
}

impl<T: Element + PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Buffer<T>) -> bool {
        self[..] == other[..]
    }
}

impl<T: Element> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len())
            .field("mapped", &self.is_mapped())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_does_not_change_clones() {
        let first = Buffer::from(vec![1.0f32, 2.0]);
        let mut second = first.clone();
        second.make_mut()[0] = 9.0;
        assert_eq!(&first[..], [1.0, 2.0]);
        assert_eq!(&second[..], [9.0, 2.0]);
    }

    #[test]
    fn a_sole_owner_is_written_in_place() {
        let mut buffer = Buffer::from(vec![1.0f32, 2.0]);
        let before = buffer.as_ptr();
        buffer.make_mut()[1] = 3.0;
        assert_eq!(buffer.as_ptr(), before);
        let values = buffer.into_vec();
        assert_eq!(values.as_ptr(), before);
    }

    #[test]
    fn a_view_is_copied_on_write() {
        // Eight bytes contain at least one aligned f32 for any alignment of the vector.
        let bytes = FileBytes::from(vec![0u8; 8]);
        let start = (0..4)
            .find(|&s| Buffer::<f32>::view(&bytes, s..s + 4).is_some())
            .unwrap();
        let mut view = Buffer::<f32>::view(&bytes, start..start + 4).unwrap();
        view.make_mut()[0] = 5.0;
        assert_eq!(&view[..], [5.0]);
        assert_eq!(bytes.as_slice(), [0u8; 8]);
    }

    #[test]
    fn released_pages_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let numbers: Vec<f32> = (0..100_000).map(|i| i as f32).collect();
        std::fs::write(&path, bytemuck::cast_slice(&numbers)).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        // SAFETY: no one else has this file, and the test does not change it.
        let bytes = unsafe { FileBytes::map(MappedFile::new("a", file).unwrap()).unwrap() };
        let whole = Buffer::<f32>::view(&bytes, 0..400_000).unwrap();
        let part = bytes.part(32..300_000).unwrap();
        let part = Buffer::<f32>::view(&part, 8..199_972).unwrap();
        let mut changed = Buffer::<f32>::view(&bytes, 8..12).unwrap();
        assert!(whole.is_mapped() && part[..] == numbers[10..50_001]);
        part.release();
        assert!(whole[..] == numbers && part[..] == numbers[10..50_001]);
        changed.make_mut()[0] = 7.0;
        whole.release();
        assert!(whole[..] == numbers && changed[..] == [7.0]);
        Buffer::from(numbers).release();
    }

    #[test]
    fn parts_stay_within_their_bytes() {
        let bytes = FileBytes::from((0..10).collect::<Vec<u8>>());
        let part = bytes.part(2..8).unwrap();
        assert_eq!(part.as_slice(), [2, 3, 4, 5, 6, 7]);
        assert_eq!(part.part(4..6).unwrap().as_slice(), [6, 7]);
        assert!(part.part(4..7).is_none() && bytes.part(11..11).is_none());
    }

    #[test]
    fn rejects_views_out_of_bounds_or_misaligned() {
        let bytes = FileBytes::from(vec![0u8; 16]);
        assert!(Buffer::<f32>::view(&bytes, 12..20).is_none());
        let aligned = (0..4)
            .find(|&s| Buffer::<f32>::view(&bytes, s..s + 4).is_some())
            .unwrap();
        assert!(Buffer::<f32>::view(&bytes, aligned + 1..aligned + 5).is_none());
        assert!(Buffer::<f32>::view(&bytes, aligned..aligned + 6).is_none());
    }
}
