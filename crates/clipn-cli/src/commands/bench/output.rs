//! Output of all measurements.

use std::io::Write;

use clipn::count::count;
use serde::Serialize;

use super::args::Task;
use super::compare::{Compared, Comparison};
use super::workload::Measurement;
use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::messages::warning;
use crate::common::table::Table;
use crate::common::terminal::Escaped;

const HEADINGS: [&str; 10] = [
    "task", "model", "shape", "median s", "best s", "rate", "GFLOP/s", "of peak", "MiB", "reps",
];

/// All measurements of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    /// Processor name, if known (Linux).
    machine: Option<String>,
    threads: usize,
    /// Device and precision of the towers; none for the CPU, where each task names its precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// Peak of matrix products in GFLOP/s: in f32 on all threads, or on the device in its precision.
    product_peak_gflops: Option<f64>,
    tasks: Vec<Measurement>,
    /// Ratios to an earlier run, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Compared>,
}

impl Report {
    /// Creates a report without tasks. `peak` is the measurement of the machine's matrix products.
    pub(crate) fn new(threads: usize, peak: &Measurement) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            version,
            machine: processor(),
            threads,
            device: peak.device.clone(),
            product_peak_gflops: peak.gflops,
            tasks: Vec::new(),
            compared: None,
        }
    }

    /// Adds the ratios to an earlier run.
    pub(crate) fn compare(&mut self, earlier: &Comparison) {
        let own = (&self.machine, self.threads, &self.device);
        if own != (&earlier.machine, earlier.threads, &earlier.device) {
            warning(format_args!(
                "compared with a run on {}, {}, towers on {}",
                earlier.machine.as_deref().unwrap_or("an unknown machine"),
                count(earlier.threads, "thread"),
                earlier.device.as_deref().unwrap_or("the CPU")
            ));
        }
        self.compared = Some(earlier.compared(&self.tasks));
    }

    /// Adds the measurement of a task, with its fraction of the machine's peak.
    pub(crate) fn add(&mut self, mut measurement: Measurement) {
        let rates = measurement.gflops.zip(self.product_peak_gflops);
        measurement.share_of_peak = rates.map(|(gflops, peak)| gflops / peak);
        self.tasks.push(measurement);
    }

    pub(crate) fn write(&self, format: Format) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        match format {
            Format::Table => self.table(&mut Escaped(&mut out)).map_err(CliError::Output),
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, self)?;
                writeln!(out).map_err(CliError::Output)
            }
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(out);
                csv.write_record([
                    "task",
                    "model",
                    "shape",
                    "median_s",
                    "best_s",
                    "rate",
                    "unit",
                    "gflops",
                    "share_of_peak",
                    "peak_memory_mib",
                    "reps",
                ])?;
                for measurement in &self.tasks {
                    csv.write_record(record(measurement))?;
                }
                csv.flush().map_err(CliError::Output)
            }
        }
    }

    fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut table = Table::new(HEADINGS, 3);
        for measurement in &self.tasks {
            table.row(cells(measurement));
        }
        table.write(out)?;
        let machine = self.machine.as_deref().unwrap_or("this machine");
        match (self.product_peak_gflops, &self.device) {
            (Some(peak), None) => writeln!(
                out,
                "\nPeak of f32 matrix products of {machine}, {}: {peak:.0} GFLOP/s.",
                count(self.threads, "thread")
            )?,
            (Some(peak), Some(device)) => writeln!(
                out,
                "\nPeak of matrix products of {device}: {peak:.0} GFLOP/s."
            )?,
            (None, _) => {}
        }
        self.tasks
            .iter()
            .filter_map(classifier)
            .try_for_each(|line| writeln!(out, "{line}"))?;
        match &self.compared {
            Some(compared) => compared.table(out),
            None => Ok(()),
        }
    }
}

fn cells(measurement: &Measurement) -> [String; 10] {
    let optional = |value: Option<f64>, digits: usize, unit: &str| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}{unit}"))
    };
    [
        measurement.task.name(),
        measurement.model.clone().unwrap_or_default(),
        measurement.shape.clone(),
        format!("{:.4}", measurement.median_s),
        format!("{:.4}", measurement.best_s),
        format!("{:.1} {}/s", measurement.rate, measurement.unit),
        optional(measurement.gflops, 1, ""),
        optional(
            measurement.share_of_peak.map(|fraction| fraction * 100.0),
            0,
            " %",
        ),
        optional(measurement.peak_memory_mib, 0, ""),
        measurement.seconds.len().to_string(),
    ]
}

fn record(measurement: &Measurement) -> [String; 11] {
    let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    [
        measurement.task.name(),
        measurement.model.clone().unwrap_or_default(),
        measurement.shape.clone(),
        measurement.median_s.to_string(),
        measurement.best_s.to_string(),
        measurement.rate.to_string(),
        measurement.unit.clone(),
        optional(measurement.gflops),
        optional(measurement.share_of_peak),
        optional(measurement.peak_memory_mib),
        measurement.seconds.len().to_string(),
    ]
}

/// Time of the classifier per pair of class name and template, and for all of ImageNet.
fn classifier(measurement: &Measurement) -> Option<String> {
    let number = |key: &str| measurement.details.get(key)?.as_f64();
    let (each, all) = (number("ms_a_pair")?, number("all_seconds")?);
    let how = if measurement.details.get("full")?.as_bool()? {
        "measured"
    } else {
        "extrapolated"
    };
    let name = match measurement.task {
        Task::Classifier => "Classifier",
        Task::ClassifierInt8 => "Classifier in int8",
        _ => return None,
    };
    Some(format!(
        "{name}: {each:.2} ms per pair, {all:.0} s for all of ImageNet ({how})."
    ))
}

fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
