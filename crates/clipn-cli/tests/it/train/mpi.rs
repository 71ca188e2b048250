//! Training and evaluation on several processes, under every MPI in `CLIPN_TEST_MPI`.
//!
//! A run must be the same under all of them, and must not hang when a process ends early.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use clipn::progress::NoProgress;
use clipn_testing::mpi::{MpiInstallation, installations, output_within, rest_within};
use clipn_testing::random::Random;
use serde_json::Value;

use crate::common::child::wait_for_lines;
use crate::common::{Sandbox, error_report, text, with_model};
use crate::train::{log, sandbox, steps, train, trained_clip};
use crate::world::World;

const LIMIT: Duration = Duration::from_secs(180);

/// `clipn` with these arguments on `ranks` processes.
fn on_ranks(s: &Sandbox, mpi: &MpiInstallation, ranks: usize, arguments: &[&str]) -> Command {
    let mut command = mpi.command(ranks, Path::new(env!("CARGO_BIN_EXE_clipn")));
    command
        .current_dir(s.root())
        .args(arguments)
        .env("HF_HOME", s.path("hf-home"))
        .env("HF_HUB_OFFLINE", "1");
    command
}

fn run(s: &Sandbox, mpi: &MpiInstallation, ranks: usize, arguments: &[&str]) -> Output {
    output_within(on_ranks(s, mpi, ranks, arguments), LIMIT)
}

fn succeed(s: &Sandbox, mpi: &MpiInstallation, ranks: usize, arguments: &[&str]) -> Output {
    let output = run(s, mpi, ranks, arguments);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{mpi}, {ranks} ranks: {stderr}");
    output
}

/// The bytes of a run's last weights and moments.
fn end_of(s: &Sandbox, name: &str, checkpoint: &str) -> [Vec<u8>; 2] {
    ["model.safetensors", "optimizer.safetensors"].map(|file| {
        std::fs::read(s.path(&format!("logs/{name}/checkpoints/{checkpoint}/{file}"))).unwrap()
    })
}

/// A name for a run under this MPI.
fn name_of(mpi: &MpiInstallation, rest: &str) -> String {
    let library = mpi.to_string();
    let file = library.rsplit('/').next().unwrap_or_default();
    format!("{file}-{rest}")
}

fn losses(s: &Sandbox, name: &str) -> Vec<f64> {
    let of = |line: &Value| line["losses"]["total"].as_f64().unwrap();
    log(s, name).iter().map(of).collect()
}

#[test]
fn a_run_is_the_same_under_every_mpi_and_on_one_process() {
    let all = installations();
    if all.is_empty() {
        return;
    }
    let s = &sandbox();
    let weights = trained_clip(s);
    let more = [
        "--objective",
        "clipn",
        "--pretrained",
        &weights,
        "--cache-image-features",
        "--augmentation",
        "none",
        "--epochs",
        "2",
    ];
    s.done(&train("alone", &more));
    let alone = losses(s, "alone");
    for (ranks, batch) in [(2, "4"), (4, "2")] {
        let more = [&more[..], &["--batch-size", batch]].concat();
        let mut first: Option<[Vec<u8>; 2]> = None;
        for mpi in &all {
            let name = name_of(mpi, batch);
            let output = succeed(s, mpi, ranks, &replaced_batch(&train(&name, &more)));
            let path = format!("logs/{name}/checkpoints/epoch-2/model.safetensors");
            assert_eq!(text(&output.stdout).trim(), path, "only rank 0 prints");
            let stderr = text(&output.stderr);
            assert_eq!(
                stderr.matches("12 steps of 8 samples").count(),
                1,
                "{stderr}"
            );
            assert!(s.path(&format!("logs/{name}/finished.json")).exists());
            assert_eq!(steps(&log(s, &name)), (1..=12).collect::<Vec<_>>());
            for (found, expected) in losses(s, &name).iter().zip(&alone) {
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{mpi}: {found}, {expected}"
                );
            }
            let end = end_of(s, &name, "epoch-2");
            let expected = first.get_or_insert_with(|| end.clone());
            assert!(
                end == *expected,
                "{mpi}, {ranks} ranks: other bits than {}",
                all[0]
            );
        }
    }
}

/// Arguments with the last of two `--batch-size`.
fn replaced_batch<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let first = arguments.iter().position(|a| *a == "--batch-size").unwrap();
    let mut arguments = arguments.to_vec();
    arguments.drain(first..first + 2);
    arguments
}

#[test]
fn a_killed_rank_ends_the_job_and_the_run_resumes_exactly() {
    for mpi in installations() {
        let s = &sandbox();
        // Long enough that a rank is still there once its first lines are seen.
        let more = ["--objective", "clip", "--epochs", "10", "--save-every", "2"];
        let arguments = |name: &'static str, more: &[&'static str]| {
            let with = [more, &["--batch-size", "2"]].concat();
            replaced_batch(&train(name, &with))
        };
        succeed(s, &mpi, 4, &arguments("whole", &more));
        let mut command = on_ranks(s, &mpi, 4, &arguments("killed", &more));
        let mut job = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let path = s.path("logs/killed/log.jsonl");
        wait_for_lines(&mut job, &path, 5);
        assert!(
            signal_one_rank("-KILL", "killed", |ranks| ranks - 1),
            "a rank runs"
        );
        let begin = Instant::now();
        let status = loop {
            match job.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begin.elapsed() < Duration::from_secs(30), "{mpi}: hangs"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(!status.success(), "{mpi}");
        assert!(!s.path("logs/killed/finished.json").exists());
        let resumed = [&more[..], &["--resume", "latest"]].concat();
        succeed(s, &mpi, 4, &arguments("killed", &resumed));
        assert_eq!(steps(&log(s, "killed")), (1..=60).collect::<Vec<_>>());
        assert!(
            end_of(s, "whole", "epoch-10") == end_of(s, "killed", "epoch-10"),
            "{mpi}: other bits after a resume"
        );
        // The same run again has nothing left to train, on any number of processes.
        let resumed = [&more[..], &["--resume", "latest"]].concat();
        let output = succeed(s, &mpi, 1, &train("killed", &resumed));
        assert!(text(&output.stderr).contains("nothing left to train"));
    }
}

/// Sends a signal to a process with this name of a run among its arguments, but no launcher. Returns whether
/// there was one.
fn signal_one_rank(signal: &str, name: &str, choose: impl FnOnce(usize) -> usize) -> bool {
    let mut ranks: Vec<String> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let program = env!("CARGO_BIN_EXE_clipn").as_bytes();
        if words.first() == Some(&program) && words.contains(&name.as_bytes()) {
            ranks.push(id);
        }
    }
    if ranks.is_empty() {
        return false;
    }
    let rank = &ranks[choose(ranks.len())];
    let status = Command::new("kill").args([signal, rank]).status();
    status.unwrap().success()
}

/// Kills of random ranks at random moments, before the first step and while a checkpoint is written too.
/// The variable `CLIPN_TEST_SEED` draws others.
#[test]
#[ignore = "takes minutes"]
fn random_kills_leave_a_run_that_resumes_exactly() {
    const KILLS: usize = 20;
    let seed = std::env::var("CLIPN_TEST_SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut random = Random::new(seed);
    for mpi in installations() {
        let s = &sandbox();
        let more = [
            "--objective",
            "clip",
            "--epochs",
            "20",
            "--save-every",
            "2",
            "--batch-size",
            "2",
        ];
        let arguments = |name: &'static str| replaced_batch(&train(name, &more));
        let begin = Instant::now();
        succeed(s, &mpi, 4, &arguments("whole"));
        let duration = begin.elapsed();
        let mut slowest = Duration::ZERO;
        let (mut kills, mut resumes) = (0, 0);
        while kills < KILLS {
            let _ = std::fs::remove_dir_all(s.path("logs/killed"));
            // Several kills of one run, until it has come to its end.
            while !s.path("logs/killed/finished.json").exists() {
                let mut arguments = arguments("killed");
                if s.path("logs/killed").exists() {
                    arguments.extend(["--resume", "latest"]);
                    resumes += 1;
                }
                let mut job = on_ranks(s, &mpi, 4, &arguments)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                let share = (random.next_u64() % 1000) as u32;
                std::thread::sleep(duration * share / 1000);
                let rank = random.next_u64() as usize;
                let killed = signal_one_rank("-KILL", "killed", |ranks| rank % ranks);
                let begin = Instant::now();
                while job.try_wait().unwrap().is_none() {
                    let limit = if killed { 30 } else { 180 };
                    assert!(begin.elapsed() < Duration::from_secs(limit), "{mpi}: hangs");
                    std::thread::sleep(Duration::from_millis(5));
                }
                if killed {
                    kills += 1;
                    slowest = slowest.max(begin.elapsed());
                }
            }
            assert_eq!(steps(&log(s, "killed")), (1..=120).collect::<Vec<_>>());
            assert!(
                end_of(s, "whole", "epoch-20") == end_of(s, "killed", "epoch-20"),
                "{mpi}, seed {seed}: other bits after {kills} kills"
            );
        }
        eprintln!(
            "{mpi}: {kills} kills, {resumes} resumes, the job ended in at most {slowest:.2?}"
        );
    }
}

/// MPI's own sums are added in another order, which changes no more than roundings.
#[test]
fn sums_of_the_library_differ_by_rounding() {
    for mpi in installations() {
        let s = &sandbox();
        let more = ["--objective", "clip", "--epochs", "2", "--batch-size", "2"];
        succeed(s, &mpi, 4, &replaced_batch(&train("shares", &more)));
        let more = [&more[..], &["--reduce", "library"]].concat();
        succeed(s, &mpi, 4, &replaced_batch(&train("library", &more)));
        let (shares, library) = (losses(s, "shares"), losses(s, "library"));
        assert_eq!(shares.len(), 12);
        for (shares, library) in shares.iter().zip(&library) {
            assert!(
                (shares - library).abs() < 1e-4,
                "{mpi}: {shares}, {library}"
            );
        }
    }
}

/// A small benchmark in `world`; returns the path of its definition.
fn benchmark(s: &Sandbox) -> String {
    let world = World {
        per_class: 1,
        per_far_set: 2,
        shard_size: 40,
        ..World::default()
    };
    let files = world.write(&s.path("world"), 16, &NoProgress).unwrap();
    files.benchmark.to_str().unwrap().to_owned()
}

#[test]
fn an_evaluation_during_training_is_that_of_one_process() {
    let all = installations();
    if all.is_empty() {
        return;
    }
    let s = &sandbox();
    let benchmark = &benchmark(s);
    // Weights that do not change are the same on any number of ranks.
    let more = [
        "--objective",
        "clip",
        "--epochs",
        "1",
        "--lr",
        "0",
        "--eval-benchmark",
        benchmark,
        "--data-root",
        "world",
    ];
    let names: Vec<String> = all.iter().map(|mpi| name_of(mpi, "evaluated")).collect();
    let arguments = |name, batch| {
        let mut arguments = train(name, &more);
        for (flag, value) in [("--lr", None), ("--batch-size", Some(batch))] {
            let at = arguments.iter().position(|a| *a == flag).unwrap();
            match value {
                Some(value) => arguments[at + 1] = value,
                None => drop(arguments.drain(at..at + 2)),
            }
        }
        arguments
    };
    let results = |name: &str| -> Value {
        let lines = std::fs::read_to_string(s.path(&format!("logs/{name}/eval.jsonl"))).unwrap();
        assert_eq!(lines.lines().count(), 1, "{name}: rank 0 alone writes");
        serde_json::from_str::<Value>(&lines).unwrap()["results"].take()
    };
    s.done(&arguments("alone", "8"));
    let alone = results("alone");
    assert!(alone.is_object());
    for (mpi, name) in all.iter().zip(&names) {
        succeed(s, mpi, 2, &arguments(name, "4"));
        assert_eq!(results(name), alone, "{mpi}");
    }
}

#[test]
fn an_error_of_all_ranks_is_reported_once() {
    for mpi in installations() {
        let s = &sandbox();
        let more = ["--objective", "clip", "--train-data", "missing.tsv"];
        let output = run(s, &mpi, 4, &train("missing", &more));
        let stderr = text(&output.stderr);
        assert!(!output.status.success(), "{mpi}");
        assert_eq!(
            stderr.matches("error: rank 0 of 4: ").count(),
            1,
            "{mpi}: {stderr}"
        );
        assert_eq!(stderr.matches("error: rank").count(), 1, "{mpi}: {stderr}");
    }
}

/// A process that fails before it is connected must not leave the others waiting for it.
#[test]
fn a_rank_that_cannot_connect_ends_the_job() {
    for mpi in installations() {
        let s = &sandbox();
        let script = "case ${PMI_RANK:-$OMPI_COMM_WORLD_RANK} in 1) CLIPN_MPI=libm.so.6 ;; esac; \
                      export CLIPN_MPI; exec \"$@\"";
        let mut command = mpi.command(2, Path::new("/bin/sh"));
        command
            .current_dir(s.root())
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_clipn")])
            .args(train("unconnected", &["--objective", "clip"]));
        let output = output_within(command, Duration::from_secs(60));
        let stderr = text(&output.stderr);
        assert!(!output.status.success(), "{mpi}: {stderr}");
        assert!(
            stderr.contains("error: rank 1 of 2: cannot use the MPI library libm.so.6"),
            "{mpi}: {stderr}"
        );
        assert!(!s.path("logs").exists(), "{mpi}: {stderr}");
    }
}

#[test]
fn a_notice_ends_all_ranks_after_a_checkpoint() {
    for mpi in installations() {
        let s = &sandbox();
        let more = [
            "--objective",
            "clip",
            "--epochs",
            "4000",
            "--batch-size",
            "4",
            "--requeue-exit-code",
            "75",
        ];
        let arguments = replaced_batch(&train("noticed", &more));
        let mut command = on_ranks(s, &mpi, 2, &arguments);
        let mut job = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let path = s.path("logs/noticed/log.jsonl");
        wait_for_lines(&mut job, &path, 3);
        let id = job.id().to_string();
        let status = Command::new("kill").args(["-USR1", &id]).status();
        assert!(status.unwrap().success());
        let output = job.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(75), "{mpi}: {stderr}");
        let step = log(s, "noticed").len();
        let saved = s.path(&format!("logs/noticed/checkpoints/step-{step}/state.json"));
        let at_end = s.path(&format!("logs/noticed/checkpoints/epoch-{}", step / 6));
        assert!(saved.exists() || at_end.exists(), "{mpi}: {stderr}");
        assert!(!s.path("logs/noticed/finished.json").exists());
    }
}

/// One rank gets the notice while all prepare an evaluation, which takes seconds with many templates.
#[test]
fn a_notice_to_one_rank_in_an_evaluation_ends_all_after_a_checkpoint() {
    let all = installations();
    if all.is_empty() {
        return;
    }
    let s = &sandbox();
    let benchmark = &benchmark(s);
    let templates: Vec<String> = (0..60_000).map(|n| format!("photo {n} of {{}}")).collect();
    std::fs::write(s.path("templates.txt"), templates.join("\n")).unwrap();
    let more = [
        "--objective",
        "clip",
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "--requeue-exit-code",
        "75",
        "--eval-benchmark",
        benchmark,
        "--data-root",
        "world",
        "--eval-templates",
        "templates.txt",
    ];
    for mpi in all {
        let name = name_of(&mpi, "evaluating");
        let arguments = replaced_batch(&train(&name, &more));
        let mut command = on_ranks(s, &mpi, 2, &arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut job = command.spawn().unwrap();
        let path = s.path(&format!("logs/{name}/log.jsonl"));
        wait_for_lines(&mut job, &path, 6);
        std::thread::sleep(Duration::from_millis(300));
        assert!(signal_one_rank("-USR1", &name, |ranks| ranks - 1));
        let output = rest_within(job, LIMIT);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(75), "{mpi}: {stderr}");
        assert!(
            stderr.contains("the evaluation after epoch 1 failed: "),
            "{mpi}: {stderr}"
        );
        let saved = s.path(&format!("logs/{name}/checkpoints/epoch-1/state.json"));
        assert!(saved.exists(), "{mpi}: {stderr}");
        assert_eq!(log(s, &name).len(), 6, "{mpi}: {stderr}");
    }
}

#[test]
fn a_rank_with_fewer_cores_than_its_share_is_a_warning() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores == 1 {
        eprintln!("skipped: a process that is bound to one core has all of this machine");
        return;
    }
    for mpi in installations() {
        let program = Path::new(env!("CARGO_BIN_EXE_clipn"));
        let Some(mut command) = mpi.bound_command(1, program) else {
            continue;
        };
        let s = &sandbox();
        let more = [
            "--objective",
            "clip",
            "--epochs",
            "1",
            "--distributed",
            "mpi",
        ];
        command.current_dir(s.root()).args(train("bound", &more));
        let output = output_within(command, LIMIT);
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{mpi}: {stderr}");
        assert!(
            stderr.contains("warning: rank 0 may use 1 of "),
            "{mpi}: {stderr}"
        );
        assert!(
            stderr.contains("hint: start with `mpirun --map-by slot:PE="),
            "{mpi}: {stderr}"
        );
    }
}

#[test]
fn an_evaluation_on_ranks_prints_the_results_of_one_process() {
    let all = installations();
    if all.is_empty() {
        return;
    }
    let s = &Sandbox::new();
    let sets = [
        "--id",
        "id",
        "--ood",
        "noise=noise",
        "--ood",
        "stripes=stripes",
        "--quiet",
    ];
    let arguments = with_model("eval", &sets);
    let alone = s.clipn(&arguments);
    assert!(alone.status.success(), "{}", text(&alone.stderr));
    for mpi in &all {
        for ranks in [2, 4] {
            let output = succeed(s, mpi, ranks, &arguments);
            assert_eq!(
                text(&output.stdout),
                text(&alone.stdout),
                "{mpi}, {ranks} ranks"
            );
            assert_eq!(
                text(&output.stderr),
                text(&alone.stderr),
                "{mpi}, {ranks} ranks"
            );
        }
    }
}

/// Ranks with other images, flags or numbers of sets, as on machines with incomplete copies.
#[test]
fn ranks_that_evaluate_other_things_are_refused() {
    let program = Path::new(env!("CARGO_BIN_EXE_clipn"));
    for mpi in installations() {
        let s = &Sandbox::new();
        for name in ["0.bmp", "1.bmp", "2.bmp"] {
            let image = std::fs::read(s.path(&format!("noise/{name}"))).unwrap();
            s.write(&format!("fewer/{name}"), image);
        }
        let sets = |ood: &'static str| {
            with_model("eval", &["--id", "id", "--ood", ood, "--scores", "atd"])
        };
        let own = sets("a=noise");
        for (other, part) in [
            (
                sets("a=fewer"),
                "rank 1 differs from rank 0: images of a 3 (digest ",
            ),
            (
                [&own[..], &["--ood", "b=stripes"]].concat(),
                "rank 1 differs from rank 0: ",
            ),
            (
                with_model(
                    "eval",
                    &["--id", "id", "--ood", "a=noise", "--scores", "atd,msp"],
                ),
                "rank 1 differs from rank 0: scores atd,msp, expected atd",
            ),
            (
                [&own[..], &["--gray"]].concat(),
                "rank 1 differs from rank 0: preprocessing ",
            ),
        ] {
            let mut command = on_ranks(s, &mpi, 1, &own);
            command.arg(":").args(["-n", "1"]).arg(program).args(&other);
            let output = output_within(command, LIMIT);
            let stderr = text(&output.stderr);
            assert!(!output.status.success(), "{mpi}: {other:?}: {stderr}");
            assert!(stderr.contains(part), "{mpi}: {other:?}: {stderr}");
            assert!(output.stdout.is_empty(), "{mpi}: {other:?}");
        }
    }
}

/// Tables of equal length under one relative path, as on machines with copies of different age.
#[test]
fn ranks_with_other_training_data_are_refused() {
    let program = Path::new(env!("CARGO_BIN_EXE_clipn"));
    for mpi in installations() {
        let s = &sandbox();
        let table = std::fs::read_to_string(s.path("captions.tsv")).unwrap();
        let changed = table.replacen("red", "tan", 1);
        assert_eq!((changed.len(), changed != table), (table.len(), true));
        let model = std::fs::read_to_string(s.path("small.json")).unwrap();
        for (dir, table) in [("same", &table), ("changed", &changed)] {
            s.write(&format!("{dir}/captions.tsv"), table);
            s.write(&format!("{dir}/small.json"), &model);
        }
        let logs = s.path("logs").display().to_string();
        let arguments = train("other", &["--objective", "clip", "--logs", &logs]);
        let mut command = on_ranks(s, &mpi, 1, &arguments);
        command.current_dir(s.path("same"));
        command
            .args([":", "-n", "1", "-wdir"])
            .arg(s.path("changed"));
        command.arg(program).args(&arguments);
        let output = output_within(command, LIMIT);
        let stderr = text(&output.stderr);
        assert!(!output.status.success(), "{mpi}: {stderr}");
        let expected = "rank 1 differs from rank 0: training data";
        assert!(stderr.contains(expected), "{mpi}: {stderr}");
    }
}

#[test]
fn a_launcher_of_another_mpi_is_refused() {
    let all = installations();
    for launcher in all.iter().filter(|mpi| !mpi.is_open_mpi()) {
        for library in all.iter().filter(|mpi| mpi.is_open_mpi()) {
            let s = &sandbox();
            let mixed = launcher.with_library_of(library);
            let output = run(s, &mixed, 2, &train("mixed", &["--objective", "clip"]));
            let stderr = text(&output.stderr);
            assert!(!output.status.success(), "{stderr}");
            assert!(
                stderr.contains("MPI connects 1 of 2 processes (PMI_SIZE)"),
                "{stderr}"
            );
            assert!(
                !s.path("logs").exists(),
                "two processes write one directory"
            );
        }
    }
}

#[test]
fn mpi_that_cannot_be_loaded_is_an_error() {
    let s = &sandbox();
    let more = [
        "--objective",
        "clip",
        "--distributed",
        "mpi",
        "--mpi-library",
        "libm.so.6",
    ];
    let output = s.clipn(&train("none", &more));
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert_eq!(
        error_report(&stderr),
        "error: cannot use the MPI library libm.so.6: expected an MPI library, got one without the \
         symbols of a known MPI\n\
         hint: name the library of an MPI, such as libmpi.so.12, with --mpi-library\n"
    );
    assert!(!s.path("logs").exists());
}

#[test]
fn a_launcher_is_ignored_on_request_and_refused_by_commands_of_one_process() {
    let s = &sandbox();
    let with_launcher = |arguments: &[&str]| {
        let mut command = s.command("http://127.0.0.1:9", arguments);
        command
            .env("PMI_SIZE", "2")
            .env("PMI_RANK", "0")
            .env("CLIPN_MPI", "libm.so.6");
        let output = command.output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let more = ["--objective", "clip", "--epochs", "1"];
    let (code, stderr) = with_launcher(&train("auto", &more));
    assert!(
        code != Some(0) && stderr.contains("cannot use the MPI library"),
        "{stderr}"
    );
    let none = [&more[..], &["--distributed", "none"]].concat();
    let (code, stderr) = with_launcher(&train("none", &none));
    assert_eq!(code, Some(0), "{stderr}");
    let (code, stderr) = with_launcher(&["demo", "--output", "demo"]);
    assert_eq!(code, Some(2));
    assert_eq!(
        error_report(&stderr),
        "error: `demo` runs in one process, but PMI_SIZE is 2\n\
         hint: run its commands one by one under the launcher, or start it without one\n"
    );
}
