use std::io::Write;

use serde::Serialize;

use super::args::Task;
use super::work::Measured;
use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::table::Table;

const HEADINGS: [&str; 10] = [
    "task", "model", "shape", "median s", "best s", "rate", "GFLOP/s", "of peak", "MiB", "reps",
];

/// Everything that a run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    version: &'static str,
    /// The processor, where the system tells it.
    machine: Option<String>,
    threads: usize,
    /// The machine's matrix products in f32, on all threads.
    product_peak_gflops: Option<f64>,
    tasks: Vec<Measured>,
}

impl Report {
    pub fn new(threads: usize, product_peak_gflops: Option<f64>) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            version,
            machine: processor(),
            threads,
            product_peak_gflops,
            tasks: Vec::new(),
        }
    }

    /// Takes what a task came to, held against the machine's products.
    pub fn add(&mut self, mut measured: Measured) {
        let shares = measured.gflops.zip(self.product_peak_gflops);
        measured.share_of_peak = shares.map(|(gflops, peak)| gflops / peak);
        self.tasks.push(measured);
    }

    pub fn write(&self, format: Format) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        match format {
            Format::Table => self.table(&mut out).map_err(CliError::Output),
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
                for measured in &self.tasks {
                    csv.write_record(record(measured))?;
                }
                csv.flush().map_err(CliError::Output)
            }
        }
    }

    fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut table = Table::new(HEADINGS, 3);
        for measured in &self.tasks {
            table.row(cells(measured));
        }
        table.write(out)?;
        let machine = self.machine.as_deref().unwrap_or("this machine");
        if let Some(peak) = self.product_peak_gflops {
            writeln!(
                out,
                "\nMatrix products of {machine} in f32, {} threads: {peak:.0} GFLOP/s.",
                self.threads
            )?;
        }
        self.tasks
            .iter()
            .filter_map(classifier)
            .try_for_each(|line| writeln!(out, "{line}"))
    }
}

fn cells(measured: &Measured) -> [String; 10] {
    let optional = |value: Option<f64>, digits: usize, unit: &str| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}{unit}"))
    };
    [
        measured.task.name(),
        measured.model.clone().unwrap_or_default(),
        measured.shape.clone(),
        format!("{:.4}", measured.median_s),
        format!("{:.4}", measured.best_s),
        format!("{:.1} {}/s", measured.rate, measured.unit),
        optional(measured.gflops, 1, ""),
        optional(measured.share_of_peak.map(|share| share * 100.0), 0, " %"),
        optional(measured.peak_memory_mib, 0, ""),
        measured.seconds.len().to_string(),
    ]
}

fn record(measured: &Measured) -> [String; 11] {
    let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    [
        measured.task.name(),
        measured.model.clone().unwrap_or_default(),
        measured.shape.clone(),
        measured.median_s.to_string(),
        measured.best_s.to_string(),
        measured.rate.to_string(),
        measured.unit.clone(),
        optional(measured.gflops),
        optional(measured.share_of_peak),
        optional(measured.peak_memory_mib),
        measured.seconds.len().to_string(),
    ]
}

/// What a classifier costs a pair of class name and template, and for all of ImageNet.
fn classifier(measured: &Measured) -> Option<String> {
    let number = |key: &str| measured.details.get(key)?.as_f64();
    let (each, all) = (number("ms_a_pair")?, number("all_seconds")?);
    let how = if measured.details.get("full")?.as_bool()? {
        "measured"
    } else {
        "extrapolated"
    };
    (measured.task == Task::Classifier).then(|| {
        format!("Classifier: {each:.2} ms a pair, {all:.0} s for all of ImageNet ({how}).")
    })
}

fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
