//! Files that stay open while they are mapped into memory: whether they were changed, and which one an
//! address belongs to.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Error of a file that another program changed while it was in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} was changed in place while it was in use", path.display())]
pub struct ChangedFile {
    /// The file.
    pub path: PathBuf,
}

/// An open file with its size and time of modification, to see whether it is changed in place. A file
/// that is renamed over its path does not change it.
#[derive(Debug)]
pub struct MappedFile {
    file: File,
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    slot: Option<&'static Slot>,
}

impl MappedFile {
    /// Records the state of an open file.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn new(path: impl AsRef<Path>, file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.as_ref().to_owned(),
            length: metadata.len(),
            modified: metadata.modified().ok(),
            file,
            slot: None,
        })
    }

    /// Path by which the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Records where the file is mapped, for [`mapped_file_at`].
    #[must_use]
    pub fn at(mut self, address: usize, length: usize) -> Self {
        self.slot = SLOTS
            .iter()
            .find(|slot| slot.take(address, length, &self.path));
        self
    }

    /// Checks that the file has the size and time that it had when it was opened.
    ///
    /// # Errors
    /// [`ChangedFile`] if it has not.
    pub fn check(&self) -> Result<(), ChangedFile> {
        let is_same = self
            .file
            .metadata()
            .is_ok_and(|now| now.len() == self.length && now.modified().ok() == self.modified);
        if is_same {
            Ok(())
        } else {
            Err(ChangedFile {
                path: self.path.clone(),
            })
        }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.release();
        }
    }
}

/// Maximum number of mappings that are known by address.
const MAX_MAPPINGS: usize = 128;

/// Known mappings. Without locks, since the handler of a signal reads them.
static SLOTS: [Slot; MAX_MAPPINGS] = [const { Slot::new() }; MAX_MAPPINGS];

#[derive(Debug)]
struct Slot {
    /// 0 if the slot is free.
    start: AtomicUsize,
    length: AtomicUsize,
    path: AtomicPtr<String>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            start: AtomicUsize::new(0),
            length: AtomicUsize::new(0),
            path: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn take(&self, address: usize, length: usize, path: &Path) -> bool {
        let taken = self
            .start
            .compare_exchange(0, address, Ordering::SeqCst, Ordering::SeqCst);
        if taken.is_ok() {
            let path = std::ptr::from_ref(permanent(path)).cast_mut();
            self.path.store(path, Ordering::SeqCst);
            self.length.store(length, Ordering::SeqCst);
        }
        taken.is_ok()
    }

    fn release(&self) {
        self.length.store(0, Ordering::SeqCst);
        self.path.store(std::ptr::null_mut(), Ordering::SeqCst);
        self.start.store(0, Ordering::SeqCst);
    }
}

/// Returns a path that is never freed, the same for equal paths: the handler of a signal may read it at
/// any time.
fn permanent(path: &Path) -> &'static String {
    static PATHS: Mutex<Option<HashSet<&'static String>>> = Mutex::new(None);
    let mut paths = PATHS.lock().unwrap_or_else(PoisonError::into_inner);
    let paths = paths.get_or_insert_default();
    let path = path.display().to_string();
    match paths.get(&path) {
        Some(known) => known,
        None => {
            let path: &'static String = Box::leak(Box::new(path));
            paths.insert(path);
            path
        }
    }
}

/// Returns the path of the file that is mapped at an address, if it is known. Takes no lock and allocates
/// nothing: the handler of SIGBUS may call it.
#[must_use]
pub fn mapped_file_at(address: usize) -> Option<&'static str> {
    let slot = SLOTS.iter().find(|slot| {
        let start = slot.start.load(Ordering::SeqCst);
        let length = slot.length.load(Ordering::SeqCst);
        start != 0 && (start..start.saturating_add(length)).contains(&address)
    })?;
    let path = slot.path.load(Ordering::SeqCst);
    // SAFETY: the pointer is null or was made from a reference that lives as long as the program, to a
    // value that never changes.
    let path: &'static String = unsafe { path.as_ref()? };
    Some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn changes_in_place_are_seen_and_renaming_is_not_one() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, "old").unwrap();
        let open = || MappedFile::new(&path, File::open(&path).unwrap()).unwrap();
        let file = open();
        file.check().unwrap();
        crate::files::replace(&path, "new").unwrap();
        file.check().unwrap();
        let file = open();
        let mut changed = fs::OpenOptions::new().write(true).open(&path).unwrap();
        changed.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(file.check().unwrap_err().path, path);
        let file = open();
        changed.set_len(1).unwrap();
        changed.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(file.check().is_err());
        let file = open();
        changed.write_all(b"longer").unwrap();
        assert!(file.check().unwrap_err().to_string().contains("in place"));
    }

    #[test]
    fn an_address_leads_to_its_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, "old").unwrap();
        let open = || MappedFile::new(&path, File::open(&path).unwrap()).unwrap();
        let file = open().at(usize::MAX - 4096, 100);
        let other = open().at(usize::MAX - 8192, 100);
        assert_eq!(mapped_file_at(usize::MAX - 4096 + 99), path.to_str());
        assert_eq!(mapped_file_at(usize::MAX - 4096 + 100), None);
        drop(file);
        assert_eq!(mapped_file_at(usize::MAX - 4096), None);
        assert_eq!(mapped_file_at(usize::MAX - 8192), path.to_str());
        drop(other);
    }
}
