//! Headless Chromium on pages from files: what is there, what they ask for, how they look.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Programs that it goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// What a page does when it has been loaded.
pub struct Visit {
    /// The document after its scripts.
    pub dom: String,
    /// The address of everything that the page asked the net for.
    pub requests: Vec<String>,
}

/// The browser's program, or `None` with the reason printed.
pub fn find() -> Option<&'static str> {
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

/// Loads a file in a window of that width, in dark or light colours, with a proxy that is not there, so that nothing
/// gets out.
pub fn visit(browser: &str, page: &Path, width: u32, dark: bool) -> Visit {
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
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "{browser} has not loaded {} in {PATIENCE:?}",
                page.display()
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
    Visit {
        dom: std::fs::read_to_string(dom).unwrap(),
        requests: of_pages(&std::fs::read(log).unwrap()),
    }
}

/// The requests of a net log that a page has made; the browser makes some of its own, which have no origin.
fn of_pages(log: &[u8]) -> Vec<String> {
    let log: Value = serde_json::from_slice(log).unwrap();
    let start = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
    assert!(start.is_number(), "the net log tells no requests");
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
