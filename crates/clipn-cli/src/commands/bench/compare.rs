//! Comparison with an earlier run.

use std::io::Write;
use std::path::{Path, PathBuf};

use clipn::files::{MAX_TEXT, read_at_most};
use clipn::random::{RandomSource, Xoshiro256};
use serde::{Deserialize, Serialize};

use super::workload::{Measurement, median};
use crate::common::error::CliError;
use crate::common::table::Table;

/// Number of resamples for an interval.
const RESAMPLES: usize = 2000;
/// Fraction of the resampled ratios within an interval.
const CONFIDENCE: f64 = 0.95;
/// Seed of the resampling, so that the same results give the same intervals.
const SEED: u64 = 1;

/// An earlier run, as `--format json` printed it.
#[derive(Debug, Deserialize)]
pub(crate) struct Comparison {
    pub machine: Option<String>,
    pub threads: usize,
    /// Device of the towers; none for the CPU.
    pub device: Option<String>,
    product_peak_gflops: Option<f64>,
    tasks: Vec<Measurement>,
    #[serde(skip)]
    path: PathBuf,
}

/// Ratios of this run to an earlier one.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    file: PathBuf,
    earlier_product_peak_gflops: Option<f64>,
    tasks: Vec<Ratio>,
}

/// Ratio of the rates of a task.
#[derive(Debug, Serialize)]
struct Ratio {
    task: String,
    earlier_rate: f64,
    rate: f64,
    unit: String,
    /// This rate over the earlier one.
    ratio: f64,
    /// 95 % confidence interval of the ratio, from resampled repetitions.
    interval: [f64; 2],
}

impl Comparison {
    /// Reads the results of an earlier run.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let bytes = read_at_most(path, MAX_TEXT).map_err(|source| CliError::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        let run: Self = serde_json::from_slice(&bytes).map_err(|error| {
            CliError::usage_with_hint(
                format!("--compare {}: {error}", path.display()),
                "give a file that `clipn bench --format json` printed",
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            ..run
        })
    }

    /// Returns the ratios of the tasks that both runs measured with the same model and input.
    pub(crate) fn compared(&self, tasks: &[Measurement]) -> Compared {
        let mut random = Xoshiro256::new(SEED);
        let ratios = tasks.iter().filter_map(|own| {
            let earlier = self.tasks.iter().find(|earlier| {
                earlier.task == own.task && earlier.model == own.model && earlier.shape == own.shape
            })?;
            Some(Ratio {
                task: own.task.name(),
                earlier_rate: earlier.rate,
                rate: own.rate,
                unit: own.unit.clone(),
                ratio: own.rate / earlier.rate,
                interval: interval(&earlier.seconds, &own.seconds, &mut random),
            })
        });
        Compared {
            file: self.path.clone(),
            earlier_product_peak_gflops: self.product_peak_gflops,
            tasks: ratios.collect(),
        }
    }
}

impl Compared {
    pub(crate) fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "\nCompared with {}:\n", self.file.display())?;
        let headings = ["task", "earlier", "now", "ratio", "95 % interval"];
        let mut table = Table::new(headings, 1);
        for row in &self.tasks {
            let rate = |rate: f64| format!("{rate:.1} {}/s", row.unit);
            let [low, high] = row.interval;
            table.row([
                row.task.clone(),
                rate(row.earlier_rate),
                rate(row.rate),
                format!("{:.2}", row.ratio),
                format!("{low:.2} to {high:.2}"),
            ]);
        }
        table.write(out)
    }
}

/// Bootstrap interval of the ratio of the medians: earlier seconds over own seconds.
fn interval(earlier: &[f64], own: &[f64], random: &mut Xoshiro256) -> [f64; 2] {
    let mut resampled = |seconds: &[f64]| {
        let count = seconds.len() as u64;
        let drawn = (0..count).map(|_| seconds[random.below(count) as usize]);
        median(&drawn.collect::<Vec<_>>())
    };
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| resampled(earlier) / resampled(own))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |fraction: f64| {
        let index = (fraction * (RESAMPLES - 1) as f64).round();
        ratios[index as usize]
    };
    [
        at(0.5 * (1.0 - CONFIDENCE)),
        at(1.0 - 0.5 * (1.0 - CONFIDENCE)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_contains_the_ratio_and_is_a_point_for_equal_times() {
        let mut random = Xoshiro256::new(SEED);
        let found = interval(&[2.0; 5], &[1.0; 5], &mut random);
        assert_eq!(found, [2.0, 2.0]);
        let [low, high] = interval(&[2.0, 2.2, 1.8, 2.1, 1.9], &[1.0, 1.1, 0.9], &mut random);
        assert!(
            (1.6..=2.0).contains(&low) && (2.0..2.5).contains(&high),
            "{low} {high}"
        );
    }
}
