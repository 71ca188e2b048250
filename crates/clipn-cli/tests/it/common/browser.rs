//! Headless Chromium on local pages: their DOM and their requests.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Timeout of loading a page.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Names of the browser program.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// The result of loading a page.
pub(crate) struct Visit {
    /// The DOM after scripts have run.
    pub dom: String,
    /// URLs of all network requests of the page.
    pub requests: Vec<String>,
}

/// The browser program; `None`, after printing the reason, if none is installed.
pub(crate) fn find() -> Option<&'static str> {
    let runs = |name: &&&str| {
        let version = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    };
    let found = NAMES.iter().find(runs);
    if found.is_none() {
        eprintln!("skipped: none of {} is installed", NAMES.join(", "));
    }
    found.copied()
}

/// Loads a file in a window of this width, in dark or light mode. An unreachable proxy blocks all
/// network access.
pub(crate) fn visit(browser: &str, page: &Path, width: u32, dark: bool) -> Visit {
    let profile = tempfile::tempdir().unwrap();
    let log = profile.path().join("net.json");
    let dom = profile.path().join("dom.html");
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--disable-default-apps",
            "--disable-extensions",
            "--virtual-time-budget=5000",
        ])
        .args([
            "--proxy-server=127.0.0.1:1",
            "--proxy-bypass-list=<-loopback>",
        ])
        .arg(format!("--log-net-log={}", log.display()))
        .arg(format!(
            "--user-data-dir={}",
            profile.path().join("profile").display()
        ))
        .arg(format!("--window-size={width},900"))
        .arg(format!(
            "--blink-settings=preferredColorScheme={}",
            u8::from(!dark)
        ))
        .arg("--dump-dom")
        .arg(format!("file://{}", page.canonicalize().unwrap().display()))
        .stdout(std::fs::File::create(&dom).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > LOAD_TIMEOUT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "{browser} has not loaded {} in {LOAD_TIMEOUT:?}",
                page.display()
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
    Visit {
        dom: std::fs::read_to_string(dom).unwrap(),
        requests: page_requests(&std::fs::read(log).unwrap()),
    }
}

/// The requests of a page in a net log. Requests of the browser itself have no origin.
fn page_requests(log: &[u8]) -> Vec<String> {
    let log: Value = serde_json::from_slice(log).unwrap();
    let start = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
    assert!(start.is_number(), "no request events in the net log");
    let requests = log["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == *start);
    let of_page = requests.filter(|event| event["params"]["initiator"] != "not an origin");
    of_page
        .filter_map(|event| Some(event["params"]["url"].as_str()?.to_owned()))
        .collect()
}
