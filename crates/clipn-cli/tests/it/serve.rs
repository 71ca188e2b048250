//! `clipn serve`: the compiled program with the built-in model, on any free port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Sandbox, is_error_report, text};
use serde_json::Value;

pub(crate) const CLASSES: &str = "goldfish, school bus, pizza";

/// A server that is killed when it is dropped.
pub(crate) struct Served {
    process: Child,
    pub(crate) address: String,
}

/// `clipn serve` in the sandbox, offline.
pub(crate) fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clipn"));
    command
        .current_dir(sandbox.root())
        .arg("serve")
        .args(arguments);
    command
        .env("HF_HOME", sandbox.path("hf-home"))
        .env("HF_HUB_OFFLINE", "1");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn spawn(mut command: Command) -> Served {
    let mut process = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let served = Served {
        address: line.trim_end().trim_start_matches("http://").to_owned(),
        process,
    };
    assert!(
        line.starts_with("http://") && line.ends_with('\n'),
        "{line:?}: {}",
        served.wait().1
    );
    served
}

/// Serves the built-in model on any free port.
fn serve(sandbox: &Sandbox, arguments: &[&str]) -> Served {
    let always = ["--classes", CLASSES, "--templates", "simple", "--port", "0"];
    spawn(command(sandbox, &[&always[..], arguments].concat()))
}

impl Served {
    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    /// Sends a request; returns the status and body of the response.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let mut stream = self.connect();
        send(&mut stream, method, path, headers, body);
        read(&mut stream)
    }

    pub(crate) fn classify(&self, image: &Path) -> (u16, Value) {
        self.request(
            "POST",
            "/v1/classify",
            "content-type: image/bmp\r\n",
            &std::fs::read(image).unwrap(),
        )
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the exit; returns the exit code and the log.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            if begun.elapsed() > Duration::from_secs(60) {
                self.process.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut log = String::new();
        self.process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (self.process.wait().unwrap().code(), log)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn send(stream: &mut TcpStream, method: &str, path: &str, headers: &str, body: &[u8]) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
}

fn read(stream: &mut TcpStream) -> (u16, Value) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = text(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn responds_like_classify_and_exits_with_zero() {
    let s = Sandbox::new();
    let served = serve(&s, &[]);
    let (status, answer) = served.classify(&s.path("photos/red.bmp"));
    assert_eq!(status, 200, "{answer}");
    let arguments = [
        "classify",
        "--classes",
        CLASSES,
        "--templates",
        "simple",
        "--format",
        "json",
        "photos/red.bmp",
    ];
    let row: Value = serde_json::from_str(&s.done(&arguments)).unwrap();
    let result = &answer["results"][0];
    assert!(
        (result["score"].as_f64().unwrap() - row["score"].as_f64().unwrap()).abs() < 1e-5,
        "{result} {row}"
    );
    assert_eq!(result["top"][0]["label"], row["top"][0]["label"]);
    for key in ["schema_version", "label", "class", "unknown"] {
        assert_eq!(result[key], row[key], "{key}");
    }
    assert_eq!(
        served.request("GET", "/v1/info", "", b"").1["model"],
        "clipn-mini"
    );
    assert_eq!(served.request("GET", "/health", "", b"").0, 200);
    served.signal("-TERM");
    let (code, log) = served.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("listening") && log.contains("/v1/classify") && log.contains("stopped"),
        "{log}"
    );
}

#[test]
fn completes_a_request_in_transfer_before_exit() {
    let s = Sandbox::new();
    let served = serve(&s, &[]);
    let image = std::fs::read(s.path("photos/red.bmp")).unwrap();
    let (first, second) = image.split_at(image.len() / 2);
    let mut stream = served.connect();
    let head = format!(
        "POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/bmp\r\ncontent-length: {}\r\n\r\n",
        image.len()
    );
    stream
        .write_all(&[head.as_bytes(), first].concat())
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    served.signal("-INT");
    let begun = Instant::now();
    while TcpStream::connect(&served.address).is_ok() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "connections are still accepted"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    stream.write_all(second).unwrap();
    let (status, answer) = read(&mut stream);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(served.wait().0, Some(0));
}

#[test]
fn serves_a_bundle() {
    let s = Sandbox::new();
    s.done(&[
        "classifier",
        "build",
        "--classes",
        CLASSES,
        "--templates",
        "simple",
        "--out",
        "shop.clipn",
    ]);
    let whole = [
        "--templates",
        "simple",
        "--with-model",
        "--out",
        "whole.clipn",
    ];
    s.done(&[&["classifier", "build", "--classes", CLASSES][..], &whole].concat());
    for (bundle, editable) in [("shop.clipn", true), ("whole.clipn", false)] {
        let served = spawn(command(&s, &["--bundle", bundle, "--port", "0"]));
        let (status, answer) = served.classify(&s.path("photos/red.bmp"));
        assert_eq!(
            (status, answer["results"].as_array().unwrap().len()),
            (200, 1)
        );
        let info = served.request("GET", "/v1/info", "", b"").1;
        assert_eq!(
            (&info["model"], &info["editable_classes"]),
            (&"clipn-mini".into(), &editable.into()),
            "{info}"
        );
        let (status, answer) =
            served.request("POST", "/v1/classes", "", br#"{"classes": ["apple"]}"#);
        assert_eq!(status, if editable { 200 } else { 422 }, "{answer}");
    }
}

#[test]
fn reads_environment_variables_and_keeps_keys_secret() {
    let s = Sandbox::new();
    s.write("keys.txt", "# ours\n0123456789abcdef-file\n");
    let mut command = command(&s, &["--classes", CLASSES, "--templates", "simple"]);
    command
        .env("CLIPN_PORT", "0")
        .env("CLIPN_LOG_FORMAT", "json")
        .env("CLIPN_LOG_LEVEL", "debug");
    command.env(
        "CLIPN_API_KEYS",
        "0123456789abcdef-env1,0123456789abcdef-env2",
    );
    command
        .env("CLIPN_API_KEYS_FILE", "keys.txt")
        .env("CLIPN_MAX_IMAGES", "7");
    let served = spawn(command);
    assert_eq!(served.request("GET", "/v1/info", "", b"").0, 401);
    assert_eq!(
        served
            .request(
                "GET",
                "/v1/info",
                "x-api-key: 0123456789abcdef-env3\r\n",
                b""
            )
            .0,
        401
    );
    for key in ["env1", "env2", "file"] {
        let header = format!("authorization: Bearer 0123456789abcdef-{key}\r\n");
        let (status, info) = served.request("GET", "/v1/info", &header, b"");
        assert_eq!((status, &info["limits"]["images"]), (200, &7.into()));
    }
    served.signal("-TERM");
    let (code, log) = served.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("0123456789abcdef"), "{log}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let refused = lines.iter().find(|line| line["status"] == 401).unwrap();
    assert_eq!(
        (&refused["error"], &refused["route"]),
        (&"unauthorized".into(), &"/v1/info".into())
    );
    assert!(
        refused["id"].is_string() && refused["ms"].is_f64() && refused["timestamp"].is_string(),
        "{refused}"
    );
}

#[test]
fn rejects_wrong_usage() {
    let s = Sandbox::new();
    let refused = |arguments: &[&str]| {
        let always = ["--quiet", "--classes", CLASSES, "--templates", "simple"];
        let output = command(&s, &[&always[..], arguments].concat())
            .env("CLIPN_PORT", "0")
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        assert!(
            output.stdout.is_empty() && is_error_report(&stderr),
            "{stderr}"
        );
        (output.status.code(), stderr)
    };
    for flag in [
        "--workers",
        "--queue",
        "--max-connections-per-address",
        "--deadline-ms",
    ] {
        let (code, stderr) = refused(&[flag, "0"]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.contains(&format!("hint: check {flag}\n")),
            "{stderr}"
        );
    }
    let forever = u64::MAX.to_string();
    let (code, stderr) = refused(&["--deadline-ms", &forever]);
    assert!(
        code == Some(2) && stderr.contains("at most 30 days"),
        "{stderr}"
    );
    assert_eq!(refused(&["--queue", "4", "--max-images", "5"]).0, Some(2));
    assert_eq!(refused(&["--host", "nowhere"]).0, Some(2));
    let (code, stderr) = refused(&["--api-key", "hunter2"]);
    assert!(code == Some(2) && !stderr.contains("hunter2"), "{stderr}");
    s.write("empty.txt", "# none\n");
    assert_eq!(refused(&["--api-keys-file", "empty.txt"]).0, Some(2));
    assert_eq!(refused(&["--api-keys-file", "missing.txt"]).0, Some(1));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, stderr) = refused(&["--port", &port]);
    assert!(code == Some(1) && stderr.contains(&port), "{stderr}");
    let neither = command(&s, &["--port", "0"]).output().unwrap();
    assert_eq!(neither.status.code(), Some(2));
    // A missing bundle is a failure, not wrong usage.
    let missing = command(&s, &["--bundle", "missing.clipn"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing.stderr));
}

#[test]
fn warns_of_an_open_server_without_keys() {
    let s = Sandbox::new();
    for (arguments, warned) in [
        (&["--host", "0.0.0.0"][..], true),
        (
            &["--host", "0.0.0.0", "--api-key", "0123456789abcdef"],
            false,
        ),
        (&[], false),
    ] {
        let served = serve(&s, arguments);
        served.signal("-TERM");
        let (code, log) = served.wait();
        assert_eq!(
            (code, log.contains("no API keys")),
            (Some(0), warned),
            "{log}"
        );
    }
}

/// The lines in the `sh` blocks of a text.
fn lines(markdown: &str) -> Vec<String> {
    let mut blocks = markdown.split("```");
    let mut lines = Vec::new();
    while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
        lines.extend(
            block
                .strip_prefix("sh\n")
                .into_iter()
                .flat_map(str::lines)
                .map(String::from),
        );
    }
    lines
}

/// Runs the documented servers and the requests to them, which `documentation.rs` skips.
#[test]
fn documented_servers_and_requests_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let s = Sandbox::new();
    for (classes, bundle) in [(CLASSES, "shop.clipn"), ("teapot, banana", "cars.clipn")] {
        let build = ["classifier", "build", "--templates", "simple"];
        s.done(&[&build[..], &["--classes", classes, "--out", bundle]].concat());
    }
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    let (mut servers, mut requests) = (0, 0);
    for document in [
        "README.md",
        "docs/serving.md",
        "docs/commands.md",
        "docs/production.md",
    ] {
        let lines = lines(&std::fs::read_to_string(root.join(document)).unwrap());
        for line in lines.iter().filter(|line| line.starts_with("clipn serve ")) {
            let quoted: Vec<&str> = line["clipn serve ".len()..].split('"').collect();
            let plain = quoted
                .iter()
                .enumerate()
                .flat_map(|(index, part)| match index % 2 {
                    0 => part.split_whitespace().collect(),
                    _ => vec![*part],
                });
            let mut arguments: Vec<&str> = plain.collect();
            arguments.retain(|word| !["--port", "8080", "8081", "0"].contains(word));
            arguments.extend(["--port", "0"]);
            if !arguments.contains(&"--bundle") {
                arguments.extend(["--templates", "simple"]);
            }
            let served = spawn(command(&s, &arguments));
            servers += 1;
            for line in lines
                .iter()
                .filter(|line| line.starts_with("curl ") && has_curl)
            {
                let line = line.replace("127.0.0.1:8080", &served.address);
                let output = Command::new("sh")
                    .current_dir(s.root())
                    .args([
                        "-c",
                        &format!("{line} --silent --show-error --fail --noproxy '*'"),
                    ])
                    .output()
                    .unwrap();
                let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
                    panic!("{line}: {} {}", text(&output.stdout), text(&output.stderr))
                });
                assert!(
                    answer["results"][0]["reason"].is_string(),
                    "{line}: {answer}"
                );
                requests += 1;
            }
            served.signal("-TERM");
            assert_eq!(served.wait().0, Some(0));
        }
    }
    assert!(servers >= 3, "{servers} servers");
    assert!(requests >= 4 || !has_curl, "{requests} requests");
    if !has_curl {
        eprintln!("skipped: curl is not installed, so the documented requests were not made");
    }
}

/// Weights in f32, whose token embedding is mapped, and the arguments that serve them.
fn mapped_weights(s: &Sandbox) -> [&'static str; 4] {
    let convert = [
        "convert",
        "epoch_10.pt",
        "m.safetensors",
        "--model",
        "tiny.json",
    ];
    s.done(&[&convert[..], &["--dtype", "f32"]].concat());
    ["--pretrained", "m.safetensors", "--reload-ms", "0"]
}

/// The status of a request with a class that is encoded for it, and its error code.
fn new_class(served: &Served, s: &Sandbox, class: &str) -> (u16, Value) {
    let body = [
        format!("--x\r\ncontent-disposition: form-data; name=\"classes\"\r\n\r\n{class}, car\r\n")
            .into_bytes(),
        b"--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.bmp\"\r\n\r\n"
            .to_vec(),
        std::fs::read(s.path("photos/red.bmp")).unwrap(),
        b"\r\n--x--\r\n".to_vec(),
    ]
    .concat();
    let headers = "content-type: multipart/form-data; boundary=x\r\n";
    let (status, value) = served.request("POST", "/v1/classify", headers, &body);
    (status, value["error"]["code"].clone())
}

#[test]
fn weights_that_are_changed_on_disk_are_not_mixed_with_those_in_memory() {
    let s = Sandbox::new();
    let weights = mapped_weights(&s);
    let path = s.path("m.safetensors");
    let whole = std::fs::read(&path).unwrap();
    // In place, and cut short, which would end a reader of the mapped file by SIGBUS; after the text towers are
    // built, and before.
    let cut = &whole[..whole.len() / 2];
    for (changed, has_towers) in [(&whole[..], true), (cut, true), (cut, false)] {
        std::fs::write(&path, &whole).unwrap();
        let served = serve(&s, &weights);
        if has_towers {
            assert_eq!(new_class(&served, &s, "zebra").0, 200);
        }
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&path, changed).unwrap();
        assert_eq!(
            new_class(&served, &s, "house"),
            (500, "weights_changed".into())
        );
        // What is in memory stays right.
        assert_eq!(served.classify(&s.path("photos/red.bmp")).0, 200);
        if has_towers {
            assert_eq!(new_class(&served, &s, "zebra").0, 200);
        }
        let (status, health) = served.request("GET", "/health", "", b"");
        assert_eq!(status, 503);
        let problem = health["problems"][0].as_str().unwrap();
        assert_eq!(
            problem,
            "m.safetensors was changed in place while it was in use"
        );
        served.signal("-TERM");
        let (code, log) = served.wait();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("weights were changed in place"), "{log}");
    }
}

#[test]
fn weights_that_are_renamed_over_or_copied_stay_what_was_opened() {
    let s = Sandbox::new();
    let weights = mapped_weights(&s);
    let path = s.path("m.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let served = serve(&s, &weights);
    std::fs::write(s.path("new"), &whole[..whole.len() / 2]).unwrap();
    std::fs::rename(s.path("new"), &path).unwrap();
    assert_eq!(new_class(&served, &s, "house").0, 200);
    std::fs::write(&path, &whole).unwrap();
    let served = serve(&s, &[&weights[..], &["--copy-weights"]].concat());
    std::fs::write(&path, "").unwrap();
    assert_eq!(new_class(&served, &s, "house").0, 200);
    assert_eq!(served.request("GET", "/health", "", b"").0, 200);
}

#[cfg(unix)]
#[test]
fn sigbus_is_reported_as_what_it_is() {
    let s = Sandbox::new();
    let served = serve(&s, &[]);
    served.signal("-BUS");
    let (code, log) = served.wait();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("its disk failed (SIGBUS)"), "{log}");
    assert!(log.contains("hint: replace files by renaming"), "{log}");
}
