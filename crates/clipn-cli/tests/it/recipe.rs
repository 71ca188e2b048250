//! `clipn recipe` on the compiled program: dependent steps, resuming, dry runs, mistakes.

use std::path::{Path, PathBuf};

use crate::common::{Sandbox, text};

const SMALL: &str = r#"
description = "A CLIP, \"no\" taught to it, and a look at it."
[variables]
epochs = 1
[[steps]]
name = "clip"
about = "First, the CLIP."
command = "train"
flags = { objective = "clip", model = "{recipe}/small.json", train-data = "{data}/captions.tsv", batch-size = 8, epochs = "{epochs}", workers = 2 }
[[steps]]
name = "no"
command = "train"
flags = { objective = "clipn", model = "{recipe}/small.json", pretrained = "{clip}", train-data = "{data}/captions.tsv", batch-size = 8, epochs = 1, workers = 2, no-prompts = 2 }
[[steps]]
name = "look"
command = "eval"
flags = { model = "{recipe}/small.json", pretrained = "{no}", templates = "simple", id = "{data}/id", ood = ["noise={data}/noise", "stripes={data}/stripes"] }
[[steps]]
name = "inspect"
command = "inspect"
arguments = ["{no}"]
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.training_set();
    sandbox.write("small.toml", SMALL);
    sandbox
}

fn weights(s: &Sandbox, step: &str) -> PathBuf {
    s.path(&format!(
        "out/runs/{step}/checkpoints/epoch-1/model.safetensors"
    ))
}

#[test]
fn steps_build_on_each_other() {
    let s = sandbox();
    let output = s.clipn(&["recipe", "small.toml", "--output", "out"]);
    let (table, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(
        table.contains("stripes") && table.contains("ATD") && table.contains("2 \"no\" prompts"),
        "{table}"
    );
    for part in [
        "First, the CLIP.",
        "--pretrained out/runs/clip/checkpoints/epoch-1/model.safetensors",
        "look: ",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(s.path("out/look/results.json").is_file());

    // Finished training is not repeated; other steps run again.
    let trained = std::fs::metadata(weights(&s, "clip"))
        .unwrap()
        .modified()
        .unwrap();
    std::fs::remove_file(s.path("out/look/results.json")).unwrap();
    let again = s.clipn(&["recipe", "small.toml", "--output", "out"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(
        std::fs::metadata(weights(&s, "clip"))
            .unwrap()
            .modified()
            .unwrap(),
        trained
    );
    assert_eq!(text(&again.stdout), table);
    assert!(s.path("out/look/results.json").is_file());
}

#[test]
fn a_single_step_uses_the_outputs_of_the_others() {
    let s = sandbox();
    s.done(&[
        "recipe",
        "small.toml",
        "--output",
        "out",
        "--only",
        "clip,no",
    ]);
    assert!(weights(&s, "no").is_file() && !s.path("out/look").exists());
    let table = s.done(&["recipe", "small.toml", "--output", "out", "--only", "look"]);
    assert!(table.contains("noise"), "{table}");
    let early = s.clipn(&[
        "recipe",
        "small.toml",
        "--output",
        "elsewhere",
        "--only",
        "look",
    ]);
    let stderr = text(&early.stderr);
    assert_eq!(early.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("`{no}` in `{no}` is a step without output yet"),
        "{stderr}"
    );
}

#[test]
fn a_dry_run_prints_commands_and_runs_none() {
    let s = sandbox();
    let output = s.clipn(&[
        "recipe",
        "small.toml",
        "--output",
        "out",
        "--dry-run",
        "--set",
        "epochs=7",
    ]);
    let commands = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        commands.lines().count() == 4 && commands.lines().all(|line| line.starts_with("clipn ")),
        "{commands}"
    );
    assert!(
        commands.contains("--epochs 7") && !s.path("out").exists(),
        "{commands}"
    );
}

#[test]
fn shipped_recipes_parse() {
    let s = sandbox();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut found = 0;
    for file in std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let output = s.clipn(&["recipe", &file.display().to_string(), "--dry-run"]);
            assert!(
                output.status.success(),
                "{}: {}",
                file.display(),
                text(&output.stderr)
            );
            found += 1;
        }
    }
    assert!(found > 0);
}

#[test]
fn reports_mistakes_with_their_step() {
    let s = sandbox();
    s.write("bad.toml", SMALL.replace("no-prompts", "no-promts"));
    s.write(
        "loop.toml",
        "[[steps]]\nname = \"again\"\ncommand = \"recipe\"\narguments = [\"loop.toml\"]",
    );
    let shown = "[[steps]]\nname = \"shown\"\ncommand = \"results\"";
    s.write("half.toml", shown);
    s.write(
        "shown.toml",
        shown.replace("results", "results show") + "\narguments = [\"nothing\"]",
    );
    s.write(
        "threads.toml",
        SMALL.replace("no-prompts", "threads = 1, no-prompts"),
    );
    for (arguments, code, part) in [
        (
            &["recipe", "threads.toml"][..],
            1,
            "step `no`: --threads has no effect in a step",
        ),
        (&["recipe", "missing.toml"][..], 1, "missing.toml"),
        (
            &["recipe", "bad.toml"],
            1,
            "step `no`: unexpected argument '--no-promts'",
        ),
        (&["recipe", "loop.toml"], 1, "a step cannot run a recipe"),
        (
            &["recipe", "half.toml"],
            1,
            "step `shown`: `results` needs a command or arguments",
        ),
        (&["recipe", "shown.toml"], 1, "cannot read"),
        (
            &["recipe", "small.toml", "--only", "looks"],
            2,
            "the recipe has: clip, no, look, inspect",
        ),
        (
            &["recipe", "small.toml", "--set", "epoch=2"],
            2,
            "the recipe has: epochs",
        ),
    ] {
        let output = s.clipn(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(part), "{part}: {stderr}");
        assert!(!s.path("recipe-runs").exists());
    }
}
