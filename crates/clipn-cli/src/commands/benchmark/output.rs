//! Benchmarks and their state on standard output.

use std::io::Write;

use clipn::count::noun;
use clipn::dataset::{Benchmark, BenchmarkCheck, SetCheck, SetRole};
use serde_json::{Value, json};

use crate::common::args::Format;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::numbers::thousands;
use crate::common::table::Table;
use crate::common::terminal::Escaped;

/// A set of a definition: name, role, number of images.
type DefinedSet<'a> = (&'a str, SetRole, Option<usize>);

fn sets(benchmark: &Benchmark) -> Vec<DefinedSet<'_>> {
    let id = &benchmark.id;
    let shifted = &benchmark.shifted;
    std::iter::once((id.name.as_str(), SetRole::Id, id.images))
        .chain(
            shifted
                .iter()
                .map(|set| (set.name.as_str(), SetRole::Shifted, set.images)),
        )
        .chain(
            benchmark
                .ood
                .iter()
                .map(|set| (set.name.as_str(), SetRole::Ood(set.kind), set.images)),
        )
        .collect()
}

/// Prints the benchmarks with their sets.
pub(super) fn print_list(benchmarks: &[Benchmark], format: Format) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = match format {
        Format::Json => {
            let benchmark = |benchmark: &Benchmark| {
                let set = |(name, role, images): DefinedSet<'_>| json!({"name": name, "role": role.to_string(), "images": images});
                json!({
                    "name": benchmark.name,
                    "description": benchmark.description,
                    "sets": sets(benchmark).into_iter().map(set).collect::<Vec<_>>(),
                })
            };
            write_json(&mut out, &benchmarks.iter().map(benchmark).collect())
        }
        Format::Csv => write_csv(
            &mut out,
            &["benchmark", "set", "role", "images"],
            benchmarks.iter().flat_map(|benchmark| {
                sets(benchmark).into_iter().map(|(name, role, images)| {
                    vec![
                        benchmark.name.clone(),
                        name.to_owned(),
                        role.to_string(),
                        images.map(|n| n.to_string()).unwrap_or_default(),
                    ]
                })
            }),
        ),
        Format::Table => write_list(&mut Escaped(&mut out), benchmarks),
    };
    written.and_then(|()| out.flush()).map_err(CliError::Output)
}

fn write_list(out: &mut impl Write, benchmarks: &[Benchmark]) -> std::io::Result<()> {
    for (index, benchmark) in benchmarks.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        writeln!(out, "{gap}{}: {}", benchmark.name, benchmark.description)?;
        let set = |(name, role, images): DefinedSet<'_>| {
            let images = images.map_or(String::new(), |n| {
                format!(", {} {}", thousands(n), noun(&n, "image"))
            });
            format!("  {name} ({role}{images})")
        };
        for line in sets(benchmark).into_iter().map(set) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Prints what every set has and lacks.
pub(super) fn print_check(check: &BenchmarkCheck, format: Format) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = match format {
        Format::Json => write_json(&mut out, &check.sets.iter().map(json_of).collect()),
        Format::Csv => write_csv(
            &mut out,
            &[
                "set", "role", "images", "expected", "missing", "complete", "problem",
            ],
            check.sets.iter().map(|set| {
                vec![
                    set.name.clone(),
                    set.role.to_string(),
                    set.images.to_string(),
                    set.expected.map(|n| n.to_string()).unwrap_or_default(),
                    set.missing.to_string(),
                    set.is_complete().to_string(),
                    set.problem
                        .as_ref()
                        .map(|e| chain_in_one_line(e))
                        .unwrap_or_default(),
                ]
            }),
        ),
        Format::Table => write_check(&mut Escaped(&mut out), check),
    };
    written.and_then(|()| out.flush()).map_err(CliError::Output)
}

fn json_of(set: &SetCheck) -> Value {
    json!({
        "name": set.name,
        "role": set.role.to_string(),
        "images": set.images,
        "expected": set.expected,
        "missing": set.missing,
        "missing_names": set.missing_names,
        "complete": set.is_complete(),
        "problem": set.problem.as_ref().map(|error| chain_in_one_line(error)),
    })
}

fn write_check(out: &mut impl Write, check: &BenchmarkCheck) -> std::io::Result<()> {
    let mut table = Table::new(["set", "role", "state", "images", "expected", "missing"], 3);
    for set in &check.sets {
        let state = match (&set.problem, set.is_complete()) {
            (Some(_), _) => "not usable",
            (None, true) => "complete",
            (None, false) => "incomplete",
        };
        table.row([
            set.name.clone(),
            set.role.to_string(),
            state.to_owned(),
            thousands(set.images),
            set.expected.map_or("–".to_owned(), thousands),
            thousands(set.missing),
        ]);
    }
    table.write(out)?;
    for set in check.sets.iter().filter(|set| !set.is_complete()) {
        let mut parts = Vec::new();
        if let Some(error) = &set.problem {
            parts.push(chain_in_one_line(error));
        }
        if set.missing > 0 {
            let more = if set.missing > set.missing_names.len() {
                ", …"
            } else {
                ""
            };
            let names: Vec<String> = set
                .missing_names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            parts.push(format!("missing {}{more}", names.join(", ")));
        }
        if let Some(expected) = set
            .expected
            .filter(|&n| n != set.images && set.problem.is_none())
        {
            parts.push(format!(
                "{} {}, expected {}",
                thousands(set.images),
                noun(&set.images, "image"),
                thousands(expected)
            ));
        }
        writeln!(out, "\n{}: {}", set.name, parts.join("; "))?;
    }
    Ok(())
}

fn write_json(out: &mut impl Write, values: &Vec<Value>) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, values)?;
    writeln!(out)
}

fn write_csv(
    out: &mut impl Write,
    heading: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(heading)?;
    for row in rows {
        csv.write_record(row)?;
    }
    csv.flush()
}
