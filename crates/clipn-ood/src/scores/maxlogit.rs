use super::softmax::greatest;
use super::{LogitsRow, Score};

/// Maximum "yes" logit: `max_j yes_j` (Hendrycks et al., 2022, <https://arxiv.org/abs/1911.11132>).
#[derive(Debug, Clone, Copy)]
pub struct MaxLogit;

impl Score for MaxLogit {
    fn name(&self) -> &'static str {
        "maxlogit"
    }

    fn title(&self) -> &'static str {
        "MaxLogit"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        row.usable_yes().map_or(f32::NAN, greatest)
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.usable_yes().map_or(f64::NAN, greatest)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}
