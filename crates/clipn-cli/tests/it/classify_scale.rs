//! `clipn classify` on many images: sources, outputs and shards.

use std::collections::BTreeMap;
use std::process::Output;

use crate::common::shards::{gzip, tar, zstd};
use crate::common::{CLASSES, Sandbox, is_error_report, text, with_model};
use serde_json::Value;

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    with_model("classify", &[&["--classes", "classes.txt"], more].concat())
}

fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The rows on standard output.
#[track_caller]
fn printed(s: &Sandbox, more: &[&str]) -> Vec<Value> {
    rows(&s.done(&classify(&[&["--format", "json"], more].concat())))
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["path"].as_str().unwrap())
        .collect()
}

/// Labels and scores without the names of the images.
fn verdicts(rows: &[Value]) -> Vec<(String, String)> {
    let score = |row: &Value| format!("{:.5}", row["score"].as_f64().unwrap_or(f64::NAN));
    rows.iter()
        .map(|row| (row["label"].to_string(), score(row)))
        .collect()
}

fn with_input(s: &Sandbox, more: &[&str], input: impl Into<Vec<u8>>) -> Output {
    let arguments = classify(&[&["--format", "json"], more].concat());
    s.command("http://127.0.0.1:1", &arguments)
        .write_stdin(input)
        .output()
        .unwrap()
}

/// An archive of files of the sandbox, with a text file in between.
fn packed(s: &Sandbox, files: &[&str]) -> Vec<u8> {
    let mut entries: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|name| ((*name).to_owned(), std::fs::read(s.path(name)).unwrap()))
        .collect();
    entries.insert(1, ("noise/0.txt".to_owned(), b"a caption".to_vec()));
    tar(&entries)
}

const NOISE: [&str; 5] = [
    "noise/0.bmp",
    "noise/1.bmp",
    "noise/2.bmp",
    "noise/3.bmp",
    "noise/4.bmp",
];

#[test]
fn every_source_gives_the_same_rows() {
    let s = Sandbox::new();
    let folder = printed(&s, &["noise"]);
    assert_eq!(names(&folder), NOISE);
    let same =
        |what: &str, found: &[Value]| assert_eq!(verdicts(found), verdicts(&folder), "{what}");

    s.write("list.txt", NOISE.join("\r\n") + "\n\n");
    s.write("list.0", NOISE.join("\0"));
    let found = printed(&s, &["--list", "list.txt"]);
    assert_eq!(found, folder);
    assert_eq!(printed(&s, &["-0", "--list", "list.0"]), folder);
    assert_eq!(
        rows(&text(
            &with_input(&s, &["--list", "-"], NOISE.join("\n")).stdout
        )),
        folder
    );
    assert_eq!(printed(&s, &["noise/*.bmp"]), folder);
    assert_eq!(
        printed(&s, &["noi?e"]),
        folder,
        "a pattern may match directories"
    );
    // A directory without images is no loss, hidden names match no wildcard, and nothing is read twice.
    s.write("g/none/notes.txt", "no image");
    s.write("g/.hidden.bmp", std::fs::read(s.path(NOISE[0])).unwrap());
    for name in NOISE {
        s.write(&format!("g/{name}"), std::fs::read(s.path(name)).unwrap());
    }
    same("directories", &printed(&s, &["g/*"]));
    same("any depth", &printed(&s, &["g/**/*.bmp"]));
    same("directories of any depth", &printed(&s, &["g/**"]));
    assert_eq!(printed(&s, &["noise/{0..4}.bmp"]), folder);

    let plain = packed(&s, &NOISE);
    for (name, bytes) in [
        ("a.tar", plain.clone()),
        ("b.tar.gz", gzip(&plain)),
        ("c.tar.zst", zstd(&plain)),
    ] {
        s.write(name, bytes);
        let found = printed(&s, &[name]);
        same(name, &found);
        assert_eq!(names(&found)[3], format!("{name}/noise/3.bmp"));
    }
    s.write("s-0.tar", packed(&s, &NOISE[..2]));
    s.write("s-1.tar", packed(&s, &NOISE[2..]));
    for shards in ["s-{0..1}.tar", "s-*.tar"] {
        same(shards, &printed(&s, &[shards]));
    }
    s.write(
        "mixed.txt",
        "s-0.tar\nnoise/2.bmp\nnoise/3.bmp\nnoise/4.bmp\n",
    );
    same(
        "a list with an archive",
        &printed(&s, &["--list", "mixed.txt"]),
    );

    let both = printed(&s, &["photos", "noise/0.bmp", "--list", "list.txt"]);
    assert_eq!(
        names(&both)[..3],
        ["photos/gradient.bmp", "photos/red.bmp", "noise/0.bmp"]
    );
    assert_eq!(both[3..], folder);
}

#[test]
fn reads_one_image_from_standard_input() {
    let s = Sandbox::new();
    let found = rows(&text(
        &with_input(&s, &["-"], std::fs::read(s.path("noise/0.bmp")).unwrap()).stdout,
    ));
    assert_eq!(names(&found), ["-"]);
    assert_eq!(verdicts(&found), verdicts(&printed(&s, &["noise/0.bmp"])));
    let none = rows(&text(&with_input(&s, &["-"], "").stdout));
    assert!(
        none[0]["error"].as_str().unwrap().contains("empty"),
        "{none:?}"
    );
}

#[cfg(unix)]
#[test]
fn pipes_are_read_if_they_are_arguments_but_not_in_lists() {
    let s = Sandbox::new();
    let image = std::fs::read(s.path("noise/0.bmp")).unwrap();
    let found = rows(&text(&with_input(&s, &["/dev/stdin"], image).stdout));
    assert_eq!(names(&found), ["/dev/stdin"]);
    assert_eq!(verdicts(&found), verdicts(&printed(&s, &["noise/0.bmp"])));

    let pipes = ["pipe.jpg", "pipe.tar"].map(|name| s.path(name));
    let made = std::process::Command::new("mkfifo").args(&pipes).status();
    assert!(made.unwrap().success());
    s.write("list.txt", "pipe.jpg\npipe.tar\nnoise/0.bmp\n");
    let output = s.clipn(&classify(&["--format", "json", "--list", "list.txt"]));
    let found = rows(&text(&output.stdout));
    assert_eq!(names(&found), ["pipe.jpg", "pipe.tar", "noise/0.bmp"]);
    for row in &found[..2] {
        let error = row["error"].as_str().unwrap();
        assert!(error.contains("not a regular file"), "{error}");
    }
    assert!(found[2]["error"].is_null());
}

#[test]
fn unreadable_sources_become_rows_and_the_rest_continues() {
    let s = Sandbox::new();
    let mut damaged = packed(&s, &NOISE);
    let at = damaged.len() - 9000;
    damaged.truncate(at);
    s.write("cut.tar", damaged);
    s.write("empty.tar", tar(&[("a.txt".to_owned(), b"x".to_vec())]));
    s.write("bad.tar", tar(&[("bad.jpg".to_owned(), b"text".to_vec())]));
    s.write("list.txt", "gone.jpg\nphotos\nnoise/1.bmp\n");
    let arguments = [
        "cut.tar",
        "empty.tar",
        "absent.tar",
        "bad.tar",
        "absent.jpg",
        "--list",
        "list.txt",
    ];
    let output = s.clipn(&classify(&[&["--format", "json"], &arguments[..]].concat()));
    // An unknown number of images in the archives is lost.
    assert_eq!(output.status.code(), Some(1));
    let found = rows(&text(&output.stdout));
    let errors: Vec<(&str, &str)> = found
        .iter()
        .filter(|row| !row["error"].is_null())
        .map(|row| {
            (
                row["path"].as_str().unwrap(),
                row["error"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("cut.tar", "truncated"),
        ("empty.tar", "no images in the archive"),
        ("absent.tar", "No such file"),
        ("bad.tar/bad.jpg", "expected a JPEG"),
        ("absent.jpg", "no such file"),
        ("gone.jpg", "no such file"),
        ("photos", "got a directory"),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for ((name, error), (expected, part)) in errors.iter().zip(expected) {
        assert!(*name == expected && error.contains(part), "{name}: {error}");
    }
    assert!(
        names(&found).contains(&"cut.tar/noise/2.bmp"),
        "images before the damage count"
    );
    assert_eq!(names(&found).last(), Some(&"noise/1.bmp"));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains(&format!(
            "5 of {} images could not be classified",
            found.len() - 2
        )) && stderr.contains("error: 2 sources could not be read to the end"),
        "{stderr}"
    );

    let strict = s.clipn(&classify(&["--strict", "bad.tar"]));
    assert_eq!(strict.status.code(), Some(1));
    assert!(
        text(&strict.stderr).contains("bad.tar/bad.jpg"),
        "{}",
        text(&strict.stderr)
    );
}

/// Reads a Parquet file as rows of texts; nulls are empty.
#[cfg(feature = "parquet")]
fn parquet_rows(s: &Sandbox, name: &str) -> Vec<BTreeMap<String, String>> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    let reader = SerializedFileReader::new(std::fs::File::open(s.path(name)).unwrap()).unwrap();
    let shown = |field: &Field| match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Double(number) => number.to_string(),
        Field::Float(number) => number.to_string(),
        Field::Bool(truth) => truth.to_string(),
        other => panic!("{other:?}"),
    };
    let row = |row: parquet::record::Row| {
        row.get_column_iter()
            .map(|(name, field)| (name.clone(), shown(field)))
            .collect()
    };
    reader
        .get_row_iter(None)
        .unwrap()
        .map(|read| row(read.unwrap()))
        .collect()
}

#[test]
fn all_formats_have_the_same_rows() {
    let s = Sandbox::new();
    s.write("photos/broken.jpg", "text");
    let arguments = ["photos", "noise", "--top", "2"];
    let printed = s.done(&classify(&[&arguments[..], &["--format", "json"]].concat()));
    let stdout = s.done(&classify(
        &[&arguments[..], &["--output", "rows.jsonl"]].concat(),
    ));
    assert!(
        stdout.starts_with("8 images: ") && stdout.contains("1 unreadable; rows.jsonl"),
        "{stdout}"
    );
    assert_eq!(
        std::fs::read_to_string(s.path("rows.jsonl")).unwrap(),
        printed
    );
    for row in rows(&printed) {
        let keys: Vec<_> = row.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.len(), 13, "{keys:?}");
        assert_eq!(row["schema_version"], 2);
        assert_eq!(
            row["top"].as_array().unwrap().len(),
            if row["error"].is_null() { 2 } else { 0 }
        );
        assert_eq!(row["reason"].is_null(), !row["error"].is_null());
        assert!(
            row["error"].is_null() == (row["no"]["share"].as_f64().is_some()),
            "{row}"
        );
    }

    let csv = s.done(&classify(&[&arguments[..], &["--format", "csv"]].concat()));
    s.done(&classify(
        &[&arguments[..], &["--output", "rows.csv"]].concat(),
    ));
    assert_eq!(std::fs::read_to_string(s.path("rows.csv")).unwrap(), csv);
    let counts = s.done(&classify(
        &[
            &arguments[..],
            &["--output", "counted.csv", "--format", "json"],
        ]
        .concat(),
    ));
    let counts: Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(
        (&counts["images"], &counts["unreadable"]),
        (&8.into(), &1.into()),
        "{counts}"
    );
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let csv_rows: Vec<BTreeMap<String, String>> =
        reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(csv_rows.len(), 8);
    assert_eq!(csv_rows[0].len(), 6 + 2 * 3 + 8);
    for (json, csv) in rows(&printed).iter().zip(&csv_rows) {
        assert_eq!(json["score"].as_f64(), csv["score"].parse().ok());
        assert_eq!(
            json["no"]["label"].as_str().unwrap_or_default(),
            csv["no_class"]
        );
    }
    s.done(&classify(
        &[
            &arguments[..],
            &["--output", "rows", "--output-format", "csv"],
        ]
        .concat(),
    ));
    assert_eq!(std::fs::read_to_string(s.path("rows")).unwrap(), csv);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_has_the_same_rows() {
    let s = Sandbox::new();
    s.write("photos/broken.jpg", "text");
    let arguments = ["photos", "noise", "--top", "2"];
    let csv = s.done(&classify(&[&arguments[..], &["--format", "csv"]].concat()));
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let csv_rows: Vec<BTreeMap<String, String>> =
        reader.deserialize().map(Result::unwrap).collect();
    s.done(&classify(
        &[&arguments[..], &["--output", "rows.parquet"]].concat(),
    ));
    assert_eq!(csv_rows.len(), 8);
    assert_eq!(parquet_rows(&s, "rows.parquet"), csv_rows);
    for leftover in [
        "rows.parquet.rows.jsonl",
        "rows.parquet.partial",
        "rows.parquet.settings.json.partial",
    ] {
        assert!(!s.path(leftover).exists(), "{leftover}");
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_is_refused_without_its_feature() {
    let s = Sandbox::new();
    let refused = s.clipn(&classify(&["noise", "--output", "rows.parquet"]));
    assert_eq!(refused.status.code(), Some(2));
    let stderr = text(&refused.stderr);
    assert!(
        stderr.contains("built without the feature `parquet`")
            && stderr.contains("--features parquet"),
        "{stderr}"
    );
}

#[test]
fn explain_prints_reasons_in_the_table() {
    let s = Sandbox::new();
    let plain = s.done(&classify(&["photos"]));
    let explained = s.done(&classify(&["photos", "--explain"]));
    assert_eq!((plain.lines().count(), explained.lines().count()), (2, 4));
    let reason = explained.lines().nth(1).unwrap();
    assert!(
        reason.starts_with("    ") && reason.contains("published ATD rule"),
        "{explained}"
    );
}

#[test]
fn shards_are_complete_and_disjoint() {
    let s = Sandbox::new();
    let all = printed(&s, &["noise", "stripes", "photos"]);
    for count in ["3", "20"] {
        let mut sharded = Vec::new();
        for index in 0..count.parse().unwrap() {
            let (index_text, name) = (
                index.to_string(),
                format!(
                    "part-{index:05}-of-{:05}.jsonl",
                    count.parse::<u32>().unwrap()
                ),
            );
            let flags = [
                "--shard-index",
                &index_text,
                "--num-shards",
                count,
                "--output",
                "part.jsonl",
            ];
            s.done(&classify(
                &[&["noise", "stripes", "photos"], &flags[..]].concat(),
            ));
            let part = rows(&std::fs::read_to_string(s.path(&name)).unwrap());
            sharded.extend(
                part.iter()
                    .enumerate()
                    .map(|(n, row)| (n * count.parse::<usize>().unwrap() + index, row.clone())),
            );
        }
        sharded.sort_by_key(|(index, _)| *index);
        assert!(
            sharded
                .iter()
                .enumerate()
                .all(|(n, (index, _))| n == *index),
            "{count}"
        );
        let sharded: Vec<Value> = sharded.into_iter().map(|(_, row)| row).collect();
        assert_eq!(names(&sharded), names(&all));
        assert_eq!(verdicts(&sharded), verdicts(&all));
    }
}

#[test]
fn archives_are_split_whole_if_there_are_enough() {
    let s = Sandbox::new();
    for shard in 0..3 {
        s.write(&format!("s-{shard}.tar"), packed(&s, &NOISE[..shard + 2]));
    }
    let shard = |index: &str, count: &str| {
        let found = printed(
            &s,
            &[
                "s-{0..2}.tar",
                "--shard-index",
                index,
                "--num-shards",
                count,
            ],
        );
        names(&found)
            .iter()
            .map(|name| name.replace("/noise/", " ").replace(".bmp", ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shard("0", "2"),
        [
            "s-0.tar 0",
            "s-0.tar 1",
            "s-2.tar 0",
            "s-2.tar 1",
            "s-2.tar 2",
            "s-2.tar 3"
        ]
    );
    assert_eq!(shard("1", "2"), ["s-1.tar 0", "s-1.tar 1", "s-1.tar 2"]);
    // Four shards of three archives: by images.
    assert_eq!(shard("0", "4"), ["s-0.tar 0", "s-1.tar 2", "s-2.tar 3"]);
    let mut all: Vec<String> = (0..4)
        .flat_map(|index| shard(&index.to_string(), "4"))
        .collect();
    all.sort();
    assert_eq!(all.len(), 9);
    all.dedup();
    assert_eq!(all.len(), 9);
}

#[test]
fn launcher_variables_count_only_with_distributed() {
    let s = Sandbox::new();
    let run = |more: &[&str], variables: &[(&str, &str)]| {
        let arguments = classify(&[&["--format", "json", "noise"], more].concat());
        s.command("http://127.0.0.1:1", &arguments)
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    };
    let rank = [("RANK", "1"), ("WORLD_SIZE", "2")];
    let ignored = run(&[], &rank);
    assert_eq!(rows(&text(&ignored.stdout)).len(), 5);
    assert!(
        text(&ignored.stderr).contains("WORLD_SIZE is 2, but this process takes all"),
        "{}",
        text(&ignored.stderr)
    );
    let used = run(&["--distributed"], &rank);
    assert_eq!(names(&rows(&text(&used.stdout))), [NOISE[1], NOISE[3]]);
    assert!(
        text(&used.stderr).contains("shard 1 of 2"),
        "{}",
        text(&used.stderr)
    );
    let slurm = run(
        &["--distributed"],
        &[
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "3"),
            ("SLURM_STEP_ID", "0"),
        ],
    );
    assert_eq!(names(&rows(&text(&slurm.stdout))), [NOISE[0], NOISE[3]]);
    for (variables, part) in [
        (&[][..], "none of RANK"),
        (&[("RANK", "0")][..], "WORLD_SIZE is not"),
    ] {
        let refused = run(&["--distributed"], variables);
        assert_eq!(refused.status.code(), Some(2));
        assert!(
            text(&refused.stderr).contains(part),
            "{}",
            text(&refused.stderr)
        );
    }
}

#[test]
fn controls_the_false_discovery_rate_over_all_images() {
    let s = Sandbox::new();
    for image in 0..60u32 {
        s.image(
            &format!("known/pizza/{image}.bmp"),
            40,
            30 + image % 7,
            |x, y| {
                [
                    (x * (image + 3)) as u8,
                    (y * 7 + image * 40) as u8,
                    (x * y) as u8,
                ]
            },
        );
    }
    let model = [
        "--model",
        "tiny.json",
        "--pretrained",
        "epoch_10.pt",
        "--templates",
        "simple",
    ];
    let build = [
        "classifier",
        "build",
        "--classes",
        "classes.txt",
        "--out",
        "shop.clipn",
        "--with-model",
    ];
    s.done(&[&build[..], &model].concat());
    let fdr = [
        "classify",
        "--bundle",
        "shop.clipn",
        "--fdr",
        "0.3",
        "known",
        "noise",
        "stripes",
        "gone.jpg",
    ];
    let early = s.clipn(&fdr);
    assert_eq!(early.status.code(), Some(2));
    assert!(
        text(&early.stderr).contains("clipn calibrate"),
        "{}",
        text(&early.stderr)
    );

    s.done(&[
        "calibrate",
        "--bundle",
        "shop.clipn",
        "--id",
        "known",
        "--target-tpr",
        "0.9",
    ]);
    let mut low = fdr;
    low[4] = "0.01";
    let low = s.clipn(&low);
    assert!(
        text(&low.stderr).contains("no p-value of 60 calibration images is below 0.0164")
            && text(&low.stdout).matches("unknown").count() == 0,
        "{}",
        text(&low.stderr)
    );
    let found = rows(&s.done(&[&fdr[..], &["--format", "json"]].concat()));
    assert_eq!(found.len(), 71);
    let p_values: Vec<f64> = found
        .iter()
        .filter_map(|row| row["p_value"].as_f64())
        .collect();
    let rejected = clipn::calibration::benjamini_hochberg(&p_values, 0.3);
    assert_eq!(p_values.len(), 70);
    for (row, is_rejected) in found.iter().zip(rejected) {
        assert_eq!(row["unknown"], is_rejected, "{row}");
        assert!(is_rejected || CLASSES.contains(&row["label"].as_str().unwrap()));
        assert!(
            row["reason"]
                .as_str()
                .unwrap()
                .contains("false discovery rate 0.3"),
            "{row}"
        );
    }
    assert!(!found[70]["error"].is_null());
    s.done(&[&fdr[..], &["--output", "rows.csv"]].concat());
    for refused in [
        &["--output", "r.csv", "--resume"][..],
        &["--shard-index", "0", "--num-shards", "2"],
        &["--distributed"],
    ] {
        assert_eq!(
            s.clipn(&[&fdr[..], refused].concat()).status.code(),
            Some(2),
            "{refused:?}"
        );
    }
}

#[test]
fn rejects_wrong_usage_before_any_work() {
    let s = Sandbox::new();
    s.write("folder/x.txt", "");
    for (arguments, part) in [
        (&["--output", "rows", "noise"][..], "unknown output format"),
        (
            &["--output", "noise", "--output-format", "csv", "photos"],
            "is a directory",
        ),
        (&["--output", "absent/rows.csv", "noise"], "absent/rows.csv"),
        (&["--resume", "noise"], "--output"),
        (&["--force", "noise"], "--output"),
        (
            &["--output", "a.csv", "--force", "--resume", "noise"],
            "cannot be used with",
        ),
        (&["--shard-index", "0", "noise"], "--num-shards"),
        (
            &["--shard-index", "2", "--num-shards", "2", "noise"],
            "not below",
        ),
        (
            &["--num-shards", "0", "--shard-index", "0", "noise"],
            "--num-shards",
        ),
        (&["--fdr", "1.5", "noise"], "between 0 and 1"),
        (&["--top", "0", "noise"], "--top"),
        (&["nothing-*.jpg"], "nothing matches"),
        (&["s-{0..3.tar"], "unbalanced `{`"),
        (&["-", "--list", "-"], "standard input can be read once"),
        (&["--list", "absent.txt"], "absent.txt"),
        (&["--list", "noise"], "noise"),
        (&["-0", "noise"], "--list"),
        (&["folder"], "no images in"),
        (&[], "PATHS"),
    ] {
        let output = s.clipn(&classify(arguments));
        let error = text(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{arguments:?}: {error}"
        );
        assert!(error.contains(part), "{arguments:?}: {error}");
        assert!(is_error_report(&error), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[cfg(not(feature = "remote"))]
#[test]
fn urls_name_the_required_feature() {
    let s = Sandbox::new();
    for url in [
        "s3://bucket/a.jpg",
        "https://host.example/{a,b}.jpg",
        "gs://bucket/shards/",
    ] {
        let output = s.clipn(&classify(&[url]));
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output.stderr).contains("feature `remote`"),
            "{}",
            text(&output.stderr)
        );
    }
    s.write("list.txt", "s3://bucket/a.jpg\nnoise/0.bmp\n");
    let found = printed(&s, &["--list", "list.txt"]);
    assert!(
        found[0]["error"]
            .as_str()
            .unwrap()
            .contains("feature `remote`")
            && found[1]["error"].is_null()
    );
}
