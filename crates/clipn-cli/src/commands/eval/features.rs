//! Evaluation of features that were computed elsewhere.

use std::path::Path;

use clipn::classifier::Classifier;
use clipn::dataset::{FeatureFile, ImageSet, read_labels};
use clipn::evaluation::{
    EvaluationOptions, EvaluationRecord, FeatureSet, Results, Spread, evaluate_features,
};
use clipn::report::ReportOptions;
use serde_json::{Value, json};

use super::model::{self, EvaluatedModel};
use super::overlaps::warn_of_shared_features;
use super::train::{check_bundle, with_fitted_file};
use super::{
    EvalArgs, EvaluationData, NewResults, describe_texts, files, leave_out_not_finite, print,
    settings, streams, tracking, warn_of_ties,
};
use crate::common::args::named_path;
use crate::common::classes::{self, ClassesToEncode};
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::progress::Bar;
use crate::common::scores::available_scores;

/// Name of the benchmark of such an evaluation.
const NAME: &str = "features";

/// `clipn eval --features`.
pub(super) fn run(args: &EvalArgs, device: &Device) -> Result<(), CliError> {
    let bar = Bar::default();
    let id = args.features.as_deref().unwrap_or_default();
    let mut id = open_set(id)?;
    let mut ood = args
        .ood_features
        .iter()
        .map(|spec| open_set(spec))
        .collect::<Result<Vec<_>, _>>()?;
    check_names(&ood)?;
    let plan = args.train.plan(&args.scores)?;
    let mut judge = Judge::open(args, device, &bar)?;
    if let (Some(plan), Some(path)) = (plan, &args.train.train_features) {
        check_bundle(
            judge
                .model()
                .and_then(EvaluatedModel::decision)
                .map(|(score, _)| score),
        )?;
        let fitted = with_fitted_file(judge.classifier(), &args.train, path, plan, &bar)?;
        *judge.classifier_mut() = fitted;
    }
    let files: Vec<(&str, &Path)> = ood
        .iter()
        .map(|set| (&*set.name, set.file.path()))
        .collect();
    let train = args.train.train_features.as_deref();
    warn_of_shared_features((&id.name, id.file.path()), &files, train);
    let output = args.output.as_ref();
    let _lock = output
        .map(|directory| files::lock_directory(directory, args.force))
        .transpose()?;
    let classifier = judge.classifier();
    let labels = match &args.labels {
        Some(path) => read_labels(path, classifier.class_names(), id.file.len())?,
        None => Vec::new(),
    };
    let id_set = id.read(classifier)?.with_labels(labels);
    let ood_sets = ood
        .iter_mut()
        .map(|set| set.read(classifier))
        .collect::<Result<Vec<_>, _>>()?;
    streams::check(args, classifier, judge.model().is_some())?;
    let scores = match &args.scores.0 {
        Some(scores) => scores.clone(),
        None => available_scores(&[classifier]),
    };
    let options = EvaluationOptions::default()
        .with_scores(scores)
        .with_precision(args.score_precision)
        .with_features(!args.stream.stream.is_empty());
    let mut evaluation = evaluate_features(classifier, &id_set, &ood_sets, &options, &bar)?;
    leave_out_not_finite(args, std::slice::from_mut(&mut evaluation));
    let spread = args
        .repeat()
        .map(|repeat| Spread::repeat_with_progress(&evaluation, args.fpr(), repeat, &bar));
    let names: Vec<&str> = ood.iter().map(|set| set.name.as_str()).collect();
    let data = EvaluationData {
        name: NAME.to_owned(),
        title: format!("{} against {}", id.name, names.join(", ")),
        id: ImageSet::default(),
        shifted: Vec::new(),
        ood: Vec::new(),
    };
    let mut all_settings = judge.settings(args, &options, &data);
    all_settings["features"] = json!({
        "id": id.file.path(),
        "ood": ood.iter().map(|set| set.file.path()).collect::<Vec<&Path>>(),
        "labels": args.labels,
    });
    let streams = streams::run(args, judge.model(), classifier, &evaluation, &bar)?;
    let record = EvaluationRecord {
        results: Results::compute(&evaluation, args.fpr())?,
        settings: all_settings,
        spread: spread.transpose()?,
        streams: streams.as_ref().map(|streams| streams.record.clone()),
    };
    if let Some(directory) = output {
        let written = NewResults::create(directory)?;
        if let Some(streams) = &streams {
            streams::write_scores(written.path(), &evaluation, streams)?;
        }
        let mut page = ReportOptions::default()
            .with_title(&data.title)
            .with_settings(record.settings.clone())
            .with_precision(args.score_precision)
            .with_fpr_convention(args.fpr_convention)
            .with_spread(record.spread.clone())
            .with_streams(record.streams.clone());
        if let Some(model) = judge.model() {
            page = model.decide(page, &evaluation);
        }
        files::write_evaluation(written.path(), &record, &evaluation, None, &page)?;
        written.commit()?;
    }
    tracking::track(&args.tracking, &data.title, &record)?;
    if let Some(model) = judge.model() {
        model.report_decision(&evaluation, args.score_precision);
    }
    warn_of_ties(args, std::slice::from_ref(&record));
    print(&record, args.format)
}

/// A file of features with the name of its set.
struct NamedFile {
    name: String,
    file: FeatureFile,
}

impl NamedFile {
    fn read(&mut self, classifier: &Classifier) -> Result<FeatureSet, CliError> {
        self.file.check_dim(classifier.dim())?;
        let features = self.file.read_all()?;
        let keys = (0..self.file.len()).map(|row| self.file.key(row)).collect();
        Ok(FeatureSet::new(&self.name, features, keys))
    }
}

fn open_set(spec: &str) -> Result<NamedFile, CliError> {
    let (name, path) = named_path(spec);
    Ok(NamedFile {
        name,
        file: FeatureFile::open(path)?,
    })
}

fn check_names(sets: &[NamedFile]) -> Result<(), CliError> {
    let duplicate = sets
        .iter()
        .enumerate()
        .find(|(index, set)| sets[..*index].iter().any(|other| other.name == set.name));
    match duplicate {
        Some((index, set)) => Err(CliError::usage_with_hint(
            format!(
                "duplicate name of --ood-features number {}: `{}`",
                index + 1,
                set.name
            ),
            "give each a name of its own, as NAME=FILE",
        )),
        None => Ok(()),
    }
}

/// What scores the features.
enum Judge {
    /// The texts of a model, or a bundle.
    Model(Box<EvaluatedModel>),
    /// Text features that were computed elsewhere.
    Features(Box<Classifier>),
}

impl Judge {
    fn open(args: &EvalArgs, device: &Device, bar: &Bar) -> Result<Self, CliError> {
        let names = args.classes.as_deref();
        let allow_duplicates = args.prompts.allow_duplicates;
        if let Some(classifier) = args.text_features.classifier(names, allow_duplicates)? {
            return Ok(Self::Features(Box::new(classifier)));
        }
        let mut models = model::open(args, device)?;
        if models.len() > 1 {
            return Err(CliError::usage_with_hint(
                "features belong to one model, got several --pretrained",
                "evaluate them one by one, and merge the results with `clipn results merge`",
            ));
        }
        let Some(opened) = models.pop() else {
            return Err(no_classes());
        };
        let classes = match (opened.class_names(), names) {
            (Some(names), _) => ClassesToEncode {
                names: names.to_vec(),
                allow_duplicates: true,
            },
            (None, Some(spec)) => classes::to_encode(spec, allow_duplicates)?,
            (None, None) => return Err(no_classes()),
        };
        let model = opened.with_classes(&classes, args, args.gray, bar)?;
        Ok(Self::Model(Box::new(model)))
    }

    fn model(&self) -> Option<&EvaluatedModel> {
        match self {
            Self::Model(model) => Some(model),
            Self::Features(_) => None,
        }
    }

    fn classifier(&self) -> &Classifier {
        match self {
            Self::Model(model) => &model.classifier,
            Self::Features(classifier) => classifier,
        }
    }

    fn classifier_mut(&mut self) -> &mut Classifier {
        match self {
            Self::Model(model) => &mut model.classifier,
            Self::Features(classifier) => classifier,
        }
    }

    fn settings(
        &self,
        args: &EvalArgs,
        options: &EvaluationOptions,
        data: &EvaluationData,
    ) -> Value {
        let classifier = self.classifier();
        let mut all = match self {
            Self::Model(model) => return settings(args, options, data, model),
            Self::Features(_) => json!({
                "clipn": env!("CARGO_PKG_VERSION"),
                "benchmark": data.name,
                "logit_scale": classifier.scale(),
                "text_cosines": classifier.text_cosines(),
                "has_no": classifier.has_no(),
                "score_precision": options.precision,
                "fpr_convention": args.fpr_convention,
                "tpr": args.fpr().tprs(),
                "text_features": args.text_features.text_features,
                "no_features": args.text_features.no_features,
                "negative_features": args.text_features.negative_features,
            }),
        };
        describe_texts(classifier, &mut all);
        args.train.describe(classifier.fit(), &mut all);
        all
    }
}

fn no_classes() -> CliError {
    CliError::usage_with_hint(
        "no classes to compare the features with",
        "give --text-features, --bundle, or --classes with the model of the features",
    )
}
