//! How the settings of a resumed run differ from those of its checkpoint.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::optimizer::AdamWSettings;
use crate::run::settings::TrainSettings;
use crate::setting_difference::SettingDifference;

/// Settings without influence on the weights that a run ends with, except for last bits, and those that are compared in
/// another way: the architecture is that of the config, and initial weights are not read again.
const IGNORED: [&str; 8] = [
    "model",
    "pretrained",
    "workers",
    "feature_cache",
    "save_frequency",
    "save_every",
    "keep",
    "threads",
];

/// Compares the settings of a run with those that a checkpoint's state has. Settings that the state
/// lacks, as those of an earlier version may, count as their defaults.
pub(super) fn differences(before: &Value, now: &TrainSettings) -> Vec<SettingDifference> {
    let before = match serde_json::from_value::<TrainSettings>(before.clone()) {
        Ok(settings) => flattened(&settings),
        Err(_) => {
            return vec![SettingDifference {
                setting: "settings".to_owned(),
                before: "not readable".to_owned(),
                now: "the given ones".to_owned(),
            }];
        }
    };
    let mut now = flattened(now);
    let mut before = before;
    compare_batches_of_all(&mut before, &mut now);
    let keys = before
        .keys()
        .chain(now.keys().filter(|key| !before.contains_key(*key)));
    let value = |settings: &BTreeMap<String, Value>, key: &String| match settings.get(key) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(value) => value.to_string(),
    };
    keys.filter(|key| !IGNORED.contains(&key.as_str()))
        .map(|key| SettingDifference {
            setting: key.clone(),
            before: value(&before, key),
            now: value(&now, key),
        })
        .filter(|difference| difference.before != difference.now)
        .collect()
}

/// Compares AdamW's settings with those in a published checkpoint, which has no maximum norm of the gradient.
pub(super) fn optimizer_differences(
    published: &AdamWSettings,
    now: &AdamWSettings,
) -> Vec<SettingDifference> {
    let settings = [
        ("beta1", published.beta1, now.beta1),
        ("beta2", published.beta2, now.beta2),
        ("eps", published.eps, now.eps),
        ("weight_decay", published.weight_decay, now.weight_decay),
    ];
    let changed = settings
        .into_iter()
        .filter(|(_, before, now)| before != now);
    changed
        .map(|(name, before, now)| SettingDifference {
            setting: format!("optimizer.{name}"),
            before: before.to_string(),
            now: now.to_string(),
        })
        .collect()
}

/// Replaces the samples of one process by those of all, if the numbers of processes differ: it is the
/// batch of all processes that the weights depend on.
fn compare_batches_of_all(before: &mut Flat, now: &mut Flat) {
    let processes = |settings: &Flat| {
        settings
            .get("processes")
            .and_then(Value::as_u64)
            .unwrap_or(1)
    };
    let differ = processes(before) != processes(now);
    for settings in [before, now] {
        let count = processes(settings);
        settings.remove("processes");
        let samples = settings.get("batch_size").and_then(Value::as_u64);
        if let Some(samples) = samples.filter(|_| differ) {
            settings.remove("batch_size");
            let of_all = samples.saturating_mul(count).into();
            settings.insert("batch_size of all processes".to_owned(), of_all);
        }
    }
}

type Flat = BTreeMap<String, Value>;

/// Settings by dotted keys.
fn flattened(settings: &TrainSettings) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    if let Ok(value) = serde_json::to_value(settings) {
        flatten("", value, &mut flat);
    }
    flat
}

fn flatten(prefix: &str, value: Value, flat: &mut BTreeMap<String, Value>) {
    let Value::Object(fields) = value else {
        flat.insert(prefix.to_owned(), value);
        return;
    };
    for (name, value) in fields {
        let key = match prefix {
            "" => name,
            _ => format!("{prefix}.{name}"),
        };
        flatten(&key, value, flat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> TrainSettings {
        TrainSettings::new("ViT-B-16", "a.tar")
    }

    #[test]
    fn settings_that_change_the_weights_are_compared() {
        let before = serde_json::to_value(settings()).unwrap();
        assert_eq!(differences(&before, &settings()), []);
        let mut now = TrainSettings {
            lr: 1.0,
            seed: 77,
            batch_size: 32,
            ..settings()
        };
        now.data.num_samples = Some(9);
        now.optimizer.beta1 = 0.5;
        let found: Vec<String> = differences(&before, &now)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "batch_size: 64, now 32",
                "data.num_samples: none, now 9",
                "lr: 0.0003, now 1.0",
                "optimizer.beta1: 0.9, now 0.5",
                "seed: 0, now 77",
            ]
        );
    }

    #[test]
    fn settings_without_influence_on_the_weights_may_differ() {
        let before = serde_json::to_value(settings()).unwrap();
        let now = TrainSettings {
            model: "other/path.json".to_owned(),
            pretrained: Some("moved.pt".into()),
            workers: 99,
            feature_cache: Some("cache".into()),
            save_frequency: 7,
            save_every: Some(5),
            keep: 1,
            ..settings()
        };
        assert_eq!(differences(&before, &now), []);
    }

    #[test]
    fn batches_of_all_processes_are_compared() {
        let before = TrainSettings {
            processes: 4,
            batch_size: 16,
            ..settings()
        };
        let before = serde_json::to_value(before).unwrap();
        let now = |processes, batch_size| TrainSettings {
            processes,
            batch_size,
            ..settings()
        };
        assert_eq!(differences(&before, &now(1, 64)), []);
        assert_eq!(differences(&before, &now(2, 32)), []);
        let found = differences(&before, &now(2, 16));
        assert_eq!(
            found[0].to_string(),
            "batch_size of all processes: 64, now 32"
        );
        let found = differences(&before, &now(4, 8));
        assert_eq!(found[0].to_string(), "batch_size: 16, now 8");
    }

    #[test]
    fn a_state_without_a_setting_counts_as_its_default() {
        let mut before = serde_json::to_value(settings()).unwrap();
        before.as_object_mut().unwrap().remove("save_every");
        before["data"]
            .as_object_mut()
            .unwrap()
            .remove("num_samples");
        assert_eq!(differences(&before, &settings()), []);
    }
}
