//! Headless Chromium, controlled over its debugging pipe (DevTools protocol).
#![allow(dead_code)]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Flags for a Chromium without first-run dialogs and background network access.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
];

pub(crate) struct Browser {
    process: Child,
    to: File,
    from: Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// Console messages and uncaught exceptions of the pages.
    pub(crate) console: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Browser {
    /// Starts Chromium. Prints the reason and returns `None` if it is not available.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(find)
        else {
            eprintln!("skipped: Chromium is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| directory.path().join(name));
        if !Command::new("mkfifo")
            .args([&to, &from])
            .status()
            .is_ok_and(|status| status.success())
        {
            eprintln!("skipped: mkfifo is not available");
            return None;
        }
        // A FIFO opened for reading and writing does not block until the other end is opened.
        let open = |path: &Path| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
        };
        let (writer, reader) = (open(&to), open(&from));
        let profile = format!(
            "--user-data-dir={}",
            directory.path().join("profile").display()
        );
        let process = Command::new("sh")
            .args([
                "-c",
                r#"to=$1 from=$2; shift 2; exec "$@" 3<"$to" 4>"$from""#,
                "sh",
            ])
            .args([to.as_os_str(), from.as_os_str(), program.as_os_str()])
            .args(FLAGS)
            .args([&profile, "about:blank"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut message = Vec::new();
            while reader
                .read_until(0, &mut message)
                .is_ok_and(|read| read > 0)
            {
                message.pop();
                if send
                    .send(serde_json::from_slice(&message).unwrap())
                    .is_err()
                {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            process,
            to: writer,
            from: receive,
            next: 1,
            session: None,
            console: Vec::new(),
            _directory: directory,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", target);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "DOM", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method and waits for its result.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let mut message = json!({ "id": id, "method": method });
        message["params"] = parameters;
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let received = self
                .from
                .recv_timeout(Duration::from_secs(60))
                .expect("no message from Chromium within 60 s");
            let console_events = [
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Runtime.consoleAPICalled",
            ];
            if received["method"]
                .as_str()
                .is_some_and(|method| console_events.contains(&method))
            {
                self.console.push(received["params"].to_string());
            }
            if received["id"] == id {
                assert!(
                    received["error"].is_null(),
                    "{method}: {}",
                    received["error"]
                );
                return received["result"].clone();
            }
        }
    }

    /// Opens an address in a window of the given width, in light or dark mode.
    pub(crate) fn open(&mut self, address: &str, width: u32, dark: bool) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": scheme }));
        self.call("Page.navigate", json!({ "url": address }));
        self.wait_for("document.readyState === 'complete'");
    }

    /// Evaluates a JavaScript expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    pub(crate) fn text(&mut self, id: &str) -> String {
        self.value(&format!("document.getElementById('{id}').innerText"))
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits up to a minute until an expression is true.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let started = Instant::now();
        while self.value(expression) != json!(true) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "timeout while waiting for {expression}"
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Selects files in the page's file input.
    pub(crate) fn choose(&mut self, files: &[PathBuf]) {
        let document = self.call("DOM.getDocument", json!({}));
        let query = json!({ "nodeId": document["root"]["nodeId"], "selector": "#files" });
        let input = self.call("DOM.querySelector", query);
        self.call(
            "DOM.setFileInputFiles",
            json!({ "files": files, "nodeId": input["nodeId"] }),
        );
    }

    /// Presses and releases a key.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": if kind == "keyDown" { text } else { "" }
            });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Types text into the focused element.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Saves a screenshot of the whole page in the directory `CLIPN_SCREENSHOTS`, if that is set.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Some(directory) = std::env::var_os("CLIPN_SCREENSHOTS") else {
            return;
        };
        let shot = self.call(
            "Page.captureScreenshot",
            json!({ "captureBeyondViewport": true }),
        );
        let bytes = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}
