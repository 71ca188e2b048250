//! Benchmarks in OpenOOD's layout: its directories, image lists and names, with small images of our own.

use std::collections::BTreeMap;

use crate::common::snapshot::{assert_text, transcript};
use crate::common::{Sandbox, text, with_model};

/// Classes of CIFAR-10, in the order of its labels.
const CIFAR10: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// Writes an image list and its images, `(path, label)` each, as OpenOOD's zips do.
fn write_list(s: &Sandbox, list: &str, root: &str, images: &[(String, String)], seed: u32) {
    let mut lines = String::new();
    for (index, (path, label)) in images.iter().enumerate() {
        let seed = seed.wrapping_mul(31).wrapping_add(index as u32);
        s.image(&format!("data/{root}/{path}"), 32, 32, |x, y| {
            let value =
                (x * (seed % 7 + 1) + y * (seed % 5 + 2) + seed).wrapping_mul(2_654_435_761);
            let noise = (value >> 27) as u8;
            [
                (x * 7 + seed * 13) as u8 ^ noise,
                (y * 5 + seed * 29) as u8,
                noise * 6,
            ]
        });
        lines += &format!("{path} {label}\n");
    }
    s.write(&format!("data/benchmark_imglist/{list}"), lines);
}

/// OpenOOD's folder `data` with the sets of CIFAR-10: three images of each class, and seven of each
/// out-of-distribution set. One list has a dictionary in place of the label.
fn cifar10() -> Sandbox {
    let s = Sandbox::new();
    let id = CIFAR10.iter().enumerate().flat_map(|(label, class)| {
        (0..3).map(move |i| {
            (
                format!("cifar10/test/{class}/{i:04}.png"),
                label.to_string(),
            )
        })
    });
    write_list(
        &s,
        "cifar10/test_cifar10.txt",
        "images_classic",
        &id.collect::<Vec<_>>(),
        1,
    );
    for (number, set) in ["cifar100", "tin", "mnist", "svhn", "texture", "places365"]
        .iter()
        .enumerate()
    {
        let label = |i: usize| match *set {
            "mnist" => format!("{{'label': -1, 'digit': {i}}}"),
            _ => "-1".to_owned(),
        };
        let images = (0..7).map(|i| (format!("{set}/test/{i}.png"), label(i)));
        write_list(
            &s,
            &format!("cifar10/test_{set}.txt"),
            "images_classic",
            &images.collect::<Vec<_>>(),
            100 + number as u32,
        );
    }
    s
}

fn evaluate<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let scores = ["--scores", "msp,maxlogit,atd", "--data-root", "data"];
    with_model("eval", &[&scores[..], more].concat())
}

#[test]
fn a_folder_of_openood_is_evaluated_with_one_command() {
    let s = cifar10();
    let output = s.clipn(&evaluate(&[
        "--benchmark",
        "openood-cifar10",
        "--format",
        "openood",
        "--output",
        "out",
    ]));
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        std::fs::read_to_string(s.path("out/openood.csv")).unwrap(),
        table
    );
    // Numbers of images are those of the complete sets.
    let messages = text(&output.stderr);
    assert!(
        messages.contains("texture has 7 images, the complete set 5640"),
        "{messages}"
    );
    let mut rows: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let mut csv = csv::Reader::from_reader(table.as_bytes());
    let heading: Vec<String> = csv.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        heading,
        [
            "score", "dataset", "FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"
        ]
    );
    for record in csv.records() {
        let record: Vec<String> = record.unwrap().iter().map(str::to_owned).collect();
        rows.entry(record[0].clone())
            .or_default()
            .push(record[1..].to_vec());
    }
    assert_eq!(rows.len(), 3);
    for rows in rows.values() {
        let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(
            names,
            [
                "cifar100",
                "tin",
                "nearood",
                "mnist",
                "svhn",
                "texture",
                "places365",
                "farood"
            ]
        );
        let value = |row: usize, column: usize| rows[row][column].parse::<f64>().unwrap();
        for column in 1..5 {
            let near = (value(0, column) + value(1, column)) / 2.0;
            assert!((near - value(2, column)).abs() < 0.011, "{rows:?}");
            let far = (3..7).map(|row| value(row, column)).sum::<f64>() / 4.0;
            assert!((far - value(7, column)).abs() < 0.011, "{rows:?}");
        }
    }
    // The scores are those of the images in the lists.
    let scores = std::fs::read_to_string(s.path("out/scores.csv")).unwrap();
    assert_eq!(scores.lines().count(), 1 + 30 + 6 * 7);
    assert!(
        scores.contains("cifar10,data/images_classic/cifar10/test/truck/0002.png,truck,"),
        "{scores}"
    );
    assert!(
        scores.contains("mnist,data/images_classic/mnist/test/6.png,,"),
        "{scores}"
    );
}

#[test]
fn lists_may_be_elsewhere() {
    let s = cifar10();
    std::fs::rename(s.path("data/benchmark_imglist"), s.path("lists")).unwrap();
    let without = s.clipn(&evaluate(&["--benchmark", "openood-cifar10"]));
    assert!(text(&without.stderr).contains("test_cifar10.txt does not exist"));
    let benchmark = ["--benchmark", "openood-cifar10", "--list-root", "lists"];
    let table = s.done(&evaluate(
        &[&benchmark[..], &["--format", "openood"]].concat(),
    ));
    assert_eq!(table.lines().count(), 1 + 3 * 8);
    let folders = s.clipn(&evaluate(&["--benchmark", "ninco", "--list-root", "lists"]));
    assert_eq!(folders.status.code(), Some(2));
    assert!(text(&folders.stderr).contains("ninco has no image lists"));
}

#[test]
fn check_counts_images_and_names_what_is_missing() {
    let s = cifar10();
    std::fs::remove_file(s.path("data/images_classic/svhn/test/3.png")).unwrap();
    std::fs::remove_file(s.path("data/benchmark_imglist/cifar10/test_tin.txt")).unwrap();
    let arguments = [
        "benchmark",
        "check",
        "openood-cifar10",
        "--data-root",
        "data",
    ];
    let output = s.clipn(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert_text("benchmark-check", &transcript(&s, &arguments, &output));
    let output = s.clipn(&[&arguments[..], &["--format", "json"]].concat());
    let sets: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let svhn = sets
        .as_array()
        .unwrap()
        .iter()
        .find(|set| set["name"] == "svhn")
        .unwrap();
    assert_eq!(
        (
            svhn["images"].as_u64(),
            svhn["missing"].as_u64(),
            svhn["complete"].as_bool()
        ),
        (Some(6), Some(1), Some(false))
    );
    assert_eq!(
        svhn["missing_names"],
        serde_json::json!(["svhn/test/3.png"])
    );
    // Without a number of images, a list is complete if all its files are there.
    s.write(
        "small.toml",
        "name = \"small\"\nlist-root = \"benchmark_imglist\"\nlist-format = \"openood\"\n\
         [id]\nlist = \"cifar10/test_cifar10.txt\"\nroot = \"images_classic\"\n\
         classes = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\"]\n\
         [[ood]]\nname = \"mnist\"\nlist = \"cifar10/test_mnist.txt\"\nroot = \"images_classic\"\nimages = 7\n",
    );
    let table = s.done(&["benchmark", "check", "small.toml", "--data-root", "data"]);
    assert_eq!(table.matches("complete").count(), 2, "{table}");
}

#[test]
fn the_full_spectrum_counts_shifted_images_as_in_distribution() {
    let s = Sandbox::new();
    // Two classes of ImageNet, whose names follow from the synset ids in the paths.
    let classes = [("n01443537", "goldfish"), ("n04146614", "school bus")];
    let list = |set: &'static str, n: usize| {
        let of_class = move |(label, (id, _)): (usize, (&'static str, &'static str))| {
            (0..n).map(move |i| (format!("{set}/{id}/{i}.JPEG"), label.to_string()))
        };
        classes
            .into_iter()
            .enumerate()
            .flat_map(of_class)
            .collect::<Vec<_>>()
    };
    for (number, (set, file, images)) in [
        ("imagenet_1k/val", "test_imagenet200.txt", 4),
        ("imagenet_v2", "test_imagenet200_v2.txt", 2),
        ("imagenet_c", "test_imagenet200_c.txt", 1),
        ("imagenet_r", "test_imagenet200_r.txt", 3),
    ]
    .into_iter()
    .enumerate()
    {
        let list = list(set, images);
        write_list(
            &s,
            &format!("imagenet200/{file}"),
            "images_largescale",
            &list,
            number as u32,
        );
    }
    for (number, (set, root)) in [
        ("ssb_hard", "images_largescale"),
        ("ninco", "images_largescale"),
        ("inaturalist", "images_largescale"),
        ("textures", "images_classic"),
        ("openimage_o", "images_largescale"),
    ]
    .into_iter()
    .enumerate()
    {
        let images: Vec<_> = (0..4)
            .map(|i| (format!("{set}/{i}.jpg"), "-1".to_owned()))
            .collect();
        write_list(
            &s,
            &format!("imagenet200/test_{set}.txt"),
            root,
            &images,
            50 + number as u32,
        );
    }
    let run = |name: &str| {
        let arguments = evaluate(&["--benchmark", name, "--format", "json"]);
        serde_json::from_str::<serde_json::Value>(&s.done(&arguments)).unwrap()
    };
    let (standard, full) = (
        run("openood-imagenet-200"),
        run("openood-imagenet-200-full-spectrum"),
    );
    assert_eq!(standard["settings"]["classes"], 2);
    assert_eq!(
        (standard["id"]["n"].as_u64(), full["id"]["n"].as_u64()),
        (Some(8), Some(20))
    );
    let parts: Vec<(&str, u64)> = full["id"]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| (part["name"].as_str().unwrap(), part["n"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        parts,
        [
            ("imagenet200", 8),
            ("imagenet_v2", 4),
            ("imagenet_c", 2),
            ("imagenet_r", 6)
        ]
    );
    let of_parts: f64 = full["id"]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["accuracy"].as_f64().unwrap() * part["n"].as_f64().unwrap())
        .sum();
    assert!((of_parts / 20.0 - full["accuracy"].as_f64().unwrap()).abs() < 1e-12);
    assert_eq!(full["results"][0]["n_id"], 20);
    assert!(standard["id"].get("parts").is_none());
    let list = s.done(&["benchmark", "list"]);
    assert!(list.contains("openood-imagenet-1k: OpenOOD v1.5"), "{list}");
    assert!(
        list.contains("  ssb_hard (near OOD, 49,000 images)"),
        "{list}"
    );
    assert!(
        list.contains("  imagenet_r (shifted ID, 30,000 images)"),
        "{list}"
    );
}

#[test]
fn flags_make_near_far_and_shifted_sets() {
    let s = Sandbox::new();
    let sets = [
        "--id",
        "id",
        "--near-ood",
        "near=noise",
        "--far-ood",
        "far=stripes",
        "--ood",
        "other=photos",
        "--scores",
        "msp,energy",
    ];
    let table = s.done(&with_model(
        "eval",
        &[&sets[..], &["--tpr", "0.9,0.99"]].concat(),
    ));
    for heading in ["near (near)", "far (far)", "FPR90 / FPR99 in %"] {
        assert!(table.contains(heading), "{table}");
    }
    // The mean over one set is its column.
    assert!(!table.contains("mean of"), "{table}");
    let two = [&sets[..], &["--near-ood", "nearer=stripes"]].concat();
    let table = s.done(&with_model("eval", &two));
    assert!(
        table.contains("mean of near") && !table.contains("mean of far"),
        "{table}"
    );
    let openood = s.done(&with_model(
        "eval",
        &[&sets[..], &["--format", "openood"]].concat(),
    ));
    let names: Vec<&str> = openood
        .lines()
        .skip(1)
        .take(5)
        .map(|line| line.split(',').nth(1).unwrap())
        .collect();
    assert_eq!(names, ["near", "nearood", "far", "farood", "other"]);
    let shifted = s.done(&with_model(
        "eval",
        &[
            "--id",
            "id",
            "--shifted-id",
            "again=id",
            "--ood",
            "noise=noise",
            "--scores",
            "msp",
        ],
    ));
    assert!(shifted.contains("id: 24 images, 3 classes"), "{shifted}");
    assert!(shifted.contains("of them again: 12 images"), "{shifted}");
    // A class that the ID set lacks has no label.
    let wrong = s.clipn(&with_model(
        "eval",
        &[
            "--id",
            "id",
            "--shifted-id",
            "x=stripes",
            "--ood",
            "noise=noise",
        ],
    ));
    assert!(text(&wrong.stderr).contains("is not a class directory of the ID set"));
    let twice = s.clipn(&with_model(
        "eval",
        &[
            "--id",
            "id",
            "--near-ood",
            "a=noise",
            "--far-ood",
            "a=stripes",
        ],
    ));
    assert!(text(&twice.stderr).contains("duplicate name of --far-ood number 1: `a`"));
    let alone = s.clipn(&with_model("eval", &["--id", "id"]));
    assert_eq!(alone.status.code(), Some(2));
}

#[test]
fn tables_for_documents() {
    let s = Sandbox::new();
    s.done(&with_model(
        "eval",
        &[
            "--id",
            "id",
            "--near-ood",
            "50%_noise & more=noise",
            "--far-ood",
            "a|b=stripes",
            "--scores",
            "msp,ctw",
            "--output",
            "out",
        ],
    ));
    for format in ["markdown", "latex"] {
        let table = s.done(&["results", "show", "out", "--format", format]);
        assert_text(&format!("results-{format}"), &table);
    }
}

#[test]
fn the_resize_mode_changes_the_scores_and_is_recorded() {
    let s = Sandbox::new();
    let run = |mode: &[&str]| {
        let sets = [
            "--id",
            "id",
            "--ood",
            "noise=noise",
            "--scores",
            "msp",
            "--output",
            "out",
            "--force",
        ];
        s.done(&with_model("eval", &[&sets[..], mode].concat()));
        let results = std::fs::read(s.path("out/results.json")).unwrap();
        let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
        (
            results["settings"]["preprocess"]
                .as_str()
                .unwrap()
                .to_owned(),
            std::fs::read_to_string(s.path("out/scores.csv")).unwrap(),
        )
    };
    let cached = ["--feature-cache", "features"];
    let clip = run(&cached);
    assert_eq!(clip.0, "clip");
    let mut all = vec![clip.1];
    for mode in ["bilinear", "openood"] {
        let (name, scores) = run(&[&cached[..], &["--preprocess", mode]].concat());
        assert_eq!(name, mode);
        // Not the cached features of another mode.
        assert!(!all.contains(&scores), "{mode}");
        all.push(scores);
    }
}

/// `scripts/read_tracking.py` reads the same files with the packages of the trackers.
#[test]
fn trackers_get_every_metric_as_files() {
    let s = Sandbox::new();
    let sets = [
        "--id",
        "id",
        "--near-ood",
        "a=noise",
        "--far-ood",
        "b=stripes",
        "--scores",
        "msp,ctw",
    ];
    let targets = [
        "--tracking",
        "tensorboard=tracked/tb",
        "--tracking",
        "mlflow=tracked/mlruns",
        "--tracking",
        "wandb=tracked",
        "--output",
        "out",
    ];
    s.done(&with_model("eval", &[&sets[..], &targets[..]].concat()));
    let results: serde_json::Value =
        serde_json::from_slice(&std::fs::read(s.path("out/results.json")).unwrap()).unwrap();
    let only = |directory: &str| {
        let mut entries = std::fs::read_dir(s.path(directory))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let first = entries.find(|path| path.is_dir()).unwrap();
        assert!(entries.all(|path| path.is_file()), "{directory}");
        first
    };
    let run = only("tracked/mlruns/770095");
    let metric = |name: &str| {
        let line = std::fs::read_to_string(run.join("metrics").join(name)).unwrap();
        line.split(' ').nth(1).unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(
        Some(metric("msp/a/auroc")),
        results["results"][0]["auroc"].as_f64()
    );
    assert_eq!(Some(metric("accuracy")), results["accuracy"].as_f64());
    assert_eq!(
        Some(metric("ctw/mean_far/fpr95")),
        results["results"][3]["fpr95"].as_f64()
    );
    let meta = std::fs::read_to_string(run.join("meta.yaml")).unwrap();
    assert!(
        meta.contains("run_name: \"epoch_10.pt\"") && meta.contains("status: 3"),
        "{meta}"
    );
    assert_eq!(
        std::fs::read_to_string(run.join("params/fpr_convention")).unwrap(),
        "clipn"
    );
    let events = std::fs::read_dir(only("tracked/tb"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let events = text(&std::fs::read(events).unwrap());
    assert!(events.contains("eval/ctw/mean_near/aupr_in_trapezoid"));
    let run = only("tracked/wandb");
    let name = run.file_name().unwrap().to_str().unwrap().to_owned();
    let id = name
        .strip_prefix("offline-run-")
        .unwrap()
        .rsplit('-')
        .next()
        .unwrap();
    let log = std::fs::read(run.join(format!("run-{id}.wandb"))).unwrap();
    assert!(log.starts_with(b":W&B\xe1\xbe\x00"));
    assert!(text(&log).contains("msp/b/aurc"));
    for wrong in ["comet=x", "mlflow"] {
        let output = s.clipn(&with_model(
            "eval",
            &[&sets[..], &["--tracking", wrong]].concat(),
        ));
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}
