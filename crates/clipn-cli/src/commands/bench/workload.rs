//! Workloads and their measurement.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::args::Task;
use crate::common::error::CliError;
use crate::common::interrupt;

/// A workload to measure.
pub(crate) struct Workload {
    /// Runs one repetition.
    pub run: Box<dyn FnMut() -> Result<(), CliError>>,
    /// Architecture, if the task has one.
    pub model: Option<String>,
    /// Input of one repetition, such as `32 x 77 ids`.
    pub shape: String,
    /// Number of units per repetition.
    pub items: f64,
    /// Unit of the rate, such as `images`.
    pub unit: &'static str,
    /// Operations of one repetition, if counted.
    pub flops: Option<f64>,
    /// Further facts for the JSON output.
    pub details: Map<String, Value>,
}

/// The measurement of a task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub task: Task,
    /// Device and precision of the towers; none for the CPU, where the task names the precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub model: Option<String>,
    pub shape: String,
    /// Duration of each repetition.
    pub seconds: Vec<f64>,
    pub median_s: f64,
    pub best_s: f64,
    /// Units per second at the median.
    pub rate: f64,
    pub unit: String,
    /// GFLOP/s at the median.
    pub gflops: Option<f64>,
    /// Fraction of the machine's peak; may exceed 1.
    pub share_of_peak: Option<f64>,
    pub peak_memory_mib: Option<f64>,
    pub details: Map<String, Value>,
}

impl Workload {
    /// Runs once unmeasured if `warm_up`, then `reps` times.
    pub(crate) fn measure(
        mut self,
        task: Task,
        reps: u32,
        warm_up: bool,
    ) -> Result<Measurement, CliError> {
        if warm_up {
            (self.run)()?;
        }
        let mut seconds = Vec::new();
        for _ in 0..reps {
            if interrupt::requested() {
                return Err(CliError::BenchInterrupted { done: 0, total: 1 });
            }
            let started = Instant::now();
            (self.run)()?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        let median_s = median(&seconds);
        Ok(Measurement {
            task,
            device: None,
            model: self.model,
            shape: self.shape,
            median_s,
            best_s: seconds.iter().copied().fold(f64::INFINITY, f64::min),
            rate: self.items / median_s,
            unit: self.unit.to_owned(),
            gflops: self.flops.map(|flops| flops / median_s / 1e9),
            share_of_peak: None,
            peak_memory_mib: peak_memory_mib(),
            seconds,
            details: self.details,
        })
    }
}

impl Measurement {
    /// The measurement of the matrix-product peak, in operations per second.
    pub(crate) fn peak_gemm_flops(flops: f64) -> Self {
        Self {
            task: Task::ProductPeak,
            device: None,
            model: None,
            shape: "f32".to_owned(),
            seconds: vec![1.0],
            median_s: 1.0,
            best_s: 1.0,
            rate: flops,
            unit: "operations".to_owned(),
            gflops: Some(flops / 1e9),
            share_of_peak: Some(1.0),
            peak_memory_mib: peak_memory_mib(),
            details: Map::new(),
        }
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => f64::NAN,
    }
}

/// Peak resident memory of this process, if known (Linux).
fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_no_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
