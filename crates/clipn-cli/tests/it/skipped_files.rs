//! Files that are no images: none is left out in silence.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::shards::tar;
use crate::common::{Sandbox, library_fixture, test_data, text, with_model};

/// Start of a HEIC and of an AVIF file.
const HEIC: &[u8] = b"\0\0\0\x20ftypheic\0\0\0\0mif1heic";
const AVIF: &[u8] = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1";

/// A folder as people have it: seven images of all kinds of names, and what is no image.
fn mixed_files() -> Vec<(&'static str, Vec<u8>)> {
    let fixture = |name: &str| std::fs::read(library_fixture("image").join(name)).unwrap();
    vec![
        ("a.jpg", fixture("420.jpg")),
        ("b.jfif", fixture("422.jpg")),
        ("c.JPE", fixture("444.jpg")),
        ("d.ppm", fixture("rgb.ppm")),
        ("deep/0a1b2c3d", fixture("progressive.jpg")),
        ("e/IMG_0005.HEIC", HEIC.to_vec()),
        ("e/f", AVIF.to_vec()),
        ("readme.txt", b"notes".to_vec()),
        ("deep/notes.TXT", b"notes".to_vec()),
        ("deep/LICENSE", b"MIT".to_vec()),
        ("deep/labels.xml", b"<xml/>".to_vec()),
        (".DS_Store", b"x".to_vec()),
        ("deep/Thumbs.db", b"x".to_vec()),
        ("deep/.ipynb_checkpoints/a.jpg", fixture("420.jpg")),
        ("__MACOSX/a.jpg", b"x".to_vec()),
    ]
}

const READ: [&str; 5] = ["a.jpg", "b.jfif", "c.JPE", "d.ppm", "deep/0a1b2c3d"];
const REFUSED: [(&str, &str); 2] = [
    ("e/IMG_0005.HEIC", "got a HEIC image"),
    ("e/f", "got an AVIF image"),
];
const NOTE: &str = "note: skipped 4 files that are no images: .txt 2, .xml 1, no extension 1\n";

fn mixed(folder: &str) -> Sandbox {
    let s = Sandbox::new();
    for (name, bytes) in mixed_files() {
        s.write(&format!("{folder}/{name}"), bytes);
    }
    s
}

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    with_model("classify", &[&["--classes", "classes.txt"], more].concat())
}

/// Checks that there is one row for each image: a label or an error that names the format.
#[track_caller]
fn check_rows(source: &str, stdout: &str) {
    let rows: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |name: &str| {
        let path = format!("{source}/{name}");
        let row = rows.iter().find(|row| row["path"] == path.as_str());
        row.unwrap_or_else(|| panic!("no row for {path} in {stdout}"))
    };
    for name in READ {
        assert_eq!(of(name)["error"], Value::Null, "{name}");
    }
    for (name, error) in REFUSED {
        let found = of(name)["error"].as_str().unwrap();
        assert!(found.contains(error), "{found}");
    }
    assert_eq!(rows.len(), READ.len() + REFUSED.len(), "{stdout}");
}

#[test]
fn classify_has_a_row_for_each_image_and_counts_the_other_files() {
    let s = mixed("mixed");
    let entries: Vec<(String, Vec<u8>)> = mixed_files()
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect();
    s.write("mixed.tar", tar(&entries));
    for source in ["mixed", "mixed.tar"] {
        let output = s.clipn(&classify(&["--format", "json", source]));
        check_rows(source, &text(&output.stdout));
        let messages = text(&output.stderr);
        assert!(messages.contains(NOTE), "{source}: {messages}");
    }
    let quiet = s.clipn(&classify(&["--quiet", "mixed"]));
    assert!(!text(&quiet.stderr).contains("skipped"));
}

#[test]
fn the_summary_of_a_written_file_has_the_counts() {
    let s = mixed("mixed");
    let write = |more: &[&str]| {
        let arguments = [&["--force", "--output", "rows.csv", "mixed"], more].concat();
        text(&s.clipn(&classify(&arguments)).stdout)
    };
    let summary: Value = serde_json::from_str(&write(&["--format", "json"])).unwrap();
    assert_eq!(
        summary["skipped_files"],
        json!({ ".txt": 2, ".xml": 1, "no extension": 1 })
    );
    let csv = write(&["--format", "csv"]);
    let heading = csv.lines().next().unwrap();
    assert!(heading.ends_with(",output,skipped_files"), "{csv}");
    assert!(csv.ends_with("rows.csv,4\n"), "{csv}");
}

#[test]
fn an_archive_without_images_names_what_it_holds() {
    let s = Sandbox::new();
    let entries = [("a.txt", "x"), ("b.json", "{}")];
    let entries = entries.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    s.write("texts.tar", tar(&entries));
    let output = s.clipn(&classify(&["texts.tar"]));
    let rows = text(&output.stdout) + &text(&output.stderr);
    assert!(
        rows.contains("no images in the archive (.json 1, .txt 1)"),
        "{rows}"
    );
}

#[test]
fn evaluations_and_calibrations_count_the_other_files() {
    let s = mixed("mixed");
    s.write("id/goldfish/note.txt", "x");
    s.write("id/loose.png", "x");
    let sets = ["--id", "id", "--classes", "classes.txt", "--ood", "mixed"];
    let output = s.clipn(&with_model(
        "eval",
        &[&sets[..], &["--output", "out"]].concat(),
    ));
    let messages = text(&output.stderr);
    assert!(output.status.success(), "{messages}");
    let of_id = "note: skipped 2 files of id that are no images: .txt 1, image outside the class directories 1\n";
    let of_mixed = NOTE.replace("files that", "files of mixed that");
    assert!(messages.contains(of_id), "{messages}");
    assert!(messages.contains(&of_mixed), "{messages}");
    let results = std::fs::read(s.path("out/results.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    let expected = json!({
        "id": { ".txt": 1, "image outside the class directories": 1 },
        "mixed": { ".txt": 2, ".xml": 1, "no extension": 1 },
    });
    assert_eq!(results["skipped_files"], expected);
    assert_eq!(results["skipped"].as_array().unwrap().len(), REFUSED.len());

    let build = ["classifier", "build", "--out", "shop.clipn"];
    let classes = ["--classes", "classes.txt"];
    let model = with_model("", &[]);
    s.done(&[&build[..], &model[1..], &classes, &["--with-model"]].concat());
    for index in 0..20 {
        s.image(&format!("known/{index}.bmp"), 20 + index, 30, |x, y| {
            [x as u8, y as u8, 9]
        });
    }
    s.write("known/list.csv", "x");
    let output = s.clipn(&[
        "calibrate",
        "--bundle",
        "shop.clipn",
        "--id",
        "known",
        "--out",
        "best.clipn",
        "--format",
        "json",
    ]);
    let messages = text(&output.stderr);
    assert!(
        messages.contains("note: skipped 1 file that is no image: .csv 1\n"),
        "{messages}"
    );
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["skipped_files"], json!({ ".csv": 1 }));
}

#[test]
fn a_folder_without_images_names_what_it_holds() {
    let s = Sandbox::new();
    s.write("texts/a.txt", "x");
    s.write("texts/b/c.json", "x");
    let output = s.clipn(&classify(&["texts"]));
    assert_eq!(output.status.code(), Some(1));
    let messages = text(&output.stderr);
    assert!(
        messages.contains("no images in texts (2 other files: .json 1, .txt 1)"),
        "{messages}"
    );
}

#[test]
fn a_folder_of_photos_as_people_have_them() {
    let Some(folder) = test_data("cases/public/folder") else {
        return;
    };
    let s = Sandbox::new();
    std::fs::create_dir(s.path("folder")).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        std::fs::copy(entry.path(), s.path("folder").join(name)).unwrap();
    }
    let output = s.clipn(&classify(&["--format", "json", "folder"]));
    let rows: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let outcome = |row: &Value| {
        let path = Path::new(row["path"].as_str().unwrap());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, row["error"].as_str().map(str::to_owned))
    };
    let outcomes: Vec<_> = rows.iter().map(outcome).collect();
    let refused = |what: &str| {
        Some(what).map(|what| {
            format!("expected a JPEG, PNG, WebP, BMP, GIF, TIFF, PNM or QOI image, got {what}")
        })
    };
    let expected = [
        ("0a1b2c3d", None),
        ("IMG_0005.HEIC", refused("a HEIC image")),
        ("a.jpg", None),
        ("b.jfif", None),
        ("c.jpe", None),
        ("d.ppm", None),
        ("f.avif", refused("an AVIF image")),
    ];
    let expected = expected.map(|(name, error)| (name.to_owned(), error));
    assert_eq!(outcomes, expected);
    assert!(text(&output.stderr).contains("note: skipped 1 file that is no image: .txt 1\n"));
}
