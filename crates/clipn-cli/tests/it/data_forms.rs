//! Training data and lists of images in other forms, and damage of what is read as a stream.

use serde_json::Value;

use crate::common::shards::{bmp, samples, tar};
use crate::common::snapshot::{assert_text, transcript};
use crate::common::{Sandbox, error_report, library_fixture, test_data, text, with_model};
use crate::wrong_use::fails;

/// The arguments of a training on `data` in few steps.
fn train<'a>(data: &'a str, name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let common = [
        "train",
        "--objective",
        "clip",
        "--model",
        "small.json",
        "--train-data",
        data,
        "--name",
        name,
        "--epochs",
        "1",
        "--workers",
        "1",
    ];
    [&common[..], more].concat()
}

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    with_model("classify", &[&["--classes", "classes.txt"], more].concat())
}

/// The error report of a run that fails.
#[track_caller]
fn refused(s: &Sandbox, arguments: &[&str]) -> String {
    let output = s.clipn(arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    error_report(&stderr).to_owned()
}

/// Notes and warnings of a run that succeeds.
#[track_caller]
fn messages(s: &Sandbox, arguments: &[&str]) -> String {
    let output = s.clipn(arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    let is_message = |line: &&str| {
        ["note: ", "warning: ", "hint: "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    stderr
        .lines()
        .filter(is_message)
        .collect::<Vec<_>>()
        .join("\n")
}

fn copy_case(s: &Sandbox, case: &str, to: &str) {
    let bytes = std::fs::read(library_fixture(&format!("cases/{case}"))).unwrap();
    s.write(to, bytes);
}

/// Samples with these extensions, named by their numbers.
fn named(count: u32, image: impl Fn(u32) -> String, caption: impl Fn(u32) -> String) -> Vec<u8> {
    let files = (0..count).flat_map(|n| {
        [
            (image(n), bmp(n)),
            (caption(n), format!("image {n}").into_bytes()),
        ]
    });
    tar(&files.collect::<Vec<_>>())
}

#[test]
fn lost_shards_are_refused_before_the_first_step() {
    let s = Sandbox::new();
    s.training_set();
    s.write("shards/00000.tar", tar(&samples(0..34)));
    for shard in ["00001.tar", "00002.tar", "00003.tar"] {
        copy_case(&s, &format!("shards/{shard}"), &format!("shards/{shard}"));
    }
    let arguments = train("shards", "lost", &["--batch-size", "4"]);
    let output = s.clipn(&arguments);
    assert_text("data-lost-shards", &transcript(&s, &arguments, &output));
    assert_eq!(output.status.code(), Some(1));

    let allowed = train("shards", "few", &["--batch-size", "4", "--max-bad", "0.8"]);
    let found = messages(&s, &allowed);
    assert!(
        found.starts_with(
            "warning: 3 of 4 shards cannot be read to the end: 00001.tar is a Git LFS"
        ) && found.contains("a loss of about 102 of 136 samples")
            && found.contains("warning: epoch 1 skipped 102 in a damaged shard"),
        "{found}"
    );
}

#[test]
fn fields_of_samples_are_listed_and_named() {
    let s = Sandbox::new();
    s.training_set();
    s.write(
        "fields.tar",
        named(
            8,
            |n| format!("{n:04}.input.jpg"),
            |n| format!("{n:04}.outputs.txt"),
        ),
    );
    let fields = |more: &[&'static str]| [&["--batch-size", "4"], more].concat();
    let report = refused(&s, &train("fields.tar", "unnamed", &fields(&[])));
    assert!(
        report.contains("expected one of the files txt, json, got input.jpg, outputs.txt")
            && report.contains("--fields image="),
        "{report}"
    );
    let names = ["--fields", "image=input.jpg,caption=outputs.txt"];
    s.done(&train("fields.tar", "named", &fields(&names)));

    s.write(
        "dots.tar",
        named(
            8,
            |n| format!("frame_{n}.{n:02}.jpg"),
            |n| format!("frame_{n}.{n:02}.txt"),
        ),
    );
    let unnamed = refused(&s, &train("dots.tar", "dots", &fields(&[])));
    assert!(unnamed.contains("got 00.jpg, 00.txt"), "{unnamed}");
    let pattern = ["--fields", "image=*.jpg,caption=*.txt"];
    s.done(&train("dots.tar", "pattern", &fields(&pattern)));
}

#[test]
fn the_setting_that_allows_broken_samples_is_named() {
    let s = Sandbox::new();
    s.training_set();
    let mut files = samples(0..16);
    files.retain(|(name, _)| name != "000003.png" && name != "000011.png");
    s.write("missing.tar", tar(&files));
    let report = refused(&s, &train("missing.tar", "a", &["--batch-size", "4"]));
    assert!(
        report.contains("2 without an image") && report.contains("--max-bad"),
        "{report}"
    );
    let more = ["--batch-size", "4", "--max-bad", "0.2"];
    let found = messages(&s, &train("missing.tar", "b", &more));
    assert!(
        found.contains("epoch 1 skipped 2 without an image"),
        "{found}"
    );
}

#[test]
fn quotes_in_tables_are_read_as_detected_or_given() {
    let s = Sandbox::new();
    s.training_set();
    copy_case(&s, "tables/open-quote.tsv", "open.tsv");
    for number in 0..8 {
        s.write(&format!("img/{number:04}.jpg"), bmp(number));
    }
    let table = |name, more: &[&'static str]| {
        let more = [&["--batch-size", "8"], more].concat();
        s.clipn(&train("open.tsv", name, &more))
    };
    let detected = text(&table("detected", &[]).stderr);
    assert!(
        detected
            .contains("note: open.tsv: quotes are characters like any other (--csv-quoting none)"),
        "{detected}"
    );
    assert!(detected.contains("1 step of 8 samples"), "{detected}");
    let given = table(
        "given",
        &["--csv-quoting", "none", "--csv-separator", "\\t"],
    );
    assert_eq!(given.status.code(), Some(0));
    let few = refused(
        &s,
        &train(
            "open.tsv",
            "few",
            &["--batch-size", "8", "--csv-quoting", "minimal"],
        ),
    );
    assert!(
        few.contains(" for a batch of ") && few.contains("got 5"),
        "{few}"
    );
    let minimal = ["--batch-size", "4", "--csv-quoting", "minimal"];
    let found = messages(&s, &train("open.tsv", "minimal", &minimal));
    assert!(
        found.contains("warning: open.tsv: 1 field holds line ends, the first on line 3")
            && found.contains("hint: if quotes do not enclose fields, give --csv-quoting none"),
        "{found}"
    );
}

#[test]
fn trains_on_and_classifies_json_lines() {
    let s = Sandbox::new();
    s.training_set();
    copy_case(&s, "tables/pairs.jsonl", "pairs.jsonl");
    for number in 0..8 {
        std::fs::create_dir_all(s.path("img")).unwrap();
        std::fs::copy(s.path("noise/0.bmp"), s.path(&format!("img/{number}.jpg"))).unwrap();
    }
    assert_eq!(
        messages(&s, &train("pairs.jsonl", "a", &["--batch-size", "8"])),
        ""
    );

    for arguments in [&["pairs.jsonl"][..], &["--list", "pairs.jsonl"]] {
        let found = s.done(&classify(&[&["--format", "json"], arguments].concat()));
        let rows: Vec<Value> = found
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(rows.len(), 8);
        assert_eq!(rows[7]["path"], "img/7.jpg");
        assert!(rows.iter().all(|row| row["error"].is_null()), "{found}");
    }

    s.write(
        "other.jsonl",
        "{\"photo\": \"img/1.jpg\", \"title\": \"a cat\"}\n",
    );
    let report = refused(&s, &classify(&["other.jsonl"]));
    assert!(
        report.contains("missing key `filepath`; keys of the first object: `photo`, `title`")
            && report.contains("--image-key"),
        "{report}"
    );
    s.done(&classify(&["other.jsonl", "--image-key", "photo"]));
    // Tables that a pattern or braces name are read as those that are named themselves.
    s.write("other-1.jsonl", "{\"photo\": \"img/2.jpg\"}\n");
    for tables in ["other*.jsonl", "{other,other-1}.jsonl"] {
        let found = s.done(&classify(&[
            tables,
            "--image-key",
            "photo",
            "--format",
            "json",
        ]));
        let mut paths: Vec<String> = found
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].to_string())
            .collect();
        paths.sort();
        assert_eq!(paths, ["\"img/1.jpg\"", "\"img/2.jpg\""], "{tables}");
    }
    fails(
        &s,
        2,
        &classify(&["img", "--image-key", "photo"]),
        &["--image-key photo: none of the inputs is a table"],
    );
    s.write(
        "usual.jsonl",
        "{\"file_name\": \"img/1.jpg\", \"text\": \"a cat\"}\n".repeat(4),
    );
    let found = messages(&s, &train("usual.jsonl", "usual", &["--batch-size", "4"]));
    assert_eq!(
        found,
        "note: usual.jsonl: images from `file_name`, captions from `text`"
    );
}

#[test]
fn files_of_another_kind_are_named() {
    let s = Sandbox::new();
    s.training_set();
    let kinds: [(&str, &[u8], &str); 6] = [
        ("a.zip", b"PK\x03\x04", "a ZIP archive"),
        ("a.tar.bz2", b"BZh91AY&SY", "a bzip2 archive"),
        ("a.tar.xz", b"\xfd7zXZ\0\0\x04", "an xz archive"),
        ("a.json", b"[{\"image\": \"a.jpg\"}]", "JSON"),
        ("page.tar", b"<!DOCTYPE html><html>", "an HTML page"),
        (
            "lfs.tsv",
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer",
        ),
    ];
    for (name, bytes, kind) in kinds {
        s.write(name, bytes);
        let report = refused(&s, &train(name, "x", &["--batch-size", "4"]));
        assert!(report.contains(kind), "{name}: {report}");
        // What is no image is an error of its row.
        let list = s.clipn(&classify(&["--list", name]));
        let stderr = text(&list.stderr);
        assert_eq!(list.status.code(), Some(2), "{name}: {stderr}");
        assert!(
            stderr.contains(&format!("expected a list of paths in {name}, got {kind}")),
            "{stderr}"
        );
        let mut others = vec![
            refused(&s, &["recipe", name]),
            refused(&s, &["train", "--settings", name]),
        ];
        // Weights may be ZIP archives.
        if name != "a.zip" {
            others.push(refused(&s, &["classify", "--bundle", name, "photos"]));
        }
        for report in others {
            assert!(report.contains(kind), "{name}: {report}");
        }
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_tables_are_refused_by_name_without_the_feature() {
    let s = Sandbox::new();
    s.training_set();
    s.write("a.parquet", b"PAR1\x15\x04\x15");
    s.write("b.data", b"PAR1\x15\x04\x15");
    for name in ["a.parquet", "b.data"] {
        for report in [
            refused(&s, &train(name, "x", &["--batch-size", "4"])),
            refused(&s, &classify(&[name])),
            refused(&s, &classify(&["--list", name])),
        ] {
            assert!(
                report.contains("does not read Parquet") && report.contains("--features parquet"),
                "{report}"
            );
        }
    }
}

#[test]
fn an_archive_that_breaks_off_is_no_unreadable_image() {
    let s = Sandbox::new();
    let files: Vec<(String, Vec<u8>)> = (0..5)
        .map(|n| {
            let name = format!("noise/{n}.bmp");
            let bytes = std::fs::read(s.path(&name)).unwrap();
            (name, bytes)
        })
        .collect();
    let whole = tar(&files);
    s.write("cut.tar", &whole[..whole.len() / 2]);
    let arguments = classify(&["cut.tar", "--output", "rows.csv"]);
    let output = s.clipn(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert_text("data-cut-archive", &transcript(&s, &arguments, &output));

    let json = ["cut.tar", "--output", "rows.jsonl", "--format", "json"];
    let counts: Value = serde_json::from_slice(&s.clipn(&classify(&json)).stdout).unwrap();
    assert_eq!(
        (
            &counts["images"],
            &counts["unreadable"],
            &counts["lost_sources"]
        ),
        (&2.into(), &0.into(), &1.into())
    );
    // A finished run is resumed with the same outcome.
    let again = s.clipn(&classify(&[&json[..], &["--resume"]].concat()));
    let resumed: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
    assert_eq!(
        (&resumed["images"], &resumed["lost_sources"]),
        (&2.into(), &1.into())
    );

    let strict = s.clipn(&classify(&["cut.tar", "--strict"]));
    assert_eq!(strict.status.code(), Some(1));
    assert!(
        text(&strict.stderr).starts_with("error: cut.tar"),
        "{}",
        text(&strict.stderr)
    );
}

/// The inputs for training of the collection of troublesome files, with what is right for each.
#[test]
fn trains_on_the_collected_cases() {
    let Some(cases) = test_data("cases/public") else {
        return;
    };
    let s = Sandbox::new();
    copy_case(&s, "tiny.json", "small.json");
    let path = |name: &str| cases.join(name).display().to_string();
    let run = |data: &str, name: &str, more: &[&str]| {
        let data = path(data);
        let arguments = [&train(&data, name, &["--batch-size", "4"])[..], more].concat();
        let output = s.clipn(&arguments);
        (output.status.code(), text(&output.stderr))
    };
    let fails = |data: &str, more: &[&str], part: &str| {
        let (code, stderr) = run(data, "refused", more);
        assert!(code == Some(1) && stderr.contains(part), "{data}: {stderr}");
    };
    let works = |data: &str, name: &str, more: &[&str], steps: &str| {
        let (code, stderr) = run(data, name, more);
        assert!(
            code == Some(0) && stderr.contains(steps),
            "{data}: {stderr}"
        );
    };
    fails("shards", &[], "a loss of about 102 of 136 samples");
    works("shards", "shards", &["--max-bad", "0.8"], "8 steps");
    fails("dotted-fields.tar", &[], "got input.jpg, outputs.txt");
    let fields = ["--fields", "image=input.jpg,caption=outputs.txt"];
    works("dotted-fields.tar", "fields", &fields, "3 steps");
    fails("dotted-keys.tar", &[], "got 00.jpg, 00.txt");
    let pattern = ["--fields", "image=*.jpg,caption=*.txt"];
    works("dotted-keys.tar", "keys", &pattern, "4 steps");
    fails("missing-images.tar", &[], "--max-bad");
    works(
        "missing-images.tar",
        "missing",
        &["--max-bad", "0.2"],
        "4 steps",
    );
    works("tables/open-quote.tsv", "quote", &[], "2 steps");
    // The collection has the images under other names.
    fails("tables/pairs.jsonl", &[], "img/");
    let names = path("class-indices.names.txt");
    works(
        "class-indices.tar",
        "classes",
        &["--class-names", &names],
        "3 steps",
    );
    if cfg!(feature = "parquet") {
        works(
            "tables/image-column.parquet",
            "parquet",
            &[],
            "images from `image`",
        );
        let parquet = path("tables/image-column.parquet");
        let rows = s.done(&[
            "classify",
            "--classes",
            "teapot, koala",
            "--format",
            "csv",
            &parquet,
        ]);
        assert!(rows.lines().count() > 1, "{rows}");
    } else {
        fails("tables/image-column.parquet", &[], "--features parquet");
    }
}

#[test]
fn inputs_without_images_are_errors() {
    let s = Sandbox::new();
    s.write("empty.txt", "\n\n");
    fails(
        &s,
        2,
        &classify(&["--list", "empty.txt"]),
        &["no images in the list empty.txt"],
    );
}

/// Names that are not UTF-8 match no pattern, and are named.
#[cfg(unix)]
#[test]
fn files_that_no_pattern_can_match_are_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let s = Sandbox::new();
    let photo = std::fs::read(s.path("noise/0.bmp")).unwrap();
    let odd = s.path("odd").join(OsStr::from_bytes(b"caf\xe9.jpg"));
    std::fs::create_dir_all(s.path("odd")).unwrap();
    if std::fs::write(&odd, &photo).is_err() {
        println!("skipped: this file system takes only names in UTF-8");
        return;
    }
    fails(
        &s,
        2,
        &classify(&["odd/*.jpg"]),
        &[
            "nothing matches the pattern `odd/*.jpg`; names that are not UTF-8",
            "hint: give the directory",
        ],
    );
}
