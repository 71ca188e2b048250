//! Tasks run in processes of their own: the same program, started again with a hidden flag, answers in JSON.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::args::{BenchArgs, Task};
use super::work::Measured;
use crate::common::error::CliError;
use crate::common::interrupt;

/// How often a child is looked after.
const LOOK: Duration = Duration::from_millis(50);

/// A child's answer on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Measured(Box<Measured>),
    Failed(String),
}

/// Measures a task in a child, on so many threads; `None` where the user wants no more.
pub fn measure(task: Task, args: &BenchArgs, threads: usize) -> Result<Option<Measured>, CliError> {
    let failed = |error: String| CliError::BenchTask {
        task: task.name(),
        error,
    };
    let child = command(task, args, threads)
        .and_then(|mut command| command.spawn())
        .map_err(|error| failed(format!("cannot start this program again: {error}")))?;
    let Some(output) = wait(child).map_err(|error| failed(error.to_string()))? else {
        return Ok(None);
    };
    match serde_json::from_slice(&output.stdout) {
        Ok(Answer::Measured(measured)) => Ok(Some(*measured)),
        // The signal may have met both.
        _ if interrupt::requested() => Ok(None),
        Ok(Answer::Failed(error)) => Err(failed(error)),
        Err(_) => Err(failed(format!(
            "ended without an answer ({}); is there enough memory?",
            output.status
        ))),
    }
}

fn command(task: Task, args: &BenchArgs, threads: usize) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["bench", "--child", &task.name()])
        .args(["--reps", &args.repetitions().to_string()]);
    command
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

/// Waits for the end of a child, and ends it where the user wants no more. Its answer is short enough to wait in the
/// pipe.
fn wait(mut child: Child) -> std::io::Result<Option<std::process::Output>> {
    while child.try_wait()?.is_none() {
        if interrupt::requested() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
    child.wait_with_output().map(Some)
}

/// What a child does: measures, and writes its answer.
pub fn answer(outcome: Result<Measured, CliError>) -> Result<(), CliError> {
    let answer = match outcome {
        Ok(measured) => Answer::Measured(Box::new(measured)),
        Err(error) => Answer::Failed(error.to_string()),
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    out.flush().map_err(CliError::Output)
}
