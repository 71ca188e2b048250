//! Class directories, image lists and benchmark definitions, on synthetic directories and on real
//! data if available.

use std::fs;
use std::path::{Path, PathBuf};

use clipn_data::{
    Benchmark, BenchmarkClasses, ClassSource, DatasetError, ImageFolder, ImageSet, OodKind,
    SetSource, read_image_list,
};
use proptest::prelude::*;
use tempfile::TempDir;

/// Creates a directory with empty files at the given paths.
fn folder(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        touch(&root.path().join(file));
    }
    root
}

fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, b"").unwrap();
}

/// Joins the messages of an error and of its sources.
fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

fn paths(set: &ImageSet) -> Vec<String> {
    set.samples
        .iter()
        .map(|sample| set.relative(sample).display().to_string())
        .collect()
}

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
        matches!(none, DatasetError::NoImages { other_files: 2, .. }),
        "{none}"
    );
    assert!(none.to_string().contains("(2 other files)"), "{none}");
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
fn skips_pipes() {
    let root = folder(&["a/1.jpg"]);
    let made = std::process::Command::new("mkfifo")
        .arg(root.path().join("a/2.jpg"))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mkfifo is not available");
        return;
    }
    assert_eq!(paths(&labeled(root.path()).unwrap()), ["a/1.jpg"]);
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
    let set = read_image_list("list", &list, &root.path().join("data"), Some(2)).unwrap();
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
        read_image_list("list", &root.path().join("no.txt"), root.path(), None),
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

/// Creates a data root with an ID directory of three classes, an OOD directory of two and a flat
/// one.
fn data_root() -> TempDir {
    let root = folder(&[
        "id/n1/1.jpg",
        "id/n1/2.jpg",
        "id/n2/1.jpg",
        "id/n3/1.jpg",
        "ood/x/1.jpg",
        "ood/y/1.jpg",
        "flat/1.jpg",
    ]);
    let table = "wnid\tname\trole\nn1\tgoldfish\tid\nn2\tbee\tnear\nn3\tcat\tid\n";
    fs::write(root.path().join("classes.tsv"), table).unwrap();
    fs::write(root.path().join("id.txt"), "id/n1/1.jpg 0\nid/n3/1.jpg 2\n").unwrap();
    root
}

const FLAT: &str = "[[ood]]\nname = \"flat\"\nfolder = \"flat\"\n";
const MAP: &str =
    "[maps.m]\nfile = \"classes.tsv\"\nfolder-column = \"wnid\"\nrole-column = \"role\"\n";

/// Parses a definition with the given `[id]` table, followed by `rest`.
fn define(id: &str, rest: &str) -> Result<Benchmark, DatasetError> {
    Benchmark::parse(&format!("name = \"t\"\n[id]\n{id}\n{rest}"), "t.toml")
}

fn none(_: &str) -> Option<Vec<String>> {
    None
}

#[test]
fn a_map_names_and_selects_classes() {
    let root = data_root();
    let near = "[[ood]]\nname = \"near\"\nkind = \"near\"\nfolder = \"id\"\nmap = \"m\"\nroles = [\"near\"]\n";
    let benchmark = define(
        "folder = \"id\"\nmap = \"m\"\nroles = [\"id\"]",
        &format!("{near}{FLAT}{MAP}"),
    )
    .unwrap();
    let opened = benchmark.open(root.path()).unwrap();
    assert_eq!(opened.class_names(none).unwrap(), ["goldfish", "cat"]);
    assert_eq!(opened.id.class_directories, ["n1", "n3"]);
    assert_eq!(labels(&opened.id), [Some(0), Some(0), Some(1)]);
    assert_eq!(opened.ood[0].kind, Some(OodKind::Near));
    assert_eq!(
        opened.ood[0].set.samples[0].path,
        root.path().join("id/n2/1.jpg")
    );
    assert_eq!(
        (opened.ood[1].kind, opened.ood[1].set.len(), opened.gray),
        (None, 1, false)
    );
}

#[test]
fn a_map_and_its_directories_must_match() {
    let root = data_root();
    let benchmark = |id: &str| {
        define(
            &format!("folder = \"id\"\nmap = \"m\"\n{id}"),
            &format!("{FLAT}{MAP}"),
        )
        .unwrap()
    };
    let error = |id: &str| message(&benchmark(id).open(root.path()).unwrap_err());
    assert!(
        error("roles = [\"far\"]").contains("unknown role `far`")
            && error("roles = [\"far\"]").contains("id, near")
    );
    assert!(error("exclude = [\"n9\"]").contains("unknown class `n9` in `exclude`"));
    assert!(error("exclude = [\"n1\", \"n2\", \"n3\"]").contains("select no class directory"));
    touch(&root.path().join("id/n4/1.jpg"));
    let unmapped = error("roles = [\"id\"]");
    assert!(
        unmapped.starts_with("cannot open set `t`: 1 class directories of")
            && unmapped.contains("(first: n4)"),
        "{unmapped}"
    );
    let excluded = benchmark("exclude = [\"n4\"]").open(root.path()).unwrap();
    assert_eq!(
        excluded.class_names(none).unwrap(),
        ["goldfish", "bee", "cat"]
    );
    fs::remove_dir_all(root.path().join("id/n3")).unwrap();
    let missing = error("exclude = [\"n4\"]");
    assert!(
        missing.contains("are neither in") && missing.contains("(first: n3)"),
        "{missing}"
    );
    // Excluded classes need not exist.
    assert_eq!(
        benchmark("exclude = [\"n4\", \"n3\"]")
            .open(root.path())
            .unwrap()
            .id
            .len(),
        3
    );
}

#[test]
fn class_names_belong_to_the_directories_that_are_kept() {
    let root = data_root();
    let three = "folder = \"id\"\nclasses = [\"one\", \"two\", \"three\"]\nexclude = [\"n2\"]";
    let opened = define(three, FLAT).unwrap().open(root.path()).unwrap();
    assert_eq!(opened.class_names(none).unwrap(), ["one", "three"]);
    assert_eq!(labels(&opened.id), [Some(0), Some(0), Some(1)]);

    let two = define("folder = \"id\"\nclasses = [\"one\", \"two\"]", FLAT).unwrap();
    let error = message(&two.open(root.path()).unwrap_err());
    assert!(error.contains("got 2 (first: one, two)"), "{error}");
    assert!(error.contains("(first: n1, n2, n3)"), "{error}");

    let named = define(
        "folder = \"id\"\nclasses = \"mine\"\nexclude = [\"n1\"]",
        FLAT,
    )
    .unwrap();
    let opened = named.open(root.path()).unwrap();
    assert!(matches!(&opened.classes, BenchmarkClasses::BuiltIn { list, .. } if list == "mine"));
    let give = |count: usize| move |_: &str| Some((0..count).map(|k| format!("c{k}")).collect());
    assert_eq!(opened.class_names(give(3)).unwrap(), ["c1", "c2"]);
    let error = opened.class_names(give(1000)).unwrap_err().to_string();
    assert!(error.contains("got 1000 (first: c0, c1, c2, …)"), "{error}");
    assert!(matches!(
        opened.class_names(none),
        Err(DatasetError::UnknownClassList { .. })
    ));

    let own = define("folder = \"id\"", FLAT)
        .unwrap()
        .open(root.path())
        .unwrap();
    assert_eq!(own.class_names(none).unwrap(), ["n1", "n2", "n3"]);
    let inline = "[maps.m.names]\nn1 = \"eins\"\nn2 = \"zwei\"\nn3 = \"drei\"\n";
    let mapped = define("folder = \"id\"\nmap = \"m\"", &format!("{FLAT}{inline}"))
        .unwrap()
        .open(root.path())
        .unwrap();
    assert_eq!(mapped.class_names(none).unwrap(), ["eins", "zwei", "drei"]);
}

#[test]
fn an_ood_set_excludes_classes() {
    let root = data_root();
    let ood = |exclude: &str| {
        format!("[[ood]]\nname = \"far\"\nfolder = \"ood\"\nexclude = [\"{exclude}\"]\n")
    };
    let opened = define("folder = \"id\"", &ood("x"))
        .unwrap()
        .open(root.path())
        .unwrap();
    assert_eq!(opened.ood[0].set.len(), 1);
    assert_eq!(
        opened.ood[0].set.samples[0].path,
        root.path().join("ood/y/1.jpg")
    );
    // A typo must not include the class.
    let benchmark = define("folder = \"id\"", &ood("X")).unwrap();
    let error = message(&benchmark.open(root.path()).unwrap_err());
    assert!(
        error.starts_with("cannot open set `far`: unknown class `X` in `exclude`"),
        "{error}"
    );
}

#[test]
fn opens_sets_from_lists() {
    let root = data_root();
    let ood = "[[ood]]\nname = \"far\"\nkind = \"far\"\nlist = \"id.txt\"\nroot = \"id\"\n";
    let named = define("list = \"id.txt\"\nclasses = \"mine\"", ood)
        .unwrap()
        .open(root.path())
        .unwrap();
    assert_eq!(labels(&named.id), [Some(0), Some(2)]);
    assert_eq!(named.id.samples[1].path, root.path().join("id/n3/1.jpg"));
    // Labels of an OOD list are not those of the ID classes.
    assert_eq!(labels(&named.ood[0].set), [None, None]);
    let names = |count: usize| move |_: &str| Some(vec!["x".to_string(); count]);
    assert_eq!(named.class_names(names(3)).unwrap().len(), 3);
    let error = named.class_names(names(2)).unwrap_err().to_string();
    assert!(
        error.contains("label 2 of") && error.contains("out of range for 2 class names"),
        "{error}"
    );
    let inline = define("list = \"id.txt\"\nclasses = [\"a\", \"b\"]", FLAT).unwrap();
    let error = message(&inline.open(root.path()).unwrap_err());
    assert!(
        error.contains("id.txt line 2: label 2 is out of range"),
        "{error}"
    );
}

#[test]
fn rejects_inconsistent_definitions() {
    let assert_rejects = |id: &str, rest: &str, words: &str| {
        let error = define(id, rest).unwrap_err().to_string();
        assert!(
            error.starts_with("invalid benchmark definition t.toml: ") && error.contains(words),
            "{error}"
        );
    };
    assert_rejects("folder = \"id\"", "", "no OOD set");
    assert_rejects(
        "folder = \"id\"\nlist = \"l\"",
        FLAT,
        "[id]: expected either `folder` or `list`",
    );
    assert_rejects("", FLAT, "[id]: expected either `folder` or `list`");
    assert_rejects(
        "folder = \"id\"\nfolders = \"x\"",
        FLAT,
        "unknown field `folders`",
    );
    assert_rejects("folder = \"id\"\nclasses = 3", FLAT, "array of class names");
    assert_rejects("folder = \"id\"\nclasses = []", FLAT, "empty `classes`");
    assert_rejects(
        "folder = \"id\"\nclasses = [\"a\", \" \"]",
        FLAT,
        "empty class name at index 1",
    );
    assert_rejects("folder = \"id\"\nmap = \"m\"", FLAT, "unknown map `m`");
    assert_rejects(
        "folder = \"id\"\nmap = \"m\"\nclasses = \"x\"",
        &format!("{FLAT}{MAP}"),
        "only one of `classes` and `map`",
    );
    assert_rejects(
        "folder = \"id\"\nroles = [\"id\"]",
        FLAT,
        "`roles` requires a `map`",
    );
    assert_rejects(
        "folder = \"id\"\nroot = \"x\"",
        FLAT,
        "`root` requires `list`",
    );
    assert_rejects("list = \"l\"", FLAT, "missing `classes`");
    assert_rejects(
        "list = \"l\"\nclasses = \"x\"\nexclude = [\"a\"]",
        FLAT,
        "expected none of them with `list`",
    );
    assert_rejects(
        "folder = \"id\"",
        &format!("{FLAT}{FLAT}"),
        "duplicate set name `flat`",
    );
    assert_rejects(
        "folder = \"id\"",
        &format!("{FLAT}kind = \"middling\""),
        "unknown variant `middling`",
    );
    assert_rejects(
        "folder = \"id\"",
        &format!("{FLAT}map = \"m\"\n{MAP}"),
        "`map` has no effect",
    );
    assert_rejects(
        "folder = \"id\"",
        &format!("{FLAT}[maps.m]\nname-column = \"x\""),
        "[maps.m]: expected either",
    );
    assert_rejects(
        "folder = \"id\"",
        &format!("{FLAT}[maps.m]\nname-column = \"x\"\n[maps.m.names]\n"),
        "columns require `file`",
    );
    assert_rejects(
        "folder = \"id\"",
        &format!("{FLAT}[maps.m.names]\na = \"\""),
        "empty class name for directory `a`",
    );
    assert_rejects("folder = ", FLAT, "line 3");
}

#[test]
fn loads_definitions_by_name_and_path() {
    for name in Benchmark::names() {
        assert_eq!(Benchmark::load(name).unwrap().name, name);
    }
    let root = data_root();
    let path = root.path().join("mine.toml");
    fs::write(
        &path,
        format!("name = \"mine\"\ngrey = true\n[id]\nfolder = \"id\"\n{FLAT}"),
    )
    .unwrap();
    let loaded = Benchmark::load(path.to_str().unwrap()).unwrap();
    assert!(loaded.gray && loaded.open(root.path()).unwrap().gray);
    assert_eq!(
        (loaded.id.name.as_str(), &loaded.id.classes),
        ("mine", &ClassSource::DirectoryNames)
    );
    let error = Benchmark::load("imagenet").unwrap_err().to_string();
    assert!(error.contains("imagenet-1k, tiny-imagenet-ood"), "{error}");
    fs::write(&path, b"name = \"\xff\"").unwrap();
    assert!(
        Benchmark::load(path.to_str().unwrap())
            .unwrap_err()
            .to_string()
            .contains("UTF-8")
    );
}

#[test]
fn the_imagenet_benchmark_has_the_common_layout() {
    let benchmark = Benchmark::load("imagenet-1k").unwrap();
    assert_eq!(
        benchmark.id.classes,
        ClassSource::BuiltIn("imagenet-1k".to_string())
    );
    let sets: Vec<_> = benchmark
        .ood
        .iter()
        .map(|set| (set.name.as_str(), set.kind))
        .collect();
    let far = Some(OodKind::Far);
    assert_eq!(
        sets,
        [
            ("iNaturalist", far),
            ("SUN", far),
            ("Textures", far),
            ("Places", far)
        ]
    );

    let root = folder(&[
        "imagenet/val/n01440764/a.JPEG",
        "imagenet/val/n01443537/b.JPEG",
        "iNaturalist/images/a.jpg",
        "SUN/images/a.jpg",
        "Places/images/a.jpg",
    ]);
    let error = benchmark.open(root.path()).unwrap_err();
    assert!(
        matches!(&error, DatasetError::InSet { set, .. } if set == "Textures"),
        "{error}"
    );
    touch(&root.path().join("Textures/images/banded/a.jpg"));
    let opened = benchmark.open(root.path()).unwrap();
    assert_eq!(
        (
            opened.id.len(),
            opened.ood.iter().map(|ood| ood.set.len()).sum::<usize>()
        ),
        (2, 4)
    );
    let missing = benchmark.open(&root.path().join("gone")).unwrap_err();
    assert!(matches!(missing, DatasetError::Missing { path } if path == root.path().join("gone")));
}

#[test]
fn the_real_benchmark_has_the_expected_counts() {
    let Some(data) = clipn_testing::test_data("data") else {
        return;
    };
    let benchmark = Benchmark::load("tiny-imagenet-ood").unwrap();
    assert!(!benchmark.gray);
    let opened = benchmark.open(&data).unwrap();
    let names = opened.class_names(none).unwrap();
    assert_eq!(
        (opened.id.len(), names.len(), names[0].as_str()),
        (7300, 146, "bullfrog")
    );
    assert!(
        opened
            .id
            .samples
            .iter()
            .all(|s| s.label.is_some_and(|label| label < 146))
    );
    let sets: Vec<_> = opened
        .ood
        .iter()
        .map(|ood| (ood.set.name.as_str(), ood.kind, ood.set.len()))
        .collect();
    assert_eq!(
        sets,
        [
            ("Tiny-ImageNet-near", Some(OodKind::Near), 2500),
            ("DTD-10", Some(OodKind::Far), 1080),
            ("Scene-15", Some(OodKind::Far), 750),
            ("MNIST", Some(OodKind::Far), 1000),
            ("Fashion", Some(OodKind::Far), 800),
        ]
    );
    let flat = unlabeled(&data.join("imagenet-100")).unwrap();
    assert_eq!(flat.len(), 100);
}

#[test]
fn definitions_contain_the_location_of_sets() {
    let benchmark = Benchmark::load("imagenet-1k").unwrap();
    let SetSource::Directory { path, selection } = &benchmark.id.source else {
        panic!("expected a folder")
    };
    assert_eq!(
        (path, selection.exclude.len()),
        (&PathBuf::from("imagenet/val"), 0)
    );
}
