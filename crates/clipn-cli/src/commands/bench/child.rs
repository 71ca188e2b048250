//! Child processes, one per task: this program, started with a task in an environment variable,
//! replies in JSON.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::args::{BenchArgs, Task};
use super::workload::Measurement;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::interrupt;

/// Polling interval of a child.
const CHILD_POLL: Duration = Duration::from_millis(50);

/// Variable with the task that a child measures.
const TASK_VARIABLE: &str = "CLIPN_BENCH_CHILD_TASK";

/// The reply of a child on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Measured(Box<Measurement>),
    Failed(String),
}

/// Measures a task in a child on this number of threads; `None` if interrupted.
pub(crate) fn measure(
    task: Task,
    args: &BenchArgs,
    threads: usize,
) -> Result<Option<Measurement>, CliError> {
    let failed = |error: String| CliError::BenchTask {
        task: task.name(),
        error,
    };
    let child = command(task, args, threads)
        .and_then(|mut command| command.spawn())
        .map_err(|error| failed(format!("cannot start a child process: {error}")))?;
    let Some(output) = wait(child).map_err(|error| failed(error.to_string()))? else {
        return Ok(None);
    };
    match serde_json::from_slice(&output.stdout) {
        Ok(Reply::Measured(measured)) => Ok(Some(*measured)),
        // The signal may have reached the child too.
        _ if interrupt::requested() => Ok(None),
        Ok(Reply::Failed(error)) => Err(failed(error)),
        Err(_) => Err(failed(format!(
            "the child process exited without a reply ({}), possibly for lack of memory",
            output.status
        ))),
    }
}

fn command(task: Task, args: &BenchArgs, threads: usize) -> std::io::Result<Command> {
    let [program, arguments @ ..] = &crate::program()?[..] else {
        return Err(std::io::ErrorKind::NotFound.into());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    command
        .arg("bench")
        .args(["--reps", &args.repetitions().to_string()]);
    command
        .env(TASK_VARIABLE, task.name())
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(model) = &args.model {
        command.args(["--model", model]);
    }
    for (flag, path) in [("--pretrained", &args.pretrained), ("--data", &args.data)] {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    if args.full {
        command.arg("--full");
    }
    Ok(command)
}

/// Waits for a child to exit, and kills it if interrupted. The reply is short enough for the pipe's
/// buffer.
fn wait(mut child: Child) -> std::io::Result<Option<std::process::Output>> {
    while child.try_wait()?.is_none() {
        if interrupt::requested() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(CHILD_POLL);
    }
    child.wait_with_output().map(Some)
}

/// The task of this process, if it is a child.
pub(crate) fn requested_task() -> Option<Result<Task, CliError>> {
    let name = std::env::var(TASK_VARIABLE).ok()?;
    let task = serde_json::from_value(name.as_str().into());
    Some(task.map_err(|_| CliError::usage(format!("unknown task in {TASK_VARIABLE}: `{name}`"))))
}

/// Writes the reply of a child.
pub(crate) fn reply(outcome: Result<Measurement, CliError>) -> Result<(), CliError> {
    let reply = match outcome {
        Ok(measured) => Reply::Measured(Box::new(measured)),
        Err(error) => Reply::Failed(chain_in_one_line(&error)),
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &reply)?;
    out.flush().map_err(CliError::Output)
}
