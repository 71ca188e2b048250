//! `clipn benchmark`: lists the built-in benchmarks, and compares data with a definition.

mod args;
mod output;

pub(crate) use args::BenchmarkCommand;

use clipn::dataset::Benchmark;

use crate::commands::eval::load_benchmark;
use crate::common::classes;
use crate::common::error::CliError;
use args::{CheckArgs, ListArgs};

/// `clipn benchmark`.
pub(crate) fn run(command: &BenchmarkCommand) -> Result<(), CliError> {
    match command {
        BenchmarkCommand::List(args) => list(args),
        BenchmarkCommand::Check(args) => check(args),
    }
}

fn list(args: &ListArgs) -> Result<(), CliError> {
    let benchmarks = Benchmark::names().into_iter().map(Benchmark::load);
    output::print_list(&benchmarks.collect::<Result<Vec<_>, _>>()?, args.format)
}

fn check(args: &CheckArgs) -> Result<(), CliError> {
    let benchmark = load_benchmark(&args.benchmark, args.list_root.as_deref())?;
    let check = benchmark.check(&args.data_root, classes::built_in)?;
    output::print_check(&check, args.format)?;
    let sets = check.sets.iter().filter(|set| !set.is_complete()).count();
    if sets > 0 {
        return Err(CliError::IncompleteBenchmark {
            name: benchmark.name,
            sets,
            of: check.sets.len(),
        });
    }
    Ok(())
}
