use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::{LockError, NewDirectory, NewFile, OutputFile, StateLock, remove_directory, replace};

pub(super) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_old_until_it_is_committed() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a");
    replace(&path, "old").unwrap();
    let mut new = NewFile::create(&path).unwrap();
    new.write_all(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    new.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    NewFile::create(&path).unwrap().write_all(b"x").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(root.path()), ["a"]);
}

#[test]
fn leftovers_of_killed_writers_are_removed_and_those_of_living_ones_kept() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a");
    let leftover = root.path().join(".a.0123456789abcdef.tmp");
    fs::write(&leftover, "torn").unwrap();
    let directory = root.path().join(".a.fedcba9876543210.tmp");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("part"), "torn").unwrap();
    let other = root.path().join(".b.0123456789abcdef.tmp");
    fs::write(&other, "of another file").unwrap();
    let living = NewFile::create(&path).unwrap();
    replace(&path, "new").unwrap();
    assert!(!leftover.exists() && !directory.exists() && other.exists());
    assert!(living.temporary_path().exists());
    living.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[cfg(unix)]
#[test]
fn a_leftover_link_is_never_written_through() {
    let root = tempfile::tempdir().unwrap();
    let (blob, path) = (root.path().join("blob"), root.path().join("a"));
    fs::write(&blob, "shared").unwrap();
    for name in [".a.0123456789abcdef.tmp", ".a.1.0.tmp", ".a.1-0.tmp"] {
        std::os::unix::fs::symlink(&blob, root.path().join(name)).unwrap();
    }
    replace(&path, "new").unwrap();
    assert_eq!(fs::read(&blob).unwrap(), b"shared");
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn permissions_and_links_of_the_target_are_kept() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    let root = tempfile::tempdir().unwrap();
    let inner = root.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let (real, link) = (inner.join("real"), root.path().join("link"));
    fs::write(&real, "old").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    symlink("inner/real", &link).unwrap();
    replace(&link, "new").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o600);
    assert_eq!(names(&inner), ["real"]);
    // A link to nothing yet, and one in a circle.
    symlink("inner/later", root.path().join("dangling")).unwrap();
    replace(root.path().join("dangling"), "later").unwrap();
    assert_eq!(fs::read(inner.join("later")).unwrap(), b"later");
    symlink("circle", root.path().join("circle")).unwrap();
    let error = replace(root.path().join("circle"), "x").unwrap_err();
    assert!(error.to_string().contains("too many levels"), "{error}");
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_replaced() {
    let root = tempfile::tempdir().unwrap();
    let error = replace(root.path(), "x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    let error = replace("/dev/null", "x").unwrap_err();
    assert_eq!(error.to_string(), "it is not a regular file");
}

#[test]
fn a_directory_is_replaced_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("oc");
    let fill = |text: &str| {
        let new = NewDirectory::create(&target).unwrap();
        replace(new.path().join("a"), text).unwrap();
        new
    };
    fill("1").commit().unwrap();
    fs::write(target.join("old"), "").unwrap();
    fill("2").commit().unwrap();
    drop(fill("3"));
    assert_eq!(fs::read(target.join("a")).unwrap(), b"2");
    assert_eq!(names(&target), ["a"]);
    assert_eq!(names(root.path()), ["oc"]);
    remove_directory(&target).unwrap();
    assert!(names(root.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn a_link_to_a_directory_stays_one() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", root.path().join("link")).unwrap();
    let new = NewDirectory::create(root.path().join("link")).unwrap();
    fs::write(new.path().join("a"), "new").unwrap();
    new.commit().unwrap();
    assert!(root.path().join("link").is_symlink());
    assert_eq!(fs::read(root.path().join("real/a")).unwrap(), b"new");
    assert_eq!(names(root.path()), ["link", "real"]);
}

#[test]
fn a_directory_of_state_has_one_owner_whose_process_is_named() {
    let root = tempfile::tempdir().unwrap();
    let lock = StateLock::of_directory(root.path()).unwrap();
    let error = StateLock::of_directory(root.path()).unwrap_err();
    let LockError::InUse { path, holder } = &error else {
        panic!("{error}");
    };
    assert_eq!(path, root.path());
    assert_eq!(holder.process, Some(std::process::id()));
    drop(lock);
    assert!(names(root.path()).is_empty());
    // What a killed owner leaves.
    fs::write(root.path().join(".lock"), "process 1\nhost a\n").unwrap();
    drop(StateLock::of_directory(root.path()).unwrap());
    let missing = StateLock::of_directory(root.path().join("missing")).unwrap_err();
    assert!(missing.to_string().starts_with("cannot lock"), "{missing}");
}

#[test]
fn the_lock_of_a_file_outlasts_its_replacement() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.clipn");
    assert!(StateLock::of_file(&path).unwrap().is_none());
    fs::write(&path, "old").unwrap();
    let lock = StateLock::of_file(&path).unwrap().unwrap();
    assert!(matches!(
        StateLock::of_file(&path),
        Err(LockError::InUse { .. })
    ));
    drop(lock);
    let lock = StateLock::of_file(&path).unwrap();
    replace(&path, "new").unwrap();
    drop(lock);
    assert!(StateLock::of_file(&path).unwrap().is_some());
}

#[cfg(unix)]
#[test]
fn an_output_notices_that_it_was_removed_or_replaced() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("rows");
    let output = OutputFile::create_new(&path).unwrap();
    assert!(output.is_in_place());
    fs::rename(&path, root.path().join("other")).unwrap();
    assert!(!output.is_in_place());
    fs::write(&path, "").unwrap();
    assert!(!output.is_in_place());
}
