//! CLIPN's losses: image–text binary-opposite (ITBO) and text semantic-opposite (TSO).

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use clipn_model::Real;
use clipn_text::prompts::PromptVariant;

use crate::objective::error::ObjectiveError;
use crate::objective::features::{FeatureGradients, GradientMask, LossAndGradients, PairFeatures};
use crate::objective::matmul::{combine, combine_transposed, matmul_transposed, row_dots};
use crate::objective::outlier_loss::{Texts, add, outlier_loss};
use crate::objective::{Objective, sigmoid, softplus};

/// Form of TSO: the similarity of a "yes" and a "no" text, which the loss decreases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TsoForm {
    /// 2 − sqrt(2 − 2·g·n + 1e-4), from the Euclidean distance of unit vectors.
    #[default]
    L2,
    /// g·n + 1.
    Cosine,
}

impl fmt::Display for TsoForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::L2 => "l2",
            Self::Cosine => "cosine",
        })
    }
}

impl FromStr for TsoForm {
    type Err = ObjectiveError;

    /// Parses `l2` or `cosine`.
    ///
    /// # Errors
    /// [`ObjectiveError::UnknownTsoForm`] for any other name.
    fn from_str(name: &str) -> Result<Self, ObjectiveError> {
        match name {
            "l2" => Ok(Self::L2),
            "cosine" => Ok(Self::Cosine),
            _ => Err(ObjectiveError::UnknownTsoForm {
                name: name.to_owned(),
            }),
        }
    }
}

/// Weight of each term in the total loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossWeights {
    /// Weight of L_yes: an image matches its own text.
    pub yes: f64,
    /// Weight of L_no: an image does not match the text of another.
    pub no: f64,
    /// Weight of L_tso: the "yes" and "no" features of a text are opposites.
    pub tso: f64,
    /// Weight of L_inlier and L_outlier, which need outliers: the texts that fit an image best are not
    /// rejected if it is of the training data, and rejected if it is an outlier.
    #[serde(default)]
    pub outlier: f64,
}

impl LossWeights {
    /// Returns whether the losses need outliers.
    pub fn uses_outliers(&self) -> bool {
        self.outlier != 0.0
    }
}

impl Default for LossWeights {
    /// One half for each published term, as published, and none for outliers.
    fn default() -> Self {
        Self {
            yes: 0.5,
            no: 0.5,
            tso: 0.5,
            outlier: 0.0,
        }
    }
}

/// L = w_yes·L_yes + w_no·L_no + w_tso·L_tso ([CLIPN](https://arxiv.org/abs/2308.12213), section
/// 3.3, and its published code).
///
/// With x_ij = s·f_i·(g_j − r·n_j), the difference of the "yes" and "no" logits, and softplus(x) =
/// ln(1 + eˣ): L_yes = mean_i softplus(−x_ii), L_no = mean over i ≠ j of softplus(x_ij). This
/// equals the published softmax over the two logits followed by a logarithm, without its underflow.
/// One product `[N, N]` serves both logits. The factor r is 1 as published; a larger one lets "no" differ
/// more between images than unit vectors can.
///
/// If the weight of outliers is not 0, w_outlier·(L_inlier + L_outlier) is added, a term of clipn's own:
/// with p_ij the softmax of the "yes" logits over the texts of the batch, L_inlier = mean_i Σ_j p_ij
/// softplus(−x_ij), and L_outlier = mean_m Σ_j p_mj softplus(x_mj) over the outliers m. They are bounds of
/// −ln ATD of images and of −ln(1 − ATD) of outliers: the texts count as much as they would in
/// ATD, so that "no" must be right about the best of many names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clipn {
    /// Variant, which determines the texts of the towers. The losses are the same.
    pub variant: PromptVariant,
    /// Form of TSO.
    pub tso: TsoForm,
    /// Weights of the terms.
    pub weights: LossWeights,
    /// r, the factor of the "no" logits over "yes" logits of the same cosine.
    pub no_scale: f64,
}

impl Default for Clipn {
    /// The published losses.
    fn default() -> Self {
        Self {
            variant: PromptVariant::default(),
            tso: TsoForm::default(),
            weights: LossWeights::default(),
            no_scale: 1.0,
        }
    }
}

impl<T: Real> Objective<T> for Clipn {
    fn name(&self) -> &'static str {
        match self.variant {
            PromptVariant::Learnable => "clipn",
            PromptVariant::HandCrafted => "clipn-handcrafted",
        }
    }

    fn uses_no(&self) -> bool {
        true
    }

    fn uses_outliers(&self) -> bool {
        self.weights.uses_outliers()
    }

    fn evaluate(
        &self,
        features: &PairFeatures<'_, T>,
        scale: T,
        mask: &GradientMask,
    ) -> Result<LossAndGradients<T>, ObjectiveError> {
        let no = features.no.ok_or(ObjectiveError::MissingNoFeatures {
            objective: Objective::<T>::name(self),
        })?;
        features.check(mask)?;
        let pair = Pair {
            dim: features.dim,
            image: features.image,
            yes: features.yes,
            no,
            no_scale: T::from_f64(self.no_scale),
        };
        let opposite: Vec<T> = pair
            .yes
            .par_iter()
            .zip(pair.no)
            .map(|(&g, &n)| g - pair.no_scale * n)
            .collect();
        let products = matmul_transposed(pair.image, &opposite, pair.dim);
        let of_images = self.weights.uses_outliers().then(|| products.clone());
        let itbo = itbo(products, scale, self.weights);
        let tso = tso(&pair, self.tso, self.weights.tso);
        let mut result = LossAndGradients {
            total: self.weights.yes * itbo.yes
                + self.weights.no * itbo.no
                + self.weights.tso * tso.loss,
            terms: vec![("yes", itbo.yes), ("no", itbo.no), ("tso", tso.loss)],
            gradients: gradients(&pair, &opposite, scale, &itbo, &tso, mask),
        };
        if let Some(of_images) = of_images {
            let texts = Texts {
                dim: pair.dim,
                yes: pair.yes,
                opposite: &opposite,
                no_scale: pair.no_scale,
            };
            self.add_outliers(&mut result, &texts, of_images, features, scale, mask)?;
        }
        if !result.total.is_finite() || !result.gradients.scale.is_finite() {
            return Err(features.not_finite(scale));
        }
        Ok(result)
    }
}

impl Clipn {
    /// Adds L_inlier and L_outlier, given the products `of_images` f_i·(g_j − r·n_j), `[N, N]`.
    fn add_outliers<T: Real>(
        &self,
        result: &mut LossAndGradients<T>,
        texts: &Texts<'_, T>,
        of_images: Vec<T>,
        features: &PairFeatures<'_, T>,
        scale: T,
        mask: &GradientMask,
    ) -> Result<(), ObjectiveError> {
        if features.outliers.is_empty() {
            return Err(ObjectiveError::MissingOutliers {
                objective: Objective::<T>::name(self),
            });
        }
        let weight = self.weights.outlier;
        let images = [features.image, features.outliers];
        let loss = outlier_loss(texts, images, of_images, scale, weight, mask);
        result.total += weight * (loss.inlier + loss.outlier);
        result.terms.push(("inlier", loss.inlier));
        result.terms.push(("outlier", loss.outlier));
        let (sum, more) = (&mut result.gradients, loss.gradients);
        for (sum, more) in [
            (&mut sum.image, more.image),
            (&mut sum.yes, more.yes),
            (&mut sum.no, more.no),
        ] {
            if let (Some(sum), Some(more)) = (sum, more) {
                add(sum, &more);
            }
        }
        sum.scale = sum.scale + more.scale;
        Ok(())
    }
}

/// Features with mandatory "no" features, `[N, dim]` each.
struct Pair<'a, T> {
    dim: usize,
    image: &'a [T],
    yes: &'a [T],
    no: &'a [T],
    no_scale: T,
}

/// The two ITBO terms, and the gradient of their weighted sum.
struct Itbo<T> {
    yes: f64,
    no: f64,
    /// d total / d x, `[N, N]`.
    d_x: Vec<T>,
    /// d total / d scale.
    d_scale: T,
}

/// Evaluates the terms from the products f_i·(g_j − r·n_j), `[N, N]`.
fn itbo<T: Real>(mut products: Vec<T>, scale: T, weights: LossWeights) -> Itbo<T> {
    let rows = products.len().isqrt();
    let n = rows as f64;
    let (per_pair, per_other) = (n.recip(), (n * n - n).recip());
    let (own, other) = (
        T::from_f64(weights.yes * per_pair),
        T::from_f64(weights.no * per_other),
    );
    // Row sums in f64, added in row order, give the same result on any number of threads.
    let sums: Vec<[f64; 3]> = products
        .par_chunks_mut(rows)
        .enumerate()
        .map(|(i, row)| {
            let [mut yes, mut no, mut d_scale] = [0.0; 3];
            for (j, value) in row.iter_mut().enumerate() {
                let (dot, x) = (*value, scale * *value);
                let d_x = if i == j {
                    yes += real(softplus(-x));
                    -own * sigmoid(-x)
                } else {
                    no += real(softplus(x));
                    other * sigmoid(x)
                };
                d_scale += real(d_x) * real(dot);
                *value = d_x;
            }
            [yes, no, d_scale]
        })
        .collect();
    let sum = |term: usize| sums.iter().map(|row| row[term]).sum::<f64>();
    Itbo {
        yes: sum(0) * per_pair,
        no: sum(1) * per_other,
        d_x: products,
        d_scale: T::from_f64(sum(2)),
    }
}

/// The mean of TSO, and the gradient of its weighted value.
struct TsoTerm<T> {
    loss: f64,
    /// d total / d (g_i·n_i), `[N]`.
    d_cosine: Vec<T>,
}

fn tso<T: Real>(pair: &Pair<'_, T>, mode: TsoForm, weight: f64) -> TsoTerm<T> {
    // Unit vectors keep 2 − 2·g·n + 1e-4 near or above 1e-4. The floor is for vectors that are not
    // of unit length.
    const FLOOR: f64 = 1e-6;
    let cosines = row_dots(pair.yes, pair.no, pair.dim);
    let n = cosines.len() as f64;
    let mut loss = 0.0;
    let d_cosine = cosines
        .into_iter()
        .map(|cosine| {
            let (term, slope) = match mode {
                TsoForm::Cosine => (cosine + T::one(), T::one()),
                TsoForm::L2 => {
                    let squared = T::from_f64(2.0) - T::from_f64(2.0) * cosine + T::from_f64(1e-4);
                    if squared <= T::from_f64(FLOOR) {
                        (T::from_f64(2.0 - FLOOR.sqrt()), T::zero())
                    } else {
                        (T::from_f64(2.0) - squared.sqrt(), squared.sqrt().recip())
                    }
                }
            };
            loss += real(term);
            T::from_f64(weight / n) * slope
        })
        .collect();
    TsoTerm {
        loss: loss / n,
        d_cosine,
    }
}

fn gradients<T: Real>(
    pair: &Pair<'_, T>,
    opposite: &[T],
    scale: T,
    itbo: &Itbo<T>,
    tso: &TsoTerm<T>,
    mask: &GradientMask,
) -> FeatureGradients<T> {
    let dim = pair.dim;
    let rows = mask.rows.clone();
    let image = mask
        .image
        .then(|| combine(&itbo.d_x, opposite, dim, rows.clone(), scale));
    // x contains g − r·n, so the gradient of ITBO for n is −r times that for g.
    let mut yes = (mask.yes || mask.no)
        .then(|| combine_transposed(&itbo.d_x, pair.image, dim, rows.clone(), scale));
    let mut no = None;
    if mask.no {
        let d_g = yes.iter().flatten();
        let mut d_no: Vec<T> = d_g.map(|&v| -pair.no_scale * v).collect();
        add_scaled_rows(&mut d_no, pair.yes, &tso.d_cosine, dim, &rows);
        no = Some(d_no);
    }
    match &mut yes {
        Some(d_yes) if mask.yes => add_scaled_rows(d_yes, pair.no, &tso.d_cosine, dim, &rows),
        _ => yes = None,
    }
    FeatureGradients {
        image,
        yes,
        no,
        scale: itbo.d_scale,
    }
}

/// Adds to `out`, the rows `rows` of the batch, each row of `values` times its weight.
fn add_scaled_rows<T: Real>(
    out: &mut [T],
    values: &[T],
    weights: &[T],
    dim: usize,
    rows: &Range<usize>,
) {
    let values = values.chunks(dim).zip(weights).skip(rows.start);
    for (out, (values, &weight)) in out.chunks_mut(dim).zip(values) {
        for (out, &value) in out.iter_mut().zip(values) {
            *out = *out + weight * value;
        }
    }
}

fn real<T: Real>(value: T) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_tso_round_trip() {
        for form in [TsoForm::L2, TsoForm::Cosine] {
            assert_eq!(form.to_string().parse::<TsoForm>().unwrap(), form);
            assert_eq!(serde_json::to_string(&form).unwrap(), format!("\"{form}\""));
        }
        let error = "l1".parse::<TsoForm>().unwrap_err().to_string();
        assert_eq!(error, "unknown form of TSO `l1`; expected l2 or cosine");
    }
}
