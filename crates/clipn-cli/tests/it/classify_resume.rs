//! `clipn classify --resume`: every image has exactly one row, however often the run is killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::shards::{samples, tar};
use crate::common::{Sandbox, text, with_model};
use serde_json::Value;

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    with_model("classify", &[&["--classes", "classes.txt"], more].concat())
}

fn start(s: &Sandbox, arguments: &[&str]) -> std::process::Child {
    Command::new(assert_cmd::cargo::cargo_bin("clipn"))
        .current_dir(s.root())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn size(s: &Sandbox, name: &str) -> u64 {
    std::fs::metadata(s.path(name)).map_or(0, |metadata| metadata.len())
}

/// Writes a list that repeats the sandbox's images, and has some missing ones.
fn write_long_list(s: &Sandbox, images: usize) {
    let line = |n: usize| match n % 7 {
        0 => format!("gone/{n}.jpg\n"),
        1 => format!("noise/{}.bmp\n", n % 5),
        2 => format!("stripes/deep/er/{}.bmp\n", n % 5),
        _ => format!("id/pizza/{}.bmp\n", n % 4),
    };
    s.write("list.txt", (0..images).map(line).collect::<String>());
}

/// Name and label of each row; the label is empty for an error.
fn labels(s: &Sandbox, name: &str) -> Vec<(String, String)> {
    let path = s.path(name);
    if name.ends_with(".jsonl") {
        let text = std::fs::read_to_string(path).unwrap();
        let row = |line: &str| -> (String, String) {
            let row: Value = serde_json::from_str(line).unwrap();
            let no_label = if row["unknown"] == true {
                "unknown"
            } else {
                ""
            };
            (
                row["path"].as_str().unwrap().into(),
                row["label"].as_str().unwrap_or(no_label).into(),
            )
        };
        return text.lines().map(row).collect();
    }
    if name.ends_with(".csv") {
        let mut reader = csv::Reader::from_path(path).unwrap();
        return reader
            .records()
            .map(|row| row.unwrap())
            .map(|row| (row[0].into(), row[1].into()))
            .collect();
    }
    parquet_labels(&path)
}

#[cfg(not(feature = "parquet"))]
fn parquet_labels(path: &Path) -> Vec<(String, String)> {
    panic!("{} needs the feature `parquet`", path.display())
}

#[cfg(feature = "parquet")]
fn parquet_labels(path: &Path) -> Vec<(String, String)> {
    use parquet::file::reader::SerializedFileReader;

    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let row = |row: parquet::record::Row| {
        let fields: Vec<_> = row
            .get_column_iter()
            .map(|(_, field)| field.to_string())
            .collect();
        let plain = |field: &str| {
            if field == "null" {
                String::new()
            } else {
                field.trim_matches('"').to_owned()
            }
        };
        (plain(&fields[0]), plain(&fields[1]))
    };
    reader.into_iter().map(|read| row(read.unwrap())).collect()
}

#[test]
fn a_repeatedly_killed_run_ends_like_an_uninterrupted_one() {
    let s = Sandbox::new();
    write_long_list(&s, 3000);
    s.done(&classify(&[
        "--list",
        "list.txt",
        "--output",
        "whole.jsonl",
    ]));
    let whole = labels(&s, "whole.jsonl");
    assert_eq!(whole.len(), 3000);
    for name in [
        "rows.jsonl",
        "rows.csv",
        #[cfg(feature = "parquet")]
        "rows.parquet",
    ] {
        let growing = if name == "rows.parquet" {
            "rows.parquet.rows.jsonl"
        } else {
            name
        };
        let arguments = classify(&[
            "--list",
            "list.txt",
            "--output",
            name,
            "--resume",
            "--batch-size",
            "8",
        ]);
        let (mut killed, mut wait) = (0, 0);
        // Each time it writes some more, then it is killed at an arbitrary point.
        while killed < 6 {
            let before = size(&s, growing);
            let mut child = start(&s, &arguments);
            let deadline = Instant::now() + Duration::from_secs(60);
            while size(&s, growing) < before + 1 + 40_000 * u64::from(killed > 1)
                && Instant::now() < deadline
            {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(wait % 17));
            wait += 5;
            child.kill().unwrap();
            if child.wait().unwrap().code().is_some() {
                break;
            }
            killed += 1;
        }
        assert!(killed >= 3, "{name}: killed only {killed} times");
        assert!(
            !s.path("rows.parquet").exists(),
            "a Parquet file exists only when it is complete"
        );
        let output = s.clipn(&arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {}",
            text(&output.stderr)
        );
        let out = text(&output.stdout);
        assert!(
            out.starts_with("3000 images (") && out.contains("429 unreadable"),
            "{out}"
        );
        assert_eq!(labels(&s, name), whole, "{name}");
        let again = s.done(&arguments);
        assert!(
            again.contains("3000 of them in an earlier run") || again.contains("is complete"),
            "{again}"
        );
        assert_eq!(labels(&s, name), whole, "{name}");
        std::fs::remove_file(s.path(name)).unwrap();
    }
}

#[test]
fn repeats_only_a_torn_row() {
    let s = Sandbox::new();
    let arguments = ["noise", "photos", "--output", "rows.jsonl"];
    s.done(&classify(&arguments));
    let whole = std::fs::read(s.path("rows.jsonl")).unwrap();
    for cut in [0, 5, whole.len() / 2, whole.len() - 1, whole.len()] {
        std::fs::write(s.path("rows.jsonl"), &whole[..cut]).unwrap();
        let out = s.done(&classify(&[&arguments[..], &["--resume"]].concat()));
        assert_eq!(labels(&s, "rows.jsonl").len(), 7, "cut at {cut}");
        let kept = whole[..cut].iter().filter(|&&byte| byte == b'\n').count();
        let before = if kept > 0 {
            format!("7 images ({kept} of them in an earlier run)")
        } else {
            "7 images: ".to_owned()
        };
        assert!(out.starts_with(&before), "{out}");
    }
}

#[test]
fn an_output_without_a_byte_is_begun() {
    let s = Sandbox::new();
    for name in [
        "rows.jsonl",
        "rows.csv",
        #[cfg(feature = "parquet")]
        "rows.parquet",
    ] {
        let rows = if name == "rows.parquet" {
            "rows.parquet.rows.jsonl"
        } else {
            name
        };
        // What a run leaves that is stopped before its settings are written, with settings of an
        // output that it replaced.
        for settings in [None, Some("{\"format\": 1, \"settings\": {}}")] {
            s.write(rows, "");
            if let Some(settings) = settings {
                s.write(&format!("{name}.settings.json"), settings);
            }
            s.done(&classify(&["noise", "--output", name, "--resume"]));
            assert_eq!(labels(&s, name).len(), 5, "{name}");
            std::fs::remove_file(s.path(name)).unwrap();
            std::fs::remove_file(s.path(&format!("{name}.settings.json"))).unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn an_output_that_another_program_changes_is_an_error() {
    let s = Sandbox::new();
    write_long_list(&s, 20_000);
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let replace = |path: &Path| {
        std::fs::rename(path, path.with_extension("moved")).unwrap();
        std::fs::write(path, "").unwrap();
    };
    let cut = |path: &Path| drop(std::fs::File::create(path).unwrap());
    let changes: [&dyn Fn(&Path); 3] = [&remove, &replace, &cut];
    for (index, change) in changes.into_iter().enumerate() {
        let what = ["removed or replaced", "removed or replaced", "changed"][index];
        let name = format!("rows{index}.jsonl");
        let child = start(&s, &classify(&["--list", "list.txt", "--output", &name]));
        let deadline = Instant::now() + Duration::from_secs(60);
        while size(&s, &name) < 1000 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        change(&s.path(&name));
        let output = child.wait_with_output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        let expected = format!("another program {what} {name} during the run");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn resumes_within_archives() {
    let s = Sandbox::new();
    s.write("a.tar", tar(&samples(0..5)));
    s.write("b.tar", tar(&samples(5..9)));
    let arguments = classify(&["{a,b}.tar", "--output", "rows.csv", "--resume"]);
    s.done(&arguments);
    let whole = labels(&s, "rows.csv");
    assert_eq!(whole.len(), 9);
    let bytes = std::fs::read(s.path("rows.csv")).unwrap();
    for cut in [0, 30, bytes.len() / 3, bytes.len() - 2] {
        std::fs::write(s.path("rows.csv"), &bytes[..cut]).unwrap();
        s.done(&arguments);
        assert_eq!(labels(&s, "rows.csv"), whole);
    }
}

#[test]
fn rejects_other_settings_and_other_images() {
    let s = Sandbox::new();
    s.write("list.txt", "noise/0.bmp\nnoise/1.bmp\n");
    let base = ["--list", "list.txt", "--output", "rows.jsonl"];
    let fails = |more: &[&str], parts: &[&str]| {
        let output = s.clipn(&classify(&[&base[..], more].concat()));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {error}");
        for part in parts {
            assert!(error.contains(part), "{more:?}: no {part:?} in {error}");
        }
    };
    s.done(&classify(&base));
    let whole = std::fs::read(s.path("rows.jsonl")).unwrap();
    fails(&[], &["rows.jsonl already exists", "--resume", "--force"]);
    fails(
        &["--resume", "--threshold", "0.5"],
        &["other settings", "rule was"],
    );
    fails(
        &["--resume", "--top", "2"],
        &["settings: --top was 3 and is 2"],
    );
    fails(&["--resume", "noise/2.bmp"], &["paths was [] and is"]);
    fails(&["--resume", "--faithful-pixels"], &["preprocessing"]);
    s.write("classes.txt", "goldfish\nschool bus\nteapot\n");
    fails(&["--resume"], &["classes was"]);
    s.write("classes.txt", "goldfish\nschool bus\npizza\n");

    s.write("list.txt", "noise/0.bmp\nnoise/2.bmp\n");
    fails(
        &["--resume"],
        &["rows.jsonl: row 2 is of noise/1.bmp, but the image is now noise/2.bmp"],
    );
    s.write("list.txt", "noise/0.bmp\n");
    fails(&["--resume"], &["there are fewer images now"]);
    assert_eq!(
        std::fs::read(s.path("rows.jsonl")).unwrap(),
        whole,
        "a rejected run leaves the output unchanged"
    );
    s.write("list.txt", "noise/0.bmp\nnoise/1.bmp\nnoise/2.bmp\n");
    s.done(&classify(&[&base[..], &["--resume"]].concat()));
    assert_eq!(labels(&s, "rows.jsonl").len(), 3, "a longer list resumes");

    std::fs::remove_file(s.path("rows.jsonl.settings.json")).unwrap();
    fails(&["--resume"], &["settings.json", "is missing"]);
    s.done(&classify(&[&base[..], &["--force"]].concat()));
    assert_eq!(labels(&s, "rows.jsonl").len(), 3);
    std::fs::write(s.path("rows.jsonl"), "not json\n{}\n").unwrap();
    let damaged = s.clipn(&classify(&[&base[..], &["--resume"]].concat()));
    assert!(
        text(&damaged.stderr).contains("row 1 of rows.jsonl is damaged"),
        "{}",
        text(&damaged.stderr)
    );
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_complete_if_present_and_replaced_by_force() {
    let s = Sandbox::new();
    let base = ["noise", "--output", "rows.parquet"];
    s.done(&classify(&base));
    assert_eq!(labels(&s, "rows.parquet").len(), 5);
    assert_eq!(s.clipn(&classify(&base)).status.code(), Some(2));
    assert!(
        s.done(&classify(&[&base[..], &["--resume"]].concat()))
            .contains("is complete")
    );
    let other = s.clipn(&classify(
        &[&base[..], &["--resume", "--top", "1"]].concat(),
    ));
    assert_eq!(other.status.code(), Some(2));
    s.done(&classify(&[&base[..], &["--force", "--top", "1"]].concat()));
    assert_eq!(labels(&s, "rows.parquet").len(), 5);
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_complete_rows_and_a_hint() {
    let s = Sandbox::new();
    write_long_list(&s, 20_000);
    let arguments = classify(&["--list", "list.txt", "--output", "rows.csv"]);
    let child = start(&s, &arguments);
    let deadline = Instant::now() + Duration::from_secs(60);
    while size(&s, "rows.csv") < 10_000 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A second process must not write at the same time.
    let second = s.clipn(&[&arguments[..], &["--resume"]].concat());
    assert!(
        text(&second.stderr).contains(" is writing rows.csv"),
        "{}",
        text(&second.stderr)
    );
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{error}");
    let done = labels(&s, "rows.csv").len();
    assert!(std::fs::read(s.path("rows.csv")).unwrap().ends_with(b"\n"));
    assert!(
        error.contains(&format!("interrupted after {done} of 20000 images")),
        "{error}"
    );
    assert!(error.contains("--resume"), "{error}");
}
