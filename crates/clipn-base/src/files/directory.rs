use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::temporary::{MAX_TRIES, REPLACED, TEMPORARY, own, random_path, remove_abandoned};
use super::{Operation, before, follow_links, parent, rename, sync_directory};

/// A directory that is filled beside its name and takes it when complete.
///
/// An existing directory is replaced by swapping the names, so that there is a complete directory under
/// the name at any time. Where the file system cannot, it is renamed first, and
/// [`create`](Self::create) restores it after a kill in between.
#[derive(Debug)]
pub struct NewDirectory {
    temporary: PathBuf,
    target: PathBuf,
    /// Locked, so that no other process takes the directory for abandoned.
    lock: Option<File>,
    is_committed: bool,
}

impl NewDirectory {
    /// Creates the temporary directory. Restores or removes what killed writers of `target` left.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn create(target: impl AsRef<Path>) -> io::Result<Self> {
        let target = follow_links(target.as_ref())?;
        recover(&target)?;
        remove_abandoned(&target);
        for _ in 0..MAX_TRIES {
            let temporary = random_path(&target, TEMPORARY);
            before(Operation::CreateDirectory, &temporary)?;
            match fs::create_dir(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            }
            // Windows cannot open directories like files.
            let lock = File::open(&temporary).ok();
            if lock.as_ref().is_some_and(|lock| !own(&temporary, lock)) {
                continue;
            }
            return Ok(Self {
                temporary,
                target,
                lock,
                is_committed: false,
            });
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "no free temporary name",
        ))
    }

    /// The directory to write files to.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the directory its name, and removes the one that had it. The files must be synced.
    ///
    /// # Errors
    /// Errors of the file system. The name has the old directory then, or the new one if only removing
    /// the old one failed.
    pub fn commit(mut self) -> io::Result<()> {
        sync_directory(&self.temporary)?;
        let Ok(replaced) = fs::symlink_metadata(&self.target) else {
            rename(&self.temporary, &self.target)?;
            self.is_committed = true;
            return sync_directory(parent(&self.target));
        };
        // Ignored where directories have no permissions.
        let _ = fs::set_permissions(&self.temporary, replaced.permissions());
        let old = if exchange(&self.temporary, &self.target)? {
            self.temporary.clone()
        } else {
            self.rename_both()?
        };
        self.is_committed = true;
        // The lock is on the directory that now has the name.
        self.lock = None;
        sync_directory(parent(&self.target))?;
        before(Operation::RemoveDirectory, &old)?;
        fs::remove_dir_all(&old)
    }

    /// Renames the old directory and then the new one. Returns the path of the old one.
    fn rename_both(&self) -> io::Result<PathBuf> {
        let aside = random_path(&self.target, REPLACED);
        rename(&self.target, &aside)?;
        if let Err(error) = rename(&self.temporary, &self.target) {
            // If that fails too, the next writer restores it.
            let _ = rename(&aside, &self.target);
            return Err(error);
        }
        Ok(aside)
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if !self.is_committed && before(Operation::RemoveDirectory, &self.temporary).is_ok() {
            // An error of this cleanup would hide the one that matters.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// Removes a directory. It loses its name first, so that a kill leaves no part of it under the name.
///
/// # Errors
/// Errors of the file system.
pub fn remove_directory(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let hidden = random_path(path, TEMPORARY);
    rename(path, &hidden)?;
    before(Operation::RemoveDirectory, &hidden)?;
    fs::remove_dir_all(&hidden)
}

/// Restores a directory whose replacement was interrupted between its two renames, or removes it if
/// the replacement has the name.
fn recover(target: &Path) -> io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let Ok(entries) = fs::read_dir(parent(target)) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let middle = file_name
            .to_str()
            .and_then(|own| {
                own.strip_prefix('.')?
                    .strip_prefix(&*name)?
                    .strip_prefix('.')
            })
            .and_then(|rest| rest.strip_suffix(REPLACED)?.strip_suffix('.'));
        let is_own = middle.is_some_and(|middle| {
            middle.len() == 16 && middle.bytes().all(|c| c.is_ascii_hexdigit())
        });
        if !is_own || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if fs::symlink_metadata(target).is_err() {
            rename(entry.path(), target)?;
        } else {
            remove_directory(entry.path())?;
        }
    }
    Ok(())
}

/// Swaps two names in one step; `false` if the system cannot.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    use nix::errno::Errno;
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

    before(Operation::Exchange, other)?;
    match renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn exchange(_: &Path, _: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::names;

    fn file(directory: &Path) -> String {
        fs::read_to_string(directory.join("a")).unwrap()
    }

    #[test]
    fn a_directory_that_cannot_be_swapped_is_renamed_and_restored() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("oc");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("a"), "old").unwrap();
        let new = NewDirectory::create(&target).unwrap();
        fs::write(new.path().join("a"), "new").unwrap();
        let aside = new.rename_both().unwrap();
        assert_eq!((file(&target), file(&aside)), ("new".into(), "old".into()));
        // As after a kill between the two renames.
        fs::remove_dir_all(&target).unwrap();
        drop(new);
        drop(NewDirectory::create(&target).unwrap());
        assert_eq!(file(&target), "old");
        assert_eq!(names(root.path()), ["oc"]);
    }
}
