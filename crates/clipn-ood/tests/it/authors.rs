//! Scores of other methods against the figures of their authors' own code in f64; see
//! `fixtures/scores/authors/README.md`. The tolerance is 1e-9 but for GEN, 2e-9: the code takes powers
//! of `1 - p`, which cancels.

use clipn_ood::scores::{
    Atd, Cma, Energy, Eoe, Gen, GlMcm, KlMatching, LMcm, LocalLogits, LogitGap, LogitsRow, Margin,
    MaxLogit, Mcm, NegLabel, NegativeLogits, Ole, Score,
};
use safetensors::SafeTensors;

use crate::tensors::{f32s, f64s, indices, read};

const IMAGES: usize = 40;
const CLASSES: usize = 12;
const WIDTH: usize = 64;

pub(crate) fn with_file(name: &str, test: impl FnOnce(&SafeTensors<'_>)) {
    let bytes = read(&format!("scores/authors/{name}.safetensors"));
    test(&SafeTensors::deserialize(&bytes).unwrap());
}

/// Matrix of rows of logits or features.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) values: Vec<f64>,
    width: usize,
}

impl Rows {
    pub(crate) fn f64s(file: &SafeTensors<'_>, name: &str) -> Self {
        let width = file.tensor(name).unwrap().shape()[1];
        let values = f64s(file, name);
        Self { values, width }
    }

    pub(crate) fn f32s(file: &SafeTensors<'_>, name: &str) -> Self {
        let width = file.tensor(name).unwrap().shape()[1];
        let values = f32s(file, name).into_iter().map(f64::from).collect();
        Self { values, width }
    }

    pub(crate) fn iter(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.width)
    }

    fn select(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let row = |row: usize| &self.values[row * self.width..(row + 1) * self.width];
        let values = rows.into_iter().flat_map(row).copied().collect();
        Self { values, ..*self }
    }

    fn normalized(&self) -> Self {
        let normalize = |row: &[f64]| -> Vec<f64> {
            let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            row.iter().map(|v| v / norm).collect()
        };
        let values = self.iter().flat_map(normalize).collect();
        Self { values, ..*self }
    }

    /// Products of all rows of `self` and `texts`, times `scale`.
    pub(crate) fn times(&self, texts: &Self, scale: f64) -> Self {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let products = |image| texts.iter().map(move |text| scale * dot(image, text));
        Self {
            values: self.iter().flat_map(products).collect(),
            width: texts.values.len() / texts.width,
        }
    }

    fn columns(&self, columns: &[usize]) -> Self {
        let select = |row: &'_ [f64]| columns.iter().map(|c| row[*c]).collect::<Vec<f64>>();
        Self {
            values: self.iter().flat_map(select).collect(),
            width: columns.len(),
        }
    }
}

/// Compares the stable form of a score with a tensor, and the faithful one to f32 precision.
fn check<'a>(
    file: &SafeTensors<'_>,
    tensor: &str,
    score: &dyn Score,
    rows: impl Iterator<Item = LogitsRow<'a, f64>>,
) {
    let tolerance = if score.name().starts_with("gen") {
        2e-9
    } else {
        1e-9
    };
    let expected = f64s(file, tensor);
    let rows: Vec<_> = rows.collect();
    assert_eq!((rows.len(), expected.len()), (IMAGES, IMAGES), "{tensor}");
    for (image, (row, expected)) in rows.into_iter().zip(expected).enumerate() {
        let actual = score.from_stable(score.stable(row));
        assert!(
            (actual - expected).abs() <= tolerance,
            "{tensor} {image}: expected {expected}, got {actual}"
        );
        let [yes, no, negatives, local] = [row.yes, row.no, row.negatives.logits, row.local.yes]
            .map(|side| side.iter().map(|v| *v as f32).collect::<Vec<f32>>());
        let narrow = LogitsRow {
            yes: &yes[..],
            no: &no,
            negatives: NegativeLogits::new(&negatives, row.negatives.group_ends),
            local: LocalLogits::new(&local),
            fitted: row.fitted,
            scale: row.scale,
        };
        // Logits of magnitude 100 are rounded by up to 4e-6. GEN's term of p close to 1 is lost.
        if !score.name().starts_with("gen") {
            let faithful = f64::from(score.faithful(narrow));
            assert!(
                (faithful - expected).abs() <= 5e-5 * expected.abs().max(1.0),
                "{tensor} {image}: expected {expected}, got {faithful} in f32"
            );
        }
    }
}

/// Rows without "no" from matrices of classes and negatives.
fn rows<'a>(
    yes: &'a Rows,
    negatives: &'a Rows,
    group_ends: &'a [usize],
    scale: f64,
) -> impl Iterator<Item = LogitsRow<'a, f64>> {
    yes.iter()
        .zip(negatives.iter())
        .map(move |(yes, negatives)| {
            LogitsRow::new(yes, &[])
                .with_negatives(NegativeLogits::new(negatives, group_ends))
                .with_scale(scale)
        })
}

fn rows_of_yes(yes: &Rows, scale: f64) -> impl Iterator<Item = LogitsRow<'_, f64>> {
    yes.iter()
        .map(move |yes| LogitsRow::new(yes, &[]).with_scale(scale))
}

#[test]
fn gl_mcm_agrees_with_the_authors_code() {
    with_file("glmcm", |file| {
        let text = Rows::f64s(file, "text").normalized();
        let yes = Rows::f64s(file, "global").normalized().times(&text, 1.0);
        // Nine patches for each image.
        let patches = Rows {
            values: f64s(file, "local"),
            width: WIDTH,
        };
        let local = patches.normalized().times(&text, 1.0);
        let rows = || {
            let local = local.values.chunks_exact(9 * local.width);
            rows_of_yes(&yes, 1.0)
                .zip(local)
                .map(|(row, local)| row.with_local(LocalLogits::new(local)))
        };
        check(file, "score.MCM", &Mcm, rows());
        check(file, "score.L-MCM", &LMcm, rows());
        check(file, "score.GL-MCM.lambda0.5", &GlMcm::published(), rows());
        check(file, "score.GL-MCM.lambda1", &GlMcm::new(1.0), rows());
    });
}

#[test]
fn neglabel_and_csp_agree_with_the_authors_code() {
    for name in ["neglabel", "csp"] {
        with_file(name, |file| {
            let yes = Rows::f64s(file, "logits.pos");
            let all = Rows::f64s(file, "logits.neg");
            // The code drops the negatives beyond a multiple of 8 and permutes the others.
            let perm = indices(file, "perm");
            let kept: Vec<usize> = (0..perm.len()).collect();
            let ends: Vec<usize> = (1..=8).map(|group| group * perm.len() / 8).collect();
            let permuted = all.columns(&perm);
            check(
                file,
                "score.permuted",
                &NegLabel,
                rows(&yes, &permuted, &ends, 100.0),
            );
            let kept = all.columns(&kept);
            check(
                file,
                "score.in_order",
                &NegLabel,
                rows(&yes, &kept, &ends, 100.0),
            );
            let one_group = [all.width];
            let one_group = || rows(&yes, &all, &one_group, 100.0);
            check(file, "score.one_group_softmax", &NegLabel, one_group());
            if name == "csp" {
                check(
                    file,
                    "score.ngroup_1_as_the_code_has_it",
                    &NegLabel,
                    one_group(),
                );
            }
        });
    }
}

#[test]
fn scores_of_cosines_agree_with_the_code_of_logitgap() {
    with_file("logitgap", |file| {
        let cosines = Rows::f64s(file, "cosines");
        let many = Rows::f64s(file, "cosines.212");
        let few = || rows_of_yes(&cosines, 1.0);
        for n in [1, 2, 5, 11] {
            let tensor = format!("logitgap.N{n}");
            check(file, &tensor, &LogitGap::with_runners_up(n), few());
            check(file, &tensor, &LogitGap::with_ranks(n + 1), few());
        }
        // Beyond K - 1, all are taken. By default, 12 / 5 ranks are one runner-up.
        check(file, "logitgap.N11", &LogitGap::with_runners_up(99), few());
        check(file, "logitgap.N1", &LogitGap::published(), few());
        for n in [20, 88] {
            let score = LogitGap::with_runners_up(n);
            check(
                file,
                &format!("logitgap.212.N{n}"),
                &score,
                rows_of_yes(&many, 1.0),
            );
        }
        check(file, "MCM", &Mcm, few());
        check(file, "margin", &Margin, few());
        check(file, "max-logit", &MaxLogit, few());
        check(file, "energy", &Energy, few());
        let on_cosines = Gen::published().on_cosines();
        check(file, "gen", &on_cosines, few());
        check(file, "gen.212", &on_cosines, rows_of_yes(&many, 1.0));
        // The same cosines as logits at scale 100.
        let logits = Rows {
            values: cosines.values.iter().map(|v| 100.0 * v).collect(),
            ..cosines
        };
        let scaled = || rows_of_yes(&logits, 100.0);
        check(file, "logitgap.N5", &LogitGap::with_runners_up(5), scaled());
        check(file, "margin", &Margin, scaled());
        check(file, "gen", &on_cosines, scaled());
    });
}

#[test]
fn gen_and_kl_matching_agree_with_openood() {
    with_file("posthoc", |file| {
        let weights = Rows::f64s(file, "weights");
        let logits = Rows::f32s(file, "image.features").times(&weights, 1.0);
        let each = || rows_of_yes(&logits, 100.0);
        for (gamma, top) in [(0.1, 12), (0.1, 5), (0.5, 12)] {
            let tensor = format!("gen.gamma{gamma}.M{top}");
            check(file, &tensor, &Gen::new(gamma, top), each());
        }
        // M is at most the number of classes.
        check(file, "gen.gamma0.1.M12", &Gen::published(), each());
        let training = Rows::f32s(file, "train.features").times(&weights, 1.0);
        let score = KlMatching::fit(rows_of_yes(&training, 100.0)).unwrap();
        assert_eq!(score.classes(), CLASSES);
        check(file, "klm", &score, each());
    });
}

#[test]
fn agents_and_outlier_labels_agree_with_the_authors_code() {
    with_file("agents", |file| {
        let images = Rows::f32s(file, "image.features");
        assert_eq!(images.width, WIDTH);
        let normalized = images.normalized();
        let texts = Rows::f32s(file, "text.embedding").normalized();
        let classes = texts.select(0..CLASSES);
        let cosines = normalized.times(&classes, 1.0);
        check(file, "mcm.score", &Mcm, rows_of_yes(&cosines, 1.0));
        for ratio in ["0.5", "1.0"] {
            let text_rows = indices(file, &format!("cma.ratio{ratio}.text_rows"));
            assert_eq!(text_rows[..CLASSES], (0..CLASSES).collect::<Vec<_>>());
            let agents = texts.select(text_rows[CLASSES..].iter().copied());
            let agents = normalized.times(&agents, 1.0);
            let ends = [agents.width];
            let each = rows(&cosines, &agents, &ends, 1.0);
            check(file, &format!("cma.ratio{ratio}.score"), &Cma, each);
        }
        let labels = texts.select(CLASSES..CLASSES + 100);
        let ends = [100];
        // A temperature of 0.01 is that of cosines 100 times as large.
        for (scale, beta, tensor) in [
            (1.0, 0.0, "eoe.EOE.beta0.0"),
            (1.0, 0.25, "eoe.EOE.beta0.25"),
            (1.0, 1.0, "eoe.EOE.beta1.0"),
            (100.0, 0.25, "eoe.EOE.beta0.25.T0.01"),
        ] {
            let yes = normalized.times(&classes, scale);
            let labels = normalized.times(&labels, scale);
            check(
                file,
                tensor,
                &Eoe::new(beta),
                rows(&yes, &labels, &ends, 1.0),
            );
        }
        let labels = normalized.times(&labels, 100.0);
        let yes = normalized.times(&classes, 100.0);
        let each = rows(&yes, &labels, &ends, 100.0);
        check(file, "eoe.EOE.beta0.25", &Eoe::published(), each);
    });
}

#[test]
fn ole_agrees_with_the_authors_code() {
    with_file("agents", |file| {
        let images = Rows::f32s(file, "image.features");
        let yes = Rows::f32s(file, "text.features").select(0..CLASSES);
        let no = Rows::f64s(file, "ole.no.features");
        let outliers = Rows::f64s(file, "ole.refined.q0.5");
        for scale in [50.0, 100.0] {
            let [yes, no, outliers] =
                [&yes, &no, &outliers].map(|texts| images.times(texts, scale));
            let ends = [outliers.width];
            let pairs = yes.iter().zip(no.iter());
            let each = pairs.zip(outliers.iter()).map(|((yes, no), outliers)| {
                LogitsRow::new(yes, no)
                    .with_negatives(NegativeLogits::new(outliers, &ends))
                    .with_scale(scale)
            });
            check(file, "ole.score", &Ole, each);
        }
        let [yes, no] = [&yes, &no].map(|texts| images.times(texts, 50.0));
        let pairs = yes.iter().zip(no.iter());
        let each = pairs.map(|(yes, no)| LogitsRow::new(yes, no));
        check(file, "ole.without_outliers_is_atd_at_scale_50", &Atd, each);
    });
}
