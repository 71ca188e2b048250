use std::collections::BTreeMap;
use std::io::Write;

use clipn::checkpoint::{Checkpoint, Tensor};
use clipn::model::Sketch;
use serde_json::json;

use crate::args::{Format, InspectArgs};
use crate::error::CliError;
use crate::table::Table;

/// `clipn inspect`.
pub fn run(args: &InspectArgs) -> Result<(), CliError> {
    let checkpoint = Checkpoint::open(&args.file)?;
    let sketch = Sketch::of(&checkpoint);
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Table => summary(&mut out, &checkpoint, &sketch, args.tensors).map_err(CliError::Output),
        Format::Json => {
            let tensors: Vec<_> = checkpoint.iter().map(|(name, tensor)| row(name, tensor)).collect();
            let object = json!({
                "file": args.file,
                "kind": checkpoint.kind().to_string(),
                "parameters": parameters(&checkpoint),
                "metadata": checkpoint.metadata(),
                "architecture": sketch,
                "tensors": tensors,
            });
            serde_json::to_writer_pretty(&mut out, &object)?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(["name", "dtype", "shape", "values"])?;
            for (name, tensor) in checkpoint.iter() {
                csv.write_record([
                    name,
                    &tensor.dtype().to_string(),
                    &shape(tensor),
                    &tensor.len().to_string(),
                ])?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

fn row(name: &str, tensor: &Tensor) -> serde_json::Value {
    json!({ "name": name, "dtype": tensor.dtype().to_string(), "shape": tensor.shape() })
}

fn parameters(checkpoint: &Checkpoint) -> usize {
    checkpoint.iter().map(|(_, tensor)| tensor.len()).sum()
}

fn shape(tensor: &Tensor) -> String {
    tensor.shape().iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

fn summary(
    out: &mut impl Write,
    checkpoint: &Checkpoint,
    sketch: &Sketch,
    every_tensor: bool,
) -> std::io::Result<()> {
    let mut dtypes: BTreeMap<String, usize> = BTreeMap::new();
    for (_, tensor) in checkpoint.iter() {
        *dtypes.entry(tensor.dtype().to_string()).or_default() += 1;
    }
    let dtypes: Vec<String> = dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
    writeln!(out, "file        {}", checkpoint.path().display())?;
    writeln!(out, "kind        {}", checkpoint.kind())?;
    writeln!(
        out,
        "tensors     {} ({}), {:.2} M values",
        checkpoint.len(),
        dtypes.join(", "),
        parameters(checkpoint) as f64 / 1e6
    )?;
    if checkpoint.has_module_prefix() {
        writeln!(
            out,
            "prefix      names carried `{}`, which is left out here",
            checkpoint.stripped_prefix()
        )?;
    }
    for (key, value) in checkpoint.metadata() {
        writeln!(out, "{key:<10}  {value}")?;
    }
    for (part, text) in sketch.lines() {
        writeln!(out, "{part:<10}  {text}")?;
    }
    if every_tensor {
        writeln!(out)?;
        let mut table = Table::new(["name", "dtype", "shape"], 2);
        for (name, tensor) in checkpoint.iter() {
            table.row([name.to_owned(), tensor.dtype().to_string(), shape(tensor)]);
        }
        table.write(out)?;
    }
    Ok(())
}
