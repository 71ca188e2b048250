#![no_main]

#[path = "support/memory.rs"]
mod memory;

use std::path::PathBuf;
use std::sync::OnceLock;

use clipn::model::{ModelConfig, Pretrained};

/// A folder of weights for each config that comes with some, and the config's name.
struct Folders(Vec<(PathBuf, &'static str)>);

/// A safetensors file with one number under this name.
fn weights(name: &str) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &[0; 4],
    ]
    .concat()
}

fn folders() -> &'static Folders {
    static FOLDERS: OnceLock<Folders> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let root = std::env::temp_dir().join(format!("clipn-fuzz-{}", std::process::id()));
        let of_transformers = "text_model.embeddings.token_embedding.weight";
        let all = [
            ("config.json", "model.safetensors", of_transformers),
            (
                "preprocessor_config.json",
                "model.safetensors",
                of_transformers,
            ),
            (
                "open_clip_config.json",
                "open_clip_model.safetensors",
                "logit_scale",
            ),
            ("state.json", "model.safetensors", "logit_scale"),
            ("model.safetensors.index.json", "part.safetensors", "a"),
        ];
        let made = all.map(|(config, file, tensor)| {
            let folder = root.join(config);
            std::fs::create_dir_all(&folder).expect("a folder to fuzz in");
            std::fs::write(folder.join(file), weights(tensor)).expect("weights to fuzz with");
            if config == "preprocessor_config.json" {
                std::fs::write(folder.join("config.json"), b"{}").expect("a config to fuzz with");
            }
            (folder, config)
        });
        Folders(made.into())
    })
}

/// A name in JSON costs its own memory several times over: as the key of a map, of a tensor, of a file.
const OF_BYTE: usize = 256;

fn read(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = ModelConfig::from_json("fuzz", "fuzz.json", text);
    }
    for (folder, config) in &folders().0 {
        if std::fs::write(folder.join(config), bytes).is_err() {
            continue;
        }
        if let Ok(pretrained) = Pretrained::open(folder) {
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
    |bytes: &[u8]| memory::within(OF_BYTE * bytes.len() + (4 << 20), || read(bytes))
);
