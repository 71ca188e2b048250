//! Headless Chromium on pages from files: what is there, what they ask for, how they look.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Programs that it goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// What a page does when it has been loaded.
pub struct Visit {
    /// The document after its scripts.
    pub dom: String,
    /// The first line of every request that was made over the net.
    pub requests: Vec<String>,
}

/// The browser's program, or `None` with the reason printed.
pub fn find() -> Option<&'static str> {
    let runs = |name: &&&str| {
        let version =
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    let found = NAMES.iter().find(runs);
    if found.is_none() {
        eprintln!("skipped: none of {} is installed", NAMES.join(", "));
    }
    found.copied()
}

/// Loads a file in a window of that width, in dark or light colours, with a proxy that lets nothing through and writes
/// everything down.
pub fn visit(browser: &str, page: &Path, width: u32, dark: bool) -> Visit {
    let profile = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut start = [0; 512];
            let length = stream.read(&mut start).unwrap_or_default();
            let line =
                String::from_utf8_lossy(&start[..length]).lines().next().unwrap_or_default().to_owned();
            let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let dom = profile.path().join("dom.html");
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-default-apps", "--disable-extensions", "--virtual-time-budget=5000"])
        .arg(format!("--proxy-server=127.0.0.1:{port}"))
        .arg("--proxy-bypass-list=<-loopback>")
        .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)))
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
            panic!("{browser} has not loaded {} in {PATIENCE:?}", page.display());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Visit { dom: std::fs::read_to_string(dom).unwrap(), requests: receiver.try_iter().collect() }
}
