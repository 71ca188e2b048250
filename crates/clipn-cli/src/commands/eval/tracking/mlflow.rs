//! MLflow: a run in the file store that `mlflow ui --backend-store-uri DIR` shows.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{FileError, TrackedRun, write_file};

/// Identifier and name of the experiment.
const EXPERIMENT: (&str, &str) = ("770095", "clipn eval");

/// Maximum number of bytes of a parameter in MLflow.
const MAX_PARAMETER: usize = 6000;

/// Writes metrics, parameters and tags of a run.
pub(super) fn write(directory: &Path, run: &TrackedRun<'_>) -> Result<PathBuf, FileError> {
    let root = std::path::absolute(directory).map_err(|source| (directory.to_owned(), source))?;
    let (experiment, name) = EXPERIMENT;
    let experiment_directory = root.join(experiment);
    let time = run.time.as_millis();
    let yaml = |path: &Path| Value::from(format!("file://{}", path.display()));
    let meta = experiment_directory.join("meta.yaml");
    if !meta.exists() {
        let text = format!(
            "artifact_location: {}\ncreation_time: {time}\nexperiment_id: '{experiment}'\n\
             last_update_time: {time}\nlifecycle_stage: active\nname: {name}\n",
            yaml(&experiment_directory)
        );
        write_file(&meta, text)?;
    }
    // Identifiers of MLflow have 32 hexadecimal digits.
    let id = format!("{:0>32}", run.id);
    let own = experiment_directory.join(&id);
    for (name, value) in &run.metrics {
        write_file(
            &own.join("metrics").join(key(name)),
            format!("{time} {value:?} 0\n"),
        )?;
    }
    let mut parameters = Vec::new();
    flatten("", run.settings, &mut parameters);
    for (name, value) in &parameters {
        write_file(&own.join("params").join(key(name)), value)?;
    }
    for (tag, value) in [
        ("mlflow.runName", run.name),
        ("mlflow.source.name", "clipn"),
        ("mlflow.source.type", "LOCAL"),
        ("mlflow.user", ""),
    ] {
        write_file(&own.join("tags").join(tag), value)?;
    }
    let artifacts = own.join("artifacts");
    clipn::files::create_directories(&artifacts).map_err(|source| (artifacts.clone(), source))?;
    // Last, since a directory without it is no run: what was interrupted is not shown.
    let text = format!(
        "artifact_uri: {}\nend_time: {time}\nentry_point_name: ''\nexperiment_id: '{experiment}'\n\
         lifecycle_stage: active\nrun_id: {id:?}\nrun_name: {}\nrun_uuid: {id:?}\nsource_name: ''\n\
         source_type: 4\nsource_version: ''\nstart_time: {time}\nstatus: 3\ntags: []\nuser_id: ''\n",
        yaml(&artifacts),
        Value::from(run.name),
    );
    write_file(&own.join("meta.yaml"), text)?;
    Ok(own)
}

/// A name with the characters that MLflow allows; others become `_`. Empty parts, and those that name a
/// directory, become `_` too.
fn key(name: &str) -> String {
    let allowed = |c: char| {
        if c.is_alphanumeric() || "_-. :".contains(c) {
            c
        } else {
            '_'
        }
    };
    let part = |part: &str| match part {
        "" | "." | ".." => "_".to_owned(),
        part => part.chars().map(allowed).collect::<String>(),
    };
    name.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Settings with dotted names, each cut to MLflow's length.
fn flatten(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let text = match value {
        Value::Object(map) => {
            for (name, value) in map {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{name}"), value, out);
            }
            return;
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let limit = text.len().min(MAX_PARAMETER);
    let end = (0..=limit)
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or_default();
    out.push((prefix.to_owned(), text[..end].to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_inside_of_their_directory() {
        assert_eq!(key("msp/50%|../auroc"), "msp/50__../auroc");
        assert_eq!(key("msp/../x"), "msp/_/x");
        assert_eq!(key("/etc"), "_/etc");
    }
}
