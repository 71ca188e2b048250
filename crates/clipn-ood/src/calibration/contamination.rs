//! Detects calibration sets that contain images of other classes or duplicates.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{CalibrationSettings, CalibrationWarning, ThresholdMethod};
use crate::scores::{LogitsRow, Score, agreement, predict, stable};

/// Maximum number of folders that a warning names.
const MAX_NAMED_FOLDERS: usize = 3;

/// Score and prediction of one calibration image.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationSample {
    /// Score in the unit of [`Score::stable`](crate::scores::Score::stable).
    pub score: f64,
    /// Index of the predicted class.
    pub prediction: usize,
    /// Probability of "yes" against "no" for the predicted class (`q` in the paper). It is NaN if
    /// the model has no trained "no" tower, and such an image never counts as confidently rejected.
    pub agreement: f64,
    /// Name of the image's directory, if directories correspond to classes.
    pub folder: Option<String>,
    /// Fingerprint of the image or of the model's output for it, which is equal only for duplicates.
    /// `None` if there is none; such an image never counts as a duplicate.
    pub fingerprint: Option<u64>,
}

impl CalibrationSample {
    /// Creates the sample of an image from its logits, without a directory.
    ///
    /// The agreement is NaN unless the score uses "no". The fingerprint is a hash of all logits. It
    /// is `None` if there are fewer than two logits: a single `f32` is too coarse, and distinct
    /// images share it.
    ///
    /// ```
    /// use clipn_ood::calibration::CalibrationSample;
    /// use clipn_ood::scores::{LogitsRow, Msp};
    ///
    /// // The score saturates, but the images are no duplicates.
    /// let a = CalibrationSample::from_logits(&Msp, LogitsRow::new(&[900.0, 0.0], &[]));
    /// let b = CalibrationSample::from_logits(&Msp, LogitsRow::new(&[990.0, 0.0], &[]));
    /// assert_eq!(a.score, b.score);
    /// assert_ne!(a.fingerprint, b.fingerprint);
    /// ```
    pub fn from_logits(score: &dyn Score, row: LogitsRow<'_, f32>) -> Self {
        let prediction = predict(row);
        let agreement = score.uses_no().then(|| agreement(row));
        let agreement = agreement.and_then(|q| q.get(prediction).copied());
        Self {
            score: stable(score, row),
            prediction,
            agreement: agreement.map_or(f64::NAN, f64::from),
            folder: None,
            fingerprint: fingerprint(row),
        }
    }

    /// Creates the sample of an image and the values of all candidate scores, at least one, in the unit of
    /// [`Score::stable`](crate::scores::Score::stable). The sample has the first of these, and an agreement if
    /// any candidate uses "no"; [`choose`](Self::choose) makes it that of another candidate.
    ///
    /// # Panics
    /// Without candidates.
    pub fn of_candidates(
        candidates: &[&'static dyn Score],
        row: LogitsRow<'_, f32>,
    ) -> (Self, Vec<f64>) {
        let values: Vec<f64> = candidates.iter().map(|score| stable(*score, row)).collect();
        let representative = candidates.iter().find(|score| score.uses_no());
        let sample = Self {
            score: values[0],
            ..Self::from_logits(*representative.unwrap_or(&candidates[0]), row)
        };
        (sample, values)
    }

    /// Makes `value` of this score that of the sample, whose agreement is NaN unless the score uses "no".
    pub fn choose(&mut self, score: &dyn Score, value: f64) {
        self.score = value;
        if !score.uses_no() {
            self.agreement = f64::NAN;
        }
    }
}

/// Hashes the logits of an image.
fn fingerprint(row: LogitsRow<'_, f32>) -> Option<u64> {
    let sides = [row.yes, row.no, row.negatives.logits];
    if sides.iter().map(|side| side.len()).sum::<usize>() < 2 {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    for side in sides {
        side.len().hash(&mut hasher);
        side.iter().for_each(|v| v.to_bits().hash(&mut hasher));
    }
    Some(hasher.finish())
}

/// Checks a calibration set for images of other classes, by their "no" probability and by their
/// directory, and for duplicates.
///
/// # Panics
/// If a sample with a matching directory has a `prediction` outside `class_names`.
pub fn check_calibration_set(
    samples: &[CalibrationSample],
    class_names: &[String],
    settings: &CalibrationSettings,
) -> Vec<CalibrationWarning> {
    let mut warnings = Vec::new();
    let total = samples.len();
    let confident_rejections = samples
        .iter()
        .filter(|sample| sample.agreement <= CalibrationWarning::CONFIDENT_REJECTION_Q)
        .count();
    let allowed = ((1.0 - settings.target_tpr) * total as f64 + 1e-9).floor() as usize;
    if confident_rejections > allowed {
        warnings.push(CalibrationWarning::ConfidentRejections {
            count: confident_rejections,
            total,
            allowed: (settings.method != ThresholdMethod::Best).then_some(allowed),
        });
    }
    warnings.extend(check_folders(samples, class_names));
    let duplicates = count_duplicates(samples);
    if duplicates > 0 {
        warnings.push(CalibrationWarning::Duplicates { count: duplicates });
    }
    warnings
}

/// Compares directories with class names, provided that at least one has the name of a class.
fn check_folders(samples: &[CalibrationSample], class_names: &[String]) -> Vec<CalibrationWarning> {
    let classes: HashMap<String, usize> = class_names
        .iter()
        .enumerate()
        .map(|(class, name)| (normalize_name(name), class))
        .collect();
    let (mut correct, mut total) = (0, 0);
    let mut unknown_folders = Vec::new();
    let mut unknown = 0;
    for sample in samples {
        let Some(folder) = &sample.folder else {
            continue;
        };
        match classes.get(&normalize_name(folder)) {
            Some(&class) => {
                total += 1;
                correct += usize::from(
                    normalize_name(&class_names[sample.prediction])
                        == normalize_name(&class_names[class]),
                );
            }
            None => {
                unknown += 1;
                if !unknown_folders.contains(folder) {
                    unknown_folders.push(folder.clone());
                }
            }
        }
    }
    let mut warnings = Vec::new();
    if total > 0 && unknown > 0 {
        if unknown_folders.len() > MAX_NAMED_FOLDERS {
            let more = unknown_folders.len() - MAX_NAMED_FOLDERS;
            unknown_folders.truncate(MAX_NAMED_FOLDERS);
            unknown_folders.push(format!("and {more} more"));
        }
        warnings.push(CalibrationWarning::UnknownFolders {
            folders: unknown_folders,
            count: unknown,
        });
    }
    if total > 0 && 2 * correct < total {
        warnings.push(CalibrationWarning::FolderMismatch { correct, total });
    }
    warnings
}

/// Counts duplicates: images with the same fingerprint as an earlier image. Equal scores are no
/// sign of duplicates, because scores saturate and have ties.
fn count_duplicates(samples: &[CalibrationSample]) -> usize {
    let mut seen = HashSet::new();
    let fingerprints = samples.iter().filter_map(|sample| sample.fingerprint);
    fingerprints.filter(|value| !seen.insert(*value)).count()
}

/// Normalizes the spelling of directory and class names: `School_Bus` becomes `school bus`.
fn normalize_name(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '-'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{Ctw, Msp};

    fn sample(score: f64, agreement: f64, folder: Option<&str>) -> CalibrationSample {
        CalibrationSample {
            score,
            prediction: 0,
            agreement,
            folder: folder.map(str::to_owned),
            fingerprint: None,
        }
    }

    fn warnings(samples: &[CalibrationSample]) -> Vec<CalibrationWarning> {
        check_calibration_set(
            samples,
            &["school bus".to_owned(), "cat".to_owned()],
            &CalibrationSettings::default(),
        )
    }

    #[test]
    fn clean_sets_cause_no_warnings() {
        let clean: Vec<CalibrationSample> = (1..=100)
            .map(|i| {
                sample(
                    -f64::from(i),
                    if i > 95 { 0.05 } else { 0.9 },
                    Some("School_Bus"),
                )
            })
            .collect();
        assert_eq!(warnings(&clean), []);
        assert_eq!(warnings(&[]), []);
    }

    #[test]
    fn warns_of_confident_rejections_beyond_the_target() {
        let mixed: Vec<CalibrationSample> = (1..=100)
            .map(|i| sample(-f64::from(i), if i > 94 { 0.05 } else { 0.9 }, None))
            .collect();
        assert_eq!(
            warnings(&mixed),
            [CalibrationWarning::ConfidentRejections {
                count: 6,
                total: 100,
                allowed: Some(5)
            }]
        );
        // The best threshold has no such limit.
        let settings = CalibrationSettings {
            method: ThresholdMethod::Best,
            ..CalibrationSettings::default()
        };
        let [warning] = &check_calibration_set(&mixed, &[], &settings)[..] else {
            panic!("one warning")
        };
        assert_eq!(
            warning.to_string(),
            "the model confidently rejects 6 of 100 images (q of at most 0.1): either the set contains images \
             of other classes, or the model does not know these classes"
        );
        let json = serde_json::to_value(warning).unwrap();
        assert_eq!(json["allowed"], serde_json::Value::Null);
        let read: CalibrationWarning = serde_json::from_value(json).unwrap();
        assert_eq!(read, *warning);
    }

    #[test]
    fn warns_of_folders_that_match_no_class() {
        let samples: Vec<CalibrationSample> =
            ["school-bus", "cat", "cat", "lamp", "car", "sofa", "tree"]
                .iter()
                .enumerate()
                .map(|(i, folder)| sample(-1.0 - i as f64, 0.9, Some(folder)))
                .collect();
        let messages: Vec<String> = warnings(&samples)
            .iter()
            .map(CalibrationWarning::to_string)
            .collect();
        assert!(
            messages[0].contains("(lamp, car, sofa, and 1 more): 4"),
            "{messages:?}"
        );
        assert!(messages[1].contains("only 1 of 3"), "{messages:?}");
        // Without any folder that has the name of a class, there is nothing to compare.
        assert_eq!(warnings(&samples[3..]), []);
    }

    #[test]
    fn duplicates_are_images_with_the_same_logits() {
        let from = |yes: &[f32]| CalibrationSample::from_logits(&Msp, LogitsRow::new(yes, &[]));
        // The first four have the same score, because it saturates or they are permuted.
        let distinct = [
            from(&[900.0, 0.0]),
            from(&[990.0, 0.0]),
            from(&[900.0, 1.0]),
            from(&[901.0, 1.0]),
            from(&[30.0, 20.0]),
            from(&[31.0, 21.0]),
        ];
        assert_eq!(distinct[0].score, distinct[3].score);
        assert_eq!(distinct[4].score, distinct[5].score);
        assert_eq!(warnings(&distinct), []);
        let repeated = [
            from(&[30.0, 20.0]),
            from(&[31.0, 20.0]),
            from(&[30.0, 20.0]),
        ];
        assert_eq!(
            warnings(&repeated),
            [CalibrationWarning::Duplicates { count: 1 }]
        );
        // One logit is no fingerprint, and neither is a score.
        assert_eq!(warnings(&[from(&[30.0]), from(&[30.0])]), []);
        assert_eq!(
            warnings(&[sample(-1.0, 0.9, None), sample(-1.0, 0.9, None)]),
            []
        );
    }

    #[test]
    fn samples_have_an_agreement_if_the_score_uses_no() {
        let row = LogitsRow::new(&[30.0, 20.0], &[30.0, 10.0]);
        let sample = CalibrationSample::from_logits(&Ctw, row);
        assert_eq!((sample.prediction, sample.agreement), (0, 0.5));
        assert!(CalibrationSample::from_logits(&Msp, row).agreement.is_nan());
        let without_no = CalibrationSample::from_logits(&Ctw, LogitsRow::new(&[30.0, 20.0], &[]));
        assert!(without_no.agreement.is_nan() && without_no.score.is_nan());
    }
}
