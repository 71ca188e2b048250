use std::borrow::Cow;
use std::io::Write;

use clipn::bundle::Bundle;
use clipn::calibration::Calibration;
use clipn::count::count;
use clipn::model::Precision;
use clipn::negatives::Negatives;
use clipn::number::decimals;
use clipn::prompts::PromptVariant;
use serde_json::{Value, json};

use super::args::ShowArgs;
use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::messages::status;
use crate::common::terminal::Escaped;

/// Number of negatives that the table shows.
const WORDS_SHOWN: usize = 8;

/// Number of class names that the table shows.
const NAMES_SHOWN: usize = 12;

/// `clipn classifier show`.
pub(crate) fn run(args: &ShowArgs) -> Result<(), CliError> {
    let bundle = Bundle::open(&args.bundle)?;
    if let Some(path) = &args.negatives {
        let Some(negatives) = bundle.classifier().negatives() else {
            return Err(CliError::usage_with_hint(
                format!("the bundle {} has no negatives", args.bundle.display()),
                "build it with --negatives wordnet or --reject",
            ));
        };
        if path.exists() && Negatives::<f32>::open(path).is_err() {
            return Err(CliError::usage_with_hint(
                format!(
                    "{} already exists, and is no file of negatives",
                    path.display()
                ),
                "give another name to --negatives",
            ));
        }
        negatives.save(path)?;
        status(format_args!("wrote the negatives to {}", path.display()));
    }
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Table => describe(&mut Escaped(&mut out), &bundle).map_err(CliError::Output),
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &object(&bundle))?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(["class", "label"])?;
            for (class, name) in bundle.classifier().class_names().iter().enumerate() {
                csv.write_record([class.to_string().as_str(), name])?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

/// Writes the contents of a bundle, one property per line.
pub(super) fn describe(out: &mut impl Write, bundle: &Bundle) -> std::io::Result<()> {
    let (classifier, identity) = (bundle.classifier(), bundle.identity());
    let names = classifier.class_names();
    let more = if names.len() > NAMES_SHOWN {
        format!(", and {} more", names.len() - NAMES_SHOWN)
    } else {
        String::new()
    };
    writeln!(
        out,
        "classes      {}: {}{more}",
        names.len(),
        names
            .iter()
            .take(NAMES_SHOWN)
            .map(|name| match name.contains(',') {
                true => format!("\"{name}\"").into(),
                false => Cow::from(name),
            })
            .collect::<Vec<_>>()
            .join(", ")
    )?;
    let templates = bundle.templates();
    let wording = match bundle.prompt_variant() {
        _ if !classifier.has_no() => "",
        PromptVariant::Learnable => "; both towers read the same lines",
        PromptVariant::HandCrafted => "; the \"no\" tower reads its own lines",
    };
    match templates.sentences() {
        Some(sentences) => writeln!(
            out,
            "prompts      {} ({} of {}, each its own{wording})",
            templates.name(),
            count(sentences.sentences(), "sentence"),
            count(sentences.len(), "class")
        )?,
        None => writeln!(
            out,
            "templates    {} ({}{wording})",
            templates.name(),
            count(templates.len(), "line")
        )?,
    }
    writeln!(
        out,
        "logits       {} times the cosines",
        (classifier.scale() * 1000.0).round() / 1000.0
    )?;
    if classifier.no_scale() != 1.0 {
        writeln!(out, "\"no\" logits  {} times these", classifier.no_scale())?;
    }
    if !classifier.has_no() {
        writeln!(out, "no           not learned: a plain CLIP")?;
    }
    if let Some(negatives) = classifier.negatives() {
        let words = negatives.words();
        let shown = words[..words.len().min(WORDS_SHOWN)].join(", ");
        writeln!(
            out,
            "negatives    {} of {}, in {}: {shown}{}",
            words.len(),
            negatives.origin().source,
            count(negatives.groups(), "group"),
            if words.len() > WORDS_SHOWN {
                ", …"
            } else {
                ""
            }
        )?;
    }
    writeln!(
        out,
        "model        {}, {} features, images of {} pixels",
        identity.config.name,
        classifier.dim(),
        bundle.preprocessing().size
    )?;
    if identity.precision != Precision::F32 {
        writeln!(out, "precision    {}", identity.precision)?;
    }
    writeln!(
        out,
        "image tower  {} ({})",
        &identity.image_tower_hash.get(..16).unwrap_or_default(),
        tower_location(bundle)
    )?;
    if let Some(fit) = classifier.fit() {
        writeln!(out, "fit          {}", fit.summary())?;
        for warning in &fit.summary().warnings {
            writeln!(out, "warning      {warning}")?;
        }
    }
    match bundle.calibration() {
        Some(calibration) => threshold(out, calibration),
        None => writeln!(
            out,
            "threshold    not calibrated: {}",
            match classifier.score_inputs().default_rule() {
                Some(rule) => format!("the published rule of {}", rule.score().display_name()),
                None => "no score rejects, for lack of \"no\" and of negatives".to_owned(),
            }
        ),
    }
}

/// Location of the image tower.
fn tower_location(bundle: &Bundle) -> String {
    match &bundle.identity().source {
        _ if bundle.has_image_tower() => "in this file".to_owned(),
        Some(source) => format!("from {source}"),
        None => "from weights given with --pretrained".to_owned(),
    }
}

fn threshold(out: &mut impl Write, calibration: &Calibration) -> std::io::Result<()> {
    let score = calibration.score();
    let kept = calibration.kept();
    writeln!(
        out,
        "threshold    {} {}, calibrated on {} ({}): accepts {:.1} to {:.1} % of such images",
        score.display_name(),
        decimals(calibration.published_threshold(), 6),
        count(calibration.len(), "image"),
        calibration.description(),
        100.0 * kept.lower,
        100.0 * kept.upper
    )?;
    calibration
        .warnings()
        .iter()
        .try_for_each(|warning| writeln!(out, "warning      {warning}"))
}

/// A bundle as JSON.
fn object(bundle: &Bundle) -> Value {
    let identity = bundle.identity();
    let mut object = json!({
        "class_names": bundle.classifier().class_names(),
        "templates": bundle.templates(),
        "wording": bundle.prompt_variant(),
        "logit_scale": bundle.classifier().scale(),
        "no_scale": bundle.classifier().no_scale(),
        "text_cosines": bundle.classifier().text_cosines(),
        "has_no": bundle.classifier().has_no(),
        "negatives": bundle.classifier().negatives().map(|negatives| json!({
            "count": negatives.len(),
            "groups": negatives.groups(),
            "words": negatives.words(),
            "origin": negatives.origin(),
        })),
        "model": identity,
        "has_image_tower": bundle.has_image_tower(),
        "preprocessing": bundle.preprocessing(),
        "calibration": bundle.calibration().map(Calibration::summary),
    });
    if let Some(fit) = bundle.classifier().fit() {
        object["fit"] = json!(fit.summary());
    }
    object
}
