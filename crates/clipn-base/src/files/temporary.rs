//! Temporary names beside a target: random, and removed when their owner is gone.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::parent;

/// Extension of what is being written or removed.
pub(super) const TEMPORARY: &str = "tmp";
/// Extension of a complete directory while another takes its name.
pub(super) const REPLACED: &str = "replaced";
/// Maximum number of names that are tried.
pub(super) const MAX_TRIES: usize = 16;
/// Maximum bytes of the target's name in a temporary one: most file systems allow 255 in all.
const MAX_NAME: usize = 200;
/// Hexadecimal digits of a random name.
const DIGITS: usize = 16;
/// Age at which a leftover that cannot be locked has no owner.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Returns a hidden path beside `target` with a random part: process ids repeat in containers.
pub(super) fn random_path(target: &Path, extension: &str) -> PathBuf {
    // Every `RandomState` has other keys, from the system's random numbers.
    let random = RandomState::new().build_hasher().finish();
    let name = stem(target);
    parent(target).join(format!(".{name}.{random:016x}.{extension}"))
}

fn stem(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// What a name beside a target is.
#[derive(Debug, PartialEq, Eq)]
enum Leftover {
    /// Its owner holds a lock on it.
    Locked,
    /// A temporary name of an earlier version, whose owner holds no lock.
    Unlocked,
}

/// Returns what a name is to a target with this stem; `None` for other files.
fn leftover(name: &str, stem: &str) -> Option<Leftover> {
    let middle = name
        .strip_prefix('.')?
        .strip_prefix(stem)?
        .strip_prefix('.')?
        .strip_suffix(TEMPORARY)?
        .strip_suffix('.')?;
    let is_hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if middle.len() == DIGITS && middle.bytes().all(is_hexadecimal) {
        return Some(Leftover::Locked);
    }
    let (process, count) = middle.split_once(['-', '.'])?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    (is_number(process) && is_number(count)).then_some(Leftover::Unlocked)
}

/// Removes what killed writers of `target` left beside it. What cannot be removed stays: it has no
/// effect but its size.
pub(super) fn remove_abandoned(target: &Path) {
    let stem = stem(target);
    let Ok(entries) = fs::read_dir(parent(target)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(kind) = name.to_str().and_then(|name| leftover(name, &stem)) else {
            continue;
        };
        let path = entry.path();
        if is_abandoned(&path, &kind) {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let _ = if is_directory {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
        }
    }
}

fn is_abandoned(path: &Path, kind: &Leftover) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return false;
    };
    let modified = metadata.modified().ok();
    let is_old = modified
        .and_then(|at| at.elapsed().ok())
        .is_some_and(|age| age > ABANDONED);
    if *kind == Leftover::Unlocked || metadata.is_symlink() {
        return is_old;
    }
    match open(path).map(|file| file.try_lock()) {
        // The lock ends with the file, after which the writer finds its file gone.
        Ok(Ok(())) => true,
        Ok(Err(TryLockError::WouldBlock)) => false,
        Ok(Err(TryLockError::Error(_))) | Err(_) => is_old,
    }
}

/// Opens a file or directory to lock it.
fn open(path: &Path) -> io::Result<File> {
    // Network file systems lock only what is open to write.
    OpenOptions::new()
        .write(true)
        .open(path)
        .or_else(|_| File::open(path))
}

/// Locks a temporary file or directory that was just created; `false` if another process took it for
/// abandoned and removed it.
pub(super) fn own(path: &Path, file: &File) -> bool {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        Ok(()) | Err(TryLockError::Error(_)) => super::is_same_file(path, file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_temporary_names_are_leftovers() {
        let kind = |name| leftover(name, "a.clipn");
        assert_eq!(
            kind(".a.clipn.0123456789abcdef.tmp"),
            Some(Leftover::Locked)
        );
        assert_eq!(kind(".a.clipn.17-3.tmp"), Some(Leftover::Unlocked));
        assert_eq!(kind(".a.clipn.17.3.tmp"), Some(Leftover::Unlocked));
        for other in [
            "a.clipn.0123456789abcdef.tmp",
            ".a.clipn.0123456789ABCDEF.tmp",
            ".a.clipn.0123.tmp",
            ".a.clipn.tmp",
            ".b.clipn.0123456789abcdef.tmp",
            ".a.clipn.0123456789abcdef.replaced",
        ] {
            assert_eq!(kind(other), None, "{other}");
        }
    }

    #[test]
    fn names_differ_and_fit_into_a_file_name() {
        let target = Path::new("d").join("ü".repeat(127));
        let paths = [
            random_path(&target, TEMPORARY),
            random_path(&target, TEMPORARY),
        ];
        assert_ne!(paths[0], paths[1]);
        for path in paths {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(name.len() <= 255, "{name}");
            assert_eq!(leftover(&name, &stem(&target)), Some(Leftover::Locked));
        }
    }
}
