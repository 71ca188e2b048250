//! Child processes, one per task: this program, started with a task in an environment variable,
//! replies in JSON.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
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
    let Some((status, reply)) = wait(child).map_err(|error| failed(error.to_string()))? else {
        return Ok(None);
    };
    match serde_json::from_slice(&reply) {
        Ok(Reply::Measured(measured)) => Ok(Some(*measured)),
        // The signal may have reached the child too.
        _ if interrupt::requested() => Ok(None),
        Ok(Reply::Failed(error)) => Err(failed(error)),
        Err(_) => Err(failed(format!(
            "the child process exited without a reply ({status}), possibly for lack of memory"
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
    if let Some(batch) = args.batch_size {
        command.args(["--batch-size", &batch.to_string()]);
    }
    if args.full {
        command.arg("--full");
    }
    command.args(args.device.arguments());
    Ok(command)
}

/// Waits for a child to exit, and kills it if interrupted. Returns how it exited, and its reply.
fn wait(mut child: Child) -> std::io::Result<Option<(ExitStatus, Vec<u8>)>> {
    let mut output = child.stdout.take();
    // Read meanwhile: the times of many repetitions are more than a pipe holds.
    let reader = std::thread::spawn(move || {
        let mut reply = Vec::new();
        output
            .as_mut()
            .map_or(Ok(0), |output| output.read_to_end(&mut reply))
            .map(|_| reply)
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt::requested() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(CHILD_POLL);
    };
    let reply = reader
        .join()
        .map_err(|_| std::io::Error::other("the reply cannot be read"))??;
    Ok(Some((status, reply)))
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
