//! Hangups, closed pipes and terminals, on processes of their own.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::common::{MODEL, Sandbox, text};

/// Starts the program by way of a shell that first does `setup`, such as ignoring a signal.
fn spawn(s: &Sandbox, setup: &str, arguments: &[&str]) -> Child {
    Command::new("sh")
        .current_dir(s.root())
        .args(["-c", &format!("{setup}; exec \"$@\""), "sh"])
        .arg(env!("CARGO_BIN_EXE_clipn"))
        .args(arguments)
        .env("HF_HOME", s.path("hf-home"))
        .env("HF_HUB_OFFLINE", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What `nohup` does before it starts a program.
const NOHUP: &str = "trap '' HUP";

/// Whether the tests themselves run under `nohup`: their children cannot be hung up then. Prints why a
/// part is skipped.
fn runs_under_nohup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let is_ignored = mask.is_some_and(|mask| mask & 1 == 1);
    if is_ignored {
        eprintln!("skipped: the tests ignore SIGHUP, as under nohup");
    }
    is_ignored
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &id])
            .status()
            .unwrap()
            .success()
    );
}

fn many_images(s: &Sandbox, count: u32) {
    for copy in 0..count {
        s.image(&format!("many/{copy:04}.bmp"), 200, 200, |x, y| {
            [x as u8, y as u8, copy as u8]
        });
    }
}

fn classify<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let always = ["--templates", "simple", "--classes", "classes.txt"];
    [&["classify"][..], &MODEL, &always, more].concat()
}

/// Classifies, hangs up after the first row, and returns the exit code and the number of rows.
fn hang_up_classify(s: &Sandbox, setup: &str) -> (Option<i32>, usize) {
    let mut child = spawn(s, setup, &classify(&["many", "--batch-size", "4"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    signal(&child, "-HUP");
    let rows = 1 + lines.count();
    (child.wait().unwrap().code(), rows)
}

#[test]
fn a_hangup_stops_classify_unless_it_is_ignored() {
    let s = Sandbox::new();
    many_images(&s, 600);
    assert_eq!(hang_up_classify(&s, NOHUP), (Some(0), 600));
    if runs_under_nohup() {
        return;
    }
    let (code, rows) = hang_up_classify(&s, "true");
    assert_eq!(code, Some(130));
    assert!(rows < 600, "{rows} rows");
}

/// Trains, hangs up after the first step, and returns the exit code and standard error.
fn hang_up_train(s: &Sandbox, setup: &str, name: &str) -> (Option<i32>, String) {
    let arguments = [
        "train",
        "--objective",
        "clip",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "8",
        "--workers",
        "2",
        "--epochs",
        "40",
        "--name",
        name,
    ];
    let mut child = spawn(s, setup, &arguments);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.find(|line| line.as_ref().unwrap().starts_with("step "));
    first.unwrap().unwrap();
    signal(&child, "-HUP");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    (child.wait().unwrap().code(), rest.join("\n"))
}

#[test]
fn a_notice_of_the_end_writes_a_checkpoint_and_requests_a_requeue() {
    let s = Sandbox::new();
    s.training_set();
    // Slurm sends SIGTERM twice.
    for (name, times, code) in [
        ("-USR1", 1, 75),
        ("-TERM", 1, 75),
        ("-TERM", 2, 75),
        ("-INT", 1, 130),
    ] {
        let run = &format!("{}{times}", &name[1..]);
        let arguments = [
            "train",
            "--objective",
            "clip",
            "--model",
            "small.json",
            "--train-data",
            "captions.tsv",
            "--batch-size",
            "8",
            "--epochs",
            "4000",
            "--requeue-exit-code",
            "75",
            "--name",
            run,
        ];
        let mut child = spawn(&s, "true", &arguments);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.find(|line| line.as_ref().unwrap().starts_with("step "));
        first.unwrap().unwrap();
        (0..times).for_each(|_| signal(&child, name));
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let rest = rest.join("\n");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}: {rest}");
        assert!(rest.contains("wrote logs/"), "{name}: {rest}");
        assert!(
            rest.contains("hint: continue with --resume latest"),
            "{name}: {rest}"
        );
        assert!(!s.path(&format!("logs/{run}/finished.json")).exists());
    }
}

#[test]
fn a_stop_waits_for_the_end_of_a_long_step() {
    let s = Sandbox::new();
    s.training_set();
    s.write(
        "slow.json",
        r#"{"embed_dim": 64,
            "vision_cfg": {"image_size": 224, "layers": 4, "width": 256, "patch_size": 16},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}}"#,
    );
    let arguments = [
        "train",
        "--objective",
        "clip",
        "--model",
        "slow.json",
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "16",
        "--epochs",
        "40",
        "--requeue-exit-code",
        "75",
        "--name",
        "slow",
    ];
    let mut child = spawn(&s, "true", &arguments);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.find(|line| line.as_ref().unwrap().starts_with("step "));
    first.unwrap().unwrap();
    signal(&child, "-USR1");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let rest = rest.join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(75), "{rest}");
    assert!(rest.contains("wrote logs/"), "{rest}");
}

#[test]
fn a_hangup_stops_training_unless_it_is_ignored() {
    let s = Sandbox::new();
    s.training_set();
    let (code, log) = hang_up_train(&s, NOHUP, "kept");
    assert!(code == Some(0) && log.contains("step 240/240"), "{log}");
    if runs_under_nohup() {
        return;
    }
    let (code, log) = hang_up_train(&s, "true", "stopped");
    assert!(code == Some(130) && log.contains("interrupted"), "{log}");
    // It was a clean stop: the run has a checkpoint to resume from.
    let resumed = s.done(&[
        "train",
        "--resume",
        "latest",
        "--objective",
        "clip",
        "--model",
        "small.json",
        "--train-data",
        "captions.tsv",
        "--batch-size",
        "8",
        "--workers",
        "2",
        "--epochs",
        "40",
        "--name",
        "stopped",
    ]);
    assert!(resumed.contains("stopped"), "{resumed}");
}

#[cfg(all(feature = "serve", feature = "mini"))]
#[test]
fn a_hangup_stops_the_server_unless_it_is_ignored() {
    let s = Sandbox::new();
    let arguments = [
        "serve",
        "--classes",
        "goldfish, pizza",
        "--templates",
        "simple",
        "--port",
        "0",
    ];
    let start = |setup: &str| {
        let mut child = spawn(&s, setup, &arguments);
        let mut address = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut address).unwrap();
        (child, address.trim().replace("http://", ""))
    };
    let (mut child, address) = start(NOHUP);
    for _ in 0..2 {
        signal(&child, "-HUP");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(std::net::TcpStream::connect(&address).is_ok());
    }
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    if runs_under_nohup() {
        return;
    }
    let (mut child, _) = start("true");
    signal(&child, "-HUP");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(log.contains("stopped"), "{log}");
}

/// Runs a pipeline of the shell in which `$CLIPN` is the program, and returns what it printed.
fn pipeline(s: &Sandbox, script: &str) -> String {
    let output = Command::new("sh")
        .current_dir(s.root())
        .args(["-c", script])
        .env("CLIPN", env!("CARGO_BIN_EXE_clipn"))
        .env("HF_HOME", s.path("hf-home"))
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "", "{script}");
    text(&output.stdout)
}

/// The exit code that the pipeline wrote.
fn code(s: &Sandbox) -> String {
    std::fs::read_to_string(s.path("code")).unwrap()
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let s = Sandbox::new();
    s.training_set();
    many_images(&s, 300);
    std::fs::create_dir(s.path("texts")).unwrap();
    for index in 0..300 {
        s.write(&format!("texts/{index}.jpg"), "this is text");
    }
    let classify = classify(&[]).join(" ");
    let train = "train --objective clip --model small.json --train-data captions.tsv --batch-size 8 \
                 --workers 2 --epochs 4000 --name piped";
    for (command, lines) in [
        (format!("{classify} many"), 1),
        (format!("{classify} --format csv many"), 1),
        (format!("{classify} texts"), 1),
        (format!("{classify} --output rows.jsonl many --verbose"), 1),
        // The log has no reader: the run stops as with Ctrl-C.
        (train.to_owned(), 2),
    ] {
        let script =
            format!("{{ \"$CLIPN\" {command} 2>&1; echo $? > code; }} 2>&1 | head -n {lines}");
        let printed = pipeline(&s, &script);
        assert_eq!(printed.lines().count(), lines, "{printed}");
        assert!(!printed.contains("panicked"), "{printed}");
        assert_eq!(code(&s).trim(), "141", "{command}");
    }
    let checkpoints = std::fs::read_dir(s.path("logs/piped/checkpoints")).unwrap();
    assert!(
        checkpoints.count() > 0,
        "training stopped without a checkpoint"
    );
    // Help and errors of the command line.
    for (command, expected) in [("--help", "0"), ("help classify", "0"), ("--wrong", "2")] {
        pipeline(
            &s,
            &format!("{{ \"$CLIPN\" {command} 2>&1; echo $? > code; }} 2>&1 | true"),
        );
        assert_eq!(code(&s).trim(), expected, "{command}");
    }
}

/// A terminal, as far as progress bars use one: the lines that are left on it.
fn screen(bytes: &str) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0usize, 0usize);
    let mut characters = bytes.chars();
    while let Some(c) = characters.next() {
        match c {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(Vec::new());
                }
            }
            '\u{1b}' => {
                assert_eq!(characters.next(), Some('['));
                let mut number = String::new();
                let command = loop {
                    match characters.next().unwrap() {
                        digit if digit.is_ascii_digit() || "?;".contains(digit) => {
                            number.push(digit);
                        }
                        command => break command,
                    }
                };
                match command {
                    'A' => row = row.saturating_sub(number.parse().unwrap_or(1)),
                    'K' if number == "2" => lines[row].clear(),
                    'K' => lines[row].truncate(column),
                    'm' | 'h' | 'l' => {}
                    'J' => {
                        lines[row].truncate(column);
                        lines.truncate(row + 1);
                    }
                    other => panic!("unknown escape sequence {other}"),
                }
            }
            c => {
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    let lines = lines
        .into_iter()
        .map(|line| line.into_iter().collect::<String>());
    lines.filter(|line| !line.trim().is_empty()).collect()
}

#[test]
fn progress_does_not_mix_with_rows_on_a_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: the program `script`, which provides a terminal, is not installed");
        return;
    }
    let s = Sandbox::new();
    many_images(&s, 900);
    for format in ["table", "csv"] {
        let arguments = classify(&["many", "--batch-size", "4", "--format", format]);
        let expected = s.done(&arguments);
        let command = format!(
            "stty cols 150 rows 50 -onlcr; exec '{}' {}",
            env!("CARGO_BIN_EXE_clipn"),
            arguments.join(" ")
        );
        let output = Command::new("script")
            .current_dir(s.root())
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let raw = text(&output.stdout).replace('\n', "\r\n");
        assert!(raw.contains("classifying"), "no bar was drawn");
        let rows: Vec<&str> = expected.lines().collect();
        let shown = screen(&raw);
        for (shown, row) in shown.iter().zip(&rows) {
            assert_eq!(shown, row);
        }
        assert_eq!(shown.len(), rows.len());
    }
}

#[test]
fn one_signal_ends_what_waits_for_a_pipe() {
    let s = Sandbox::new();
    let made = Command::new("mkfifo").arg(s.path("pipe")).status().unwrap();
    assert!(made.success());
    let classes = ["classify", "--templates", "simple", "--classes"];
    let waiting = [
        [&classes[..], &["classes.txt", "pipe"]].concat(),
        [&classes[..], &["classes.txt", "--list", "pipe"]].concat(),
        [&classes[..], &["pipe", "photos"]].concat(),
        [&classes[..], &["classes.txt", "--list", "-"]].concat(),
        vec!["inspect", "pipe"],
    ];
    for (index, arguments) in waiting.iter().enumerate() {
        let name = if index % 2 == 0 { "-TERM" } else { "-INT" };
        let mut command = Command::new(env!("CARGO_BIN_EXE_clipn"));
        let mut child = command
            .current_dir(s.root())
            .args(
                &[&arguments[..], &MODEL].concat()[..if arguments[0] == "inspect" {
                    2
                } else {
                    arguments.len() + MODEL.len()
                }],
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(700));
        if child.try_wait().unwrap().is_none() {
            let sent = std::time::Instant::now();
            signal(&child, name);
            while child.try_wait().unwrap().is_none() {
                let waited = sent.elapsed();
                assert!(waited.as_secs() < 20, "{arguments:?} does not end");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            // Two seconds, and what a busy machine adds.
            assert!(sent.elapsed().as_secs() < 5, "{arguments:?}");
            let code = child.wait().unwrap().code();
            assert_eq!(code, Some(130), "{arguments:?}");
        } else {
            assert_eq!(child.wait().unwrap().code(), Some(1), "{arguments:?}");
        }
    }
}

#[test]
fn a_file_that_reaches_the_maximum_size_is_an_error() {
    let s = Sandbox::new();
    many_images(&s, 16);
    let arguments = classify(&["--output", "rows.jsonl", "many"]);
    // In blocks of 512 bytes: some rows fit.
    let output = spawn(&s, "ulimit -f 4", &arguments)
        .wait_with_output()
        .unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{:?} {error}", output.status);
    assert!(
        error.contains("cannot write") && error.contains("rows.jsonl"),
        "{error}"
    );
    assert!(error.contains("File too large"), "{error}");
    // Resumed where there is no such limit, no image is lost.
    let resumed = classify(&["--output", "rows.jsonl", "--resume", "many"]);
    assert!(
        spawn(&s, "true", &resumed)
            .wait_with_output()
            .unwrap()
            .status
            .success()
    );
    let rows = std::fs::read_to_string(s.path("rows.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 16);
}
