//! Labels of evaluation sets: class directories and their names, lists without labels, archives and tables.

use std::fs;
use std::path::Path;

use clipn_data::{
    Benchmark, ClassMatching, ImageContent, ListedClasses, MatchedClasses, OpenedBenchmark,
    is_archive_file, is_table_file, read_archived_images, read_image_list, read_path_list,
};
use clipn_testing::shards::{bmp, tar};

use crate::directories::{folder, message};

const FLAT: &str = "[[ood]]\nname = \"flat\"\nfolder = \"flat\"\n";

/// Opens a benchmark whose `[id]` table has these keys.
fn open(root: &Path, id: &str) -> Result<OpenedBenchmark, String> {
    let text = format!("name = \"t\"\n[id]\n{id}\n{FLAT}");
    let benchmark = Benchmark::parse(&text, "t.toml").unwrap();
    benchmark.open(root).map_err(|error| message(&error))
}

fn matched(root: &Path, id: &str) -> MatchedClasses {
    open(root, id).unwrap().match_classes(|_| None).unwrap()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|k| format!("class {k}")).collect()
}

#[test]
fn numbered_directories_are_labels_in_the_order_of_the_numbers() {
    let files: Vec<String> = (0..12).map(|k| format!("id/{k}/{k}.jpg")).collect();
    let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
    files.push("flat/1.jpg");
    let root = folder(&files);
    let classes = format!("folder = \"id\"\nclasses = {:?}", names(12));
    let opened = open(root.path(), &classes).unwrap();
    let matched = opened.match_classes(|_| None).unwrap();
    assert_eq!(matched.names, names(12));
    assert_eq!(matched.matching, ClassMatching::Numbers { first: 0 });
    assert_eq!(
        matched.to_string(),
        "12 class directories matched with 12 class names by number: 0 = class 0, 1 = class 1, \
         2 = class 2, …"
    );
    for sample in &opened.id.samples {
        let number = sample.path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(sample.label, Some(number.parse().unwrap()));
    }
    let fewer = open(root.path(), &format!("{classes}\nexclude = [\"2\"]")).unwrap();
    let kept = fewer.class_names(|_| None).unwrap();
    assert_eq!((kept.len(), kept[2].as_str()), (11, "class 3"));
    assert_eq!(fewer.id.samples.last().unwrap().label, Some(10));
}

#[test]
fn directories_named_like_the_classes_are_found_by_name() {
    let root = folder(&["id/Goldfish/1.jpg", "id/school_bus/1.jpg", "flat/1.jpg"]);
    let order = "folder = \"id\"\nclasses = [\"school bus\", \"zebra\", \"goldfish\"]";
    let matched = matched(root.path(), order);
    assert_eq!(matched.matching, ClassMatching::Names);
    assert_eq!(matched.names, ["goldfish", "school bus", "zebra"]);
    assert_eq!(matched.names_without_directory(), ["zebra"]);

    let built_in = open(root.path(), "folder = \"id\"\nclasses = \"list\"").unwrap();
    let listed = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        move |_: &str| Some(ListedClasses::from(names))
    };
    let found = built_in
        .match_classes(listed(&["school bus", "goldfish"]))
        .unwrap();
    assert_eq!(found.names, ["goldfish", "school bus"]);
    let partial = built_in
        .match_classes(listed(&["school bus", "cat"]))
        .unwrap_err();
    assert!(partial.to_string().contains("(Goldfish)"), "{partial}");
}

#[test]
fn other_directories_are_matched_by_position() {
    let root = folder(&["id/x/1.jpg", "id/y/1.jpg", "flat/1.jpg"]);
    let found = matched(root.path(), "folder = \"id\"\nclasses = [\"a\", \"b\"]");
    assert!(matches!(
        found.matching,
        ClassMatching::Position {
            unmatched_count: 0,
            ..
        }
    ));
    assert_eq!(
        found.to_string(),
        "2 class directories matched with 2 class names by position, in sorted order: x = a, y = b"
    );
}

#[test]
fn lists_without_labels_are_read_if_labels_are_not_used() {
    let root = folder(&["a b.jpg", "c.jpg", "photo 7", "d 3.png", "flat/1.jpg"]);
    let list = root.path().join("list.txt");
    fs::write(&list, "a b.jpg\nc.jpg\r\nphoto 7\nd 3.png 5\nc.jpg -1\n").unwrap();
    let set = read_path_list("x", &list, root.path()).unwrap();
    let found: Vec<_> = set
        .samples
        .iter()
        .map(|sample| set.relative(sample).to_str().unwrap())
        .collect();
    assert_eq!(found, ["a b.jpg", "c.jpg", "photo 7", "d 3.png", "c.jpg"]);
    assert!(set.samples.iter().all(|sample| sample.label.is_none()));

    for line in ["c.jpg", "a b.jpg"] {
        fs::write(&list, line).unwrap();
        let error = read_image_list("x", &list, root.path(), None).unwrap_err();
        assert!(
            error.to_string().contains("line 1: missing label"),
            "{error}"
        );
    }
}

/// Writes an archive of three samples, with labels in `field`.
fn archive(root: &Path, name: &str, field: &str, labels: [&str; 3]) {
    let files: Vec<(String, Vec<u8>)> = (0..3)
        .flat_map(|k| {
            [
                (format!("s{k}.png"), bmp(k as u32)),
                (format!("s{k}.{field}"), labels[k].as_bytes().to_vec()),
            ]
        })
        .collect();
    fs::write(root.join(name), tar(&files)).unwrap();
}

#[test]
fn archives_are_sets_with_labels() {
    let root = folder(&["flat/1.jpg"]);
    archive(root.path(), "a-0.tar", "cls", ["2\n", "0", "-1"]);
    archive(
        root.path(),
        "a-1.tar",
        "json",
        ["{\"label\": 1}", "{\"cls\": \"0\"}", "{\"label\": 2}"],
    );
    let id = "archive = \"a-{0..1}.tar\"\nclasses = [\"x\", \"y\", \"z\"]";
    let opened = open(root.path(), id).unwrap();
    assert_eq!(
        opened.match_classes(|_| None).unwrap().matching,
        ClassMatching::Labels
    );
    let labels: Vec<_> = opened
        .id
        .samples
        .iter()
        .map(|sample| sample.label)
        .collect();
    assert_eq!(labels, [Some(2), Some(0), None, Some(1), Some(0), Some(2)]);
    assert_eq!(
        opened.id.relative(&opened.id.samples[3]),
        Path::new("a-1.tar/s0.png")
    );
    let contents: Vec<_> = opened.id.images().map(|image| image.content).collect();
    for (index, content) in contents.iter().enumerate() {
        let expected = bmp(index as u32 % 3);
        assert!(
            matches!(content, ImageContent::Bytes(bytes) if *bytes == expected),
            "{content:?}"
        );
    }
    let path = opened.id.samples[4].path.clone();
    let read = read_archived_images([path.as_path(), Path::new("no/such.png")]);
    assert_eq!((read.len(), &read[&path]), (1, &bmp(1)));
}

#[test]
fn archives_without_usable_labels_are_refused_as_in_distribution_sets() {
    let root = folder(&["flat/1.jpg"]);
    let error = |name: &str| {
        open(
            root.path(),
            &format!("archive = {name:?}\nclasses = [\"x\", \"y\"]"),
        )
        .unwrap_err()
    };
    archive(root.path(), "out.tar", "cls", ["0", "2", "1"]);
    assert!(
        error("out.tar").contains("sample s1 of")
            && error("out.tar").contains("label 2 is out of range")
    );
    archive(root.path(), "text.tar", "cls", ["cat", "0", "0"]);
    assert!(error("text.tar").contains("label `cat` is not an integer"));
    archive(root.path(), "none.tar", "txt", ["a", "b", "c"]);
    assert!(error("none.tar").contains("no label; expected a file cls or json, got png, txt"));
    archive(root.path(), "keys.tar", "json", ["{\"x\": 1}", "{}", "{}"]);
    assert!(error("keys.tar").contains("expected one of the keys label, cls"));
    fs::write(
        root.path().join("imageless.tar"),
        tar(&[("s.cls".to_owned(), b"0".to_vec())]),
    )
    .unwrap();
    assert!(error("imageless.tar").contains("no image, only cls"));
    let two = [
        ("s.png".to_owned(), bmp(0)),
        ("s.jpg".to_owned(), bmp(0)),
        ("s.cls".to_owned(), b"0".to_vec()),
    ];
    fs::write(root.path().join("two.tar"), tar(&two)).unwrap();
    assert!(error("two.tar").contains("expected one image, got png, jpg"));
    archive(root.path(), "whole.tar", "cls", ["0", "1", "0"]);
    let mut bytes = fs::read(root.path().join("whole.tar")).unwrap();
    // In the header of the second image.
    // Two blocks of zeros end the archive of three samples.
    bytes.truncate((bytes.len() - 1024) / 3 + 100);
    fs::write(root.path().join("cut.tar"), bytes).unwrap();
    assert!(
        error("cut.tar").contains("cannot read the archive"),
        "{}",
        error("cut.tar")
    );
    assert!(error("absent.tar").contains("does not exist"));
    // A file that is no text is no list either.
    let error = read_path_list("x", root.path().join("whole.tar"), root.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("line 1: expected a list of images, got a tar archive"),
        "{error}"
    );
}

#[test]
fn archives_without_labels_are_out_of_distribution_sets() {
    let root = folder(&["id/x/1.jpg", "flat/1.jpg"]);
    let files = [
        ("README.txt".to_owned(), b"hello".to_vec()),
        ("b.png".to_owned(), bmp(1)),
        ("c.jpg".to_owned(), bmp(2)),
    ];
    fs::write(root.path().join("o"), tar(&files)).unwrap();
    assert!(
        is_archive_file(root.path().join("o")) && !is_archive_file(root.path().join("id/x/1.jpg"))
    );
    let text = "name = \"t\"\n[id]\nfolder = \"id\"\n[[ood]]\nname = \"o\"\narchive = \"o\"\n";
    let opened = Benchmark::parse(text, "t.toml")
        .unwrap()
        .open(root.path())
        .unwrap();
    let set = &opened.ood[0].set;
    assert_eq!((set.len(), set.skipped.total()), (2, 1));
    assert_eq!(set.images().count(), 2);
    fs::write(root.path().join("o"), tar(&files[..2])).unwrap();
    let changed: Vec<_> = set
        .images()
        .map(|image| format!("{:?}", image.content))
        .collect();
    assert!(changed[1].contains("the archive changed"), "{changed:?}");
}

/// Labels of the samples, and the names of the classes.
fn labels(opened: &OpenedBenchmark) -> (Vec<Option<usize>>, Vec<String>) {
    let labels = opened.id.samples.iter().map(|sample| sample.label);
    (labels.collect(), opened.class_names(|_| None).unwrap())
}

#[test]
fn tables_of_json_lines_are_sets_with_labels() {
    let root = folder(&["t/a.jpg", "t/b.jpg", "t/c d.jpg", "flat/1.jpg"]);
    let write = |text: &str| fs::write(root.path().join("t/t.jsonl"), text).unwrap();
    let names = "table = \"t/t.jsonl\"\nclasses = [\"school bus\", \"goldfish\", \"zebra\"]";
    write(
        "{\"image\": \"a.jpg\", \"label\": 2, \"class\": \"x\"}\n\n{\"image\": \"b.jpg\", \"target\": 0}\n\
         {\"image\": \"c d.jpg\", \"class_id\": -1}\n",
    );
    let opened = open(root.path(), names).unwrap();
    assert_eq!(labels(&opened).0, [Some(2), Some(0), None]);
    let matching = opened.match_classes(|_| None).unwrap().matching;
    assert_eq!(matching, ClassMatching::Labels);
    let set = &opened.id;
    assert_eq!(set.relative(&set.samples[2]), Path::new("c d.jpg"));
    for (image, sample) in set.images().zip(&set.samples) {
        assert!(
            matches!(&image.content, ImageContent::File(path) if *path == sample.path),
            "{image:?}"
        );
    }
    let error = open(root.path(), "table = \"t/t.jsonl\"").unwrap_err();
    assert!(error.contains("has labels, but no class names"), "{error}");

    write(
        "{\"image\": \"a.jpg\", \"cls\": \"School_bus\"}\n{\"image\": \"b.jpg\", \"cls\": \"Goldfish\"}\n\
         {\"image\": \"c d.jpg\", \"cls\": \"School_bus\"}\n",
    );
    let opened = open(root.path(), names).unwrap();
    let expected = [Some(1), Some(0), Some(1)].to_vec();
    let of = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let matched = of(&["goldfish", "school bus", "zebra"]);
    assert_eq!(labels(&opened), (expected.clone(), matched));
    let matching = opened.match_classes(|_| None).unwrap().matching;
    assert_eq!(matching, ClassMatching::Names);
    let opened = open(root.path(), "table = \"t/t.jsonl\"").unwrap();
    assert_eq!(labels(&opened), (expected, of(&["Goldfish", "School_bus"])));
    let list = "table = \"t/t.jsonl\"\nclasses = \"list\"";
    let listed = |names: &[&str]| Some(ListedClasses::from(of(names)));
    let opened = open(root.path(), list).unwrap();
    let found = opened.match_classes(|_| listed(&["school bus", "goldfish"]));
    assert_eq!(found.unwrap().names, ["goldfish", "school bus"]);
    let error = opened.match_classes(|_| listed(&["school bus", "cat"]));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("t.jsonl") && error.contains("(Goldfish)"),
        "{error}"
    );
}

#[test]
fn tables_without_usable_labels_or_images_are_refused_by_line() {
    let root = folder(&["a.jpg", "flat/1.jpg"]);
    let refused = |second: &str, key: &str, expected: &str| {
        let text = format!("{{\"image\": \"a.jpg\", \"label\": 0}}\n\n{second}\n");
        fs::write(root.path().join("t.jsonl"), text).unwrap();
        let error = open(root.path(), &format!("table = \"t.jsonl\"\n{key}")).unwrap_err();
        assert!(
            error.contains(&format!("t.jsonl line 3: {expected}")),
            "{error}"
        );
    };
    let classes = "classes = [\"x\", \"y\"]";
    for (line, expected) in [
        ("{\"image\": \"a.jpg\"", "the line is not valid JSON"),
        ("{\"label\": 1}", "no image"),
        ("{\"image\": \"\", \"label\": 1}", "no image"),
        ("{\"image\": \"a.jpg\"}", "no label; expected one of"),
        (
            "{\"image\": \"a.jpg\", \"label\": 0.5}",
            "label `0.5` is neither",
        ),
        (
            "{\"image\": \"a.jpg\", \"label\": null}",
            "label `null` is neither",
        ),
        ("{\"image\": \"a.jpg\", \"label\": \" \"}", "empty label"),
        ("{\"image\": \"a.jpg\", \"label\": -2}", "negative label -2"),
        (
            "{\"image\": \"a.jpg\", \"label\": 2}",
            "label 2 is out of range for 2 class names",
        ),
        (
            "{\"image\": \"a.jpg\", \"label\": \"cat\"}",
            "label `cat` is a class name, but labels before it are integers",
        ),
    ] {
        refused(line, classes, expected);
    }
    let both =
        "name = \"t\"\n[id]\ntable = \"a\"\nlist = \"b\"\n[[ood]]\nname = \"o\"\ntable = \"c\"\n";
    let error = Benchmark::parse(both, "t.toml").unwrap_err().to_string();
    assert!(
        error.contains("expected one of `folder`, `list`, `archive` and `table`"),
        "{error}"
    );
    // JSON Lines are no list.
    let list = "list = \"t.jsonl\"\nclasses = [\"x\"]";
    let error = open(root.path(), list).unwrap_err();
    assert!(
        error.contains("expected a list of images, got JSON"),
        "{error}"
    );
}

#[test]
fn tables_without_labels_are_out_of_distribution_sets() {
    let root = folder(&["id/x/1.jpg", "a.jpg", "b.jpg"]);
    let text = "{\"filepath\": \"a.jpg\", \"label\": 7}\n{\"label\": 1}\n{\"filepath\": \"b.jpg\", \"label\": \"cat\"}\n";
    fs::write(root.path().join("o.ndjson"), text).unwrap();
    assert!(
        is_table_file(root.path().join("o.ndjson")) && !is_table_file(root.path().join("a.jpg"))
    );
    let definition =
        "name = \"t\"\n[id]\nfolder = \"id\"\n[[ood]]\nname = \"o\"\ntable = \"o.ndjson\"\n";
    let benchmark = Benchmark::parse(definition, "t.toml").unwrap();
    let opened = benchmark.open(root.path()).unwrap();
    let set = &opened.ood[0].set;
    assert!(set.samples.iter().all(|sample| sample.label.is_none()));
    assert_eq!((set.len(), set.skipped.total()), (2, 1));
    let names: Vec<_> = set.images().map(|image| image.name).collect();
    let expected = set.samples.iter().map(|s| s.path.display().to_string());
    assert_eq!(names, expected.collect::<Vec<_>>());

    fs::write(root.path().join("o.ndjson"), &text[..40]).unwrap();
    let changed: Vec<_> = set.images().collect();
    assert!(
        matches!(&changed[1].content, ImageContent::Failed(error) if error.to_string() == "the table changed"),
        "{changed:?}"
    );
    fs::write(root.path().join("o.ndjson"), format!("{text}{{")).unwrap();
    let error = message(&benchmark.open(root.path()).unwrap_err());
    assert!(
        error.contains("o.ndjson line 4: the line is not valid JSON"),
        "{error}"
    );
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_tables_need_the_feature() {
    let root = folder(&["flat/1.jpg"]);
    fs::write(root.path().join("t"), b"PAR1PAR1").unwrap();
    let error = open(root.path(), "table = \"t\"").unwrap_err();
    assert!(
        error.contains("this build does not read Parquet"),
        "{error}"
    );
}
