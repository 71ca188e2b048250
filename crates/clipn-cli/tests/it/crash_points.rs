//! Commands that are killed at each operation that changes what is on disk, and started again: the end
//! is that of a run that was not killed. `scripts/crash_points.sh` does the same with the system calls of
//! a release build.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::common::{MODEL, Sandbox, text, with_model};

/// Number of points that are tried of a command with more, spread over all. `CLIPN_TEST_CRASH_POINTS`
/// sets another.
const MAX_POINTS: u64 = 24;
/// Runs at the same time.
const THREADS: usize = 2;

const SIGKILL: i32 = 9;

/// A command that promises to go on where it was stopped, or to leave the old or the new file.
struct Case<'a> {
    name: &'a str,
    /// Arguments; `{out}` is a directory of their own.
    arguments: Vec<&'a str>,
    /// Address of a hub.
    endpoint: &'a str,
    /// Prepares `{out}`.
    prepare: &'a (dyn Fn(&Sandbox, &Path) + Sync),
    /// File whose content is old or new after a kill, if there was an old one.
    in_place: Option<&'a str>,
    /// Message with which the command refuses to repeat what it has finished.
    finished: Option<&'a str>,
    /// Files that differ between runs, such as logs with times.
    ignored: &'a [&'a str],
}

impl<'a> Case<'a> {
    fn new(name: &'a str, arguments: Vec<&'a str>) -> Self {
        Self {
            name,
            arguments,
            endpoint: "http://127.0.0.1:1",
            prepare: &|_, _| {},
            in_place: None,
            finished: None,
            ignored: &[],
        }
    }

    fn command(&self, s: &Sandbox, out: &str) -> assert_cmd::Command {
        let arguments: Vec<String> = (self.arguments.iter())
            .map(|argument| argument.replace("{out}", out))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = s.command(self.endpoint, &arguments);
        command.env("HF_HOME", s.path(out).join("hf-home"));
        command
    }

    fn prepare(&self, s: &Sandbox, out: &str) {
        std::fs::create_dir(s.path(out)).unwrap();
        (self.prepare)(s, &s.path(out));
    }

    /// The files in a directory, hidden ones included.
    fn files(&self, directory: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut directories = vec![directory.to_owned()];
        while let Some(current) = directories.pop() {
            for entry in std::fs::read_dir(current).unwrap().map(Result::unwrap) {
                let path = entry.path();
                let name = path.strip_prefix(directory).unwrap().display().to_string();
                if entry.file_type().unwrap().is_dir() {
                    directories.push(path);
                } else if !self.ignored.iter().any(|part| name.contains(part)) {
                    // A link counts as what it leads to.
                    found.insert(name, std::fs::read(&path).unwrap_or_default());
                }
            }
        }
        found
    }

    /// Kills the command at every point, and returns a row of the table.
    fn check(&self, s: &Sandbox) -> String {
        let reference = format!("{}-whole", self.name).replace(' ', "-");
        self.prepare(s, &reference);
        let old = self
            .in_place
            .map(|file| std::fs::read(s.path(&reference).join(file)).unwrap());
        let log = s.path(&format!("{reference}.log"));
        let output = (self.command(s, &reference))
            .env("CLIPN_TEST_FAULT_LOG", &log)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            self.name,
            text(&output.stderr)
        );
        let expected = self.files(&s.path(&reference));
        let points = std::fs::read_to_string(&log).unwrap().lines().count() as u64;
        assert!(points > 0, "{}", self.name);
        let step = points.div_ceil(max_points());
        let next = AtomicU64::new(1);
        let killed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let point = next.fetch_add(step, Ordering::SeqCst);
                        if point > points {
                            return;
                        }
                        if self.check_point(s, point, old.as_deref(), &expected) {
                            killed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let (killed, tried) = (killed.into_inner(), points.div_ceil(step));
        println!(
            "{}: {points} points, {tried} tried, {killed} killed and resumed to equal files",
            self.name
        );
        assert!(killed > 0, "{}", self.name);
        self.name.to_owned()
    }

    /// Kills the command at a point and runs it again. Returns whether it was killed.
    fn check_point(
        &self,
        s: &Sandbox,
        point: u64,
        old: Option<&[u8]>,
        expected: &BTreeMap<String, Vec<u8>>,
    ) -> bool {
        let out = format!("{}-{point}", self.name).replace(' ', "-");
        self.prepare(s, &out);
        let first = (self.command(s, &out))
            .env("CLIPN_TEST_FAULT", format!("kill@{point}"))
            .output()
            .unwrap();
        let is_killed = first.status.signal() == Some(SIGKILL);
        assert!(
            is_killed || first.status.success(),
            "{} at {point}: {}",
            self.name,
            text(&first.stderr)
        );
        if let (Some(file), Some(old)) = (self.in_place, old) {
            let found = std::fs::read(s.path(&out).join(file)).unwrap();
            assert!(
                found == old || found == expected[file],
                "{} at {point}: {file} is neither old nor new",
                self.name
            );
        }
        let second = self.command(s, &out).output().unwrap();
        let is_finished =
            (self.finished).is_some_and(|message| text(&second.stderr).contains(message));
        assert!(
            second.status.success() || is_finished,
            "{} at {point}, again: {}",
            self.name,
            text(&second.stderr)
        );
        let found = self.files(&s.path(&out));
        let names: Vec<_> = found.keys().collect();
        assert_eq!(
            names,
            expected.keys().collect::<Vec<_>>(),
            "{} at {point}",
            self.name
        );
        for (name, content) in &found {
            assert!(
                *content == expected[name],
                "{} at {point}: {name} differs",
                self.name
            );
        }
        std::fs::remove_dir_all(s.path(&out)).unwrap();
        is_killed
    }
}

fn max_points() -> u64 {
    std::env::var("CLIPN_TEST_CRASH_POINTS").map_or(MAX_POINTS, |points| points.parse().unwrap())
}

fn classify(output: &str) -> Vec<&str> {
    with_model(
        "classify",
        &[
            "--classes",
            "classes.txt",
            "--resume",
            "--output",
            output,
            "noise",
            "photos",
        ],
    )
}

#[test]
fn a_memory_is_continued_from_every_point() {
    let s = Sandbox::new();
    s.write("words.txt", "gravel\nfog\na brick wall\n");
    let adapt = ["--adapt", "adaneg", "--adapt-batch", "3", "--sync", "0"];
    for (name, more) in [
        ("adapt jsonl", &["--output", "{out}/rows.jsonl"][..]),
        (
            "adapt csv",
            &["--output", "{out}/rows.csv", "--memory", "{out}/memory"],
        ),
    ] {
        let data = ["--resume", "--negatives", "words.txt", "noise", "photos"];
        let arguments = [&["--classes", "classes.txt"], &adapt[..], more, &data].concat();
        Case {
            // It has the path of the memory.
            ignored: &["settings.json"],
            ..Case::new(name, with_model("classify", &arguments))
        }
        .check(&s);
    }
}

#[test]
fn classify_resumes_from_every_point() {
    let s = Sandbox::new();
    Case::new("classify jsonl", classify("{out}/rows.jsonl")).check(&s);
    Case::new("classify csv", classify("{out}/rows.csv")).check(&s);
    #[cfg(feature = "parquet")]
    Case::new("classify parquet", classify("{out}/rows.parquet")).check(&s);
}

fn build(out: &str) -> Vec<&str> {
    let mut arguments = vec!["classifier", "build"];
    arguments.extend(with_model("", &[]).into_iter().skip(1));
    arguments.extend(["--classes", "classes.txt", "--force", "--out", out]);
    arguments
}

#[test]
fn bundles_are_old_or_new_at_every_point() {
    let s = Sandbox::new();
    s.done(&build("old.clipn"));
    let prepare = |s: &Sandbox, out: &Path| {
        std::fs::copy(s.path("old.clipn"), out.join("a.clipn"))
            .map(drop)
            .unwrap();
    };
    let case = |name, arguments| Case {
        prepare: &prepare,
        in_place: Some("a.clipn"),
        ..Case::new(name, arguments)
    };
    case("classifier build", build("{out}/a.clipn")).check(&s);
    case(
        "calibrate",
        vec![
            "calibrate",
            "--bundle",
            "{out}/a.clipn",
            "--id",
            "id",
            "--pretrained",
            "epoch_10.pt",
            "--target-tpr",
            "0.5",
        ],
    )
    .check(&s);
    let bundle = "{out}/a.clipn";
    Case {
        finished: Some("the bundle already has the class `zebra`"),
        ..case(
            "classifier add",
            vec!["classifier", "add", bundle, "--classes", "zebra,yak"],
        )
    }
    .check(&s);
    Case {
        finished: Some("unknown class `goldfish`"),
        ..case(
            "classifier remove",
            vec!["classifier", "remove", bundle, "--classes", "goldfish"],
        )
    }
    .check(&s);
}

#[test]
fn features_are_continued_from_every_point() {
    let s = Sandbox::new();
    let embed = |output| {
        let data = ["--resume", "--batch-size", "2", "--output", output, "noise"];
        [&["embed", "images"][..], &MODEL, &data].concat()
    };
    Case::new("embed npy", embed("{out}/features.npy")).check(&s);
    Case::new("embed safetensors", embed("{out}/features.safetensors")).check(&s);
    #[cfg(feature = "parquet")]
    Case::new("embed parquet", embed("{out}/features.parquet")).check(&s);
}

#[test]
fn conversions_keep_the_name_at_every_point() {
    let s = Sandbox::new();
    let convert = |out, to| {
        vec![
            "convert",
            "epoch_10.pt",
            out,
            "--model",
            "tiny.json",
            "--to",
            to,
            "--force",
        ]
    };
    s.done(&convert("old", "transformers"));
    let prepare = |s: &Sandbox, out: &Path| {
        std::fs::create_dir(out.join("a")).unwrap();
        for entry in std::fs::read_dir(s.path("old"))
            .unwrap()
            .map(Result::unwrap)
        {
            let copied = out.join("a").join(entry.file_name());
            std::fs::copy(entry.path(), copied).map(drop).unwrap();
        }
        std::fs::write(out.join("a/config.json"), "{}").unwrap();
    };
    Case {
        prepare: &prepare,
        in_place: Some("a/config.json"),
        ..Case::new("convert to a directory", convert("{out}/a", "transformers"))
    }
    .check(&s);
    Case::new("convert to a file", convert("{out}/a.safetensors", "clipn")).check(&s);
}

#[test]
fn training_resumes_from_every_point() {
    let s = Sandbox::new();
    s.training_set();
    let train = |more: &[&'static str]| {
        let mut arguments = vec![
            "train",
            "--model",
            "small.json",
            "--train-data",
            "captions.tsv",
            "--batch-size",
            "8",
            "--workers",
            "1",
            "--epochs",
            "2",
            "--train-num-samples",
            "16",
            "--save-every",
            "1",
            "--keep",
            "2",
            "--logs",
            "{out}",
            "--name",
            "run",
            "--resume",
            "latest",
        ];
        arguments.extend(more);
        arguments
    };
    // Logs and states have times.
    let ignored = &["log.jsonl", "tensorboard"];
    Case {
        ignored,
        ..Case::new("train clip", train(&["--objective", "clip"]))
    }
    .check(&s);
    let start = [&train(&["--objective", "clip"])[..]].concat();
    let start: Vec<String> = start.iter().map(|a| a.replace("{out}", "start")).collect();
    let clip = s.done(&start.iter().map(String::as_str).collect::<Vec<_>>());
    let mut clipn = train(&[
        "--objective",
        "clipn",
        "--no-prompts",
        "2",
        "--augmentation",
        "none",
        "--cache-image-features",
    ]);
    let clip = clip.trim().to_owned();
    clipn.extend(["--pretrained", clip.as_str()]);
    Case {
        ignored: &["log.jsonl", "tensorboard", ".features"],
        ..Case::new("train clipn", clipn)
    }
    .check(&s);
}

#[test]
fn results_are_written_again_after_every_point() {
    let s = Sandbox::new();
    let arguments = with_model(
        "eval",
        &[
            "--id",
            "id",
            "--ood",
            "noise=noise",
            "--output",
            "{out}/results",
            "--force",
        ],
    );
    Case::new("eval", arguments).check(&s);
    for seed in ["seed-1", "seed-2"] {
        let sets = ["--id", "id", "--ood", "noise=noise", "--output", seed];
        s.done(&with_model("eval", &sets));
    }
    let merge = ["results", "merge", "seed-1", "seed-2", "--output"];
    let arguments = [&merge[..], &["{out}/merged", "--force"]].concat();
    Case::new("results merge", arguments).check(&s);
}

#[test]
fn a_recipe_resumes_from_every_point() {
    let s = Sandbox::new();
    s.training_set();
    s.write(
        "recipe.toml",
        "[[steps]]\nname = \"clip\"\ncommand = \"train\"\n[steps.flags]\nobjective = \"clip\"\n\
         model = \"{recipe}/small.json\"\ntrain-data = \"captions.tsv\"\nbatch-size = 8\nworkers = 1\n\
         epochs = 1\ntrain-num-samples = 16\n\
         [[steps]]\nname = \"look\"\ncommand = \"eval\"\n[steps.flags]\nmodel = \"{recipe}/small.json\"\n\
         pretrained = \"{clip}\"\nid = \"id\"\nood = \"noise=noise\"\n",
    );
    Case {
        // They have times, and the path of the weights.
        ignored: &["log.jsonl", "tensorboard", "results.json", "report.html"],
        ..Case::new("recipe", vec!["recipe", "recipe.toml", "--output", "{out}"])
    }
    .check(&s);
}

#[cfg(feature = "download")]
#[test]
fn downloads_continue_from_every_point() {
    let s = Sandbox::new();
    s.write_other_formats();
    let server = s.hub(&[("test/tiny", "clip-open-clip")]);
    let url = server.url();
    Case {
        endpoint: &url,
        ignored: &[".lock"],
        ..Case::new("inspect hf-hub", vec!["inspect", "hf-hub:test/tiny"])
    }
    .check(&s);
}

#[test]
fn a_full_disk_leaves_what_can_be_resumed() {
    let s = Sandbox::new();
    let whole = with_model(
        "classify",
        &[
            "--classes",
            "classes.txt",
            "--output",
            "whole.jsonl",
            "noise",
        ],
    );
    s.done(&whole);
    for point in 1..=8 {
        let name = format!("rows-{point}.jsonl");
        let arguments = with_model(
            "classify",
            &[
                "--classes",
                "classes.txt",
                "--resume",
                "--output",
                &name,
                "noise",
            ],
        );
        let mut full = s.command("http://127.0.0.1:1", &arguments);
        let output = full
            .env("CLIPN_TEST_FAULT", format!("full@{point}"))
            .output()
            .unwrap();
        if !output.status.success() {
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert!(error.contains("cannot write"), "{error}");
        }
        s.done(&arguments);
        let read = |name: &str| std::fs::read(s.path(name)).unwrap();
        assert_eq!(read(&name), read("whole.jsonl"), "{point}");
    }
}

#[test]
fn a_full_disk_keeps_earlier_results_and_leaves_none_of_new_ones() {
    let s = Sandbox::new();
    let evaluate = |score: &str, output: &str, flags: &[&str]| {
        let sets = ["--id", "id", "--ood", "noise=noise", "--scores", score];
        with_model("eval", &[&sets[..], &["--output", output], flags].concat())
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let done = |arguments: Vec<String>| {
        s.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let files = |directory: &str| -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(s.path(directory)).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read(&path).unwrap())
            })
            .filter(|(name, _)| name != ".lock")
            .collect();
        files.sort();
        files
    };
    done(evaluate("mcm", "old", &[]));
    let old = files("old");
    // The first and a later one of the writes.
    for point in [1, 12, 24] {
        for (output, flags) in [("old", &["--force"][..]), ("new", &[])] {
            let arguments = evaluate("energy", output, flags);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let mut full = s.command("http://127.0.0.1:1", &arguments);
            let full = full.env("CLIPN_TEST_FAULT", format!("full@{point}"));
            let failed = full.output().unwrap();
            let error = text(&failed.stderr);
            assert_eq!(failed.status.code(), Some(1), "{point}: {error}");
            assert!(error.contains("cannot write"), "{error}");
        }
        assert_eq!(files("old"), old, "{point}");
        assert_eq!(files("new"), [], "{point}");
    }
    // With room again, neither a flag nor a cleanup is needed.
    done(evaluate("energy", "new", &[]));
    done(evaluate("energy", "old", &["--force"]));
    let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&files("new")), names(&old));
    assert_eq!(files("new"), files("old"));
}
