//! Benchmark definitions, on synthetic directories and on real data if available.

use crate::directories::{folder, message, touch};
use std::fs;
use std::path::PathBuf;

use clipn_data::{
    Benchmark, BenchmarkClasses, ClassMapSource, ClassSource, DatasetError, ImageFolder, ImageSet,
    ListedClasses, OodKind, SetSource,
};
use tempfile::TempDir;

fn labels(set: &ImageSet) -> Vec<Option<usize>> {
    set.samples.iter().map(|sample| sample.label).collect()
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
        unmapped.starts_with("cannot open set `t`: 1 class directory of")
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
        missing.contains("is neither in") && missing.contains("(first: n3)"),
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
        "[id]: expected one of `folder`, `list`, `archive` and `table`",
    );
    assert_rejects(
        "",
        FLAT,
        "[id]: expected one of `folder`, `list`, `archive` and `table`",
    );
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
    let missing = benchmark.open(root.path().join("gone")).unwrap_err();
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
    let flat = ImageFolder::read(data.join("imagenet-100"))
        .unwrap()
        .unlabeled("set")
        .unwrap();
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

#[test]
fn images_to_fit_to_have_the_classes_of_the_id_set() {
    let root = data_root();
    let classes = |train: &str| {
        let id = "folder = \"id\"\nmap = \"m\"\nroles = [\"id\"]";
        let benchmark = define(id, &format!("{FLAT}{MAP}[train]\n{train}\n"))?;
        let matched = benchmark.open(root.path())?.match_classes(|_| None)?;
        let set = benchmark.train.unwrap().open(root.path(), "", &matched)?;
        assert_eq!(
            set.classes.as_ref().map_or(set.images.len(), Vec::len),
            set.images.len()
        );
        Ok::<_, DatasetError>(set.classes)
    };
    // All three folders; n2 is no ID class.
    let all = Some(vec![Some(0), Some(0), None, Some(1)]);
    assert_eq!(classes("folder = \"id\"").unwrap(), all);
    assert_eq!(classes("folder = \"id\"\nmap = \"m\"").unwrap(), all);
    let near = "folder = \"id\"\nmap = \"m\"\nroles = [\"near\"]";
    assert!(message(&classes(near).unwrap_err()).contains("train"));
    let excluded = "folder = \"id\"\nexclude = [\"n2\"]";
    assert_eq!(
        classes(excluded).unwrap(),
        Some(vec![Some(0), Some(0), Some(1)])
    );
    // Labels of a list are rows of the map, or indices of the classes.
    let list = Some(vec![Some(0), Some(1)]);
    assert_eq!(classes("list = \"id.txt\"\nmap = \"m\"").unwrap(), list);
    assert!(message(&classes("list = \"id.txt\"").unwrap_err()).contains("label 2"));
    // Without class folders, the classes are not known.
    assert_eq!(classes("folder = \"flat\"").unwrap(), None);
    assert!(
        message(&classes("folder = \"id\"\nlist = \"id.txt\"").unwrap_err()).contains("[train]")
    );
    assert!(message(&classes("folder = \"ood\"").unwrap_err()).contains("x"));
}

#[test]
fn openood_lists_are_split_at_the_first_space() {
    let root = folder(&["images/a.jpg", "images/n02/b.jpg", "images/n01/c.jpg"]);
    let list = |text: &str| fs::write(root.path().join("list.txt"), text).unwrap();
    let open = |id: &str| {
        let text = format!(
            "name = \"t\"\nlist-format = \"openood\"\n[id]\nlist = \"list.txt\"\nroot = \"images\"\n{id}\n\
             [[ood]]\nname = \"o\"\nlist = \"list.txt\"\nroot = \"images\"\n"
        );
        Benchmark::parse(&text, "t.toml").unwrap().open(root.path())
    };
    let names = "classes = [\"x\", \"y\"]";
    list("a.jpg {'label': 1, 'note': 'not 0'}\nn02/b.jpg 0\r\nn01/c.jpg -1\n");
    let opened = open(names).unwrap();
    assert_eq!(labels(&opened.id), [Some(1), Some(0), None]);
    assert_eq!(labels(&opened.ood[0].set), [None; 3]);
    assert_eq!(
        opened.id.samples[1].path,
        root.path().join("images/n02/b.jpg")
    );
    for (text, problem) in [
        ("a.jpg", "missing label"),
        ("a.jpg 2", "2 class names"),
        ("a.jpg one", "`one` is not an integer"),
        ("/a.jpg 0", "absolute path"),
        ("a.jpg {'sublabel': 0}", "no `label` in the dictionary"),
    ] {
        list(text);
        let error = message(&open(names).unwrap_err());
        assert!(
            error.contains(problem) && error.contains("line 1"),
            "{error}"
        );
    }
}

#[test]
fn classes_of_a_list_follow_from_its_paths() {
    let root = folder(&["o/1.jpg"]);
    let list = |text: &str| fs::write(root.path().join("list.txt"), text).unwrap();
    let open = || {
        let text = "name = \"t\"\nlist-format = \"openood\"\n[id]\nlist = \"list.txt\"\nclasses = \"known\"\n\
                    classes-of-paths = true\n[[ood]]\nname = \"o\"\nfolder = \"o\"\n";
        Benchmark::parse(text, "t.toml").unwrap().open(root.path())
    };
    let known = |_: &str| {
        Some(ListedClasses {
            names: ["fish", "bus", "cat"].map(str::to_owned).into(),
            synset_ids: ["n01443537", "n04146614", "n02123045"]
                .map(str::to_owned)
                .into(),
        })
    };
    list("val/n02123045/a.jpg 1\nval/n01443537/b.jpg 0\nval/n02123045/c.jpg 1\n");
    let opened = open().unwrap();
    assert_eq!(opened.match_classes(known).unwrap().names, ["fish", "cat"]);
    for (text, problem) in [
        (
            "n1/a.jpg 0\nn2/b.jpg 0\n",
            "label 0 has images of the directories n1 and n2",
        ),
        (
            "n1/a.jpg 0\nn2/b.jpg 2\nn2/c.jpg 2\n",
            "label 1 has no images",
        ),
        (
            "n1/a.jpg 4000000000\n",
            "label 4000000000 in a list of 1 images",
        ),
    ] {
        list(text);
        let error = message(&open().unwrap_err());
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn mapped_only_selects_the_directories_of_a_map() {
    let root = data_root();
    let map = "[maps.few.names]\nn3 = \"cat\"\nn1 = \"goldfish\"\n";
    let ood = "[[ood]]\nname = \"o\"\nfolder = \"id\"\nmap = \"bee\"\nmapped-only = true\n\
               [maps.bee.names]\nn2 = \"bee\"\n";
    let id = "folder = \"id\"\nmap = \"few\"\nmapped-only = true\nimages = 3";
    let benchmark = define(id, &format!("{ood}{map}")).unwrap();
    let opened = benchmark.open(root.path()).unwrap();
    assert_eq!(opened.class_names(none).unwrap(), ["goldfish", "cat"]);
    assert_eq!((opened.id.len(), opened.ood[0].set.len()), (3, 1));
    assert!(opened.incomplete.is_empty());
    assert!(
        benchmark
            .check(root.path(), |_| None)
            .unwrap()
            .is_complete()
    );
    fs::remove_dir_all(root.path().join("id/n3")).unwrap();
    let error = message(&benchmark.open(root.path()).unwrap_err());
    assert!(error.contains("n3"), "{error}");
    let check = benchmark.check(root.path(), |_| None).unwrap();
    assert!(!check.is_complete() && check.sets[0].problem.is_some());
    assert!(check.sets[1].is_complete());
    for (id, problem) in [
        ("folder = \"id\"\nmapped-only = true", "requires a `map`"),
        (
            "folder = \"id\"\nclasses-of-paths = true",
            "`classes-of-paths` requires",
        ),
    ] {
        let error = message(&define(id, FLAT).unwrap_err());
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn another_number_of_images_is_reported() {
    let root = data_root();
    let benchmark = define("folder = \"id\"\nimages = 9", FLAT).unwrap();
    let opened = benchmark.open(root.path()).unwrap();
    assert_eq!(opened.incomplete.len(), 1);
    assert_eq!(
        (opened.incomplete[0].images, opened.incomplete[0].expected),
        (4, 9)
    );
}

#[test]
fn built_in_benchmarks_have_the_published_counts() {
    let counts = |name: &str| {
        let benchmark = Benchmark::load(name).unwrap();
        let near = |set: &&clipn_data::OodDefinition| set.kind == Some(OodKind::Near);
        (
            benchmark.id.images,
            benchmark.ood.iter().filter(near).count(),
            benchmark.ood.len(),
            benchmark
                .ood
                .iter()
                .filter_map(|set| set.images)
                .sum::<usize>(),
        )
    };
    assert_eq!(
        counts("openood-imagenet-1k"),
        (Some(45_000), 2, 5, 49_000 + 5_879 + 10_000 + 5_160 + 15_869)
    );
    assert_eq!(
        counts("imagenet-traditional-four"),
        (Some(50_000), 2, 6, 49_000 + 5_879 + 30_000 + 5_640)
    );
    assert_eq!(counts("ninco").3, 5_879 + 2_715);
    assert_eq!(counts("ninco-clean"), (Some(50_000), 0, 1, 2_715));
    assert_eq!(counts("mcm-imagenet-10"), (Some(500), 1, 1, 1_000));
    assert_eq!(counts("mcm-imagenet-100").3, 35_640);
    for (name, classes) in [
        ("mcm-imagenet-10", 10),
        ("mcm-imagenet-20", 20),
        ("mcm-imagenet-100", 100),
    ] {
        let ClassSource::ClassMap(ClassMapSource::Inline { names, .. }) =
            Benchmark::load(name).unwrap().id.classes
        else {
            panic!("{name}");
        };
        let unique: std::collections::BTreeSet<&String> = names.values().collect();
        assert_eq!((names.len(), unique.len()), (classes, classes));
    }
    let full = Benchmark::load("openood-imagenet-1k-full-spectrum").unwrap();
    assert_eq!(full.shifted.len(), 4);
    assert_eq!(
        full.ood,
        Benchmark::load("openood-imagenet-1k").unwrap().ood
    );
}
