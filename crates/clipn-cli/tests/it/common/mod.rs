//! The compiled program in a temporary directory, with the tiny model of the library's fixtures and
//! generated images.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use clipn::checkpoint::{Checkpoint, write_safetensors};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) mod browser;
pub(crate) mod child;
pub(crate) mod snapshot;

#[cfg(feature = "download")]
pub(crate) use clipn_testing::hub;
use clipn_testing::hub::{Hub, Server};
use clipn_testing::{distributed, transformers};
pub(crate) use clipn_testing::{fixture as library_fixture, shards, test_data};

/// A temporary directory with `tiny.json`, `epoch_10.pt`, `classes.txt`, `photos/` and the data
/// sets `id/`, `noise/` and `stripes/`.
pub(crate) struct Sandbox(TempDir);

/// The scores of `all` that weights with a trained "no" side allow without negatives.
pub(crate) const SCORES_WITHOUT_NEGATIVES: [&str; 10] = [
    "msp",
    "maxlogit",
    "energy",
    "mcm",
    "margin",
    "gen",
    "logitgap",
    "ctw",
    "atd",
    "gated-energy",
];

pub(crate) const CLASSES: [&str; 3] = ["goldfish", "school bus", "pizza"];

impl Sandbox {
    pub(crate) fn new() -> Self {
        let sandbox = Self(tempfile::tempdir().unwrap());
        let tiny = library_fixture("models/clipn-tiny-realvocab");
        std::fs::copy(
            tiny.join("clipn-tiny-realvocab.json"),
            sandbox.path("tiny.json"),
        )
        .unwrap();
        std::fs::copy(
            tiny.join("model_fp16.safetensors"),
            sandbox.path("epoch_10.pt"),
        )
        .unwrap();
        sandbox.write("classes.txt", CLASSES.join("\n"));
        for (index, class) in CLASSES.iter().enumerate() {
            for image in 0..4 {
                let seed = (index * 10 + image) as u32;
                sandbox.image(&format!("id/{class}/{image}.bmp"), 40 + seed, 30, |x, y| {
                    [
                        (x * (seed + 3)) as u8,
                        (y * 7 + seed * 40) as u8,
                        (x * y) as u8,
                    ]
                });
            }
        }
        for image in 0..5u32 {
            let noise = move |x: u32, y: u32| {
                (x * 7919 + y * 104_729 + image * 31).wrapping_mul(2_654_435_761)
            };
            sandbox.image(&format!("noise/{image}.bmp"), 33, 47, |x, y| {
                noise(x, y).to_le_bytes()[..3].try_into().unwrap()
            });
            sandbox.image(&format!("stripes/deep/er/{image}.bmp"), 64, 64, |x, _| {
                [((x / (image + 1)) % 2 * 255) as u8; 3]
            });
        }
        sandbox.image("photos/red.bmp", 50, 40, |_, _| [250, 20, 30]);
        sandbox.image("photos/gradient.bmp", 40, 80, |x, y| {
            [x as u8 * 6, y as u8 * 3, 128]
        });
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a 24-bit BMP.
    pub(crate) fn image(
        &self,
        name: &str,
        width: u32,
        height: u32,
        color: impl Fn(u32, u32) -> [u8; 3],
    ) {
        let row = (width * 3).next_multiple_of(4);
        let mut bytes = b"BM".to_vec();
        for number in [
            54 + row * height,
            0,
            54,
            40,
            width,
            height,
            1 | 24 << 16,
            0,
            row * height,
            2835,
            2835,
            0,
            0,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        for y in (0..height).rev() {
            let start = bytes.len();
            for x in 0..width {
                let [r, g, b] = color(x, y);
                bytes.extend([b, g, r]);
            }
            bytes.resize(start + row as usize, 0);
        }
        self.write(name, bytes);
    }

    /// Writes a training set: `small.json`, a CLIP that trains within seconds, and `captions.tsv`
    /// with 48 single-color images in `pairs/`, 12 of each color.
    pub(crate) fn training_set(&self) {
        let text =
            r#"{"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}"#;
        let vision =
            r#"{"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 1}"#;
        self.write(
            "small.json",
            format!(r#"{{"embed_dim": 16, "vision_cfg": {vision}, "text_cfg": {text}}}"#),
        );
        let colors = [
            ("red", [230, 20, 20]),
            ("green", [20, 200, 30]),
            ("blue", [20, 40, 220]),
            ("white", [250; 3]),
        ];
        let mut table = "filepath\ttitle\n".to_owned();
        for index in 0..48 {
            let (name, color) = colors[index % 4];
            let file = format!("pairs/{index}.bmp");
            self.image(&file, 36, 36, |x, y| {
                color.map(|v: u8| v.wrapping_add(((x * y + index as u32) % 9) as u8).max(v))
            });
            table += &format!("{file}\ta {name} picture number {}\n", index / 4);
        }
        self.write("captions.tsv", table);
    }

    /// Writes the tiny model in the formats of other programs: `clip-transformers/`,
    /// `clip-open-clip/`, the distributed checkpoint `fsdp-epoch-10/` and the training checkpoint
    /// `logs/tiny/checkpoints/epoch-10/`. The first two are plain CLIPs. `openai.pt` is another, smaller model in OpenAI's format.
    pub(crate) fn write_other_formats(&self) {
        let weights = Checkpoint::open(self.path("epoch_10.pt")).unwrap();
        let plain: Vec<_> = weights
            .iter()
            .filter(|(name, _)| !name.contains("_no"))
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect();
        let none = std::collections::BTreeMap::new();
        let model: Value =
            serde_json::from_slice(&std::fs::read(self.path("tiny.json")).unwrap()).unwrap();
        let (vision, text) = (&model["vision_cfg"], &model["text_cfg"]);
        let tower = |cfg: &Value, heads: u64| {
            json!({
                "hidden_act": "gelu", "hidden_size": cfg["width"], "num_attention_heads": heads,
                "num_hidden_layers": cfg["layers"], "intermediate_size": cfg["width"].as_u64().unwrap() * 4,
                "image_size": cfg["image_size"], "patch_size": cfg["patch_size"]
            })
        };
        let config = json!({
            "model_type": "clip", "projection_dim": model["embed_dim"],
            "text_config": tower(text, text["heads"].as_u64().unwrap()),
            "vision_config": tower(vision, vision["width"].as_u64().unwrap() / vision["head_width"].as_u64().unwrap())
        });
        self.write("clip-transformers/config.json", config.to_string());
        self.write(
            "clip-transformers/preprocessor_config.json",
            transformers::preprocessor(224).to_string(),
        );
        let path = self.path("clip-transformers/model.safetensors");
        write_safetensors(&path, transformers::clip_model(&weights), &none).unwrap();

        let config = json!({ "model_cfg": model, "preprocess_cfg": { "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] } });
        self.write("clip-open-clip/open_clip_config.json", config.to_string());
        write_safetensors(
            self.path("clip-open-clip/open_clip_model.safetensors"),
            plain,
            &none,
        )
        .unwrap();

        let own = weights
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        distributed::write(&self.path("fsdp-epoch-10"), &own.collect::<Vec<_>>(), 2);

        let config = clipn::model::ModelConfig::load(self.path("tiny.json")).unwrap();
        let folder = "logs/tiny/checkpoints/epoch-10";
        self.write(
            &format!("{folder}/state.json"),
            json!({ "format": 1, "model": config }).to_string(),
        );
        std::fs::copy(
            self.path("epoch_10.pt"),
            self.path(folder).join("model.safetensors"),
        )
        .unwrap();
        std::fs::copy(
            library_fixture("checkpoint/openai_style_jit.pt"),
            self.path("openai.pt"),
        )
        .unwrap();
    }

    /// Starts a local hub with repositories by name and directory.
    pub(crate) fn hub(&self, repositories: &[(&str, &str)]) -> Server {
        let hubs: Vec<Hub> = repositories
            .iter()
            .map(|(name, folder)| {
                let mut hub = Hub::new(name, &[]);
                for entry in std::fs::read_dir(self.path(folder))
                    .unwrap()
                    .map(Result::unwrap)
                {
                    let bytes = std::fs::read(entry.path()).unwrap();
                    hub.files
                        .insert(entry.file_name().into_string().unwrap(), bytes);
                }
                hub
            })
            .collect();
        Server::start(move |request| {
            let answers = hubs.iter().map(|hub| hub.answer(request));
            answers.min_by_key(|reply| reply.status).unwrap()
        })
    }

    /// `clipn` in the sandbox, with its own cache and no hub but the one at `endpoint`.
    pub(crate) fn command(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("clipn").unwrap();
        command.current_dir(self.root()).args(arguments);
        let network_variables = [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
            "ssl_cert_file",
        ];
        let hub_variables = [
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_CACHE",
            "HF_ASSETS_CACHE",
            "HF_HUB_OFFLINE",
        ];
        // Flags and launchers of the machine that runs the tests.
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("CLIPN_") && name != "CLIPN_SIMD" {
                command.env_remove(&variable);
            }
        }
        for variable in [
            "WORLD_SIZE",
            "OMPI_COMM_WORLD_SIZE",
            "PMI_SIZE",
            "SLURM_NTASKS",
            "COLUMNS",
            "LINES",
        ] {
            command.env_remove(variable);
        }
        for variable in network_variables.iter().chain(&hub_variables) {
            command
                .env_remove(variable)
                .env_remove(variable.to_uppercase());
        }
        command
            .env("HF_HOME", self.path("hf-home"))
            .env("HF_ENDPOINT", endpoint);
        command
    }

    /// Runs `clipn` with these arguments in the sandbox, without a hub.
    pub(crate) fn clipn(&self, arguments: &[&str]) -> Output {
        self.command("http://127.0.0.1:1", arguments)
            .output()
            .unwrap()
    }

    /// Runs `clipn`, which must succeed, and returns its standard output.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.clipn(arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

/// The arguments that name the tiny model.
pub(crate) const MODEL: [&str; 4] = ["--model", "tiny.json", "--pretrained", "epoch_10.pt"];

/// `command`, the tiny model, one template, and these arguments.
pub(crate) fn with_model<'a>(command: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [
        &[command][..],
        &MODEL,
        &["--templates", "simple"],
        arguments,
    ]
    .concat()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether standard error has nothing but an error report: a line `error: …`, then lines
/// `caused by: …`, then lines `hint: …`.
pub(crate) fn is_error_report(stderr: &str) -> bool {
    let mut lines = stderr.lines();
    lines.next().is_some_and(|line| line.starts_with("error: "))
        && lines
            .skip_while(|line| line.starts_with("caused by: "))
            .all(|line| line.starts_with("hint: "))
}

/// The error report at the end of standard error, after progress and warnings.
#[track_caller]
pub(crate) fn error_report(stderr: &str) -> &str {
    let start = stderr
        .match_indices("error: ")
        .find(|(start, _)| *start == 0 || stderr[..*start].ends_with('\n'))
        .map(|(start, _)| start);
    let report = &stderr[start.unwrap_or_else(|| panic!("no error in {stderr}"))..];
    assert!(is_error_report(report), "{stderr}");
    report
}
