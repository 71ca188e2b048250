//! Class names, templates, lists and folders in the forms that people have: each is read for what it
//! is, with a line that says so, or refused with what was seen.

use serde_json::Value;

use crate::common::{
    CLASSES, MODEL, Sandbox, library_fixture, shards, test_data, text, with_model,
};

const TWELVE: [&str; 12] = [
    "school bus",
    "goldfish",
    "pizza",
    "banana",
    "teapot",
    "espresso",
    "lemon",
    "orange",
    "bison",
    "koala",
    "mushroom",
    "pretzel",
];

/// Path of a file of the cases.
fn case(path: &str) -> String {
    let path = library_fixture(&format!("cases/{path}"));
    path.display().to_string()
}

/// Builds a bundle with these arguments; returns its class names, or the error.
fn build(s: &Sandbox, arguments: &[&str]) -> (Result<Vec<String>, String>, String) {
    let command = [
        &["classifier", "build"][..],
        &MODEL,
        &["--out", "b.clipn", "--force"],
        arguments,
    ];
    let output = s.clipn(&command.concat());
    let stderr = text(&output.stderr);
    if !output.status.success() {
        return (Err(stderr.clone()), stderr);
    }
    let shown = s.done(&["classifier", "show", "b.clipn", "--format", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let names = serde_json::from_value(shown["class_names"].clone()).unwrap();
    (Ok(names), stderr)
}

#[test]
fn every_class_list_is_read_or_refused() {
    let s = Sandbox::new();
    let places = ["airfield", "airplane cabin", "pizzeria"];
    let fish = [
        "goldfish",
        "European fire salamander",
        "bullfrog",
        "tailed frog",
    ];
    let read: [(&str, &[&str], &str); 9] = [
        ("oneline.txt", &TWELVE, "one line of names, separated"),
        ("dict.txt", &TWELVE, "a dictionary from numbers to names"),
        ("pandas.csv", &TWELVE, "the column `name` of a table"),
        ("table.tsv", &fish, "the column `name` of a table"),
        ("synset_mapping.txt", &TWELVE, "lines of synset id and name"),
        ("places.txt", &places, "lines of paths"),
        ("quoted.txt", &TWELVE, "quoted names"),
        (
            "comment.txt",
            &TWELVE,
            "one name per line; skipped 1 comment line",
        ),
        (
            "class_index.json",
            &TWELVE,
            "a dictionary from numbers to synset ids and names",
        ),
    ];
    for (file, expected, form) in read {
        let path = case(&format!("classes/{file}"));
        let (names, stderr) = build(&s, &["--templates", "simple", "--classes", &path]);
        assert_eq!(names.unwrap(), expected, "{file}");
        let note = format!(
            "note: read {} class names from {path}: {form}\n",
            expected.len()
        );
        assert!(stderr.contains(&note), "{file}: {stderr}");
    }
    for (file, error) in [
        (
            "dup.txt",
            "`goldfish` (line 2, line 14); `pizza` (line 3, line 13)",
        ),
        (
            "long.txt",
            "have the same texts within the 77 tokens that the text tower reads",
        ),
    ] {
        let path = case(&format!("classes/{file}"));
        let arguments = ["--templates", "simple", "--classes", &path];
        let found = build(&s, &arguments).0.unwrap_err();
        assert!(
            found.contains(error) && found.contains("--allow-duplicates"),
            "{found}"
        );
        let (names, stderr) = build(&s, &[&arguments[..], &["--allow-duplicates"]].concat());
        assert!(names.is_ok() && stderr.contains("warning: "), "{stderr}");
    }
    let (_, stderr) = build(
        &s,
        &[
            "--templates",
            "simple",
            "--allow-duplicates",
            "--classes",
            &case("classes/long.txt"),
        ],
    );
    assert!(
        stderr.contains("warning: 4 texts of 2 classes cut to 77 tokens: `a very long"),
        "{stderr}"
    );
}

#[test]
fn a_command_line_takes_json_and_refuses_equal_names() {
    let s = Sandbox::new();
    let of = |classes: &str| build(&s, &["--templates", "simple", "--classes", classes]).0;
    assert_eq!(of(r#"["hot dog","pizza"]"#).unwrap(), ["hot dog", "pizza"]);
    let error = of("pizza, Pizza").unwrap_err();
    assert!(
        error.contains("duplicate class names") && error.contains("name 2 as `Pizza`"),
        "{error}"
    );
    let error = of("pizza, UNKNOWN").unwrap_err();
    assert!(
        error.contains("class name `UNKNOWN`") && error.contains("reserved"),
        "{error}"
    );
}

#[test]
fn the_built_in_list_notes_its_pairs() {
    let s = Sandbox::new();
    let (names, stderr) = build(&s, &["--templates", "simple", "--classes", "imagenet-1k"]);
    assert_eq!(names.unwrap().len(), 1000);
    assert!(
        stderr.contains("note: the list has duplicate class names") && stderr.contains("`missile`"),
        "{stderr}"
    );
}

#[test]
fn every_template_file_is_read() {
    let s = Sandbox::new();
    let expected = [
        "a bad photo of a {}.",
        "a photo of many {}.",
        "a sculpture of a {}.",
    ];
    for (file, form) in [
        ("ok.txt", None),
        ("list.json", Some("a list in JSON or Python")),
        ("notebook.txt", Some("quoted lines")),
        (
            "clipbench.json",
            Some("a list in JSON or Python, with `{c}` for the class name"),
        ),
    ] {
        let path = case(&format!("templates/{file}"));
        let (names, stderr) = build(&s, &["--templates", &path, "--classes", "pizza, goldfish"]);
        names.unwrap();
        let shown = s.done(&["classifier", "show", "b.clipn", "--format", "json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(
            shown["templates"]["yes"],
            serde_json::json!(expected),
            "{file}"
        );
        let note = form.map(|form| format!("note: read 3 templates from {path}: {form}\n"));
        assert!(
            note.is_none_or(|note| stderr.contains(&note)),
            "{file}: {stderr}"
        );
    }
}

#[test]
fn sentences_per_class_are_kept_in_a_bundle() {
    let s = Sandbox::new();
    let (templates, classes) = (case("templates/cupl.json"), case("classes/dict.txt"));
    let arguments = ["--templates", &templates, "--classes", &classes];
    let (names, stderr) = build(&s, &arguments);
    assert_eq!(names.unwrap(), TWELVE);
    assert!(
        stderr.contains("note: read 24 sentences for 12 classes from "),
        "{stderr}"
    );
    let shown = s.done(&["classifier", "show", "b.clipn"]);
    assert!(
        shown.contains("prompts      cupl (24 sentences of 12 classes, each its own"),
        "{shown}"
    );

    let (missing, _) = build(
        &s,
        &["--templates", &templates, "--classes", "pizza, zebra"],
    );
    let missing = missing.unwrap_err();
    assert!(
        missing.contains("no sentences for 1 of the classes: `zebra`"),
        "{missing}"
    );
    let (extra, _) = build(
        &s,
        &["--templates", &templates, "--classes", "pizza, goldfish"],
    );
    assert!(
        extra
            .unwrap_err()
            .contains("sentences of 10 names that are no class: `banana`")
    );
    let rows = s.done(
        &[
            &["classify", "photos", "--format", "csv"][..],
            &MODEL,
            &arguments,
        ]
        .concat(),
    );
    assert_eq!(rows.lines().count(), 3);

    // Negatives leave out what describes the classes, and use a template.
    let with_list = [&arguments[..], &["--reject", "a hand, an empty table"]].concat();
    build(&s, &with_list).0.unwrap();
    s.write("reject.json", r#"["a hand", "an empty table", "A hand"]"#);
    let with_file = [&arguments[..], &["--negatives", "reject.json"]].concat();
    let (names, stderr) = build(&s, &with_file);
    names.unwrap();
    assert!(
        stderr.contains("note: read 3 texts from reject.json: a list in JSON or Python"),
        "{stderr}"
    );
    assert!(
        stderr.contains("note: dropped repeated texts to reject: 1"),
        "{stderr}"
    );
    let shown = s.done(&["classifier", "show", "b.clipn"]);
    assert!(shown.contains("negatives    2 of list"), "{shown}");

    s.write("more.json", r#"{"zebra": ["a zebra has stripes."]}"#);
    let add = |arguments: &[&str]| {
        let command = ["classifier", "add", "b.clipn", "--classes", "zebra"];
        let output = s.clipn(&[&command[..], arguments].concat());
        (output.status.code(), text(&output.stderr))
    };
    build(&s, &arguments).0.unwrap();
    let (code, stderr) = add(&[]);
    assert!(
        code == Some(2) && stderr.contains("--templates"),
        "{stderr}"
    );
    let (code, stderr) = add(&["--templates", "more.json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let shown = s.done(&["classifier", "show", "b.clipn"]);
    assert!(shown.contains("25 sentences of 13 classes"), "{shown}");
    s.done(&[
        "classifier",
        "remove",
        "b.clipn",
        "--classes",
        "pizza, lemon",
    ]);
    let shown = s.done(&["classifier", "show", "b.clipn"]);
    assert!(shown.contains("21 sentences of 11 classes"), "{shown}");
}

/// Accuracy of an evaluation, and standard error.
fn accuracy(s: &Sandbox, arguments: &[&str]) -> (f64, String) {
    let output = s.clipn(
        &[
            &["eval", "--format", "json", "--scores", "msp"][..],
            arguments,
        ]
        .concat(),
    );
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    (record["accuracy"].as_f64().unwrap(), stderr)
}

#[test]
fn folders_get_the_labels_that_they_name() {
    let s = Sandbox::new();
    let copy = |from: &str, to: &str| {
        for image in 0..4 {
            let bytes = std::fs::read(s.path(&format!("id/{from}/{image}.bmp"))).unwrap();
            s.write(&format!("{to}/{image}.bmp"), bytes);
        }
    };
    for (number, class) in CLASSES.iter().enumerate() {
        copy(class, &format!("numbers/{number}"));
        copy(class, &format!("ids/n0000000{number}-x"));
        copy(class, &format!("others/{}", ["a", "c", "b"][number]));
    }
    s.write(
        "ids.txt",
        "n00000002 pizza\nn00000001 school bus\nn00000000 goldfish\n",
    );
    let of = |id: &str, classes: &str| {
        let arguments = [
            "--model",
            "tiny.json",
            "--pretrained",
            "epoch_10.pt",
            "--templates",
            "simple",
            "--ood",
            "noise",
            "--verbose",
            "--id",
            id,
            "--classes",
            classes,
        ];
        accuracy(&s, &arguments)
    };
    let (right, _) = of("id", "goldfish, pizza, school bus");
    let (by_name, stderr) = of("id", "school bus, pizza, goldfish");
    assert_eq!(by_name, right);
    assert!(
        stderr.contains(
            "3 class directories matched with 3 class names by name: goldfish = goldfish"
        ),
        "{stderr}"
    );
    let (by_number, stderr) = of("numbers", "goldfish, school bus, pizza");
    assert_eq!(by_number, right);
    assert!(stderr.contains("note: 3 class directories matched with 3 class names by number: 0 = goldfish, 1 = school bus"), "{stderr}");
    let (by_id, stderr) = of("ids", "ids.txt");
    assert_eq!(by_id, right);
    assert!(
        stderr.contains("by synset id: n00000000-x = goldfish"),
        "{stderr}"
    );
    let (by_position, stderr) = of("others", "goldfish, pizza, school bus");
    assert_eq!(by_position, right);
    assert!(stderr.contains("note: 3 class directories matched with 3 class names by position, in sorted order: a = goldfish"), "{stderr}");

    let command = with_model(
        "eval",
        &[
            "--id",
            "id",
            "--ood",
            "noise",
            "--classes",
            "pizza, lemon, goldfish",
        ],
    );
    let refused = s.clipn(&command);
    let stderr = text(&refused.stderr);
    assert!(
        !refused.status.success() && stderr.contains("(school bus)") && stderr.contains("(lemon)"),
        "{stderr}"
    );

    let (_, stderr) = accuracy(
        &s,
        &[
            &MODEL[..],
            &["--templates", "simple", "--id", "numbers", "--ood", "noise"],
        ]
        .concat(),
    );
    assert!(
        stderr.contains("warning: the class names are the names of the directories"),
        "{stderr}"
    );
}

#[test]
fn archives_and_lists_without_labels_are_evaluated() {
    let s = Sandbox::new();
    let mut files = Vec::new();
    for (number, class) in CLASSES.iter().enumerate() {
        for image in 0..4 {
            let bytes = std::fs::read(s.path(&format!("id/{class}/{image}.bmp"))).unwrap();
            files.push((format!("{number}{image}.bmp"), bytes));
            files.push((
                format!("{number}{image}.cls"),
                number.to_string().into_bytes(),
            ));
        }
    }
    s.write("set.tar", shards::tar(&files));
    let noise: Vec<String> = (0..5).map(|k| format!("noise/{k}.bmp")).collect();
    s.write("list.txt", noise.join("\n"));
    let model = [
        &MODEL[..],
        &["--templates", "simple", "--classes", "classes.txt"],
    ]
    .concat();
    let (folders, _) = accuracy(
        &s,
        &[&model[..], &["--id", "id", "--ood", "noise"]].concat(),
    );
    let output = [
        "--id",
        "set.tar",
        "--ood",
        "list.txt",
        "--ood",
        "archived=set.tar",
        "--output",
        "out",
    ];
    let (archived, stderr) = accuracy(&s, &[&model[..], &output].concat());
    assert_eq!(archived, folders, "{stderr}");
    let page = std::fs::read_to_string(s.path("out/report.html")).unwrap();
    assert!(page.contains("data:image/") && !page.contains("unreadable</span>"));
    let table = std::fs::read_to_string(s.path("out/scores.csv")).unwrap();
    assert!(table.contains("set.tar/00.bmp"), "{table}");

    s.write("b.toml", "name = \"b\"\n[id]\narchive = \"set.tar\"\nclasses = [\"goldfish\", \"school bus\", \"pizza\"]\n[[ood]]\nname = \"n\"\narchive = \"set.tar\"\n");
    let benchmark = ["--benchmark", "b.toml", "--data-root", "."];
    let (toml, _) = accuracy(
        &s,
        &[&MODEL[..], &["--templates", "simple"], &benchmark].concat(),
    );
    assert_eq!(toml, folders);

    for (arguments, error) in [
        (
            ["--id", "list.txt", "--ood", "noise"],
            "list.txt line 1: missing label",
        ),
        (
            ["--id", "set.tar", "--ood", "nosuch"],
            "nosuch does not exist",
        ),
    ] {
        let refused = s.clipn(&[&["eval"][..], &model, &arguments].concat());
        let stderr = text(&refused.stderr);
        assert!(
            !refused.status.success() && stderr.contains(error),
            "{stderr}"
        );
    }
    let command = with_model("eval", &["--id", "set.tar", "--ood", "noise"]);
    let refused = text(&s.clipn(&command).stderr);
    assert!(
        refused.contains("set.tar has labels, but no class names") && refused.contains("--classes"),
        "{refused}"
    );
}

#[test]
fn tables_are_evaluated_like_folders() {
    let s = Sandbox::new();
    let table = |label: &dyn Fn(usize, &str) -> String| {
        let mut lines = String::new();
        for (number, class) in CLASSES.iter().enumerate() {
            for image in 0..4 {
                let label = label(number, class);
                lines += &format!("{{\"image\": \"{class}/{image}.bmp\", \"label\": {label}}}\n");
            }
        }
        lines
    };
    s.write("id/numbers.jsonl", table(&|number, _| number.to_string()));
    s.write("id/names.jsonl", table(&|_, class| format!("{class:?}")));
    let noise = |k| format!("{{\"path\": \"noise/{k}.bmp\"}}\n");
    s.write("noise.jsonl", (0..5).map(noise).collect::<String>());
    let run = |arguments: &[&str]| {
        let model = [
            &["eval", "--format", "json", "--verbose"],
            &MODEL[..],
            &["--templates", "simple"],
            arguments,
        ];
        let output = s.clipn(&model.concat());
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        let results = record["results"].as_array().unwrap();
        let numbers: Vec<Value> = results
            .iter()
            .map(|row| serde_json::json!([row["score"], row["auroc"], row["fpr95"], row["n_id"]]))
            .collect();
        ((record["accuracy"].clone(), numbers), stderr)
    };
    let classes = ["--classes", "classes.txt"];
    let (folders, _) = run(&[&["--id", "id", "--ood", "noise"], &classes[..]].concat());
    for (id, how) in [
        ("id/numbers.jsonl", "labels are indices of 3 class names"),
        ("id/names.jsonl", "matched with 3 class names by name"),
    ] {
        let arguments = ["--id", id, "--ood", "noise.jsonl"];
        let (found, stderr) = run(&[&arguments, &classes[..]].concat());
        assert_eq!(found, folders, "{id}");
        assert!(stderr.contains(how), "{stderr}");
    }
    s.write(
        "b.toml",
        "name = \"b\"\n[id]\ntable = \"id/names.jsonl\"\n[[ood]]\nname = \"n\"\ntable = \"noise.jsonl\"\n",
    );
    let (named, _) = run(&["--benchmark", "b.toml", "--data-root", "."]);
    let (plain, _) = run(&["--id", "id", "--ood", "noise"]);
    assert_eq!(named, plain);

    let refused = |id: &str| {
        let output = s.clipn(&with_model("eval", &["--id", id, "--ood", "noise"]));
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let stderr = refused("id/numbers.jsonl");
    assert!(
        stderr.contains("has labels, but no class names") && stderr.contains("--classes"),
        "{stderr}"
    );
    let stderr = refused("noise.jsonl");
    assert!(
        stderr.contains("noise.jsonl line 1: no label; expected one of the keys label, cls"),
        "{stderr}"
    );
    s.write(
        "photo.jsonl",
        "{\"photo\": \"noise/0.bmp\", \"label\": 0}\n",
    );
    let stderr = refused("photo.jsonl");
    assert!(
        stderr.contains("missing key `filepath`")
            && stderr.contains("hint: name the column or key of images `filepath` or `image`")
            && !stderr.contains("--image-key"),
        "{stderr}"
    );
}

#[cfg(feature = "parquet")]
#[test]
fn images_embedded_in_a_table_are_evaluated_and_shown() {
    let s = Sandbox::new();
    let Some(table) = test_data("cases/public/tables/image-column.parquet") else {
        return;
    };
    let table = table.display().to_string();
    let command = with_model("eval", &["--id", "id", "--ood", &table, "--output", "out"]);
    s.done(&command);
    let page = std::fs::read_to_string(s.path("out/report.html")).unwrap();
    assert!(page.contains("data:image/") && !page.contains("unreadable</span>"));
    let scores = std::fs::read_to_string(s.path("out/scores.csv")).unwrap();
    assert!(scores.contains("image-column.parquet:0,"), "{scores}");
}

#[test]
fn captions_that_are_cut_are_counted() {
    let s = Sandbox::new();
    s.training_set();
    let table = std::fs::read_to_string(s.path("captions.tsv")).unwrap();
    let long = table.replacen("a red ", &format!("a red {}", "very ".repeat(20)), 12);
    s.write("captions.tsv", long);
    let command = [
        "train",
        "--objective",
        "clip",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "8",
        "--epochs",
        "1",
        "--warmup",
        "1",
        "--workers",
        "1",
        "--name",
        "cut",
    ];
    let output = s.clipn(&command);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("warning: epoch 1 cut 12 of 48 captions to 16 tokens"),
        "{stderr}"
    );
}

#[test]
fn captions_with_words_that_yes_has_not_read_are_counted() {
    let s = Sandbox::new();
    s.training_set();
    let train = |more: &[&str]| {
        let common = ["train", "--model", "small.json", "--train-data"];
        let size = ["--batch-size", "8", "--epochs", "1", "--workers", "1"];
        let output = s.clipn(&[&common[..], &[more[0]], &size, &more[1..]].concat());
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        (text(&output.stdout).trim().to_owned(), stderr)
    };
    let (clip, stderr) = train(&["captions.tsv", "--objective", "clip", "--name", "clip"]);
    assert!(!stderr.contains("not trained on"), "{stderr}");
    let table = std::fs::read_to_string(s.path("captions.tsv")).unwrap();
    s.write("other.tsv", table.replacen("a red ", "a zeppelin ", 5));
    let no = ["--no-prompts", "2", "--pretrained", &clip, "--name"];
    let (_, stderr) = train(&[&["captions.tsv"], &no[..], &["same"]].concat());
    assert!(!stderr.contains("not trained on"), "{stderr}");
    let (_, stderr) = train(&[&["other.tsv"], &no[..], &["other"]].concat());
    assert!(
        stderr.contains(
            "warning: in epoch 1, 5 of 48 captions have words that the \"yes\" tower was not trained \
             on, such as zeppelin"
        ),
        "{stderr}"
    );
}

#[test]
fn the_public_sets_have_their_accuracy() {
    let Some(root) = test_data("cases/public") else {
        return;
    };
    let s = Sandbox::new();
    let path = |name: &str| root.join(name).display().to_string();
    let (id, names, ood) = (
        path("numbered-folders/id"),
        path("numbered-folders/names.txt"),
        path("lists/ood-without-labels.txt"),
    );
    let (numbered, stderr) = accuracy(&s, &["--id", &id, "--classes", &names, "--ood", &ood]);
    assert!(
        (numbered - 26.0 / 36.0).abs() < 1e-9,
        "{numbered}: {stderr}"
    );
    let (archive, names) = (path("class-indices.tar"), path("class-indices.names.txt"));
    let (archived, _) = accuracy(&s, &["--id", &archive, "--classes", &names, "--ood", &ood]);
    assert!((archived - 7.0 / 12.0).abs() < 1e-9, "{archived}");
}
