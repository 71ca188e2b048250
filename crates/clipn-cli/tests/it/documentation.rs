//! Runs every command of the README and the docs on the tiny model and generated images. `ViT-B-16`
//! is replaced by its config, and `openai`, which is no repository of the hub, by a plain CLIP. The
//! files that the docs mention are written beforehand, one template is used if none is named, a local
//! hub has the repositories, and demo and benchmarks are shrunk.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::shards::{samples, tar};
use crate::common::{Sandbox, text};
use crate::metrics::npy_f32;
use crate::world::World;
use clipn::progress::NoProgress;
use clipn_testing::mpi::{installations, output_within};

/// The `clipn` commands in fenced `sh` blocks, with continued lines joined.
fn commands(markdown: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    let mut joined = String::new();
    for line in markdown.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                joined.push_str(line.trim_end_matches('\\'));
                if !line.ends_with('\\') {
                    commands.push(std::mem::take(&mut joined));
                }
            }
            _ => {}
        }
    }
    commands.retain(|command| {
        let (_, command) = environment(command);
        let (_, command) = launcher(command);
        // Servers never exit by themselves; `serve.rs` runs them.
        let ends = !command.starts_with("clipn serve ");
        ends && (command.starts_with("clipn ") || command.starts_with("cargo run "))
    });
    commands
}

/// Splits an environment variable before a command, as in `CLIPN_SIMD=portable clipn …`.
fn environment(command: &str) -> (Option<(&str, &str)>, &str) {
    let set = command
        .split_once(' ')
        .and_then(|(first, rest)| Some((first.split_once('=')?, rest)));
    match set {
        Some((variable, rest)) => (Some(variable), rest),
        None => (None, command),
    }
}

/// Splits `mpirun -n N` before a command.
fn launcher(command: &str) -> (usize, &str) {
    let launched = command
        .strip_prefix("mpirun -n ")
        .and_then(|rest| rest.split_once(' '));
    match launched {
        Some((ranks, command)) => (ranks.parse().unwrap(), command),
        None => (1, command),
    }
}

/// Splits a command line at spaces outside double quotes, up to a redirection of its output.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    if let Some(redirection) = words.iter().position(|word| word == ">") {
        words.truncate(redirection);
    }
    words
}

/// Writes the data that the docs mention: ImageNet's folders with one image each, and more.
fn write_data(sandbox: &Sandbox) {
    sandbox.write("things.txt", "a hand\nan empty table\n");
    sandbox.write("list.txt", "photos/red.bmp\nphotos/gradient.bmp\n");
    for part in 0..2 {
        sandbox.write(
            &format!("images-{part}.tar"),
            tar(&samples(4 * part..4 * part + 4)),
        );
    }
    sandbox.write(
        "before.json",
        r#"{"machine": null, "threads": 2, "product_peak_gflops": null, "tasks": []}"#,
    );
    sandbox.write("scores.csv", "set,msp\nid,0.9\nid,0.7\nnoise,0.2\n");
    for (name, values) in [
        ("id", &[0.9, 0.7][..]),
        ("noise", &[0.2]),
        ("lines", &[0.4]),
        ("outlier-scores", &[0.1, 0.8]),
        ("is-ood", &[0.0, 1.0]),
    ] {
        sandbox.write(&format!("{name}.npy"), npy_f32(values));
    }
    sandbox.write("templates.txt", "a photo of a {}.\nan image of the {}.\n");
    std::fs::copy(sandbox.path("tiny.json"), sandbox.path("my-model.json")).unwrap();
    std::fs::copy(
        sandbox.path("epoch_10.pt"),
        sandbox.path("seed-2.safetensors"),
    )
    .unwrap();
    let ood = ["iNaturalist", "SUN", "Places", "Textures"].map(|set| format!("{set}/x"));
    for folder in (0..1000)
        .map(|class| format!("imagenet/val/n{class:08}"))
        .chain(ood)
    {
        sandbox.image(&format!("data/{folder}/0.bmp"), 3, 3, |x, y| {
            [x as u8 * 80, y as u8 * 80, 99]
        });
    }
    for image in 0..60u32 {
        let (name, height) = (format!("known/pizza/{image}.bmp"), 30 + image % 7);
        sandbox.image(&name, 40, height, |x, y| {
            [(x * image) as u8, (y * 7 + image) as u8, (x * y) as u8]
        });
    }
    for image in 0..12u32 {
        sandbox.image(&format!("other/{image}.bmp"), 32, 32, |x, y| {
            [((x / (image + 1) + y) % 2 * 255) as u8; 3]
        });
    }
    sandbox.write(
        "my-benchmark.toml",
        "name = \"mine\"\n[id]\nname = \"val\"\nfolder = \"imagenet/val\"\n\
         [[ood]]\nname = \"SUN\"\nfolder = \"SUN\"\nkind = \"far\"\n",
    );
}

/// Writes the recipe that the docs mention.
fn write_recipe(sandbox: &Sandbox) {
    sandbox.training_set();
    let small = "model = \"{recipe}/small.json\"";
    sandbox.write(
        "my-recipe.toml",
        format!(
            "[variables]\nepochs = 2\n\
             [[steps]]\nname = \"clip\"\ncommand = \"train\"\n[steps.flags]\nobjective = \"clip\"\n{small}\n\
             train-data = \"{{data}}/captions.tsv\"\nbatch-size = 8\nepochs = \"{{epochs}}\"\n\
             [[steps]]\nname = \"look\"\ncommand = \"eval\"\n[steps.flags]\n{small}\npretrained = \"{{clip}}\"\n\
             templates = \"simple\"\nid = \"{{data}}/id\"\nood = [\"noise={{data}}/noise\"]\n"
        ),
    );
}

/// The repositories that the docs mention, with the tiny model in place of the large ones.
const REPOSITORIES: [(&str, &str); 3] = [
    ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "clip-open-clip"),
    ("openai/clip-vit-base-patch32", "clip-transformers"),
    ("me/my-clipn", "logs/tiny/checkpoints/epoch-10"),
];

/// Writes what the training commands need: a table, shards and a small benchmark.
fn write_training_data(sandbox: &Sandbox) {
    sandbox.training_set();
    let world = World {
        per_class: 1,
        per_far_set: 1,
        shard_size: 20,
        ..World::default()
    };
    world
        .write(&sandbox.path("world"), 40, &NoProgress)
        .unwrap();
    std::fs::rename(sandbox.path("world/train"), sandbox.path("shards")).unwrap();
    sandbox.write(
        "shapes.toml",
        "name = \"shapes\"\n[id]\nfolder = \"id\"\n[[ood]]\nname = \"noise\"\nfolder = \"noise\"\n",
    );
}

/// The arguments of a command line, with the tiny model in place of the large one.
fn arguments(command: &str) -> Vec<String> {
    let mut words = words(command);
    for word in &mut words {
        match word.as_str() {
            "ViT-B-16" | "ViT-B-32-quickgelu" => *word = "tiny.json".to_owned(),
            "openai" => *word = "clip-open-clip".to_owned(),
            _ => {}
        }
    }
    if words[0] == "demo" {
        words.extend(["--samples", "300", "--epochs", "1"].map(String::from));
    }
    if words[0] == "bench" {
        shrink_benchmark(&mut words);
    }
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let has_texts = ["--templates", "--bundle", "--text-features"]
        .into_iter()
        .any(has);
    if matches!(words[0].as_str(), "classify" | "eval") && !has_texts {
        words.extend(["--templates", "simple"].map(String::from));
    }
    words
}

/// Measures the tiny model with few repetitions. Tasks with a fixed architecture become `image`.
fn shrink_benchmark(words: &mut Vec<String>) {
    for word in words.iter_mut().filter(|word| word.starts_with("image-b")) {
        *word = match word.ends_with("int8") {
            true => "image-int8".to_owned(),
            false => "image".to_owned(),
        };
    }
    let has = |words: &[String], flag: &str| words.iter().any(|word| word == flag);
    // Given to tasks that have a model.
    if !has(words, "--model") && !has(words, "pixels") {
        words.extend(["--model", "tiny.json"].map(String::from));
    }
    if !has(words, "--reps") && !has(words, "--quick") {
        words.push("--quick".to_owned());
    }
}

#[test]
fn every_documented_command_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files: Vec<_> = std::fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.push(root.join("README.md"));
    files.sort();
    let mut run = 0;
    for file in files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "md"))
    {
        let commands = commands(&std::fs::read_to_string(file).unwrap());
        if commands.is_empty() {
            continue;
        }
        let sandbox = Sandbox::new();
        write_data(&sandbox);
        sandbox.write_other_formats();
        let hub = sandbox.hub(&REPOSITORIES);
        if commands
            .iter()
            .any(|command| launcher(command).1.starts_with("clipn train"))
        {
            write_training_data(&sandbox);
        }
        if commands
            .iter()
            .any(|command| command.starts_with("clipn recipe"))
        {
            write_recipe(&sandbox);
        }
        for command in commands {
            let (variable, line) = environment(&command);
            // Without an MPI, what it would start runs in one process.
            let (ranks, line) = launcher(line);
            let line = line
                .strip_prefix("cargo run --release -- ")
                .or(line.strip_prefix("clipn "))
                .unwrap();
            let arguments = arguments(line);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let start = Instant::now();
            let output = match installations().first().filter(|_| ranks > 1) {
                Some(mpi) => {
                    let mut command = mpi.command(ranks, Path::new(env!("CARGO_BIN_EXE_clipn")));
                    command.current_dir(sandbox.root()).args(&arguments);
                    output_within(command, Duration::from_secs(300))
                }
                None => sandbox
                    .command(&hub.url(), &arguments)
                    .envs(variable)
                    .output()
                    .unwrap(),
            };
            let file = file.file_name().unwrap().to_string_lossy();
            assert!(
                output.status.success(),
                "{file}: {command}\n{}",
                text(&output.stderr)
            );
            assert!(
                !output.stdout.is_empty(),
                "{file}: {command} printed nothing"
            );
            println!("{:6.1} s  {file}: {command}", start.elapsed().as_secs_f64());
            run += 1;
        }
    }
    assert!(run >= 20, "only {run} commands were found");
}
