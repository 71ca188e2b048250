//! Evaluation of scores that learn from the stream of images.

use std::sync::atomic::{AtomicBool, Ordering};

use clipn_base::progress::{NoProgress, Progress};
use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_detect::adaptation::AdaptiveScorer;
use clipn_detect::classifier::Classifier;
use clipn_detect::negatives::choice::Grouping;
use clipn_detect::negatives::{Negatives, NegativesOrigin, TemplateJoin};
use clipn_eval::streams::{StreamEvaluator, StreamRecord, StreamSettings, write_stream_scores};
use clipn_eval::{Evaluation, EvaluationError, EvaluationOptions, FeatureSet, evaluate_features};
use clipn_model::FeatureMatrix;
use clipn_ood::metrics::{FprConvention, auroc, fpr_at_tpr};
use clipn_ood::streams::AdaNegSettings;

const DIM: usize = 12;
const CLASSES: usize = 3;
const WORDS: usize = 10;

fn unit(values: Vec<f32>) -> Vec<f32> {
    let mut rows = FeatureMatrix::new(values, DIM);
    rows.normalize();
    rows.values().to_vec()
}

fn rows(seed: u64, count: usize) -> Vec<f32> {
    let mut random = Xoshiro256::new(seed);
    unit((0..count * DIM).map(|_| random.normal() as f32).collect())
}

fn classifier() -> Classifier {
    let names = (0..CLASSES).map(|i| format!("class {i}")).collect();
    let words = (0..WORDS).map(|i| format!("word {i}")).collect();
    let origin = NegativesOrigin::user_list(vec![], TemplateJoin::default(), Grouping::default());
    let negatives = Negatives::new(words, &rows(2, WORDS), vec![WORDS], origin).unwrap();
    let classifier = Classifier::new(names, rows(1, CLASSES), None).unwrap();
    classifier.with_negatives(negatives).unwrap()
}

/// Images of a domain that all texts are shifted from.
fn set(name: &str, texts: &[f32], count: usize, noise: f32, seed: u64) -> FeatureSet {
    let mut random = Xoshiro256::new(seed);
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    let shift = rows(77, 1);
    for image in 0..count {
        let class = image % (texts.len() / DIM);
        let text = &texts[class * DIM..][..DIM];
        let pairs = text.iter().zip(&shift);
        values.extend(pairs.map(|(t, s)| t + 0.5 * s + noise * random.normal() as f32));
        labels.push(Some(class % CLASSES));
    }
    let keys = (0..count).map(|i| format!("{name}/{i}")).collect();
    FeatureSet::new(name, unit(values), keys).with_labels(labels)
}

fn evaluation(features: bool) -> Evaluation {
    let classifier = classifier();
    let id = set("pets", classifier.yes_weights(), 60, 0.2, 5);
    let words = classifier.negatives().unwrap().rows().to_vec();
    let ood = [
        set("things", &words, 40, 0.2, 6),
        set("few", &words, 12, 0.3, 7),
    ];
    let options = EvaluationOptions::default().with_features(features);
    evaluate_features(&classifier, &id, &ood, &options, &NoProgress).unwrap()
}

fn scorer() -> AdaptiveScorer {
    AdaptiveScorer::adaneg(&classifier(), AdaNegSettings::default()).unwrap()
}

fn settings() -> StreamSettings {
    StreamSettings::default().with_batch(10)
}

#[test]
fn metrics_are_those_of_the_scores_of_each_stream() {
    let evaluation = evaluation(true);
    let run = StreamEvaluator::new(&evaluation, settings())
        .run(&mut scorer())
        .unwrap();
    assert_eq!(run.rows.len(), 3 * (100 + 72));
    assert_eq!(run.results.len(), 2);
    for (set, result) in run.results.iter().enumerate() {
        assert_eq!((result.n_id, result.n_ood), (60, [40, 12][set]));
        assert_eq!(result.orders.len(), 3);
        for (order, metrics) in result.orders.iter().enumerate() {
            let column = |is_id: bool| -> Vec<f64> {
                let own = run
                    .rows
                    .iter()
                    .filter(|row| (row.set, row.order) == (set, order));
                own.filter(|row| row.is_id == is_id)
                    .map(|row| row.score)
                    .collect()
            };
            let (id, ood) = (column(true), column(false));
            assert_eq!(metrics.auroc, auroc(&id, &ood).unwrap());
            let fpr95 = fpr_at_tpr(&id, &ood, 0.95, FprConvention::default()).unwrap();
            assert_eq!(metrics.fpr95, fpr95);
        }
        // Orders differ, and the score without memory does not.
        let of_order = |order: usize| -> Vec<f64> {
            let own = run
                .rows
                .iter()
                .filter(|row| (row.set, row.order) == (set, order));
            let mut scores: Vec<f64> = own.map(|row| row.score).collect();
            scores.sort_by(f64::total_cmp);
            scores
        };
        assert_ne!(of_order(0), of_order(1));
        let of_score = evaluation
            .scores
            .iter()
            .position(|s| s.name() == "neglabel")
            .unwrap();
        let values = |rows: &[clipn_eval::ImageRow]| -> Vec<f64> {
            rows.iter()
                .map(|row| row.outcome.as_ref().unwrap().scores[of_score])
                .collect()
        };
        let expected = auroc(
            &values(&evaluation.id.rows),
            &values(&evaluation.ood[set].rows),
        );
        assert!((result.fixed.auroc - expected.unwrap()).abs() < 1e-3);
        let mean: f64 = result.orders.iter().map(|m| m.auroc).sum::<f64>() / 3.0;
        assert!((result.mean.auroc - mean).abs() < 1e-12);
        assert!(result.mean.accuracy.unwrap() > 0.5);
        assert!(result.std.unwrap().auroc < 0.1);
    }
    // The shift of the domain is learned.
    let first = &run.results[0];
    assert!(first.mean.auroc > first.fixed.auroc, "{first:?}");
}

#[test]
fn every_stream_begins_with_an_empty_memory_and_is_the_same_again() {
    let evaluation = evaluation(true);
    let evaluator = StreamEvaluator::new(&evaluation, settings());
    let mut scorer = scorer();
    let first = evaluator.run(&mut scorer).unwrap();
    assert_eq!((scorer.images(), scorer.remembered()), (0, 0));
    assert_eq!(evaluator.run(&mut scorer).unwrap().rows, first.rows);
    let other = StreamEvaluator::new(&evaluation, settings().with_seed(1));
    assert_ne!(other.run(&mut scorer).unwrap().rows, first.rows);
}

#[test]
fn mixtures_leave_images_out() {
    let evaluation = evaluation(true);
    let settings = settings().with_orders(1).with_ood_shares([0.1, 0.5]);
    let run = StreamEvaluator::new(&evaluation, settings.clone())
        .run(&mut scorer())
        .unwrap();
    let counts: Vec<_> = run
        .results
        .iter()
        .map(|r| (r.ood.as_str(), r.ood_share.unwrap(), r.n_id, r.n_ood))
        .collect();
    assert_eq!(
        counts,
        [
            ("things", 0.1, 60, 7),
            ("things", 0.5, 40, 40),
            ("few", 0.1, 60, 7),
            ("few", 0.5, 12, 12)
        ]
    );
    assert!(run.results.iter().all(|result| result.std.is_none()));
    let record = StreamRecord::new(settings, run.results);
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<StreamRecord>(&json).unwrap(), record);
}

#[test]
fn scores_of_streams_are_written_with_their_images() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("scores.csv");
    let evaluation = evaluation(true);
    let settings = settings().with_orders(1);
    let run = StreamEvaluator::new(&evaluation, settings)
        .run(&mut scorer())
        .unwrap();
    write_stream_scores(&path, &evaluation, &run.rows).unwrap();
    let mut csv = csv::Reader::from_path(&path).unwrap();
    let records: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 100 + 72);
    for (record, row) in records.iter().zip(&run.rows) {
        let set = if row.is_id {
            &evaluation.id
        } else {
            &evaluation.ood[row.set]
        };
        assert_eq!(&record[0], "adaneg");
        assert_eq!(&record[5], set.rows[row.image].path.to_str().unwrap());
        assert_eq!(record[8].parse::<f64>().unwrap(), row.score);
    }
}

#[test]
fn features_are_needed() {
    let evaluation = evaluation(false);
    let error = StreamEvaluator::new(&evaluation, settings())
        .run(&mut scorer())
        .unwrap_err();
    assert_eq!(error.to_string(), "`pets` has no features");
}

#[test]
fn a_cancelled_evaluation_says_how_far_it_came() {
    #[derive(Default)]
    struct AfterOne(AtomicBool);
    impl Progress for AfterOne {
        fn advance(&self, _: u64) {
            self.0.store(true, Ordering::Relaxed);
        }
        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
    let (evaluation, progress) = (evaluation(true), AfterOne::default());
    let evaluator = StreamEvaluator::new(&evaluation, settings()).with_progress(&progress);
    let error = evaluator.run(&mut scorer()).unwrap_err();
    assert!(
        matches!(
            error,
            EvaluationError::StreamsInterrupted { done: 1, total: 6 }
        ),
        "{error}"
    );
}

#[test]
fn settings_of_zero_count_as_one() {
    let json = r#"{"batch": 0, "orders": 0, "seed": 0, "ood_shares": [0.5]}"#;
    let settings: StreamSettings = serde_json::from_str(json).unwrap();
    let evaluation = evaluation(true);
    let run = StreamEvaluator::new(&evaluation, settings).run(&mut scorer());
    assert!(!run.unwrap().rows.is_empty());
}

#[test]
fn every_row_of_features_has_a_name() {
    let classifier = Classifier::new(
        ["a", "b"].map(String::from).into(),
        vec![1.0, 0.0, 0.0, 1.0],
        None,
    );
    let keys = |count: usize| (0..count).map(|index| index.to_string()).collect();
    let evaluate = |names: usize, labels: Vec<Option<usize>>| {
        let id = FeatureSet::new("id", vec![1.0, 0.0, 0.0, 1.0], keys(names)).with_labels(labels);
        let ood = [FeatureSet::new("ood", vec![-1.0, -1.0], keys(1))];
        let options = EvaluationOptions::default();
        let found = evaluate_features(
            classifier.as_ref().unwrap(),
            &id,
            &ood,
            &options,
            &NoProgress,
        );
        found.err().map(|error| error.to_string())
    };
    assert_eq!(evaluate(2, vec![]), None);
    assert_eq!(evaluate(2, vec![Some(0), None]), None);
    let expected = "expected 2 names of `id`, one per row, got 1";
    assert_eq!(evaluate(1, vec![]).unwrap(), expected);
    let expected = "expected 2 labels of `id`, one per row, got 3";
    assert_eq!(evaluate(2, vec![None; 3]).unwrap(), expected);
}
