//! Flags on top of a `settings.toml`: `--settings FILE --seed 7`.

use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use clipn::training::{DatasetKind, ObjectiveName, TrainSettings};
use toml::{Table, Value};

use super::args::TrainArgs;
use crate::common::error::CliError;

/// The flags of `clipn train` whose values `settings.toml` has, with the keys that they set.
const SETTINGS_FLAGS: [(&str, &[&str]); 46] = [
    ("objective", &["objective.name"]),
    ("model", &["model"]),
    ("pretrained", &["pretrained"]),
    ("train_data", &["data.train_data", "data.kind"]),
    ("dataset_type", &["data.kind"]),
    ("train_num_samples", &["data.num_samples"]),
    ("dataset_resampled", &["data.sampling"]),
    ("fields", &["data.images", "data.captions"]),
    ("csv_separator", &["data.table.separator"]),
    ("csv_quoting", &["data.table.quoting"]),
    ("csv_img_key", &["data.table.image_key"]),
    ("csv_caption_key", &["data.table.caption_key"]),
    ("json_caption_key", &["data.captions"]),
    ("class_names", &["data.captions", "data.table.class_names"]),
    ("max_bad", &["data.max_bad"]),
    ("augmentation", &["augmentation.crop"]),
    ("crop_scale", &["augmentation.crop"]),
    ("flip", &["augmentation.horizontal_flip"]),
    ("color_jitter", &["augmentation.colour_jitter"]),
    ("grayscale", &["augmentation.greyscale"]),
    ("erasing", &["augmentation.erasing"]),
    ("batch_size", &["batch_size"]),
    ("accum_freq", &["accum_freq"]),
    ("epochs", &["epochs"]),
    ("lr", &["lr"]),
    ("warmup", &["warmup"]),
    ("constant_lr", &["constant_lr"]),
    ("wd", &["optimizer.weight_decay"]),
    ("beta1", &["optimizer.beta1"]),
    ("beta2", &["optimizer.beta2"]),
    ("eps", &["optimizer.eps"]),
    ("grad_clip_norm", &["optimizer.max_gradient_norm"]),
    ("no_prompts", &["no_prompts"]),
    (
        "loss_weights",
        &[
            "objective.weights.yes",
            "objective.weights.no",
            "objective.weights.tso",
        ],
    ),
    ("outlier_weight", &["objective.weights.outlier"]),
    ("illustrations", &["outliers.illustrations"]),
    ("tso", &["objective.tso"]),
    ("no_scale", &["objective.no_scale"]),
    ("templates", &["templates"]),
    ("cache_image_features", &["cache_image_features"]),
    ("feature_cache", &["feature_cache"]),
    ("workers", &["workers"]),
    ("seed", &["seed"]),
    ("save_frequency", &["save_frequency"]),
    ("save_every", &["save_every"]),
    ("keep", &["keep"]),
];

/// Flags about the process that trains, which no settings file has.
pub(super) const PROCESS_FLAGS: [&str; 4] =
    ["threads", "distributed", "reduce", "requeue_exit_code"];

/// Notes which of the flags are on the command line, apart from defaults.
pub(crate) fn note_given(args: &mut TrainArgs, matches: &ArgMatches) {
    let is_given = |flag: &&str| matches.value_source(flag) == Some(ValueSource::CommandLine);
    let flags = SETTINGS_FLAGS.iter().map(|(flag, _)| *flag);
    let flags = flags.chain(PROCESS_FLAGS);
    args.given = flags.filter(is_given).collect();
}

/// Replaces the values of a settings file by those of the flags on the command line.
pub(super) fn apply(
    file: &TrainSettings,
    flags: &TrainSettings,
    given: &[&str],
) -> Result<TrainSettings, CliError> {
    let table = |settings: &TrainSettings| {
        Table::try_from(settings).map_err(|error| CliError::usage(error.to_string()))
    };
    let (mut merged, flags) = (table(file)?, table(flags)?);
    // The architecture of weights with a config is that of the weights that replace them.
    let names_weights = |path: &PathBuf| path.as_os_str() == file.model.as_str();
    let is_of_weights = file.pretrained.as_ref().is_some_and(names_weights);
    if is_of_weights && given.contains(&"pretrained") && !given.contains(&"model") {
        set(
            &mut merged,
            "model",
            get(&flags, "model").cloned().unwrap_or_else(|| "".into()),
        );
    }
    for (flag, keys) in SETTINGS_FLAGS {
        if !given.contains(&flag) {
            continue;
        }
        for key in keys {
            if let Some(value) = get(&flags, key) {
                set(&mut merged, key, value.clone());
            }
        }
    }
    merged
        .try_into()
        .map_err(|error: toml::de::Error| CliError::usage(error.message().to_owned()))
}

/// Rejects flags on the command line that the objective does not use.
pub(super) fn check_objective(objective: ObjectiveName, given: &[&str]) -> Result<(), CliError> {
    let unused: &[&str] = match objective {
        ObjectiveName::Clip => &[
            "no_prompts",
            "loss_weights",
            "outlier_weight",
            "illustrations",
            "tso",
            "no_scale",
            "templates",
            "feature_cache",
        ],
        ObjectiveName::ClipnHandcrafted => &["no_prompts"],
        ObjectiveName::Clipn => &["templates"],
        _ => &[],
    };
    match unused.iter().find(|flag| given.contains(flag)) {
        Some(flag) => Err(CliError::usage_with_hint(
            format!(
                "--{} has no effect with --objective {objective}",
                flag.replace('_', "-")
            ),
            "leave it out, or choose another objective",
        )),
        None => Ok(()),
    }
}

/// Rejects flags on the command line that have no meaning for this kind of training data.
pub(super) fn check_data(kind: DatasetKind, given: &[&str]) -> Result<(), CliError> {
    let of_shards = ["fields", "json_caption_key"];
    let of_text = ["csv_separator", "csv_quoting"];
    let of_tables = ["csv_img_key", "csv_caption_key"];
    let (unused, what) = match kind {
        DatasetKind::Webdataset => ([&of_text[..], &of_tables].concat(), "shards"),
        DatasetKind::Csv => (of_shards.to_vec(), "a CSV or TSV file"),
        DatasetKind::Jsonl => ([of_shards, of_text].concat(), "a JSON Lines file"),
        DatasetKind::Parquet => ([of_shards, of_text].concat(), "Parquet files"),
        _ => return Ok(()),
    };
    match unused.iter().find(|flag| given.contains(flag)) {
        Some(flag) => Err(CliError::usage_with_hint(
            format!("--{} has no effect with {what}", flag.replace('_', "-")),
            "leave it out, or set the format of the data with --dataset-type",
        )),
        None => Ok(()),
    }
}

/// The value of a dotted key.
fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => get(table.get(first)?.as_table()?, rest),
    }
}

/// Sets the value of a dotted key. The tables exist: both sides are settings.
fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Table::new().into());
            if let Some(inner) = inner.as_table_mut() {
                set(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;

    /// `clipn train` with these arguments, as far as the settings.
    fn flags(arguments: &[&str]) -> (TrainSettings, Vec<&'static str>) {
        let command = TrainArgs::augment_args(Command::new("train"));
        let matches = command.get_matches_from([&["train"], arguments].concat());
        let mut args = <TrainArgs as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        note_given(&mut args, &matches);
        (super::super::settings(&args).unwrap(), args.given)
    }

    const EVERY_FLAG: [&str; 43] = [
        "--objective=clipn-handcrafted",
        "--model=ViT-B-32",
        "--pretrained=b.pt",
        "--train-data=b.csv",
        "--dataset-type=webdataset",
        "--train-num-samples=7",
        "--dataset-resampled",
        "--fields=image=png,caption=cap",
        "--csv-separator=;",
        "--csv-quoting=none",
        "--csv-img-key=i",
        "--csv-caption-key=c",
        "--json-caption-key=j",
        "--max-bad=0.3",
        "--crop-scale=0.4,0.8",
        "--flip=0.25",
        "--color-jitter=0.1,0.2,0.3",
        "--grayscale=0.125",
        "--erasing=0.0625",
        "--batch-size=5",
        "--accum-freq=2",
        "--epochs=3",
        "--lr=0.5",
        "--warmup=4",
        "--constant-lr",
        "--wd=0.75",
        "--beta1=0.6",
        "--beta2=0.7",
        "--eps=0.001",
        "--grad-clip-norm=9",
        "--no-prompts=11",
        "--loss-weights=1,2,3",
        "--outlier-weight=4",
        "--illustrations=0.5",
        "--tso=cosine",
        "--templates=simple",
        "--cache-image-features",
        "--feature-cache=f",
        "--workers=13",
        "--seed=17",
        "--save-frequency=2",
        "--save-every=19",
        "--keep=23",
    ];

    #[test]
    fn flags_without_effect_are_rejected() {
        let required = ["--model=m", "--train-data=d"];
        let given = |extra: &[&str]| flags(&[&required, extra].concat()).1;
        let outliers = given(&["--outlier-weight", "2"]);
        assert!(check_objective(ObjectiveName::Clipn, &outliers).is_ok());
        assert!(check_objective(ObjectiveName::ClipnHandcrafted, &outliers).is_ok());
        let error = check_objective(ObjectiveName::Clip, &outliers).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--outlier-weight has no effect with --objective clip"
        );
        let prompts = given(&["--no-prompts", "4"]);
        assert!(check_objective(ObjectiveName::ClipnHandcrafted, &prompts).is_err());
        let templates = given(&["--templates", "simple"]);
        assert!(check_objective(ObjectiveName::Clipn, &templates).is_err());
        assert!(check_objective(ObjectiveName::ClipnHandcrafted, &templates).is_ok());
        let separator = given(&["--csv-separator", ","]);
        assert!(check_data(DatasetKind::Csv, &separator).is_ok());
        let error = check_data(DatasetKind::Webdataset, &separator).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--csv-separator has no effect with shards"
        );
        let fields = given(&["--fields", "image=jpg,caption=txt"]);
        assert!(check_data(DatasetKind::Webdataset, &fields).is_ok());
        assert!(check_data(DatasetKind::Jsonl, &fields).is_err());
        assert!(check_data(DatasetKind::Jsonl, &given(&["--image-key", "a"])).is_ok());
        // Defaults are not flags.
        let rate = given(&["--lr", "0.1"]);
        assert!(check_objective(ObjectiveName::Clip, &rate).is_ok());
    }

    /// Without a key for a flag, its value would be lost without a word.
    #[test]
    fn every_flag_replaces_the_value_of_the_file() {
        let (file, _) = flags(&["--model=ViT-B-16", "--train-data=a.tar"]);
        let (all, given) = flags(&EVERY_FLAG);
        assert_eq!(apply(&file, &all, &given).unwrap(), all);
        for flag in EVERY_FLAG {
            let with = [&["--model=ViT-B-16", "--train-data=a.tar"], &[flag][..]].concat();
            let (one, given) = match flag {
                "--model=ViT-B-32" => flags(&[flag, "--train-data=a.tar"]),
                "--train-data=b.csv" => flags(&[flag, "--model=ViT-B-16"]),
                _ => flags(&with),
            };
            let merged = apply(&file, &one, &given).unwrap();
            // Shards are the default kind of `a.tar` already.
            if flag != "--dataset-type=webdataset" {
                assert_ne!(merged, file, "{flag}");
            }
            assert_eq!(merged, one, "{flag}");
        }
    }

    /// Weights with a config are the architecture too.
    #[test]
    fn other_weights_bring_their_architecture() {
        let (file, _) = flags(&["--pretrained=old", "--train-data=a.tar"]);
        assert_eq!(file.model, "old");
        let (new, given) = flags(&["--settings=s.toml", "--pretrained=new"]);
        assert_eq!(apply(&file, &new, &given).unwrap().model, "new");
        let named = TrainSettings {
            model: "ViT-B-16".to_owned(),
            ..file
        };
        assert_eq!(apply(&named, &new, &given).unwrap().model, "ViT-B-16");
    }

    #[test]
    fn flags_that_are_not_given_keep_the_values_of_the_file() {
        let (file, _) = flags(&EVERY_FLAG);
        let (seed, given) = flags(&["--settings=s.toml", "--seed=1"]);
        assert_eq!(given, ["seed"]);
        let merged = apply(&file, &seed, &given).unwrap();
        assert_eq!(merged, TrainSettings { seed: 1, ..file });
    }

    #[test]
    fn the_table_has_every_flag_of_the_settings() {
        let command = TrainArgs::augment_args(Command::new("train"));
        let apart = [
            "settings",
            "downloads",
            "offline",
            "mirror",
            "cache_dir",
            "device",
            "precision",
            "device_memory",
            "cuda_libraries",
            "precision",
            "device_memory",
            "cuda_libraries",
            "mpi_library",
            "logs",
            "name",
            "resume",
            "override_settings",
            "eval_benchmark",
            "data_root",
            "eval_frequency",
            "eval_templates",
        ];
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            let is_setting = SETTINGS_FLAGS.iter().any(|(flag, _)| *flag == id);
            let is_known = is_setting || PROCESS_FLAGS.contains(&id);
            assert!(is_known != apart.contains(&id), "{id}");
        }
    }
}
