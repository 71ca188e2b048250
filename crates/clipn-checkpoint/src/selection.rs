//! Choice of the CLIP in a file that holds more than its weights: wrapped models, EMA copies, other heads.

use std::path::Path;

use indexmap::IndexMap;

use crate::state_dict::{self, STATE_DICT_KEYS, StateDict};
use crate::{CheckpointError, Value};

/// Names that only an image tower has, by naming scheme. What stands before them is a prefix of the
/// whole model.
const MARKERS: [&str; 2] = [
    "visual.conv1.weight",
    "vision_model.embeddings.patch_embedding.weight",
];

/// What `torch.compile` adds to names: at the front for a whole model, within for its parts.
const COMPILED: &str = "_orig_mod.";

/// Words in the names of averaged copies of a model, which training programs store beside it.
const AVERAGED: [&str; 5] = ["ema", "averaged", "swa", "shadow", "polyak"];

/// State of optimizers, which has the names and shapes of the parameters but is no model.
const MOMENTS: [&str; 4] = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"];

/// Maximum depth of dictionaries that are searched; real checkpoints nest them once or twice.
const MAX_DEPTH: usize = 3;

/// The chosen model, and what else the file holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct SelectedModel {
    /// Prefix that was stripped from all names.
    pub(crate) prefix: String,
    /// Names of the other models in the file.
    pub(crate) alternatives: Vec<String>,
    /// Names of tensors that belong to no model.
    pub(crate) ignored: Vec<String>,
}

/// A model in the file: the keys of its dictionary, and the prefix of its names there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    keys: Vec<String>,
    prefix: String,
}

impl Candidate {
    /// Name for users, such as `state_dict.model`; empty for names without a prefix at the top level.
    fn name(&self) -> String {
        let mut parts = self.keys.clone();
        let prefix = self.prefix.trim_end_matches('.');
        if !prefix.is_empty() {
            parts.push(prefix.to_owned());
        }
        parts.join(".")
    }

    fn is_averaged(&self) -> bool {
        let name = self.name().to_ascii_lowercase();
        name.split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| AVERAGED.contains(&word))
    }

    /// Whether a user's name means this model: the whole name, its last parts, or without the wrappers
    /// of training programs.
    fn is_called(&self, key: &str) -> bool {
        let name = self.name();
        let key = key.trim_end_matches('.');
        name == key
            || (!key.is_empty() && name.ends_with(&format!(".{key}")))
            || name
                .strip_suffix(".module")
                .is_some_and(|outer| outer == key)
    }
}

/// Finds the models in the top-level object of a `.pt` file and takes the one called `key`, or else the
/// only one that is no averaged copy. `None` if no dictionary has an image tower.
pub(crate) fn from_object(
    path: &Path,
    object: &Value,
    key: Option<&str>,
) -> Result<Option<(StateDict, SelectedModel)>, CheckpointError> {
    let mut candidates = Vec::new();
    collect(object, &mut Vec::new(), &mut candidates);
    let Some(chosen) = choose(path, &candidates, key)? else {
        return Ok(None);
    };
    let keys: Vec<&str> = chosen.keys.iter().map(String::as_str).collect();
    let StateDict { tensors, metadata } = state_dict::at(path, object, &keys)?;
    let (tensors, model) = strip(tensors, chosen, &candidates);
    Ok(Some((StateDict { tensors, metadata }, model)))
}

/// Tensors of a model, or what stands for them, by their names without its prefix.
type ModelTensors<T> = (IndexMap<String, T>, SelectedModel);

/// Same as [`from_object`] for named tensors.
pub(crate) fn from_named<T: Clone>(
    path: &Path,
    tensors: &IndexMap<String, T>,
    key: Option<&str>,
) -> Result<Option<ModelTensors<T>>, CheckpointError> {
    let candidates = prefixes(tensors.keys().map(String::as_str))
        .into_iter()
        .map(|prefix| Candidate {
            keys: Vec::new(),
            prefix,
        })
        .collect::<Vec<_>>();
    let Some(chosen) = choose(path, &candidates, key)? else {
        return Ok(None);
    };
    Ok(Some(strip(tensors.clone(), chosen, &candidates)))
}

/// Appends the models in a dictionary and in those that it holds.
fn collect(value: &Value, keys: &mut Vec<String>, found: &mut Vec<Candidate>) {
    let Some(entries) = value.as_dict() else {
        return;
    };
    let names = entries.iter().filter_map(|(key, value)| {
        let is_tensor = matches!(value, Value::Tensor(_) | Value::UnsupportedTensor(_));
        key.as_str().filter(|_| is_tensor)
    });
    found.extend(prefixes(names).into_iter().map(|prefix| Candidate {
        keys: keys.clone(),
        prefix,
    }));
    if keys.len() == MAX_DEPTH {
        return;
    }
    for (key, value) in entries {
        if let Some(key) = key.as_str() {
            keys.push(key.to_owned());
            collect(value, keys, found);
            keys.pop();
        }
    }
}

/// The prefixes of image towers among names, each once.
fn prefixes<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let plain = name.replace(COMPILED, "");
        for marker in MARKERS {
            let prefix = plain.strip_suffix(marker);
            let Some(prefix) = prefix.filter(|p| p.is_empty() || p.ends_with('.')) else {
                continue;
            };
            let wrapper = prefix.trim_end_matches('.').rsplit('.').next();
            if wrapper.is_some_and(|last| MOMENTS.contains(&last)) {
                continue;
            }
            if !found.iter().any(|other| other == prefix) {
                found.push(prefix.to_owned());
            }
        }
    }
    found
}

/// Chooses a model; `None` if there is none and no name is given.
fn choose<'a>(
    path: &Path,
    candidates: &'a [Candidate],
    key: Option<&str>,
) -> Result<Option<&'a Candidate>, CheckpointError> {
    let names = || candidates.iter().map(Candidate::name).collect();
    if let Some(key) = key {
        let mut called = candidates.iter().filter(|each| each.is_called(key));
        return match (called.next(), called.next()) {
            (Some(only), None) => Ok(Some(only)),
            _ => Err(CheckpointError::UnknownWeightsKey {
                path: path.to_owned(),
                key: key.to_owned(),
                names: names(),
            }),
        };
    }
    let mut own: Vec<&Candidate> = candidates
        .iter()
        .filter(|each| !each.is_averaged())
        .collect();
    if own.is_empty() {
        own = candidates.iter().collect();
    }
    // Several dictionaries under the usual keys are copies of one model; their order is that of
    // the programs that read them.
    let usual = STATE_DICT_KEYS.iter().find_map(|key| {
        let mut under = own.iter().filter(|each| each.keys == [*key]);
        under.next().filter(|_| under.next().is_none())
    });
    match (own.as_slice(), usual) {
        ([], _) => Ok(None),
        ([only], _) | (_, Some(only)) => Ok(Some(only)),
        _ => Err(CheckpointError::AmbiguousWeights {
            path: path.to_owned(),
            names: names(),
        }),
    }
}

/// Whether the name of a tensor within a model is that of an optimizer's state.
fn is_moment(name: &str) -> bool {
    MOMENTS.iter().any(|wrapper| {
        let rest = name.strip_prefix(wrapper);
        rest.is_some_and(|rest| rest.starts_with('.'))
    })
}

/// Strips the prefix of the chosen model; tensors without it are not a part of the model.
fn strip<T>(
    tensors: IndexMap<String, T>,
    chosen: &Candidate,
    candidates: &[Candidate],
) -> ModelTensors<T> {
    let others = candidates.iter().filter(|each| *each != chosen);
    let mut model = SelectedModel {
        prefix: chosen.prefix.clone(),
        alternatives: others.map(Candidate::name).collect(),
        ignored: Vec::new(),
    };
    // Prefixes of other models among these names: within the chosen one, or not.
    let (inner, outer): (Vec<&str>, Vec<&str>) = candidates
        .iter()
        .filter(|other| *other != chosen && other.keys == chosen.keys && !other.prefix.is_empty())
        .map(|other| &*other.prefix)
        .partition(|prefix| prefix.starts_with(&chosen.prefix));
    let is_in = |prefixes: &[&str], name: &str| prefixes.iter().any(|p| name.starts_with(p));
    let mut stripped = IndexMap::new();
    for (name, tensor) in tensors {
        let plain = name.replace(COMPILED, "");
        if is_in(&inner, &plain) {
            continue;
        }
        let rest = plain.strip_prefix(&chosen.prefix);
        match rest.filter(|rest| !rest.is_empty() && !is_moment(rest)) {
            // A second tensor of that name cannot come from the compiler.
            Some(rest) if stripped.contains_key(rest) => {
                stripped.insert(name, tensor);
            }
            Some(rest) => {
                stripped.insert(rest.to_owned(), tensor);
            }
            None if is_in(&outer, &plain) => {}
            None => model.ignored.push(name),
        }
    }
    (stripped, model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    const OWN: [&str; 2] = ["visual.conv1.weight", "logit_scale"];

    fn tensor() -> Tensor {
        Tensor::from_f32(&[1], vec![1.0]).unwrap()
    }

    fn named(names: &[String]) -> IndexMap<String, Tensor> {
        names.iter().map(|name| (name.clone(), tensor())).collect()
    }

    fn with_prefix(prefix: &str) -> Vec<String> {
        OWN.iter().map(|name| format!("{prefix}{name}")).collect()
    }

    fn dict(entries: Vec<(&str, Value)>) -> Value {
        Value::Dict(
            entries
                .into_iter()
                .map(|(key, value)| (Value::Str(key.into()), value))
                .collect(),
        )
    }

    fn model(prefix: &str) -> Value {
        let names = with_prefix(prefix);
        let entries = names
            .iter()
            .map(|name| (Value::Str(name.as_str().into()), Value::Tensor(tensor())));
        Value::Dict(entries.collect())
    }

    fn select(tensors: &[String], key: Option<&str>) -> ModelTensors<Tensor> {
        from_named(Path::new("f"), &named(tensors), key)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn any_prefix_of_a_whole_model_is_stripped() {
        for prefix in [
            "",
            "module.",
            "model.",
            "clipmodel.",
            "base_model.model.",
            "a.b.c.d.",
        ] {
            let (tensors, found) = select(&with_prefix(prefix), None);
            assert_eq!(tensors.keys().collect::<Vec<_>>(), OWN, "{prefix}");
            assert_eq!(found.prefix, prefix);
            assert!(found.ignored.is_empty() && found.alternatives.is_empty());
        }
    }

    #[test]
    fn the_compiler_is_removed_within_names_too() {
        let names = [
            "_orig_mod.visual._orig_mod.conv1._orig_mod.weight",
            "_orig_mod.logit_scale",
        ];
        let (tensors, found) = select(&names.map(str::to_owned), None);
        assert_eq!(tensors.keys().collect::<Vec<_>>(), OWN);
        assert_eq!(found.prefix, "");
    }

    #[test]
    fn other_tensors_beside_a_wrapped_model_are_named() {
        let mut names = with_prefix("model.");
        names.extend(["head.weight".to_owned(), "n_averaged".to_owned()]);
        let (tensors, found) = select(&names, None);
        assert_eq!(tensors.len(), 2);
        assert_eq!(found.ignored, ["head.weight", "n_averaged"]);
    }

    #[test]
    fn averaged_copies_are_taken_only_by_name() {
        let names = [with_prefix("model."), with_prefix("model_ema.module.")].concat();
        let (_, found) = select(&names, None);
        assert_eq!(found.prefix, "model.");
        assert!(found.ignored.is_empty());
        assert_eq!(found.alternatives, ["model_ema.module"]);
        for key in ["model_ema", "model_ema.module", "model_ema.module."] {
            let (tensors, found) = select(&names, Some(key));
            assert_eq!((&*found.prefix, tensors.len()), ("model_ema.module.", 2));
            assert_eq!(found.alternatives, ["model"]);
        }
        // The names of the model itself have no prefix, or that of both.
        for (own, ema) in [
            ("", "ema."),
            ("", "ema_model.module."),
            ("model.", "model.ema."),
        ] {
            let names = [with_prefix(ema), with_prefix(own)].concat();
            let (tensors, found) = select(&names, None);
            assert_eq!((&*found.prefix, tensors.len()), (own, 2), "{ema}");
            assert!(found.ignored.is_empty());
            let (tensors, found) = select(&names, Some(ema));
            assert_eq!((&*found.prefix, tensors.len()), (ema, 2));
        }
        // Nothing else is there.
        assert_eq!(select(&with_prefix("ema."), None).1.prefix, "ema.");
    }

    #[test]
    fn two_models_need_a_name() {
        let names = [with_prefix("student."), with_prefix("teacher.")].concat();
        let error = from_named(Path::new("f"), &named(&names), None).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::AmbiguousWeights { names, .. } if names == &["student", "teacher"]),
            "{error}"
        );
        assert_eq!(select(&names, Some("teacher")).1.prefix, "teacher.");
        let error = from_named(Path::new("f"), &named(&names), Some("ema")).unwrap_err();
        assert!(
            matches!(error, CheckpointError::UnknownWeightsKey { .. }),
            "{error}"
        );
    }

    #[test]
    fn dictionaries_of_training_programs_are_searched() {
        let select =
            |object: &Value, key| from_object(Path::new("f"), object, key).unwrap().unwrap();
        for (key, inner) in [
            ("state_dict", "model."),
            ("model_state_dict", ""),
            ("module", ""),
            ("model", "module."),
        ] {
            let object = dict(vec![(key, model(inner)), ("epoch", Value::Int(3))]);
            let (found, model) = select(&object, None);
            assert_eq!((&*model.prefix, found.tensors.len()), (inner, 2), "{key}");
            assert_eq!(found.metadata["epoch"], "3");
        }
        let timm = dict(vec![
            ("state_dict", model("")),
            ("state_dict_ema", model("")),
        ]);
        assert_eq!(select(&timm, None).1.alternatives, ["state_dict_ema"]);
        assert_eq!(
            select(&timm, Some("state_dict_ema")).1.alternatives,
            ["state_dict"]
        );
        let nested = dict(vec![
            ("ema", dict(vec![("state_dict", model(""))])),
            ("model", model("")),
        ]);
        assert_eq!(select(&nested, None).1.alternatives, ["ema.state_dict"]);
        assert_eq!(
            select(&nested, Some("ema.state_dict")).1.alternatives,
            ["model"]
        );
    }

    #[test]
    fn moments_of_an_optimizer_are_no_models() {
        let names = [with_prefix("exp_avg."), with_prefix("exp_avg_sq.")].concat();
        assert!(
            from_named(Path::new("f"), &named(&names), None)
                .unwrap()
                .is_none()
        );
        let names = [names, with_prefix("")].concat();
        let (tensors, found) = select(&names, None);
        assert_eq!(found.prefix, "");
        assert_eq!(tensors.keys().collect::<Vec<_>>(), OWN);
        assert_eq!(found.ignored.len(), 4);
    }

    #[test]
    fn files_without_an_image_tower_have_no_model() {
        let names = ["text.token_embedding.weight".to_owned()];
        assert!(
            from_named(Path::new("f"), &named(&names), None)
                .unwrap()
                .is_none()
        );
        assert!(
            from_object(Path::new("f"), &dict(vec![("x", Value::Int(1))]), None)
                .unwrap()
                .is_none()
        );
    }
}
