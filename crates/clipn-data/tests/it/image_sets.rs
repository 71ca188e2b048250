//! Class directories and image lists.

use crate::directories::{folder, paths, touch};
use std::fs;
use std::path::Path;

use clipn_data::{DatasetError, ImageFolder, ImageSet, read_image_list};
use proptest::prelude::*;

fn labels(set: &ImageSet) -> Vec<Option<usize>> {
    set.samples.iter().map(|sample| sample.label).collect()
}

fn labeled(root: &Path) -> Result<ImageSet, DatasetError> {
    ImageFolder::read(root)?.labeled("set")
}

fn unlabeled(root: &Path) -> Result<ImageSet, DatasetError> {
    ImageFolder::read(root)?.unlabeled("set")
}

#[test]
fn class_directories_are_sorted_by_bytes() {
    let root = folder(&[
        "b/1.jpg",
        "B/1.jpg",
        "é/1.jpg",
        "a10/1.jpg",
        "a2/1.jpg",
        "note.txt",
        "loose.png",
    ]);
    let set = labeled(root.path()).unwrap();
    assert_eq!(set.class_directories, ["B", "a10", "a2", "b", "é"]);
    assert_eq!(labels(&set), [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(
        paths(&set)[0],
        Path::new("B").join("1.jpg").display().to_string()
    );
    assert_eq!(
        (set.name.as_str(), set.len(), set.is_empty()),
        ("set", 5, false)
    );
    assert_eq!(
        set.skipped.to_string(),
        ".txt 1, image outside the class directories 1"
    );
}

#[cfg(unix)]
#[test]
fn files_have_the_order_of_torchvision() {
    // torchvision sorts the directories by their whole path, in which `-` precedes `/`.
    let root = folder(&[
        "c/z.jpg",
        "c/a/2.PNG",
        "c/a/10.jpeg",
        "c/a-b/1.gif",
        "c/a/s/1.TIFF",
        "c/.hidden.jpg",
    ]);
    touch(&root.path().join("c/.git/x.jpg"));
    touch(&root.path().join("c/a/readme.txt"));
    let set = labeled(root.path()).unwrap();
    assert_eq!(
        paths(&set),
        [
            "c/z.jpg",
            "c/a/10.jpeg",
            "c/a/2.PNG",
            "c/a-b/1.gif",
            "c/a/s/1.TIFF"
        ]
    );
    assert_eq!(set.class_directories, ["c"]);
}

#[test]
fn an_unlabeled_set_has_all_images_below_the_directory() {
    let flat = folder(&["b.jpg", "a.webp", "c.txt", ".d.jpg"]);
    let set = unlabeled(flat.path()).unwrap();
    assert_eq!(paths(&set), ["a.webp", "b.jpg"]);
    assert_eq!(labels(&set), [None, None]);
    let mixed = folder(&["z.jpg", "x/1.bmp", "empty/readme", "images/deep/er/2.tif"]);
    assert_eq!(unlabeled(mixed.path()).unwrap().len(), 3);
}

#[test]
fn reports_missing_paths_and_images() {
    let root = folder(&["only.txt", "a/note.md"]);
    let error = |result: Result<ImageSet, DatasetError>| result.unwrap_err();
    assert!(matches!(
        error(labeled(&root.path().join("nope"))),
        DatasetError::Missing { .. }
    ));
    assert!(matches!(
        error(labeled(&root.path().join("only.txt"))),
        DatasetError::NotADirectory { .. }
    ));
    let none = error(unlabeled(root.path()));
    assert!(
        matches!(&none, DatasetError::NoImages { skipped, .. } if skipped.total() == 2),
        "{none}"
    );
    assert!(
        none.to_string().ends_with("(2 other files: .md 1, .txt 1)"),
        "{none}"
    );
    // A class without images would leave an unused label.
    assert!(
        error(labeled(root.path()))
            .to_string()
            .starts_with("no images in")
    );
    let flat = folder(&["1.jpg"]);
    assert!(matches!(
        error(labeled(flat.path())),
        DatasetError::NoClassDirectories { .. }
    ));
}

#[cfg(unix)]
#[test]
fn reports_a_directory_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let root = folder(&["a/1.jpg", "a/locked/2.jpg"]);
    let locked = root.path().join("a/locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let allowed = fs::read_dir(&locked).is_ok();
    let result = labeled(root.path());
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
    if allowed {
        eprintln!("skipped: this user can read every directory");
        assert_eq!(result.unwrap().len(), 2);
        return;
    }
    assert!(matches!(result, Err(DatasetError::Permission { path }) if path == locked));
}

#[cfg(unix)]
#[test]
fn follows_links_and_detects_cycles() {
    use std::os::unix::fs::symlink;
    let root = folder(&["a/1.jpg", "b/2.jpg"]);
    let elsewhere = folder(&["3.jpg", "sub/4.jpg"]);
    let at = |path: &str| root.path().join(path);
    symlink(elsewhere.path(), at("c")).unwrap();
    symlink(root.path(), at("a/up")).unwrap();
    symlink(at("a"), at("a/self")).unwrap();
    symlink(at("b"), at("a/other")).unwrap();
    symlink(at("a"), at("b/back")).unwrap();
    symlink(at("nowhere.jpg"), at("b/gone.jpg")).unwrap();
    symlink(at("ring"), at("ring")).unwrap();
    let set = labeled(root.path()).unwrap();
    // A dangling link counts as an unreadable image rather than a missing one.
    assert_eq!(
        paths(&set),
        [
            "a/1.jpg",
            "a/other/2.jpg",
            "a/other/gone.jpg",
            "b/2.jpg",
            "b/gone.jpg",
            "b/back/1.jpg",
            "c/3.jpg",
            "c/sub/4.jpg"
        ]
    );
    assert_eq!(set.class_directories, ["a", "b", "c"]);
}

#[cfg(unix)]
#[test]
fn a_directory_that_is_reached_twice_is_listed_once() {
    use std::os::unix::fs::symlink;
    let root = folder(&["c/x/1.jpg", "d/2.jpg"]);
    let at = |path: &str| root.path().join(path);
    symlink(at("c/x"), at("c/a")).unwrap();
    symlink(at("c/x"), at("c/z")).unwrap();
    assert_eq!(
        paths(&labeled(root.path()).unwrap()),
        ["c/a/1.jpg", "d/2.jpg"]
    );
    // A link to the root is a class directory, but its images belong to the other classes.
    symlink(root.path(), at("up")).unwrap();
    let error = labeled(root.path()).unwrap_err();
    assert!(
        matches!(&error, DatasetError::NoImages { path, .. } if *path == at("up")),
        "{error}"
    );
    assert_eq!(unlabeled(root.path()).unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn counts_pipes_as_skipped() {
    use clipn_data::{FolderImages, NamedImage};
    use clipn_image::{ImageError, ImageSource, Preprocessing};
    let root = folder(&["a/1.jpg"]);
    let pipes = ["a/2.jpg", "3.jpg", "a/.hidden"].map(|name| root.path().join(name));
    let made = std::process::Command::new("mkfifo").args(&pipes).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mkfifo is not available");
        return;
    }
    assert_eq!(paths(&labeled(root.path()).unwrap()), ["a/1.jpg"]);
    let images = FolderImages::open(root.path()).unwrap();
    assert_eq!(images.total(), 1);
    assert_eq!(images.skipped().to_string(), "no regular file 2");
    // A list may name one: it is an error rather than a read that never ends.
    let mut image = NamedImage::from_path(&pipes[0]);
    let preprocessing = Preprocessing::clip(4);
    let mut tensor = vec![0.0; preprocessing.tensor_len()];
    let error = image.read_tensor(&preprocessing, &mut tensor).unwrap_err();
    assert!(matches!(error, ImageError::NotAFile { .. }), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn accepts_names_that_are_not_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let odd = root.path().join(OsStr::from_bytes(b"caf\xe9"));
    touch(&odd.join(OsStr::from_bytes(b"\xff\xfe.jpg")));
    let set = labeled(root.path()).unwrap();
    assert_eq!(set.class_directories, ["caf\u{fffd}"]);
    assert_eq!(
        set.samples[0].path,
        odd.join(OsStr::from_bytes(b"\xff\xfe.jpg"))
    );
    assert!(fs::read(&set.samples[0].path).is_ok());

    let list = root.path().join("list.txt");
    fs::write(&list, b"caf\xe9/\xff\xfe.jpg 0\n").unwrap();
    let set = read_image_list("list", &list, root.path(), None).unwrap();
    assert!(fs::read(&set.samples[0].path).is_ok());
}

#[test]
fn reads_paths_and_labels_from_lists() {
    let root = folder(&[]);
    let list = root.path().join("list.txt");
    fs::write(&list, "\u{feff}a b.jpg 1\r\n\r\nc/d.png -1\r\ne.jpg 0").unwrap();
    let set = read_image_list("list", &list, root.path().join("data"), Some(2)).unwrap();
    assert_eq!(labels(&set), [Some(1), None, Some(0)]);
    assert_eq!(
        set.samples[0].path,
        root.path().join("data").join("a b.jpg")
    );
    let error = read_image_list("list", &list, root.path(), Some(1))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("list.txt line 1: label 1 is out of range"),
        "{error}"
    );
    fs::write(&list, "a.jpg 0\n\nb.jpg\n").unwrap();
    let error = read_image_list("list", &list, root.path(), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("list.txt line 3: missing label"), "{error}");
    fs::write(&list, "\n\n").unwrap();
    assert!(matches!(
        read_image_list("list", &list, root.path(), None),
        Err(DatasetError::EmptyList { .. })
    ));
    assert!(matches!(
        read_image_list("list", root.path().join("no.txt"), root.path(), None),
        Err(DatasetError::Missing { .. })
    ));
}

proptest! {
    #[test]
    fn random_bytes_are_a_list_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let root = folder(&[]);
        let list = root.path().join("list.txt");
        fs::write(&list, &bytes).unwrap();
        if let Ok(set) = read_image_list("list", &list, root.path(), Some(5)) {
            prop_assert!(!set.is_empty() && set.samples.iter().all(|s| s.label.is_none_or(|label| label < 5)));
        }
    }

    #[test]
    fn lists_survive_a_round_trip(entries in prop::collection::vec(("[a-zA-Z0-9_/. é-]{0,20}[a-z]", -1_i64..9), 1..20)) {
        let root = folder(&[]);
        let list = root.path().join("list.txt");
        let text: String = entries.iter().map(|(path, label)| format!("{} {label}\n", path.trim())).collect();
        fs::write(&list, text).unwrap();
        let set = read_image_list("list", &list, Path::new("r"), None).unwrap();
        let expected: Vec<_> =
            entries.iter().map(|(path, label)| (Path::new("r").join(path.trim()), usize::try_from(*label).ok())).collect();
        let actual: Vec<_> = set.samples.into_iter().map(|s| (s.path, s.label)).collect();
        prop_assert_eq!(actual, expected);
    }
}
