//! Scores of the local features of an image.

use super::{LogitsRow, Mcm, Score};

/// L-MCM: the maximum softmax probability of the cosine similarities at temperature 1, over all classes
/// and all patches of the image.
///
/// High if *some* part of the image resembles one class more than the others. Source: GL-MCM (Miyai et
/// al., 2025, <https://arxiv.org/abs/2304.04521>), which calls it local.
#[derive(Debug, Clone, Copy)]
pub struct LMcm;

impl Score for LMcm {
    fn name(&self) -> &'static str {
        "l-mcm"
    }

    fn display_name(&self) -> &'static str {
        "L-MCM"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn uses_local(&self) -> bool {
        true
    }

    fn min_classes(&self) -> usize {
        2
    }

    fn is_probability(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        let of_patch = |logits| Mcm.faithful(LogitsRow::new(logits, &[]).with_scale(row.scale));
        match row.finite_local() {
            Some(patches) => patches.map(of_patch).fold(0.0, f32::max),
            None => f32::NAN,
        }
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        let of_patch = |logits| Mcm.stable(LogitsRow::new(logits, &[]).with_scale(row.scale));
        match row.finite_local() {
            Some(patches) => patches.map(of_patch).fold(f64::NEG_INFINITY, f64::max),
            None => f64::NAN,
        }
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}

/// GL-MCM: `MCM + λ·L-MCM`, of the whole image and of its patches.
///
/// An image of several things resembles no class as a whole, but its parts may. λ is 0.5 as in the
/// published ImageNet figures; the authors' code has 1 for COCO and VOC. Source: Miyai et al., 2025,
/// <https://arxiv.org/abs/2304.04521>.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GlMcm {
    lambda: f64,
    name: &'static str,
}

impl GlMcm {
    /// The published weight for ImageNet, 0.5, under the name `gl-mcm`.
    pub const fn published() -> Self {
        Self {
            lambda: 0.5,
            name: "gl-mcm",
        }
    }

    /// Weights the patches by `lambda`, under the name `gl-mcm-custom`, which cannot be looked up.
    pub const fn new(lambda: f64) -> Self {
        Self {
            lambda,
            name: "gl-mcm-custom",
        }
    }
}

impl Score for GlMcm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn display_name(&self) -> &'static str {
        "GL-MCM"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn uses_local(&self) -> bool {
        true
    }

    fn min_classes(&self) -> usize {
        2
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        Mcm.faithful(row) + self.lambda as f32 * LMcm.faithful(row)
    }

    /// The sum itself: it is far from the ends of its range, so that it needs no logarithm.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        Mcm.stable(row).exp() + self.lambda * LMcm.stable(row).exp()
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{LocalLogits, stable};

    #[test]
    fn the_best_patch_decides() {
        let yes = [20.0_f32, 21.0];
        let local = [20.0, 20.0, 10.0, 30.0, 22.0, 20.0];
        let row = LogitsRow::new(&yes, &[]).with_local(LocalLogits::new(&local));
        let expected = 1.0 / (1.0 + (-0.2_f64).exp());
        assert!((f64::from(LMcm.faithful(row)) - expected).abs() < 1e-6);
        assert!((stable(&LMcm, row) - expected.ln()).abs() < 1e-6);
        let sum = Mcm.faithful(row) + 0.5 * LMcm.faithful(row);
        assert_eq!(GlMcm::published().faithful(row), sum);
        assert!((stable(&GlMcm::published(), row) - f64::from(sum)).abs() < 1e-6);
        assert!(stable(&GlMcm::new(1.0), row) > stable(&GlMcm::published(), row));
    }

    #[test]
    fn rows_without_whole_patches_are_unusable() {
        let yes = [20.0_f32, 21.0];
        for local in [&[][..], &[1.0], &[1.0, 2.0, 3.0], &[1.0, f32::NAN]] {
            let row = LogitsRow::new(&yes, &[]).with_local(LocalLogits::new(local));
            assert!(LMcm.faithful(row).is_nan(), "{local:?}");
            assert!(stable(&GlMcm::published(), row).is_nan(), "{local:?}");
        }
    }
}
