//! The losses of images and outliers over the texts that fit them best.

use rayon::prelude::*;

use clipn_model::Real;

use crate::objective::features::{FeatureGradients, GradientMask};
use crate::objective::matmul::{combine, combine_transposed, matmul_transposed};
use crate::objective::{sigmoid, softplus};

/// Texts of a batch: "yes" features g and g − r·n with "no" features n, `[N, dim]` each.
pub(super) struct Texts<'a, T> {
    pub(super) dim: usize,
    pub(super) yes: &'a [T],
    pub(super) opposite: &'a [T],
    /// The factor r of the "no" logits.
    pub(super) no_scale: T,
}

/// L_inlier and L_outlier, and the gradient of weight·(L_inlier + L_outlier).
pub(super) struct OutlierLoss<T> {
    pub(super) inlier: f64,
    pub(super) outlier: f64,
    pub(super) gradients: FeatureGradients<T>,
}

/// Evaluates L_inlier over the images `[N, dim]`, with their products with `opposite` in `of_images`
/// `[N, N]`, and L_outlier over the outliers `[M, dim]`.
pub(super) fn outlier_loss<T: Real>(
    texts: &Texts<'_, T>,
    [images, outliers]: [&[T]; 2],
    of_images: Vec<T>,
    scale: T,
    weight: f64,
    mask: &GradientMask,
) -> OutlierLoss<T> {
    let of_outliers = matmul_transposed(outliers, texts.opposite, texts.dim);
    let inlier = Term::evaluate(texts, images, of_images, scale, weight, Kind::Inlier);
    let outlier = Term::evaluate(texts, outliers, of_outliers, scale, weight, Kind::Outlier);
    let (dim, rows) = (texts.dim, &mask.rows);
    let image = mask.image.then(|| {
        let mut d_image = combine(&inlier.d_x, texts.opposite, dim, rows.clone(), scale);
        let through_p = combine(&inlier.d_y, texts.yes, dim, rows.clone(), scale);
        add(&mut d_image, &through_p);
        d_image
    });
    let over_images = |of_images: &[T], of_outliers: &[T]| {
        let mut sum = combine_transposed(of_images, images, dim, rows.clone(), scale);
        let rest = combine_transposed(of_outliers, outliers, dim, rows.clone(), scale);
        add(&mut sum, &rest);
        sum
    };
    // x contains g − r·n, so the gradient for n is −r times that for g through x; p depends on g alone.
    let through_x = (mask.yes || mask.no).then(|| over_images(&inlier.d_x, &outlier.d_x));
    let no = mask.no.then(|| {
        let d_g = through_x.iter().flatten();
        d_g.map(|&v| -texts.no_scale * v).collect()
    });
    let yes = through_x.filter(|_| mask.yes).map(|mut d_yes| {
        add(&mut d_yes, &over_images(&inlier.d_y, &outlier.d_y));
        d_yes
    });
    OutlierLoss {
        inlier: inlier.loss,
        outlier: outlier.loss,
        gradients: FeatureGradients {
            image,
            yes,
            no,
            scale: T::from_f64(inlier.d_scale + outlier.d_scale),
        },
    }
}

/// Adds `values` to `sum`.
pub(super) fn add<T: Real>(sum: &mut [T], values: &[T]) {
    for (sum, &value) in sum.iter_mut().zip(values) {
        *sum = *sum + value;
    }
}

/// What the images of a term are.
#[derive(Clone, Copy)]
enum Kind {
    Inlier,
    Outlier,
}

/// The mean of Σ_j p_j ℓ_j over images, with ℓ = softplus(−x) for inliers and softplus(x) for outliers.
struct Term<T> {
    loss: f64,
    /// d total / d x through ℓ, `[M, N]`.
    d_x: Vec<T>,
    /// d total / d y through p, with the "yes" logits y, `[M, N]`.
    d_y: Vec<T>,
    d_scale: f64,
}

impl<T: Real> Term<T> {
    /// Evaluates the term; `d_x` holds the products of the images with `opposite`.
    fn evaluate(
        texts: &Texts<'_, T>,
        images: &[T],
        mut d_x: Vec<T>,
        scale: T,
        weight: f64,
        kind: Kind,
    ) -> Self {
        let count = images.len() / texts.dim;
        let columns = texts.yes.len() / texts.dim;
        let mut d_y = matmul_transposed(images, texts.yes, texts.dim);
        let each = T::from_f64(weight / count as f64);
        // Row sums in f64, added in row order, give the same result on any number of threads.
        let sums: Vec<[f64; 2]> = d_x
            .par_chunks_mut(columns)
            .zip(d_y.par_chunks_mut(columns))
            .map(|(d_x, d_y)| row(d_x, d_y, scale, each, kind))
            .collect();
        let sum = |part: usize| sums.iter().map(|row| row[part]).sum::<f64>();
        Self {
            loss: sum(0) / count as f64,
            d_x,
            d_y,
            d_scale: sum(1),
        }
    }
}

/// Replaces the products of one image by their gradients, and returns its loss and d total / d scale.
fn row<T: Real>(d_x: &mut [T], d_y: &mut [T], scale: T, each: T, kind: Kind) -> [f64; 2] {
    let top = d_y.iter().copied().fold(T::neg_infinity(), T::max);
    let exponentials: Vec<T> = d_y.iter().map(|&dot| (scale * (dot - top)).exp()).collect();
    let total: T = exponentials.iter().copied().sum();
    let sign = match kind {
        Kind::Inlier => -T::one(),
        Kind::Outlier => T::one(),
    };
    let losses: Vec<T> = d_x
        .iter()
        .map(|&dot| softplus(sign * scale * dot))
        .collect();
    let loss: T = exponentials
        .iter()
        .zip(&losses)
        .map(|(&e, &loss)| e / total * loss)
        .sum();
    let mut d_scale = 0.0;
    let products = d_x
        .iter_mut()
        .zip(d_y)
        .zip(exponentials.iter().zip(&losses));
    for ((x, y), (&exponential, &text_loss)) in products {
        let p = each * exponential / total;
        let (dot_x, dot_y) = (*x, *y);
        *x = p * sign * sigmoid(sign * scale * dot_x);
        *y = p * (text_loss - loss);
        d_scale += (*x * dot_x + *y * dot_y).to_f64().unwrap_or(f64::NAN);
    }
    [loss.to_f64().unwrap_or(f64::NAN), d_scale]
}
