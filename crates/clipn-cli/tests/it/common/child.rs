//! Programs that run while a test looks at what they write.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Sandbox;

/// How long a program may take to write what a test waits for.
const LIMIT: Duration = Duration::from_secs(180);

impl Sandbox {
    /// Starts `clipn` in the sandbox and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_clipn"))
            .current_dir(self.root())
            .args(arguments)
            .env("HF_HOME", self.path("hf-home"))
            .env("HF_HUB_OFFLINE", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// Number of lines of a file; 0 if there is none.
pub(crate) fn count_lines(path: &Path) -> usize {
    let written = std::fs::read(path).unwrap_or_default();
    written.iter().filter(|&&byte| byte == b'\n').count()
}

/// Waits until a file has this many lines, or the program has ended.
#[track_caller]
pub(crate) fn wait_for_lines(child: &mut Child, path: &Path, lines: usize) {
    let begin = Instant::now();
    while count_lines(path) < lines && child.try_wait().unwrap().is_none() {
        let waited = begin.elapsed();
        assert!(waited < LIMIT, "{}: no {lines} lines", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}
