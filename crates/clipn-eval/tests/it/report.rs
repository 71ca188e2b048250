//! The report of an evaluation: self-contained and well-formed for any names, labels and files.

use std::path::{Path, PathBuf};

use serde_json::json;

use clipn_data::{OodKind, SkippedFiles};
use clipn_eval::report::{ReportError, ReportOptions, render_html, render_record_html, write_html};
use clipn_eval::{
    Evaluation, EvaluationRecord, EvaluationRun, ImageRow, ImageScores, Results, ScorePrecision,
    SetScores, merge,
};
use clipn_image::{DecodeOptions, Preprocessing, RgbImage};
use clipn_ood::metrics::FprConvention;
use clipn_ood::scores::{Score, by_name, parse_list};
use clipn_testing::fixture;
use clipn_testing::random::Random;

/// Scores of the synthetic evaluation: probabilities, but for two in the unit of logits.
fn scores() -> Vec<&'static dyn Score> {
    parse_list("msp,maxlogit,energy,mcm,ctw,atd").unwrap()
}

/// A row with synthetic scores around `level`.
fn row(
    path: &Path,
    label: Option<usize>,
    prediction: usize,
    level: f64,
    random: &mut Random,
) -> ImageRow {
    let mut value = || {
        let spread = f64::from(random.signed() + random.signed() + random.signed()) / 3.0;
        (level + 0.5 * spread).clamp(0.0, 1.0)
    };
    let scores = (0..scores().len()).map(|_| value()).collect();
    let confidence = value();
    ImageRow {
        path: path.to_owned(),
        label,
        outcome: Ok(ImageScores {
            prediction,
            scores,
            confidence,
            feature: Vec::new(),
        }),
    }
}

/// The class names of the synthetic evaluation.
const CLASSES: [&str; 10] = [
    "circle", "square", "triangle", "cross", "ring", "heart", "star", "arrow", "moon", "house",
];

/// Writes six small PNG images of one color each.
fn write_images(folder: &Path, red: usize) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..6 {
        let color = [20 * red as u8, 40 * i as u8, 128];
        let image = RgbImage::new(64, 64, color.repeat(64 * 64)).unwrap();
        std::fs::write(folder.join(format!("{i:04}.png")), image.to_png().unwrap()).unwrap();
    }
}

/// An evaluation on synthetic images, with made-up scores.
fn synthetic(dir: &Path) -> Evaluation {
    let root = dir.join("images");
    for (label, name) in CLASSES.iter().enumerate() {
        write_images(&root.join("val").join(name), label);
    }
    write_images(&root.join("near/fish"), 10);
    write_images(&root.join("far-glyphs"), 11);
    let mut random = Random::new(7);
    let class_names = CLASSES.map(str::to_owned).to_vec();
    let mut id = Vec::new();
    for (label, name) in class_names.iter().enumerate() {
        for i in 0..6 {
            let prediction = if i == 5 {
                (label + 1) % class_names.len()
            } else {
                label
            };
            let path = root.join(format!("val/{name}/{i:04}.png"));
            id.push(row(&path, Some(label), prediction, 0.75, &mut random));
        }
    }
    let mut ood = |name: &str, paths: Vec<PathBuf>, kind, level| {
        let rows = paths
            .iter()
            .enumerate()
            .map(|(i, path)| row(path, None, i % 10, level, &mut random));
        SetScores {
            name: name.to_owned(),
            kind: Some(kind),
            rows: rows.collect(),
            skipped_files: SkippedFiles::default(),
            parts: Vec::new(),
        }
    };
    let numbered = |dir: &str| {
        (0..6)
            .map(|i| root.join(format!("{dir}/{i:04}.png")))
            .collect()
    };
    let ood = vec![
        ood("other-shapes", numbered("near/fish"), OodKind::Near, 0.55),
        ood("glyphs", numbered("far-glyphs"), OodKind::Far, 0.3),
    ];
    Evaluation {
        class_names,
        scores: scores(),
        id: SetScores {
            name: "shapes".to_owned(),
            kind: None,
            rows: id,
            skipped_files: SkippedFiles::default(),
            parts: Vec::new(),
        },
        ood,
    }
}

fn rendered(evaluation: &Evaluation, options: &ReportOptions) -> String {
    let results = Results::compute(evaluation, FprConvention::Clipn).unwrap();
    render_html(evaluation, &results, options).unwrap()
}

/// Checks that tags and quoted attributes of the page are balanced.
fn check_well_formed(html: &str) {
    const EMPTY: [&str; 6] = ["!DOCTYPE", "meta", "img", "path", "circle", "br"];
    let mut open: Vec<&str> = Vec::new();
    let body =
        html.split("<style>").next().unwrap().to_owned() + html.split("</style>").nth(1).unwrap();
    let mut rest = body.as_str();
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let mut quoted = false;
        let end = rest.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let tag = &rest[..end.unwrap()];
        rest = &rest[tag.len() + 1..];
        let name = tag.split([' ', '\n']).next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(
                open.pop(),
                Some(closed),
                "near {}",
                &rest[..rest.len().min(80)]
            );
        } else if !EMPTY.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_report_is_self_contained() {
    let dir = tempfile::tempdir().unwrap();
    let evaluation = synthetic(dir.path());
    let results = Results::compute(&evaluation, FprConvention::Clipn).unwrap();
    let path = dir.path().join("report.html");
    let options = ReportOptions::default()
        .with_title("demo")
        .with_settings(json!({"model": {"embed_dim": 64}, "workers": 2}));
    write_html(&path, &evaluation, &results, &options).unwrap();
    let html = std::fs::read_to_string(&path).unwrap();
    check_well_formed(&html);
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("name=\"viewport\""));
    for outside in [
        "http://", "https://", "<script", "<link", "@import", "url(", "file:",
    ] {
        assert!(!html.contains(outside), "{outside}");
    }
    let sources: Vec<&str> = html
        .split("src=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(sources.len() > 20, "{}", sources.len());
    assert!(
        sources
            .iter()
            .all(|source| source.starts_with("data:image/png;base64,iVBORw0KGgo"))
    );

    // Metrics equal the results; every score has a curve and a histogram on every set.
    for r in &results.results {
        assert!(
            html.contains(&format!("{:.2}", 100.0 * r.auroc)),
            "{} on {}",
            r.score,
            r.ood
        );
    }
    for what in [
        "mean of all",
        "other-shapes",
        "near, 6 images",
        "model.embed_dim",
    ] {
        assert!(html.contains(what), "{what}");
    }
    // There is one set of each kind, whose mean is its own column.
    assert!(!html.contains("mean of near") && !html.contains("mean of far"));
    assert_eq!(html.matches("ROC curves on ").count(), 2);
    assert_eq!(html.matches("fill ood").count(), 2 * scores().len());
    // One per set, and one in the chart over thresholds.
    assert_eq!(html.matches("line threshold").count(), 3);
    assert!(html.contains("Kept, but assigned to a wrong class") && html.contains("0005.png"));
}

#[test]
fn escapes_markup_in_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut evaluation = synthetic(dir.path());
    let hostile = "\"><script>alert('x')</script><b>&amp;\u{202e}";
    let image_path = dir.path().join("<img src=x onerror=alert(1)>.png");
    std::fs::copy(&evaluation.id.rows[0].path, &image_path).unwrap();
    evaluation.class_names = vec![hostile.to_owned(); 10];
    evaluation.id.name = hostile.to_owned();
    evaluation.ood[0].name = hostile.to_owned();
    evaluation.id.rows[0].path = image_path.clone();
    evaluation.ood[0].rows[0].path = image_path;
    evaluation.ood[1].rows[0].path = PathBuf::from(hostile);
    evaluation.id.rows[1].outcome = Err(hostile.to_owned());
    let options = ReportOptions::default()
        .with_title(hostile)
        .with_settings(json!({hostile: hostile, "list": [hostile]}))
        .with_threshold(0.0)
        .with_max_examples(100);
    let html = rendered(&evaluation, &options);
    check_well_formed(&html);
    for raw in [
        "<script",
        "onerror=alert(1)>.",
        "alert('x')",
        "\u{202e}",
        "<img src=x",
    ] {
        assert!(!html.contains(raw), "{raw}");
    }
    assert!(html.contains("&lt;script&gt;") && html.contains("&lt;img src=x"));
}

#[test]
fn renders_without_labels_sets_or_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let mut evaluation = synthetic(dir.path());
    evaluation
        .id
        .rows
        .iter_mut()
        .for_each(|row| row.label = None);
    evaluation.ood.truncate(1);
    evaluation.ood[0].kind = None;
    evaluation.scores = parse_list("maxlogit").unwrap();
    for row in evaluation
        .id
        .rows
        .iter_mut()
        .chain(&mut evaluation.ood[0].rows)
    {
        row.outcome.as_mut().unwrap().scores.truncate(1);
    }
    let html = rendered(&evaluation, &ReportOptions::default());
    check_well_formed(&html);
    assert!(!html.contains("accuracy over") && !html.contains("a wrong class"));
    assert!(html.contains("decided by MaxLogit") && html.contains(">Kept<"));
    assert!(!html.contains("mean of near"));

    evaluation.ood.clear();
    let html = rendered(&evaluation, &ReportOptions::default());
    check_well_formed(&html);
    assert!(html.contains("in-distribution") && !html.contains("ROC curves on"));
}

#[test]
fn lists_unreadable_images() {
    let dir = tempfile::tempdir().unwrap();
    let mut evaluation = synthetic(dir.path());
    evaluation.id.rows[3].outcome = Err("pic.png: is empty (0 bytes)".to_owned());
    evaluation.ood[1].rows[2].outcome = Err("other.png: truncated".to_owned());
    // These images were scored, but deleted since.
    for row in &evaluation.ood[0].rows {
        std::fs::remove_file(&row.path).unwrap();
    }
    let html = rendered(&evaluation, &ReportOptions::default());
    check_well_formed(&html);
    assert!(html.contains("2 images could not be read and are excluded from all metrics"));
    assert!(html.contains("pic.png: is empty (0 bytes)"));
    assert_eq!(html.matches("no image found</span>").count(), 6);
    for row in &evaluation.ood[0].rows {
        std::fs::write(&row.path, "no image").unwrap();
    }
    let html = rendered(&evaluation, &ReportOptions::default());
    assert_eq!(html.matches("unreadable</span>").count(), 6);

    for row in evaluation.id.rows.iter_mut().take(59) {
        row.outcome = Err("broken".to_owned());
    }
    let html = rendered(&evaluation, &ReportOptions::default());
    assert!(html.contains("and 10 more, listed in results.json"));
}

#[test]
fn threshold_and_deciding_score_can_be_set() {
    let dir = tempfile::tempdir().unwrap();
    let evaluation = synthetic(dir.path());
    let html = rendered(&evaluation, &ReportOptions::default());
    assert!(
        html.contains("decided by ATD")
            && html.contains("keeps 95 % of the in-distribution images")
    );
    let options = ReportOptions::default()
        .with_deciding_score(by_name("ctw").unwrap())
        .with_threshold(0.5);
    let html = rendered(&evaluation, &options);
    assert!(html.contains("decided by CTW at the threshold 0.500, as set for this report"));
    let html = rendered(&evaluation, &options.clone().with_max_examples(0));
    assert!(!html.contains("<img") && !html.contains("decided by"));

    // In log space the threshold becomes its logarithm, but is shown in the published unit.
    let mut logarithms = evaluation.clone();
    let sets = std::iter::once(&mut logarithms.id).chain(&mut logarithms.ood);
    for row in sets.flat_map(|set| &mut set.rows) {
        let scores = &mut row.outcome.as_mut().unwrap().scores;
        let stable = |(value, score): (&f64, &&'static dyn Score)| score.to_stable(value.max(1e-9));
        *scores = scores.iter().zip(&self::scores()).map(stable).collect();
    }
    let in_logs = options.clone().with_precision(ScorePrecision::F64);
    let html_in_logs = rendered(&logarithms, &in_logs);
    assert!(
        html_in_logs.contains("decided by CTW at the threshold 0.500")
            && html_in_logs.contains("ln CTW")
    );
    assert!(!html_in_logs.contains("ln MaxLogit"));
    let decisions = |html: &str| html.matches(" unknown</b>").count();
    assert_eq!(
        decisions(&html_in_logs),
        decisions(&rendered(&evaluation, &options))
    );
    // A threshold in log space decides where the published unit has saturated.
    let saturated = in_logs.with_threshold(1.0);
    let exact = saturated
        .clone()
        .with_stable_threshold(by_name("ctw").unwrap().to_stable(0.5));
    assert_eq!(
        decisions(&rendered(&logarithms, &exact)),
        decisions(&html_in_logs)
    );
    assert!(decisions(&rendered(&logarithms, &saturated)) > decisions(&html_in_logs));
}

/// Width and height of the first small image of a page.
fn first_size(html: &str) -> [u32; 2] {
    use base64::Engine;
    let image = html.split("data:image/png;base64,").nth(1).unwrap();
    let image = image.split('"').next().unwrap();
    let png = base64::engine::general_purpose::STANDARD
        .decode(image)
        .unwrap();
    [16, 20].map(|at| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()))
}

#[test]
fn images_are_shown_as_the_model_sees_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut evaluation = synthetic(dir.path());
    evaluation.ood.truncate(1);
    evaluation.ood[0].rows.truncate(1);
    evaluation.ood[0].rows[0].path = fixture("image/orientation6.jpg");
    let rows = &mut evaluation.id.rows;
    rows.iter_mut().for_each(|row| row.path = "none.png".into());
    let size = |options: &ReportOptions| first_size(&rendered(&evaluation, options));
    let upright = ReportOptions::default();
    assert_eq!(size(&upright), [14, 21]);
    let own = |decode| {
        upright
            .clone()
            .with_preprocessing(Preprocessing::clip(224).with_decode(decode))
    };
    assert_eq!(size(&own(DecodeOptions::faithful())), [21, 14]);
    assert_eq!(size(&own(DecodeOptions::for_display())), [14, 21]);
}

#[test]
fn reports_operating_points_and_confidence() {
    let dir = tempfile::tempdir().unwrap();
    let mut evaluation = synthetic(dir.path());
    let html = rendered(&evaluation, &ReportOptions::default());
    let section = html
        .split("id=\"calibration\"")
        .nth(1)
        .unwrap()
        .split("</section>")
        .next()
        .unwrap();
    assert_eq!(section.matches("class=\"chosen\"").count(), 1, "{section}");
    assert!(
        section.contains("in-distribution: 95.00 % kept") && section.contains("glyphs: "),
        "{section}"
    );
    assert!(section.contains("ECE, the mean gap") && section.contains("accuracy of kept images"));

    // The threshold in the command keeps as many images as the table reports.
    let command = section
        .split("add <code>--score atd --threshold ")
        .nth(1)
        .unwrap();
    let threshold: f32 = command.split('<').next().unwrap().parse().unwrap();
    let atd = scores()
        .iter()
        .position(|score| score.name() == "atd")
        .unwrap();
    let rows = &evaluation.id.rows;
    let kept = rows
        .iter()
        .filter(|row| row.outcome.as_ref().unwrap().scores[atd] as f32 >= threshold);
    assert_eq!(kept.count(), rows.len() - rows.len() / 20);

    // Calibrated confidence: 3 of 4 right, all with confidence 0.75.
    for (i, row) in evaluation.id.rows.iter_mut().enumerate() {
        row.outcome.as_mut().unwrap().confidence = 0.75;
        let label = row.outcome.as_ref().unwrap().prediction;
        row.label = Some(if i % 4 == 0 { (label + 1) % 10 } else { label });
    }
    let options = ReportOptions::default().with_threshold(-1.0);
    let html = rendered(&evaluation, &options);
    assert!(
        html.contains("confidence 75.00 %, accuracy 75.00 %: well calibrated"),
        "{html}"
    );
    assert!(html.contains("<b>0.00&nbsp;%</b>"));

    evaluation
        .id
        .rows
        .iter_mut()
        .for_each(|row| row.label = None);
    let html = rendered(&evaluation, &ReportOptions::default());
    assert!(html.contains("kept and rejected over thresholds of ATD") && !html.contains("ECE"));
    assert!(!html.contains("accuracy of kept images"));
}

#[test]
fn a_page_of_merged_runs_is_well_formed() {
    let dir = tempfile::tempdir().unwrap();
    let mut evaluation = synthetic(dir.path());
    let record = |evaluation: &Evaluation, seed: usize| {
        let results = Results::compute(evaluation, FprConvention::Clipn).unwrap();
        let settings =
            json!({"pretrained": format!("<b>{seed}"), "fpr_convention": "clipn", "classes": 10});
        EvaluationRun {
            path: format!("runs/<i>{seed}"),
            record: EvaluationRecord {
                results,
                settings,
                spread: None,
                streams: None,
            },
        }
    };
    let first = record(&evaluation, 1);
    evaluation
        .id
        .rows
        .iter_mut()
        .for_each(|row| row.outcome.as_mut().unwrap().scores.rotate_left(1));
    let merged = merge(&[first, record(&evaluation, 2)]).unwrap();
    let html = render_record_html(&merged, "two <runs>");
    check_well_formed(&html);
    assert!(
        html.contains("two &lt;runs&gt;")
            && html.contains("mean ± sample standard deviation over 2 runs")
    );
    assert!(
        html.contains("runs&#x2F;&lt;i&gt;1") && html.contains("pretrained &lt;b&gt;2"),
        "{html}"
    );
    assert!(!html.contains("<i>") && !html.contains("<img"));
    let auroc = &merged.spread.as_ref().unwrap().results[0].metrics.auroc;
    assert!(html.contains(&format!(
        "{:.2} ± {:.2}",
        100.0 * auroc.mean,
        100.0 * auroc.std
    )));
}

#[test]
fn scales_large_images_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut evaluation = synthetic(dir.path());
    let photo = dir.path().join("wide.png");
    let pixels = (0..1800 * 700).flat_map(|i| {
        let (x, y) = (i % 1800, i / 1800);
        [x as u8, y as u8, (x * y) as u8]
    });
    let image = RgbImage::new(1800, 700, pixels.collect()).unwrap();
    std::fs::write(&photo, image.to_png().unwrap()).unwrap();
    evaluation.ood.truncate(1);
    evaluation.ood[0].rows.truncate(1);
    evaluation.ood[0].rows[0].path = photo;
    let html = rendered(&evaluation, &ReportOptions::default());
    let jpeg = html
        .split("data:image/jpeg;base64,")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(
        jpeg.starts_with("/9j/") && jpeg.len() < 60_000,
        "{}",
        jpeg.len()
    );
}

#[test]
fn reports_unwritable_paths_and_invalid_scores() {
    let dir = tempfile::tempdir().unwrap();
    let mut evaluation = synthetic(dir.path());
    let results = Results::compute(&evaluation, FprConvention::Clipn).unwrap();
    let options = ReportOptions::default();
    let nowhere = dir.path().join("nowhere/report.html");
    let error = write_html(&nowhere, &evaluation, &results, &options).unwrap_err();
    assert!(
        matches!(&error, ReportError::Write { .. }) && error.to_string().contains("nowhere"),
        "{error}"
    );
    evaluation.ood[1].rows[0].outcome.as_mut().unwrap().scores[2] = f64::NAN;
    let error = render_html(&evaluation, &results, &options)
        .unwrap_err()
        .to_string();
    assert!(error.contains("energy on glyphs"), "{error}");
}
