use super::softmax::max_value;
use super::{LogitsRow, Score};

/// Maximum "yes" logit: `max_j yes_j` (Hendrycks et al., 2022, <https://arxiv.org/abs/1911.11132>).
#[derive(Debug, Clone, Copy)]
pub struct MaxLogit;

impl Score for MaxLogit {
    fn name(&self) -> &'static str {
        "maxlogit"
    }

    fn display_name(&self) -> &'static str {
        "MaxLogit"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        row.finite_yes().map_or(f32::NAN, max_value)
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.finite_yes().map_or(f64::NAN, max_value)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}
