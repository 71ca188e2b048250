//! Explanation of a decision, as one sentence.

use clipn_base::number::decimals;
use clipn_ood::calibration::{Calibration, ThresholdMethod};
use clipn_ood::scores::DecisionRule;

use crate::detector::{Detection, Evidence, StrongestNo};

/// Formats the explanation: rule, score, threshold, p-value, and for unknown images the class that
/// contributes most to the rejection.
pub(super) fn sentence(
    rule: &DecisionRule,
    calibration: Option<&Calibration>,
    detection: &Detection,
) -> String {
    let is_known = detection.label.is_some();
    let compared = match rule {
        DecisionRule::AtdExtraClass => extra_class(detection),
        DecisionRule::AcceptAll { score } => format!(
            "no image is rejected; {} is {}",
            score.display_name(),
            number(detection.score)
        ),
        _ => format!(
            "{} {} is {} {} ({})",
            rule.score().display_name(),
            number(detection.score),
            if is_known { "at least" } else { "below" },
            number(detection.threshold),
            threshold(rule, calibration),
        ),
    };
    let p_value = match detection.p_value {
        Some(p) => format!("; p-value {}{}", number(p), calibration_size(calibration)),
        None => String::new(),
    };
    let contribution = match &detection.strongest_no {
        Some(no) if !is_known && rule.score().uses_no() => format!("; {}", strongest_no(no)),
        _ => String::new(),
    };
    let negative = match &detection.nearest_negative {
        Some(negative) if !is_known => format!(
            "; most like `{}` (p = {})",
            negative.text,
            number(f64::from(negative.probability))
        ),
        _ => String::new(),
    };
    let places = detection.evidence.as_ref().map(places).unwrap_or_default();
    format!("{compared}{p_value}{contribution}{negative}{places}")
}

/// Says where the class, its "no" and the negatives are seen most.
fn places(evidence: &Evidence) -> String {
    let others = [
        ("its \"no\"", evidence.place_of_no()),
        ("the negatives", evidence.place_of_negatives()),
    ];
    let others = others
        .into_iter()
        .filter_map(|(what, place)| Some(format!(", {what} {}", at(place?))));
    format!(
        "; `{}` is strongest {}{}",
        evidence.label,
        at(evidence.place()),
        others.collect::<String>()
    )
}

fn at(place: &str) -> String {
    let preposition = if place == "center" { "in" } else { "at" };
    format!("{preposition} the {place}")
}

fn extra_class(detection: &Detection) -> String {
    let (none, best) = (1.0 - detection.score, 1.0 - detection.threshold);
    let (verb, rule) = if detection.label.is_some() {
        ("does not beat", "accepted by the published ATD rule")
    } else {
        ("beats", "rejected by the published ATD rule")
    };
    format!(
        "\"none of these\" ({}) {verb} the best class ({}): {rule}",
        number(none),
        number(best)
    )
}

fn threshold(rule: &DecisionRule, calibration: Option<&Calibration>) -> String {
    match (rule, calibration) {
        (_, Some(calibration)) => match calibration.method() {
            ThresholdMethod::OnAverage => {
                format!("calibrated to keep {}%", percent(calibration.target_tpr()))
            }
            ThresholdMethod::Guaranteed => format!(
                "calibrated to keep at least {}% with {}% confidence",
                percent(calibration.target_tpr()),
                percent(calibration.confidence())
            ),
            ThresholdMethod::Best => "calibrated with examples of unknown images".to_owned(),
            _ => "calibrated".to_owned(),
        },
        (DecisionRule::Ctw { .. }, None) if rule == &(DecisionRule::Ctw { threshold: 0.5 }) => {
            "published CTW rule: \"yes\" must outweigh \"no\" for the best class".to_owned()
        }
        (_, None) if DecisionRule::default_for(rule.score()) == Some(*rule) => {
            "the classes must outweigh the negatives".to_owned()
        }
        (_, None) => "given threshold".to_owned(),
    }
}

fn calibration_size(calibration: Option<&Calibration>) -> String {
    calibration.map_or_else(String::new, |calibration| {
        format!(" of {} calibration images", calibration.len())
    })
}

fn strongest_no(no: &StrongestNo) -> String {
    format!(
        "largest contribution to rejection: `{}` (p = {}, q = {})",
        no.label,
        number(f64::from(no.probability)),
        number(f64::from(no.agreement))
    )
}

fn percent(fraction: f64) -> f64 {
    (1000.0 * fraction).round() / 10.0
}

/// Formats a score or a probability.
fn number(value: f64) -> String {
    decimals(value, 3)
}
