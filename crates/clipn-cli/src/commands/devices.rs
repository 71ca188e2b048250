//! `clipn devices`: the devices of this machine.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::common::args::Format;
use crate::common::error::CliError;
#[cfg(feature = "cuda")]
use crate::common::messages::detail;
use crate::common::table::Table;

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// A device as `--device` names it.
struct Row {
    device: String,
    name: String,
    kind: String,
    precisions: String,
}

/// `clipn devices`.
pub(crate) fn run(args: &DevicesArgs) -> Result<(), CliError> {
    let rows = rows();
    let header = ["device", "name", "kind", "precisions"];
    let cells = |row: &Row| [&row.device, &row.name, &row.kind, &row.precisions].map(String::clone);
    let mut out = std::io::stdout().lock();
    let written = match args.format {
        Format::Json => {
            let row = |row: &Row| -> Value {
                header
                    .iter()
                    .zip(cells(row))
                    .map(|(name, cell)| ((*name).to_owned(), json!(cell)))
                    .collect()
            };
            let all: Vec<Value> = rows.iter().map(row).collect();
            writeln!(out, "{:#}", json!(all))
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(Vec::new());
            let all = std::iter::once(header.map(str::to_owned)).chain(rows.iter().map(cells));
            for row in all {
                csv.write_record(row)
                    .map_err(|error| CliError::Output(error.into()))?;
            }
            let bytes = csv
                .into_inner()
                .map_err(|error| CliError::Output(error.into_error()))?;
            out.write_all(&bytes)
        }
        Format::Table => {
            let mut table = Table::new(header, header.len());
            for row in &rows {
                table.row(cells(row));
            }
            table.write(&mut out)
        }
    };
    written.map_err(CliError::Output)
}

fn rows() -> Vec<Row> {
    #[allow(unused_mut)]
    let mut rows = vec![Row {
        device: "cpu".to_owned(),
        name: format!("SIMD level {}", clipn::simd::SimdLevel::current()),
        kind: "CPU".to_owned(),
        precisions: "f32, int8".to_owned(),
    }];
    #[cfg(feature = "gpu")]
    for (index, adapter) in clipn::gpu::adapters().into_iter().enumerate() {
        let precisions: Vec<&str> = adapter.precisions.iter().map(|p| p.as_str()).collect();
        rows.push(Row {
            device: format!("gpu:{index}"),
            name: adapter.name,
            kind: format!("{} over {}", adapter.kind.name(), adapter.interface),
            precisions: precisions.join(", "),
        });
    }
    #[cfg(feature = "cuda")]
    match clipn::gpu::cuda_devices() {
        Ok(devices) => rows.extend(devices.into_iter().enumerate().map(|(index, device)| Row {
            device: format!("cuda:{index}"),
            name: device.name,
            kind: format!(
                "compute capability {}.{}, {} GiB",
                device.capability / 10,
                device.capability % 10,
                device.memory_bytes >> 30
            ),
            precisions: "f32, f16, bf16".to_owned(),
        })),
        Err(error) => detail(format_args!("no CUDA devices: {error}")),
    }
    rows
}
