use crate::cache::{OPEN_CLIP_CONFIG, PREPROCESSOR, PROCESSOR, nonstandard_names};
use crate::error::DownloadError;
use crate::hub_name::HubName;

/// Configs of weights with a name of `transformers` or a non-standard name: the model config and
/// the preprocessing of `transformers` in both forms, the state of clipn's own checkpoints, and
/// open_clip's config.
const OTHER_CONFIGS: [&str; 5] = [
    "config.json",
    PREPROCESSOR,
    PROCESSOR,
    "state.json",
    OPEN_CLIP_CONFIG,
];

/// Files of a repository that form a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DownloadPlan {
    /// Config files to fetch with the weights.
    pub(super) configs: Vec<String>,
    /// Configs that the repository lacks. Recorded in the cache, because other programs look for
    /// them.
    pub(super) absent: Vec<String>,
    /// Weights file, or the index of its shards.
    pub(super) weights: String,
    /// Whether the weights have a standard name, so that their directory identifies them.
    pub(super) has_standard_name: bool,
}

impl DownloadPlan {
    /// Chooses the files in the same way as for a local directory: weights with a standard name of
    /// open_clip or `transformers`, safetensors first, else the only weights file in the root.
    ///
    /// # Errors
    /// [`DownloadError::NotFound`] if a requested file does not exist, and
    /// [`DownloadError::NoWeights`] if there is no weights file or more than one candidate.
    pub(super) fn new<'a>(
        name: &HubName,
        is_there: impl Fn(&str) -> bool,
        files: impl Iterator<Item = &'a str>,
    ) -> Result<Self, DownloadError> {
        if let Some(file) = &name.file {
            return if is_there(file) {
                Ok(Self {
                    configs: beside(file, &is_there),
                    absent: Vec::new(),
                    weights: file.clone(),
                    has_standard_name: false,
                })
            } else {
                Err(DownloadError::NotFound {
                    what: name.to_string(),
                    hint: format!("see the files of {}", name.without_revision()),
                })
            };
        }
        let existing = |names: &[&str]| {
            names
                .iter()
                .filter(|name| is_there(name))
                .map(|&name| name.to_owned())
                .collect()
        };
        let Some(weights) = clipn_checkpoint::preferred_weights_name(&is_there) else {
            let weights = only(name, files)?;
            return Ok(Self {
                configs: existing(&OTHER_CONFIGS),
                absent: Vec::new(),
                weights,
                has_standard_name: false,
            });
        };
        let is_open_clip = clipn_checkpoint::is_open_clip_file_name(weights);
        let configs: Vec<String> = if is_open_clip {
            existing(&[OPEN_CLIP_CONFIG])
        } else {
            existing(&OTHER_CONFIGS)
        };
        let expected: &[&str] = if is_open_clip {
            &[OPEN_CLIP_CONFIG]
        } else {
            &["config.json", PREPROCESSOR, PROCESSOR]
        };
        let absent = expected
            .iter()
            .filter(|name| !is_there(name))
            .map(|&name| name.to_owned())
            .collect();
        Ok(Self {
            configs,
            absent,
            weights: weights.to_owned(),
            has_standard_name: true,
        })
    }

    /// Path of a shard, which is in the same directory as its index.
    pub(super) fn shard_path(&self, part: &str) -> String {
        match self.weights.rsplit_once('/') {
            Some((directory, _)) => format!("{directory}/{part}"),
            None => part.to_owned(),
        }
    }

    /// Whether the weights are sharded, with an index that lists the shards.
    pub(super) fn is_index(&self) -> bool {
        self.weights.ends_with(".index.json")
    }
}

/// Configs in the directory of a requested file, which describe its weights.
fn beside(file: &str, is_there: &impl Fn(&str) -> bool) -> Vec<String> {
    let directory = file
        .rsplit_once('/')
        .map(|(directory, _)| format!("{directory}/"))
        .unwrap_or_default();
    let configs = OTHER_CONFIGS
        .iter()
        .map(|config| format!("{directory}{config}"));
    configs
        .filter(|config| is_there(config) && config != file)
        .collect()
}

/// The only weights file with a non-standard name.
fn only<'a>(name: &HubName, files: impl Iterator<Item = &'a str>) -> Result<String, DownloadError> {
    match nonstandard_names(files).as_slice() {
        [only] => Ok((*only).to_owned()),
        several => Err(DownloadError::NoWeights {
            repository: name.without_revision(),
            found: several[..several.len().min(8)].join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, files: &[&str]) -> Result<DownloadPlan, DownloadError> {
        DownloadPlan::new(
            &HubName::parse(name).unwrap(),
            |file| files.contains(&file),
            files.iter().copied(),
        )
    }

    fn chosen(files: &[&str]) -> (String, Vec<String>) {
        let plan = plan("hf-hub:a/b", files).unwrap();
        (plan.weights, plan.configs)
    }

    #[test]
    fn chooses_weights_and_configs() {
        let configs = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        // open_clip repository that `transformers` can read too.
        let both = [
            "README.md",
            "config.json",
            "model.safetensors",
            "open_clip_config.json",
            "open_clip_model.safetensors",
            "open_clip_pytorch_model.bin",
            "preprocessor_config.json",
            "pytorch_model.bin",
        ];
        assert_eq!(
            chosen(&both),
            (
                "open_clip_model.safetensors".into(),
                configs(&["open_clip_config.json"])
            )
        );
        // `transformers` repository with weights for several frameworks.
        let transformers = [
            "config.json",
            "flax_model.msgpack",
            "model.safetensors",
            "preprocessor_config.json",
            "processor_config.json",
            "pytorch_model.bin",
            "tf_model.h5",
        ];
        assert_eq!(
            chosen(&transformers),
            (
                "model.safetensors".into(),
                configs(&[
                    "config.json",
                    "preprocessor_config.json",
                    "processor_config.json"
                ])
            )
        );
        let sharded = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
        ];
        assert_eq!(
            chosen(&sharded),
            (
                "model.safetensors.index.json".into(),
                configs(&["config.json"])
            )
        );
        assert_eq!(
            chosen(&["open_clip_pytorch_model.bin"]),
            ("open_clip_pytorch_model.bin".into(), Vec::new())
        );
        // Checkpoint with a non-standard name.
        assert_eq!(
            chosen(&["README.md", "epoch_10.pt", "old/epoch_1.pt"]),
            ("epoch_10.pt".into(), Vec::new())
        );
        assert_eq!(
            chosen(&["a.bin", "clipn.safetensors"]),
            ("clipn.safetensors".into(), Vec::new())
        );
    }

    #[test]
    fn ambiguous_weights_are_an_error() {
        let error = plan("hf-hub:a/b", &["epoch_1.pt", "epoch_2.pt"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("hf-hub:a/b: epoch_1.pt, epoch_2.pt"),
            "{error}"
        );
        assert!(
            plan("hf-hub:a/b", &["README.md"])
                .unwrap_err()
                .to_string()
                .contains("no weights")
        );
        let files = ["x/epoch_2.pt", "x/state.json", "config.json"];
        let named = plan("hf-hub:a/b/x/epoch_2.pt", &files).unwrap();
        assert_eq!(
            (named.weights.as_str(), named.configs),
            ("x/epoch_2.pt", vec!["x/state.json".to_owned()])
        );
        assert!(matches!(
            plan("hf-hub:a/b/y.pt", &files),
            Err(DownloadError::NotFound { .. })
        ));
    }
}
