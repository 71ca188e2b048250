//! What a container is to the program: no environment, a user without rights, nothing to write to, process
//! id 1, little memory.
#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Sandbox, text, with_model};
#[cfg(feature = "serve")]
use crate::serve::{Served, spawn};

/// The user that owns nothing.
const UNPRIVILEGED: u32 = 65534;

/// A sandbox that others may read, and in which they may write nothing.
fn readable_sandbox() -> Sandbox {
    let s = Sandbox::new();
    let mut build = vec!["classifier", "build"];
    build.extend(with_model("", &[]).into_iter().skip(1));
    build.extend([
        "--classes",
        "classes.txt",
        "--with-model",
        "--out",
        "shop.clipn",
    ]);
    s.done(&build);
    std::fs::set_permissions(s.root(), std::fs::Permissions::from_mode(0o755)).unwrap();
    s
}

/// Whether the tests may become another user; prints why a test is skipped.
fn is_root() -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        eprintln!("skipped: only root can become another user");
    }
    is_root
}

/// `clipn` in the sandbox without any environment, as a user who owns nothing.
fn unprivileged(s: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clipn"));
    command
        .current_dir(s.root())
        .args(arguments)
        .env_clear()
        .uid(UNPRIVILEGED)
        .gid(UNPRIVILEGED)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The program must be readable for the user: its directory may be private.
fn can_start(s: &Sandbox) -> bool {
    let can = unprivileged(s, &["--version"]).output().is_ok();
    if !can {
        eprintln!("skipped: the program is in a private directory");
    }
    can
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let error = text(&output.stderr);
    assert!(output.status.success(), "{error}");
    text(&output.stdout)
}

#[test]
fn runs_without_environment_and_rights_in_a_read_only_directory() {
    let s = readable_sandbox();
    if !is_root() || !can_start(&s) {
        return;
    }
    let classify = ["classify", "--bundle", "shop.clipn", "photos"];
    let rows = succeeded(&unprivileged(&s, &classify).output().unwrap());
    assert_eq!(rows.lines().count(), 2, "{rows}");
    // Word features have no cache to be written to.
    let negatives = [
        &with_model("classify", &["--classes", "classes.txt"])[..],
        &["photos"],
    ]
    .concat();
    succeeded(&unprivileged(&s, &negatives).output().unwrap());
    for (arguments, refused) in [
        (
            vec![
                "calibrate",
                "--bundle",
                "shop.clipn",
                "--id",
                "id",
                "--target-tpr",
                "0.5",
            ],
            "shop.clipn",
        ),
        (
            [&classify[..], &["--output", "rows.jsonl"]].concat(),
            "rows.jsonl",
        ),
    ] {
        let output = unprivileged(&s, &arguments).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains(refused) && error.contains("ermission denied"),
            "{error}"
        );
    }
}

/// Starts a server by variables alone, as process 1 of its own namespace.
#[cfg(feature = "serve")]
fn serve_as_first_process(s: &Sandbox, before: &str) -> Option<Served> {
    let mut command = Command::new("unshare");
    let script = format!("{before} exec \"$0\" serve");
    command
        .args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            &script,
        ])
        .arg(env!("CARGO_BIN_EXE_clipn"))
        .current_dir(s.root())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("CLIPN_BUNDLE", "shop.clipn")
        .env("CLIPN_PORT", "0")
        .env("CLIPN_MAX_REQUEST_BYTES", "1MiB")
        .env("CLIPN_COPY_WEIGHTS", "1")
        .env("CLIPN_LOG_FORMAT", "json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let can = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no namespace of process ids can be made here");
        return None;
    }
    Some(spawn(command))
}

/// Process ids and states of the children of a process.
#[cfg(feature = "serve")]
fn children(process: &str) -> Vec<(String, char)> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let state = |id: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    let known = children
        .split_whitespace()
        .filter_map(|id| Some((id.to_owned(), state(id)?)));
    known.collect()
}

#[cfg(feature = "serve")]
#[test]
fn the_first_process_of_a_container_handles_signals_and_leaves_no_zombies() {
    let s = readable_sandbox();
    // Children of a process that is replaced become those of the server.
    let Some(served) = serve_as_first_process(&s, "sleep 0.2 & sleep 0.3 &") else {
        return;
    };
    assert_eq!(served.classify(&s.path("photos/red.bmp")).0, 200);
    let large = vec![0; 2 << 20];
    assert_eq!(
        served
            .request(
                "POST",
                "/v1/classify",
                "content-type: image/bmp\r\n",
                &large
            )
            .0,
        413
    );
    let first = &children(&served.id().to_string())[0].0;
    let started = Instant::now();
    while !children(first).is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{:?}",
            children(first)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let port = served.address.rsplit_once(':').unwrap().1.to_owned();
    let check = |port: &str| {
        let arguments = ["serve", "--bundle", "shop.clipn", "--check", "--port", port];
        s.clipn(&arguments)
    };
    assert!(check(&port).status.success());
    assert!(
        Command::new("kill")
            .args(["-TERM", first])
            .status()
            .unwrap()
            .success()
    );
    let (code, log) = served.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    let gone = check(&port);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        text(&gone.stderr).contains("no server answers"),
        "{}",
        text(&gone.stderr)
    );
}

#[test]
fn works_within_a_limit_of_memory() {
    let s = readable_sandbox();
    let limited = |kilobytes: u32| {
        let script = format!("ulimit -v {kilobytes}; exec \"$@\"");
        Command::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_clipn")])
            .args([
                "classify",
                "--bundle",
                "shop.clipn",
                "--workers",
                "1",
                "photos",
            ])
            .current_dir(s.root())
            .env("RAYON_NUM_THREADS", "1")
            .output()
            .unwrap()
    };
    assert_eq!(succeeded(&limited(1_000_000)).lines().count(), 2);
}

#[test]
fn flags_take_precedence_over_variables_and_empty_ones_are_not_set() {
    let s = Sandbox::new();
    let arguments = with_model("classify", &["--classes", "classes.txt", "photos"]);
    let run = |arguments: &[&str], bundle: &str| {
        (s.command("http://127.0.0.1:1", arguments))
            .env("CLIPN_BUNDLE", bundle)
            .env("CLIPN_COPY_WEIGHTS", "")
            .output()
            .unwrap()
    };
    for bundle in ["/data/none.clipn", ""] {
        let output = run(&arguments, bundle);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let alone = run(&["classify", "photos"], "/data/none.clipn");
    assert!(
        text(&alone.stderr).contains("/data/none.clipn"),
        "{}",
        text(&alone.stderr)
    );
    let both = [&arguments[..], &["--bundle", "x.clipn"]].concat();
    let output = run(&both, "/data/none.clipn");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("cannot be used with"),
        "{}",
        text(&output.stderr)
    );
}
