//! `clipn classify` on archives as GNU tar writes them: a row for every image, whatever the form of its
//! member.

use serde_json::Value;

use crate::common::snapshot::assert_text;
use crate::common::{Sandbox, library_fixture, text, with_model};

/// Rows of an archive of the fixtures as names and errors, and standard error.
fn classified(archive: &str) -> (Vec<(String, Option<String>)>, String) {
    let s = Sandbox::new();
    let bytes = std::fs::read(library_fixture("cases/formats/tar").join(archive)).unwrap();
    s.write("a.tar", bytes);
    let arguments = with_model(
        "classify",
        &["--classes", "classes.txt", "--format", "json", "a.tar"],
    );
    let output = s.clipn(&arguments);
    let rows = text(&output.stdout);
    let rows = rows.lines().map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["path"].as_str().unwrap().replace("nnnn", "");
        (name, row["error"].as_str().map(str::to_owned))
    });
    (rows.collect(), text(&output.stderr))
}

#[test]
fn links_are_images_and_broken_ones_are_rows_with_an_error() {
    let (rows, messages) = classified("links-gnu.tar");
    let read: Vec<_> = rows
        .iter()
        .filter(|(_, error)| error.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    let expected = ["a", "b", "c", "d", "k", "l", "m", "more/z"];
    assert_eq!(read, expected.map(|name| format!("a.tar/set/{name}.bmp")));
    let failed: Vec<String> = rows
        .iter()
        .filter_map(|(name, error)| Some(format!("{name}: {}", error.as_ref()?)))
        .collect();
    assert_text("archive-links", &(failed.join("\n") + "\n\n" + &messages));
}

#[test]
fn sparse_images_are_read_in_all_forms() {
    for form in ["gnu", "pax0.0", "pax0.1", "pax1.0"] {
        let (rows, messages) = classified(&format!("sparse-{form}.tar"));
        assert_eq!(rows, [("a.tar/mask.bmp".to_owned(), None)], "{form}");
        assert!(messages.contains("skipped 1 file"), "{form}: {messages}");
    }
}

#[test]
fn volumes_name_what_they_continue() {
    let (rows, _) = classified("volume-2.tar");
    let piece = "piece of a file that begins in another volume";
    assert!(rows[0].1.as_ref().unwrap().contains(piece), "{rows:?}");
    assert_eq!(rows[1], ("a.tar/a.bmp".to_owned(), None));
    let (rows, _) = classified("volume-1.tar");
    assert!(
        rows[0].1.as_ref().unwrap().contains("truncated"),
        "{rows:?}"
    );
}
