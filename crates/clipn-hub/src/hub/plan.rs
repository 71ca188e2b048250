use crate::cache::{OPEN_CLIP_CONFIG, PREPROCESSOR, own_names};
use crate::{DownloadError, HubName};

/// Configs beside weights under names of `transformers`, or of no known name: its own, its preprocessing's, and that of
/// this project's checkpoints.
const OTHER_CONFIGS: [&str; 4] = ["config.json", PREPROCESSOR, "state.json", OPEN_CLIP_CONFIG];

/// Which files of a repository are a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Small files beside the weights.
    pub(super) configs: Vec<String>,
    /// Configs that the repository does not have, and that another program may ask the cache for.
    pub(super) absent: Vec<String>,
    /// The weights, or the index of their parts.
    pub(super) weights: String,
    /// Whether the folder tells which file its weights are.
    pub(super) is_agreed: bool,
}

impl Plan {
    /// Chooses as a folder of weights is read: under the names that open_clip and `transformers` agree on, safetensors
    /// before others; else the only weights file in the repository's root.
    pub(super) fn of<'a>(
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
                    is_agreed: false,
                })
            } else {
                Err(DownloadError::NotThere {
                    what: name.to_string(),
                    hint: "the repository has no such file; leave it out, or check its name"
                        .to_owned(),
                })
            };
        }
        let owned = |names: &[&str]| {
            names
                .iter()
                .filter(|name| is_there(name))
                .map(|&name| name.to_owned())
                .collect()
        };
        let Some(weights) = clipn_checkpoint::agreed_name(&is_there) else {
            let weights = only(name, files)?;
            return Ok(Self {
                configs: owned(&OTHER_CONFIGS),
                absent: Vec::new(),
                weights,
                is_agreed: false,
            });
        };
        let configs: Vec<String> = match clipn_checkpoint::is_open_clip_name(weights) {
            true => owned(&[OPEN_CLIP_CONFIG]),
            false => owned(&OTHER_CONFIGS),
        };
        let asked: &[&str] = match clipn_checkpoint::is_open_clip_name(weights) {
            true => &[OPEN_CLIP_CONFIG],
            false => &["config.json", PREPROCESSOR],
        };
        let absent = asked
            .iter()
            .filter(|name| !is_there(name))
            .map(|&name| name.to_owned())
            .collect();
        Ok(Self {
            configs,
            absent,
            weights: weights.to_owned(),
            is_agreed: true,
        })
    }

    /// A part of the weights, which lies beside their index.
    pub(super) fn beside(&self, part: &str) -> String {
        match self.weights.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{part}"),
            None => part.to_owned(),
        }
    }

    /// Whether the weights come in parts, which their index names.
    pub(super) fn is_index(&self) -> bool {
        self.weights.ends_with(".index.json")
    }
}

/// Configs in the folder of a file that was named, which tell what its weights are.
fn beside(file: &str, is_there: &impl Fn(&str) -> bool) -> Vec<String> {
    let folder = file
        .rsplit_once('/')
        .map(|(folder, _)| format!("{folder}/"))
        .unwrap_or_default();
    let configs = OTHER_CONFIGS
        .iter()
        .map(|config| format!("{folder}{config}"));
    configs
        .filter(|config| is_there(config) && config != file)
        .collect()
}

fn only<'a>(name: &HubName, files: impl Iterator<Item = &'a str>) -> Result<String, DownloadError> {
    match own_names(files).as_slice() {
        [only] => Ok((*only).to_owned()),
        several => Err(DownloadError::NoWeights {
            repository: name.short(),
            found: several[..several.len().min(8)].join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, files: &[&str]) -> Result<Plan, DownloadError> {
        Plan::of(
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
    fn a_model_is_its_weights_and_its_configs() {
        let configs = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        // A repository of open_clip that `transformers` reads too.
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
        // One of `transformers`, also in other frameworks' forms.
        let transformers = [
            "config.json",
            "flax_model.msgpack",
            "model.safetensors",
            "preprocessor_config.json",
            "pytorch_model.bin",
            "tf_model.h5",
        ];
        assert_eq!(
            chosen(&transformers),
            (
                "model.safetensors".into(),
                configs(&["config.json", "preprocessor_config.json"])
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
        // A checkpoint under a name of its own.
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
    fn a_choice_is_the_users() {
        let error = plan("hf-hub:a/b", &["epoch_1.pt", "epoch_2.pt"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("hf-hub:a/b/FILE: epoch_1.pt, epoch_2.pt"),
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
            Err(DownloadError::NotThere { .. })
        ));
    }
}
