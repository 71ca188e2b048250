//! Why a picture was kept or not, in a sentence.

use super::{Detection, NoVoice};
use clipn_ood::calibration::{Calibration, Choice};
use clipn_ood::scores::Rule;

/// The sentence: which rule, which threshold, the p-value, and whose "no" it was.
pub(super) fn sentence(
    rule: &Rule,
    calibration: Option<&Calibration>,
    detection: &Detection,
) -> String {
    if detection.score.is_nan() {
        return "it cannot be scored: its logits are not all finite numbers".to_owned();
    }
    let is_known = detection.label.is_some();
    let compared = match rule {
        Rule::AtdExtraClass => extra_class(detection),
        _ => format!(
            "{} {} is {} {} ({})",
            rule.score().title(),
            number(detection.score),
            if is_known { "at least" } else { "below" },
            number(detection.threshold),
            threshold(rule, calibration),
        ),
    };
    let p_value = match detection.p_value {
        Some(p) => format!("; p-value {}, of {}", number(p), of_pictures(calibration)),
        None => String::new(),
    };
    let voice = match &detection.no {
        Some(no) if !is_known => format!("; {}", loudest(no)),
        _ => String::new(),
    };
    format!("{compared}{p_value}{voice}")
}

fn extra_class(detection: &Detection) -> String {
    let (none, best) = (1.0 - detection.score, 1.0 - detection.threshold);
    let (verb, rule) = if detection.label.is_some() {
        ("does not beat", "the published rule of ATD keeps it")
    } else {
        ("beats", "the published rule of ATD rejects it")
    };
    format!(
        "\"none of these\" ({}) {verb} the best class ({}): {rule}",
        number(none),
        number(best)
    )
}

fn threshold(rule: &Rule, calibration: Option<&Calibration>) -> String {
    match (rule, calibration) {
        (_, Some(calibration)) => match calibration.choice() {
            Choice::OnAverage => {
                format!("calibrated to keep {} %", percent(calibration.target_tpr()))
            }
            Choice::Guaranteed => format!(
                "calibrated to keep at least {} % with a confidence of {} %",
                percent(calibration.target_tpr()),
                percent(calibration.confidence())
            ),
            Choice::Best => "calibrated against examples of the unknown".to_owned(),
        },
        (Rule::Ctw { .. }, None) if rule == &(Rule::Ctw { threshold: 0.5 }) => {
            "the published rule of CTW: does \"no\" win for the best class".to_owned()
        }
        (_, None) => "the threshold given".to_owned(),
    }
}

fn of_pictures(calibration: Option<&Calibration>) -> String {
    calibration.map_or_else(String::new, |calibration| {
        format!("{} calibration pictures", calibration.len())
    })
}

fn loudest(no: &NoVoice) -> String {
    format!(
        "the \"no\" of `{}` spoke loudest (p {} and q {})",
        no.label,
        number(f64::from(no.p)),
        number(f64::from(no.q))
    )
}

fn percent(share: f64) -> f64 {
    (1000.0 * share).round() / 10.0
}

/// Four digits that say something.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && (size < 0.001 || (1.0 - size).abs() < 0.0005 && value != 1.0) {
        // What four decimals would turn into 0 or 1.
        return if size < 0.001 {
            format!("{value:.1e}")
        } else {
            format!("1 - {:.1e}", 1.0 - value)
        };
    }
    format!("{value:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_they_say() {
        let shown: Vec<String> = [0.0, 0.25, 0.000_012, 0.999_99, 1.0, -12.5, 23.456]
            .map(number)
            .into();
        assert_eq!(
            shown,
            [
                "0.000",
                "0.250",
                "1.2e-5",
                "1 - 1.0e-5",
                "1.000",
                "-12.500",
                "23.456"
            ]
        );
    }
}
