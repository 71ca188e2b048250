//! Wrong usage: every mistake gives an error report, never a panic.

mod training;

use crate::common::{MODEL, Sandbox, is_error_report, library_fixture, text};

const SETS: [&str; 4] = ["--id", "id", "--ood", "noise=noise"];

/// Runs with the arguments, and checks the exit code and that the error report contains every part.
#[track_caller]
pub(crate) fn fails(sandbox: &Sandbox, code: i32, arguments: &[&str], parts: &[&str]) {
    let output = sandbox.clipn(arguments);
    let error = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {error}{}",
        text(&output.stdout)
    );
    assert!(is_error_report(&error), "{arguments:?}: {error}");
    for part in parts {
        assert!(
            error.contains(part),
            "{arguments:?}: no {part:?} in {error}"
        );
    }
}

fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["eval"], &MODEL[..], more].concat()
}

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["classify"], &MODEL[..], &["--templates", "simple"], more].concat()
}

#[test]
fn rejects_invalid_arguments() {
    let s = &Sandbox::new();
    fails(s, 2, &["eval"], &["--id", "--help"]);
    fails(s, 2, &["evaluate"], &["unrecognized subcommand 'evaluate'"]);
    fails(s, 2, &eval(&["--id", "id"]), &["--ood"]);
    fails(
        s,
        2,
        &eval(&["--benchmark", "imagenet-1k"]),
        &["--data-root"],
    );
    fails(
        s,
        2,
        &eval(&[&SETS[..], &["--scores", "msp,entropy"]].concat()),
        &["entropy", "msp, maxlogit, energy"],
    );
    fails(
        s,
        2,
        &eval(&[&SETS[..], &["--fpr-convention", "mine"]].concat()),
        &["mine", "openood"],
    );
    fails(
        s,
        2,
        &eval(&[&SETS[..], &["--device", "tpu"]].concat()),
        &["`tpu`", "cpu, gpu, gpu:N, cuda or cuda:N"],
    );
    fails(
        s,
        1,
        &eval(&[&SETS[..], &["--precision", "bf16"]].concat()),
        &["cpu does not compute in bf16", "leave --precision out"],
    );
    fails(
        s,
        2,
        &eval(&[&SETS[..], &["--batch-size", "0"]].concat()),
        &["--batch-size", "from 1 to 4096"],
    );
    fails(
        s,
        2,
        &eval(&[&SETS[..], &["--ood", "noise=stripes"]].concat()),
        &["duplicate name", "`noise`", "NAME=DIR"],
    );
    fails(s, 2, &classify(&["--classes", "a,b"]), &["PATHS"]);
    fails(
        s,
        2,
        &classify(&["--classes", "a,b", "--score", "msp", "photos"]),
        &["msp", "give --threshold"],
    );
    fails(
        s,
        2,
        &classify(&["--classes", "a,b", "--threshold", "nan", "photos"]),
        &["not a number"],
    );
}

#[test]
fn an_output_never_replaces_what_is_read() {
    let s = Sandbox::new();
    s.write("list.txt", "photos/goldfish.png\n");
    s.write("words.npy", "a cat\n");
    s.write("classes.csv", "goldfish\nschool bus\npizza\n");
    let model = [
        "--model",
        "tiny.json",
        "--pretrained",
        "epoch_10.pt",
        "--force",
    ];
    let names = ["--templates", "simple", "--classes", "classes.csv"];
    let classify = [&["classify"][..], &model, &names].concat();
    let build = [&["classifier", "build"][..], &model, &names].concat();
    for (arguments, input) in [
        (
            [&classify[..], &["--output", "classes.csv", "photos"]].concat(),
            "classes.csv",
        ),
        (
            [
                &classify[..],
                &[
                    "--output",
                    "./list.txt",
                    "--output-format",
                    "csv",
                    "--list",
                    "list.txt",
                ],
            ]
            .concat(),
            "list.txt",
        ),
        (
            [&build[..], &["--out", "classes.csv"]].concat(),
            "classes.csv",
        ),
        (
            [
                &["embed", "texts"][..],
                &model,
                &["words.npy", "--output", "words.npy"],
            ]
            .concat(),
            "words.npy",
        ),
    ] {
        let before = std::fs::read(s.path(input)).unwrap();
        fails(
            &s,
            2,
            &arguments,
            &["the output ", &format!(" is read as {input}")],
        );
        assert_eq!(
            std::fs::read(s.path(input)).unwrap(),
            before,
            "{arguments:?}"
        );
    }
}

#[test]
fn rejects_unusable_models_and_weights() {
    let s = &Sandbox::new();
    let with = |model: &str, weights: &str, parts: &[&str]| {
        fails(
            s,
            1,
            &[
                "classify",
                "--model",
                model,
                "--pretrained",
                weights,
                "--classes",
                "a,b",
                "photos",
            ],
            parts,
        );
    };
    with("ViT-Z-99", "epoch_10.pt", &["ViT-Z-99", "ViT-B-16"]);
    with("gone.json", "epoch_10.pt", &["gone.json"]);
    with(
        "classes.txt",
        "epoch_10.pt",
        &["classes.txt", "not valid JSON"],
    );
    s.write(
        "resnet.json",
        r#"{"embed_dim":8,"vision_cfg":{"layers":[1,1,1]},"text_cfg":{}}"#,
    );
    with(
        "resnet.json",
        "epoch_10.pt",
        &["vision_cfg.layers", "four block counts"],
    );
    with(
        "RN50",
        "epoch_10.pt",
        &[
            "do not fit the model `RN50`",
            "visual.bn1.weight",
            "visual.class_embedding",
        ],
    );
    with("tiny.json", "gone.pt", &["gone.pt"]);
    with("tiny.json", "photos", &["photos", "directory"]);
    with("tiny.json", "classes.txt", &["classes.txt"]);
    s.write("empty.pt", "");
    with("tiny.json", "empty.pt", &["empty.pt", "empty"]);
    s.write(
        "pointer.pt",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    );
    with("tiny.json", "pointer.pt", &["git"]);
    let whole = std::fs::read(s.path("epoch_10.pt")).unwrap();
    s.write("half.pt", &whole[..whole.len() / 2]);
    with("tiny.json", "half.pt", &["half.pt"]);
    let namespace = library_fixture("checkpoint/with_namespace.pt");
    with(
        "tiny.json",
        namespace.to_str().unwrap(),
        &["argparse.Namespace"],
    );
    with(
        "ViT-B-32",
        "epoch_10.pt",
        &[
            "do not fit the model `ViT-B-32`",
            "missing",
            "with a wrong shape",
        ],
    );
    fails(s, 1, &["inspect", "classes.txt"], &["classes.txt"]);
}

#[test]
fn rejects_contradictions_of_weights_with_config() {
    let s = &Sandbox::new();
    s.write_other_formats();
    let with = |arguments: &[&str], parts: &[&str]| {
        fails(
            s,
            1,
            &[&["classify", "--classes", "a,b", "photos"], arguments].concat(),
            parts,
        );
    };
    with(
        &["--pretrained", "epoch_10.pt"],
        &["unknown architecture", "epoch_10.pt"],
    );
    s.write(
        "other.json",
        std::fs::read_to_string(s.path("tiny.json"))
            .unwrap()
            .replacen('{', "{\"quick_gelu\": true,", 1),
    );
    for folder in [
        "clip-transformers",
        "clip-open-clip",
        "logs/tiny/checkpoints/epoch-10",
    ] {
        let contradiction = [
            "`other` differs",
            folder,
            "activation is gelu, not quickgelu",
        ];
        with(
            &["--pretrained", folder, "--model", "other.json"],
            &contradiction,
        );
    }
    with(
        &["--pretrained", "logs/tiny"],
        &["logs/tiny", "checkpoints/epoch-10"],
    );
    s.write(
        "clip-transformers/preprocessor_config.json",
        r#"{"resample": 2}"#,
    );
    with(
        &["--pretrained", "clip-transformers"],
        &["preprocessor_config.json", "`resample` = 2"],
    );
    s.write(
        "clip-transformers/config.json",
        r#"{"model_type": "siglip"}"#,
    );
    with(
        &["--pretrained", "clip-transformers"],
        &["config.json", "siglip"],
    );
    s.training_set();
    let train = ["train", "--train-data", "captions.tsv", "--pretrained"];
    fails(
        s,
        2,
        &[&train[..], &["clip-open-clip"]].concat(),
        &["clip-open-clip", "mean [0.5, 0.5, 0.5]"],
    );
    fails(
        s,
        1,
        &[
            &train[..],
            &["logs/tiny/checkpoints/epoch-10", "--model", "other.json"],
        ]
        .concat(),
        &["differs from the config"],
    );
    fails(
        s,
        1,
        &[&train[..], &["epoch_10.pt"]].concat(),
        &["unknown architecture"],
    );
}

#[test]
fn rejects_unusable_class_names_and_templates() {
    let s = &Sandbox::new();
    fails(
        s,
        1,
        &classify(&["--classes", "gone.txt", "photos"]),
        &["gone.txt"],
    );
    fails(s, 1, &classify(&["--classes", "", "photos"]), &[]);
    s.write("none.txt", "\n\n");
    fails(
        s,
        1,
        &classify(&["--classes", "none.txt", "photos"]),
        &["none.txt"],
    );
    fails(
        s,
        1,
        &eval(&[&SETS[..], &["--classes", "goldfish,pizza"]].concat()),
        &["2 class directories in id have the name of a class, 1 has not (school bus)"],
    );
    fails(
        s,
        1,
        &eval(&[&SETS[..], &["--templates", "fancy"]].concat()),
        &["fancy", "clipn-clean"],
    );
    s.write("lines.txt", "a photo of a thing\n");
    fails(
        s,
        1,
        &eval(&[&SETS[..], &["--templates", "lines.txt"]].concat()),
        &["lines.txt", "{}"],
    );
    let handcrafted = [
        &SETS[..],
        &["--templates", "simple", "--variant", "handcrafted"],
    ]
    .concat();
    fails(s, 1, &eval(&handcrafted), &["simple", "no `no` lines"]);
}

#[test]
fn rejects_unusable_data_sets() {
    let s = &Sandbox::new();
    fails(
        s,
        1,
        &eval(&["--id", "gone", "--ood", "noise=noise"]),
        &["gone"],
    );
    fails(
        s,
        1,
        &eval(&["--id", "id", "--ood", "noise=gone"]),
        &["noise", "gone"],
    );
    fails(
        s,
        1,
        &eval(&["--id", "noise", "--ood", "noise=noise"]),
        &["class directories"],
    );
    std::fs::create_dir(s.path("empty")).unwrap();
    fails(
        s,
        1,
        &eval(&["--id", "id", "--ood", "empty=empty"]),
        &["no images"],
    );
    fails(
        s,
        1,
        &classify(&["--classes", "a,b", "empty"]),
        &["empty", "no image"],
    );
    s.write("text/one.jpg", "this is text");
    fails(
        s,
        1,
        &eval(&["--id", "id", "--ood", "text=text"]),
        &["none of the images of `text` (1)", "one.jpg"],
    );
    s.write("list.txt", "id/goldfish/0.bmp 0\nid/pizza/0.bmp pizza\n");
    let list = [
        "--id",
        "list.txt",
        "--ood",
        "noise=noise",
        "--classes",
        "a,b",
    ];
    fails(s, 1, &eval(&list), &["list.txt", "line 2"]);
    s.write("short.txt", "id/goldfish/0.bmp 7\n");
    let list = [
        "--id",
        "short.txt",
        "--ood",
        "noise=noise",
        "--classes",
        "a,b",
    ];
    fails(s, 1, &eval(&list), &["label 7"]);
    fails(
        s,
        1,
        &eval(&["--benchmark", "gone.toml", "--data-root", "."]),
        &["gone.toml"],
    );
    fails(
        s,
        1,
        &eval(&["--benchmark", "tiny-imagenet-ood", "--data-root", "."]),
        &["tiny-imagenet"],
    );
    s.write("taken", "a file");
    fails(
        s,
        1,
        &eval(&[&SETS[..], &["--output", "taken"]].concat()),
        &["taken"],
    );
}

#[cfg(unix)]
#[test]
fn reports_a_directory_without_permission() {
    use std::os::unix::fs::PermissionsExt;

    let s = &Sandbox::new();
    let closed = s.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&closed).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    fails(
        s,
        1,
        &eval(&["--id", "id", "--ood", "closed=closed"]),
        &["closed", "permission"],
    );
}

#[test]
fn rejects_an_unknown_simd_level() {
    let sandbox = Sandbox::new();
    let run = |level: &str| {
        let mut command = assert_cmd::Command::cargo_bin("clipn").unwrap();
        command
            .current_dir(sandbox.root())
            .env("CLIPN_SIMD", level)
            .args(["inspect", "epoch_10.pt"]);
        command.output().unwrap()
    };
    let output = run("sse9");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.starts_with("error: unsupported CLIPN_SIMD `sse9`") && error.contains("portable"),
        "{error}"
    );
    assert_eq!(run("portable").status.code(), Some(0));
}
