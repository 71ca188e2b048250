//! JSON configs next to weights.
#![no_main]

#[path = "support/memory.rs"]
mod memory;

use std::path::PathBuf;
use std::sync::OnceLock;

use clipn_model::{ModelConfig, PretrainedWeights};

/// Directory with weights for each kind of config, and the file name of the config.
struct Folders(Vec<(PathBuf, &'static str)>);

/// Returns a safetensors file with one number in a tensor called `name`.
fn weights(name: &str) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &[0; 4],
    ]
    .concat()
}

/// Creates the directories of all kinds of configs once.
fn folders() -> &'static Folders {
    static FOLDERS: OnceLock<Folders> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let root = std::env::temp_dir().join(format!("clipn-fuzz-{}", std::process::id()));
        let transformers_key = "text_model.embeddings.token_embedding.weight";
        let all = [
            ("config.json", "model.safetensors", transformers_key),
            (
                "preprocessor_config.json",
                "model.safetensors",
                transformers_key,
            ),
            (
                "open_clip_config.json",
                "open_clip_model.safetensors",
                "logit_scale",
            ),
            ("state.json", "model.safetensors", "logit_scale"),
            ("model.safetensors.index.json", "part.safetensors", "a"),
        ];
        let folders = all.map(|(config, file, tensor)| {
            let folder = root.join(config);
            std::fs::create_dir_all(&folder).expect("cannot create a directory for fuzzing");
            std::fs::write(folder.join(file), weights(tensor))
                .expect("cannot write weights for fuzzing");
            if config == "preprocessor_config.json" {
                std::fs::write(folder.join("config.json"), b"{}")
                    .expect("cannot write a config for fuzzing");
            }
            (folder, config)
        });
        Folders(folders.into())
    })
}

/// Maximum memory per byte of input: a name in JSON is stored several times, as the key of a map, a
/// tensor and a file.
const MEMORY_PER_BYTE: usize = 256;

/// Reads the bytes as each kind of config.
fn read(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = ModelConfig::from_json("fuzz", "fuzz.json", text);
    }
    for (folder, config) in &folders().0 {
        if std::fs::write(folder.join(config), bytes).is_err() {
            continue;
        }
        if let Ok(pretrained) = PretrainedWeights::open(folder) {
            let _ = (
                pretrained.config(),
                pretrained.preprocessing(),
                pretrained.weights(None),
            );
        }
    }
}

libfuzzer_sys::fuzz_target!(
    init: { folders(); },
    |bytes: &[u8]| memory::within_memory_limit(MEMORY_PER_BYTE * bytes.len() + (4 << 20), || read(bytes))
);
