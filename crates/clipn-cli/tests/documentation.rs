//! Every command of the README and the book is run, on the tiny model and pictures made here: `ViT-B-16` stands for its
//! config, and the files that the texts speak of are laid out beforehand.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Sandbox, text};

/// The commands in fenced `sh` blocks that call `clipn`, continued lines joined.
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
    commands.retain(|command| command.starts_with("clipn ") || command.starts_with("cargo run "));
    commands
}

/// Splits a command line at spaces outside double quotes.
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
    words
}

fn lay_out(sandbox: &Sandbox) {
    sandbox.write("templates.txt", "a photo of a {}.\nan image of the {}.\n");
    for (name, folders) in [("imagenet/val", &common::CLASSES[..]), ("iNaturalist", &[]), ("SUN", &[])] {
        for folder in folders.iter().chain(&["x"][..usize::from(folders.is_empty())]) {
            sandbox.picture(&format!("data/{name}/{folder}/0.bmp"), 30, 30, |x, y| {
                [x as u8 * 8, y as u8 * 8, 99]
            });
        }
    }
    sandbox.write(
        "my-benchmark.toml",
        "name = \"mine\"\n[id]\nname = \"val\"\nfolder = \"imagenet/val\"\n\
         [[ood]]\nname = \"SUN\"\nfolder = \"SUN\"\nkind = \"far\"\n",
    );
}

#[test]
fn every_command_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("docs")).unwrap().map(|f| f.unwrap().path()).collect();
    files.push(root.join("README.md"));
    files.sort();
    let mut run = 0;
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "md")) {
        let sandbox = Sandbox::new();
        lay_out(&sandbox);
        for command in commands(&std::fs::read_to_string(file).unwrap()) {
            // From a clone, paths are relative to the repository.
            let (arguments, folder) = match command.strip_prefix("cargo run --release -- ") {
                Some(rest) => (rest, root.as_path()),
                None => (command.strip_prefix("clipn ").unwrap(), sandbox.root()),
            };
            let arguments: Vec<String> = words(arguments)
                .into_iter()
                .map(|w| if w == "ViT-B-16" { "tiny.json".to_owned() } else { w })
                .collect();
            let output = assert_cmd::Command::cargo_bin("clipn")
                .unwrap()
                .current_dir(folder)
                .args(arguments)
                .output()
                .unwrap();
            let file = file.file_name().unwrap().to_string_lossy();
            assert!(output.status.success(), "{file}: {command}\n{}", text(&output.stderr));
            assert!(!output.stdout.is_empty(), "{file}: {command} printed nothing");
            run += 1;
        }
    }
    assert!(run >= 8, "only {run} commands were found");
}
